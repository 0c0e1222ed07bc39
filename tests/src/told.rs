//! What a rig did, or that it did nothing and why: one line on the real standard error, which the test
//! harness does not keep to itself as it does with what tests print.

use std::fs::OpenOptions;
use std::io::Write;

/// Says what a rig has done: `<n> <things>, <n> <things>, ...`, which `tests/proof/run` adds up.
pub fn done(rig: &str, what: &str) {
    tell(&format!("TALLY {rig}: {what}\n"));
}

/// Says that a rig proved nothing here.
pub fn skipped(rig: &str, why: &str) {
    tell(&format!("SKIPPED {rig}: {why}\n"));
}

/// Also into the file that `RIG_REPORT` names, for who wants all lines together.
fn tell(line: &str) {
    // Nobody reads it: then there is nobody to tell.
    drop(std::io::stderr().write_all(line.as_bytes()));
    if let Ok(path) = std::env::var("RIG_REPORT") {
        let file = OpenOptions::new().create(true).append(true).open(path);
        drop(file.and_then(|mut file| file.write_all(line.as_bytes())));
    }
}
