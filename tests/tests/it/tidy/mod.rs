//! The rules that no compiler checks: who may know whom, how long a file may be, which words we use,
//! and that documents tell the truth about files and tests. Each rule names the offender and the remedy.

mod arrows;
mod options;
mod promises;
mod proof;
mod text;
mod tree;

/// Fails with every offence at once, so that one run shows all there is to mend.
fn check(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}
