//! Seeded bugs, to prove that the tests can fail: with the feature `mutant`, which only tests turn on, and
//! `POSTHASTE_MUTANT=name` in the environment, one promise is broken on purpose. Without the feature nothing of this is in the
//! program. `docs/mutants.md` says which test notices which.

/// Whether the seeded bug `name` is on.
#[cfg(not(feature = "mutant"))]
#[inline(always)]
pub(crate) const fn mutant(_name: &str) -> bool {
    false
}

/// Whether the seeded bug `name` is on. Says so at the first time, so that a test that did not notice can be told from one that
/// never came here.
#[cfg(feature = "mutant")]
pub(crate) fn mutant(name: &str) -> bool {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicBool, Ordering};

    static CHOSEN: LazyLock<Option<String>> =
        LazyLock::new(|| std::env::var("POSTHASTE_MUTANT").ok());
    static HAS_STRUCK: AtomicBool = AtomicBool::new(false);
    let is_on = CHOSEN.as_deref() == Some(name);
    if is_on && !HAS_STRUCK.swap(true, Ordering::Relaxed) {
        eprintln!("the seeded bug {name} strikes");
    }
    is_on
}
