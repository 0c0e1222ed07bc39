//! A file system that is frozen for seconds, as a disk that stalls: every write waits and none fails.
//!
//! `FREEZE_SECONDS=60 cargo test --release -p posthaste-tests stalls`

use super::ground::{OnVolume, clean, number, work_goes_on};
use posthaste_tests::http::get;
use posthaste_tests::{Checking, FileSystem, eventually, told};
use std::thread::sleep;
use std::time::{Duration, Instant};

const RIG: &str = "frozen file system";

/// Waits until nothing is confirmed any more; what was confirmed and acked then.
fn standstill(checking: &mut Checking) -> (u64, u64) {
    let (mut seen, mut since) = (checking.progress(), Instant::now());
    eventually("everything stands still", || {
        if checking.progress() != seen {
            (seen, since) = (checking.progress(), Instant::now());
        }
        (since.elapsed() > Duration::from_millis(300)).then_some(seen)
    })
}

fn freeze(kind: FileSystem) {
    let Some(mut on) = OnVolume::make(RIG, kind, 1_024) else { return };
    on.restart();
    on.ok(&["queue", "set", "calm"]);
    on.ok(&["pub", "calm", "before"]);
    let mut checking = Checking::start(&on);
    work_goes_on(&mut checking, "before");
    assert_eq!(get(on.http(), "/readyz").0, 200);

    on.volume.freeze();
    let frozen = Instant::now();
    let before = standstill(&mut checking);
    let red = eventually("health says it", || {
        (get(on.http(), "/readyz").0 == 503).then(|| frozen.elapsed())
    });
    assert!(red < Duration::from_secs(3), "health was green for {red:?}");
    assert!(get(on.http(), "/readyz").1.contains("stalled"), "health does not say why");
    assert_eq!(get(on.http(), "/livez").0, 200);
    // A publisher that does not want to wait is told that nobody knows; looking works.
    let publish = on.run(&["pub", "calm", "during", "--timeout", "500ms"]);
    assert!(publish.code != Some(0), "a publish was confirmed on a frozen disk: {publish:?}");
    on.ok(&["queue", "show", "calm"]);
    sleep(Duration::from_secs(number("FREEZE_SECONDS", 2)));
    assert_eq!(checking.progress(), before, "something was confirmed on a frozen disk");
    assert!(on.is_running(), "it ended: {}", on.log());

    on.volume.thaw();
    let frozen = frozen.elapsed();
    work_goes_on(&mut checking, "after");
    eventually("health is green again", || (get(on.http(), "/readyz").0 == 200).then_some(()));
    let calm = on.ok(&["consume", "calm", "--count", "1"]);
    assert!(calm.contains("before"), "{calm}");
    let verdict = clean(checking.verdict(), 10);
    on.stop();
    let name = kind.name();
    told::done(
        RIG,
        &format!(
            "1 freeze on {name}, for {frozen:.1?}, red after {red:.1?}, 0 confirmed meanwhile, 0 restarts, {}",
            verdict.figures()
        ),
    );
}

#[test]
fn p36_a_disk_that_stalls_slows_publishers_down_and_nothing_else_on_ext4() {
    freeze(FileSystem::Ext4);
}

#[test]
fn p36_a_disk_that_stalls_slows_publishers_down_and_nothing_else_on_xfs() {
    freeze(FileSystem::Xfs);
}
