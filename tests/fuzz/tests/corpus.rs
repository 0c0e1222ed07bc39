//! Replays the corpora: what a fuzzing engine once found worth keeping is run on every change.

use posthaste_fuzz::TARGETS;
use std::fs;
use std::path::{Path, PathBuf};

fn inputs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a target has a corpus");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// One test for all, because memory is counted for the whole process.
#[test]
fn no_input_of_a_corpus_does_harm() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (target, _) in TARGETS {
        let paths = inputs(&corpora.join(target));
        assert!(!paths.is_empty(), "{target} has no corpus");
        for path in paths {
            println!("{}", path.display());
            posthaste_fuzz::run(target, &fs::read(&path).expect("a readable input"));
        }
        // And what no corpus has to hold: nothing, and every single byte.
        posthaste_fuzz::run(target, &[]);
        let bytes = if target == "conversation" { 0..=3 } else { 0..=255 };
        bytes.for_each(|byte| posthaste_fuzz::run(target, &[byte]));
    }
}
