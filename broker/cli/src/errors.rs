//! What a person reads when something did not work: a code, what happened, the next step.
//!
//! ```text
//! error PH-0201: there is no queue or topic named "ordrs"
//!   nothing was stored.
//!   similar: orders, orders.events
//!   create:  posthaste queue set ordrs
//!   more:    posthaste explain PH-0201
//! ```
//! Errors go to stderr, as JSON when the command's output is JSON. The exit code says the kind.

use crate::output::{Format, versioned};
use crate::shown;
use posthaste::ErrorKind;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

/// How a command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    NotFound = 3,
    Conflict = 4,
    #[expect(dead_code, reason = "documented for scripts; there are no permissions to lack yet")]
    NotAllowed = 5,
    Unreachable = 6,
    Differences = 7,
    Busy = 8,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Result of a command: how it ended, or the error to print.
pub(crate) type Outcome = Result<Exit, Failure>;

/// An error on its way to the person.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    code: Option<String>,
    what: String,
    notes: Vec<String>,
    steps: Vec<(&'static str, String)>,
    quiet: bool,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: Option<&str>, what: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.map(str::to_owned),
            what: what.into(),
            notes: Vec::new(),
            steps: Vec::new(),
            quiet: false,
        }
    }

    /// The command line cannot be carried out as written.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self::new(Exit::Usage, None, what)
    }

    /// The reader of stdout has gone: nothing is left to say, and nobody to say it to.
    pub(crate) fn quiet() -> Self {
        Self { quiet: true, ..Self::new(Exit::Done, None, "") }
    }

    /// The person said no: nothing was done, and it was said already.
    pub(crate) fn declined() -> Self {
        Self { quiet: true, ..Self::new(Exit::Failed, None, "") }
    }

    /// A line of its own below the error.
    pub(crate) fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// A labelled line below the error, for what to do next.
    pub(crate) fn step(mut self, label: &'static str, step: impl Into<String>) -> Self {
        self.steps.push((label, step.into()));
        self
    }

    /// Prints the error on stderr.
    pub(crate) fn report(&self, format: Format) {
        if self.quiet {
            return;
        }
        let text = match format {
            Format::Text => self.text(io::stderr().is_terminal() && crate::colored()),
            Format::Json | Format::Jsonl => self.json(),
        };
        // When stderr is gone as well, the exit code is all that is left.
        drop(writeln!(io::stderr().lock(), "{text}"));
    }

    fn text(&self, color: bool) -> String {
        let (on, off) = if color { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
        let mut out = match &self.code {
            Some(code) => format!("{on}error {code}:{off} {}", shown::line(&self.what)),
            None => format!("{on}error:{off} {}", shown::line(&self.what)),
        };
        for note in &self.notes {
            out.push_str(&format!("\n  {}", shown::line(note)));
        }
        let more = self.code.as_ref().map(|code| ("more", format!("posthaste explain {code}")));
        let steps: Vec<_> = self.steps.iter().chain(more.as_ref()).collect();
        let width = steps.iter().map(|(label, _)| label.len() + 1).max().unwrap_or(0);
        for (label, step) in steps {
            let label = format!("{label}:");
            out.push_str(&format!("\n  {label:width$} {}", shown::line(step)));
        }
        out
    }

    fn json(&self) -> String {
        let steps: serde_json::Map<String, serde_json::Value> = self
            .steps
            .iter()
            .map(|(label, step)| ((*label).to_owned(), step.clone().into()))
            .collect();
        versioned(json!({"error": {
            "code": self.code,
            "message": self.what,
            "notes": self.notes,
            "steps": steps,
            "exit": self.exit as u8,
        }}))
        .to_string()
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<io::Error> for Failure {
    /// Errors of stdout: a reader that left is no error.
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::quiet()
        } else {
            Self::new(Exit::Failed, Some("PH-0703"), format!("cannot write the output: {error}"))
        }
    }
}

fn exit_of(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::NotFound | ErrorKind::NoResponder => Exit::NotFound,
        ErrorKind::Conflict | ErrorKind::IdConflict | ErrorKind::OffsetMismatch => Exit::Conflict,
        ErrorKind::Invalid => Exit::Usage,
        ErrorKind::Busy | ErrorKind::NoSpace => Exit::Busy,
        ErrorKind::Disconnected | ErrorKind::Timeout | ErrorKind::Closed => Exit::Unreachable,
        // The kinds are open-ended; one that is new here has failed at least.
        _ => Exit::Failed,
    }
}

macro_rules! from_client_errors {
    ($($name:ident)*) => { $(
        impl From<posthaste::$name> for Failure {
            fn from(error: posthaste::$name) -> Self {
                let mut failure =
                    Self::new(exit_of(error.kind()), Some(error.code()), error.message());
                let mut cause = std::error::Error::source(&error);
                while let Some(below) = cause {
                    failure = failure.note(format!("because: {below}"));
                    cause = below.source();
                }
                if !error.similar().is_empty() {
                    failure = failure.step("similar", error.similar().join(", "));
                }
                if let Some(wait) = error.retry_after() {
                    failure = failure.step("wait", shown::duration(wait));
                }
                failure
            }
        }
    )* };
}

from_client_errors! {
    Error ConnectError DeclareError PublishError ConsumeError SettleError RequestError CloseError
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_happened_and_the_next_step() {
        let failure = Failure::new(Exit::NotFound, Some("PH-0201"), "there is no queue \"ordrs\"")
            .note("nothing was stored.")
            .step("similar", "orders, orders.events")
            .step("create", "posthaste queue set ordrs");
        assert_eq!(
            failure.text(false),
            "error PH-0201: there is no queue \"ordrs\"\n  nothing was stored.\n  \
             similar: orders, orders.events\n  create:  posthaste queue set ordrs\n  \
             more:    posthaste explain PH-0201"
        );
        let json: serde_json::Value = serde_json::from_str(&failure.json()).unwrap();
        assert_eq!((&json["v"], &json["error"]["code"]), (&json!(1), &json!("PH-0201")));
    }

    #[test]
    fn control_characters_of_a_stranger_are_escaped() {
        let text = Failure::usage("no \x1b[2J").note("\x07").text(false);
        assert!(!text.contains(['\x1b', '\x07']), "{text:?}");
    }
}
