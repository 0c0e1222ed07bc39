//! Damage in the log, and the operator who accepts it.

use super::rig::{EPOCH_MS, Rig, batch, name, publish, request, small_options};
use super::world::seen;
use crate::engine::Now;
use crate::engine::start::OpenError;
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::request::{Consume, Credit, DeadAction, Kind, Settings, Start};
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
            // The last byte, so that no text becomes another that is looked for.
            let last = at + text.len() - 1;
            disk.flip_bit(&path, last as u64 * 8).expect("a byte of the file");
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

/// Numbered messages, each in a block of its own, in a broker that has forgotten them: it has to read them from the disk.
fn cold_messages(disk: &SimDisk, count: u64) -> Rig {
    let mut rig = Rig::open(disk, NOW).expect("an empty disk opens");
    let connection = rig.connect();
    let (kind, settings) = (Kind::Queue, Settings::default());
    let declare = Request::Declare { kind, name: name("orders"), settings };
    let Ok(Response::Declared { id, .. }) = rig.ask(connection, declare) else {
        panic!("declared")
    };
    for number in 0..count {
        let body = format!("{number:<12}");
        rig.send(connection, vec![publish(number, id, batch("orders", 0, 0, &[body.as_bytes()]))]);
        rig.settle().expect("no faults");
    }
    rig.stop().expect("no faults");
    Rig::open(disk, NOW).expect("an orderly stop")
}

/// The numbers of all messages that can be had.
fn take_all(rig: &mut Rig) -> Vec<u64> {
    let connection = rig.connect();
    let consume = Consume {
        name: name("orders"),
        group: None,
        start: Start::Earliest,
        lease_ms: None,
        credit: Credit { messages: 1_000, bytes: 1 << 20, begun: 0 },
    };
    rig.send(connection, vec![request(1, 1, Request::Consume(consume))]);
    rig.settle().expect("no faults");
    let mut ids = Vec::new();
    for (_, _, response) in rig.received(connection) {
        if let Response::Deliver(deliver) = response {
            ids.extend(seen("orders", &deliver).iter().map(|seen| seen.id));
        }
    }
    ids
}

#[test]
fn p12_damage_met_while_serving_costs_only_what_it_hit_and_is_told() {
    const COUNT: u64 = 12;
    for damaged in [vec![0, 1, 3], vec![5], vec![0, 2, 4, 6, 8, 10], vec![1, 2, 3, 4, 6, 11]] {
        let disk = SimDisk::memory();
        let mut rig = cold_messages(&disk, COUNT);
        for number in &damaged {
            flip_a_bit_of(&disk, format!("{number:<12}").as_bytes());
        }
        let whole: Vec<u64> = (0..COUNT).filter(|number| !damaged.contains(number)).collect();
        assert_eq!(take_all(&mut rig), whole, "damaged: {damaged:?}");
        let connection = rig.connect();
        let asked = rig.ask(connection, Request::Describe { name: name("orders") });
        let Ok(Response::Described(description)) = asked else { panic!("not {asked:?}") };
        let group = &description.groups[0];
        assert_eq!((group.dead, group.leased), (damaged.len() as u64, whole.len() as u64));
    }
}

/// The reasons of all dead letters, by offset.
fn dead(rig: &mut Rig) -> Vec<(u64, String)> {
    let connection = rig.connect();
    let action = DeadAction::List { from: 0, limit: 100 };
    let asked = rig.ask(connection, Request::Dead { name: name("orders"), group: None, action });
    let Ok(Response::DeadLetters { items, total }) = asked else { panic!("not {asked:?}") };
    assert_eq!(items.len() as u64, total);
    items.into_iter().map(|item| (item.offset, item.reason)).collect()
}

/// Numbers of messages from `offset` on, and where to go on; or the error.
fn look(rig: &mut Rig, offset: u64) -> Result<(u64, u64), ErrorReply> {
    let connection = rig.connect();
    let from = Start::Offset(offset);
    let read = Request::Read { name: name("orders"), from, messages_max: 100, bytes_max: 1 << 20 };
    match rig.ask(connection, read).expect("no faults") {
        Response::Error(refused) => Err(refused),
        Response::Records { pieces, next_offset, .. } => {
            Ok((pieces.iter().map(|piece| u64::from(piece.count)).sum(), next_offset))
        }
        other => panic!("not {other:?}"),
    }
}

#[test]
fn p12_who_looks_is_told_of_damage_and_sees_all_the_rest() {
    let disk = SimDisk::memory();
    let mut rig = cold_messages(&disk, 12);
    for number in [3, 4, 8] {
        flip_a_bit_of(&disk, format!("{number:<12}").as_bytes());
    }
    assert_eq!(look(&mut rig, 0), Ok((3, 3)), "what comes before it");
    let refused = look(&mut rig, 3).expect_err("nothing comes before it");
    assert_eq!(refused.code, ErrorCode::DataLoss);
    assert!(refused.message.contains("messages 3 to 3") && refused.message.contains("offset 4"));
    assert_eq!(look(&mut rig, 5), Ok((3, 8)));
    assert_eq!(look(&mut rig, 9), Ok((3, 12)));
    assert_eq!(take_all(&mut rig).len(), 9);
    let lost = "data loss: the stored message is damaged".to_owned();
    assert_eq!(dead(&mut rig), [3, 4, 8].map(|offset| (offset, lost.clone())));
}
