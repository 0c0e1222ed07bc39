//! Asking before something is destroyed: y/N on a terminal, `--yes` everywhere else.

use crate::context::Context;
use crate::errors::{Exit, Failure};
use clap::Args;
use std::io::{self, IsTerminal};

/// Flags of every command that removes, moves or rewinds.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Safety {
    /// Do it without asking.
    #[arg(short, long, help_heading = "Safety")]
    pub(crate) yes: bool,
    /// Tell what would be done, and do nothing. Exit code 7 if there is something to do.
    #[arg(long, help_heading = "Safety")]
    pub(crate) dry_run: bool,
}

/// Returns if the person agrees to `what`. Never waits for an answer that nobody can give.
pub(crate) fn agreed(safety: Safety, context: &Context, what: &str) -> Result<(), Failure> {
    if safety.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Err(Failure::usage(format!("{what} needs --yes when nobody can be asked"))
            .note("nothing was changed.")
            .step("run", again_with("--yes"))
            .step("look", again_with("--dry-run")));
    }
    eprint!("{}? [y/N] ", crate::shown::line(what));
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") {
        return Ok(());
    }
    context.notice("nothing was changed");
    Err(Failure::declined())
}

/// The command line as typed, with a flag more, quoted for a shell.
fn again_with(flag: &str) -> String {
    let mut words = vec!["posthaste".to_owned()];
    words.extend(std::env::args().skip(1).map(|word| quoted(&word)));
    words.push(flag.to_owned());
    words.join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// How a dry run ends.
pub(crate) fn dry_run_exit(found: bool) -> Exit {
    if found { Exit::Differences } else { Exit::Done }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("--older-than=1d"), "--older-than=1d");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted("{\"id\":7}"), "'{\"id\":7}'");
        assert_eq!(quoted(""), "''");
    }
}
