//! Power cuts: the file system is cut off from its disk under load, and mounted again as after a boot.
//!
//! `POWER_CUTS=2000 SEED=1 cargo test --release -p posthaste-tests power_cuts`

use super::ground::{OnVolume, TRACE, can_trace, clean, number, work_goes_on};
use posthaste_protocol::request::Kind;
use posthaste_tests::raw::batch;
use posthaste_tests::{Checking, Cut, FileSystem, Random, Raw, told};
use std::thread::sleep;
use std::time::{Duration, Instant};

const RIG: &str = "power cuts";

fn how(random: &mut Random) -> Cut {
    if random.once_in(3) { Cut::JournalFirst } else { Cut::Hard }
}

/// A cut in the middle of work, or of an orderly stop. What is written afterwards fails, so that the
/// broker ends by itself if nobody kills it.
fn cut(on: &mut OnVolume, random: &mut Random) {
    if random.once_in(10) {
        on.signal("TERM");
        sleep(Duration::from_millis(random.within(0..15)));
    }
    on.volume.cut(how(random));
    if random.once_in(8) {
        // A broker that only reads does not end: this is something to write.
        on.run(&["pub", "poke", "x", "--timeout", "1s"]);
        let cut = Instant::now();
        let status = on.wait();
        assert!(cut.elapsed() < Duration::from_secs(2), "it took {:?} to end", cut.elapsed());
        // Zero, if it had been told to stop and was done before the cut.
        assert!(status.code().is_some(), "it ended with {status}: {}", on.log());
    } else {
        on.kill();
    }
}

/// Lets the file system and the broker recover; some of these recoveries are cut off, too.
fn recover(on: &mut OnVolume, random: &mut Random) -> u64 {
    let mut cuts = 0;
    on.volume.unmount();
    on.volume.mount();
    while random.once_in(4) {
        let OnVolume { broker, volume, .. } = on;
        broker.start_and_kill_after(|| {
            sleep(Duration::from_millis(random.within(1..60)));
            volume.cut(how(random));
        });
        volume.unmount();
        volume.mount();
        cuts += 1;
    }
    on.restart();
    cuts
}

/// Cuts the power again and again on one store; the history goes over all of it.
fn cut_again_and_again(kind: FileSystem, cycles: u64) {
    let mut random = Random::from_env();
    let Some(mut on) = OnVolume::make(RIG, kind, 2_048) else { return };
    on.restart();
    on.ok(&["queue", "set", "poke"]);
    let mut checking = Checking::start(&on);
    let begun = Instant::now();
    let mut cuts = 0;
    while cuts < cycles {
        work_goes_on(&mut checking, &format!("after {cuts} cuts on {}", kind.name()));
        sleep(Duration::from_millis(random.within(0..40)));
        cut(&mut on, &mut random);
        cuts += 1 + recover(&mut on, &mut random);
        if random.once_in(20) {
            // The log is not to grow for ever: a stop writes a checkpoint.
            on.stop();
            on.restart();
        }
    }
    let took = begun.elapsed();
    let verdict = clean(checking.verdict(), cycles);
    assert!(verdict.duplicates > 0, "nothing was in flight: {verdict:?}");
    told::done(
        RIG,
        &format!("{cuts} cuts on {}, in {took:.1?}, {}", kind.name(), verdict.figures()),
    );
    on.stop();
}

#[test]
fn p01_confirmed_messages_survive_power_cuts_on_ext4() {
    cut_again_and_again(FileSystem::Ext4, number("POWER_CUTS", 50) / 2);
}

#[test]
fn p01_confirmed_messages_survive_power_cuts_on_xfs() {
    cut_again_and_again(FileSystem::Xfs, number("POWER_CUTS", 50) / 2);
}

/// The rig can fail: a disk that says "synced" and has done nothing loses what was confirmed.
#[test]
fn power_cuts_are_seen_to_lose_what_was_never_synced() {
    let rig = "power cuts on a lying disk";
    let Some(mut on) = OnVolume::make(rig, FileSystem::Ext4, 1_024) else { return };
    if let Err(why) = can_trace() {
        return told::skipped(rig, &why);
    }
    let lie = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:retval=0:when=10+"];
    on.run_through(&[&TRACE, lie.as_slice()].concat());
    on.restart();
    let mut raw = Raw::greet(on.address());
    let queue = raw.declare(Kind::Queue, "orders");
    for _ in 0..30 {
        let number = raw.publish(queue, batch("orders", &[b"confirmed"]));
        raw.outcome(number).unwrap();
    }
    on.volume.cut(Cut::Hard);
    on.kill();
    on.volume.unmount();
    on.volume.mount();
    on.run_through(&[]);
    on.restart();
    let ready = Raw::greet(on.address()).counts("orders").ready;
    assert!(ready < 30, "{ready} messages survived a power cut without a sync");
    told::done(rig, &format!("30 confirmed, {ready} there, so the rig can see a loss"));
}
