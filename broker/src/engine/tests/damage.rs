//! Damage in the log, and the operator who accepts it.

use super::rig::{EPOCH_MS, Rig, batch, name, publish, small_options};
use crate::engine::Now;
use crate::engine::start::OpenError;
use posthaste_protocol::request::{Kind, Settings};
use posthaste_protocol::{Request, Response};
use posthaste_storage::disk::SimDisk;
use posthaste_storage::{Options, StorageError};

const NOW: Now = Now { wall_ms: EPOCH_MS, mono_ms: 0 };

/// Three messages, each in a block of its own, and a broker that died.
fn three_messages(disk: &SimDisk) {
    let mut rig = Rig::open(disk, NOW).expect("an empty disk opens");
    let connection = rig.connect();
    let (kind, settings) = (Kind::Queue, Settings::default());
    let declare = Request::Declare { kind, name: name("orders"), settings };
    let Ok(Response::Declared { id, .. }) = rig.ask(connection, declare) else {
        panic!("declared")
    };
    for (number, body) in [(1, "the first"), (2, "the second"), (3, "the third")] {
        rig.send(connection, vec![publish(number, id, batch("orders", 0, 0, &[body.as_bytes()]))]);
        rig.settle().expect("no faults");
    }
}

fn flip_a_bit_of(disk: &SimDisk, text: &[u8]) {
    for path in disk.files() {
        let bytes = disk.bytes(&path).expect("a listed file");
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
            disk.flip_bit(&path, at as u64 * 8).expect("a byte of the file");
            return;
        }
    }
    panic!("the text is not on disk");
}

/// Ready messages of the queue, and whether the start reported damage.
fn ready(rig: &mut Rig) -> (u64, bool) {
    let connection = rig.connect();
    let asked = rig.ask(connection, Request::Describe { name: name("orders") });
    let Ok(Response::Described(description)) = asked else { panic!("not {asked:?}") };
    (description.groups[0].ready, !rig.report.damaged.is_empty())
}

#[test]
fn p12_damage_is_accepted_once_and_the_next_start_needs_no_flag() {
    let disk = SimDisk::memory();
    three_messages(&disk);
    flip_a_bit_of(&disk, b"the second");
    let refused = Rig::open(&disk, NOW).err();
    let is_damage = matches!(&refused, Some(OpenError::Storage(StorageError::Damaged { .. })));
    assert!(is_damage, "{refused:?}");
    let options = Options { quarantine: true, ..small_options() };
    let mut rig = Rig::open_with(&disk, NOW, options).expect("the operator accepted the damage");
    let (after, is_damaged) = ready(&mut rig);
    assert!(is_damaged && after >= 2, "{after} messages");
    // It dies at once, before anything else was written.
    drop(rig);
    let mut rig = Rig::open(&disk, NOW).expect("the damage was accepted before");
    assert_eq!(ready(&mut rig), (after, false));
}
