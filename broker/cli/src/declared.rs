//! What queues and topics have in common on the command line: set shows a difference, show shows
//! all, rm asks first.

use crate::confirm::{Safety, agreed, dry_run_exit};
use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::output::Format;
use crate::settings::{Change, Wanted};
use crate::targets;
use posthaste::{Declared, Description, ErrorKind, Kind, RequestError};
use serde_json::json;

/// A queue or topic that is being set.
pub(crate) struct Target<'a> {
    pub(crate) kind: Kind,
    pub(crate) name: &'a str,
    pub(crate) wanted: Wanted,
}

impl Target<'_> {
    /// What is there under the name: nothing, or one of the right kind.
    pub(crate) fn find(
        &self,
        described: Result<Description, RequestError>,
    ) -> Result<Option<Description>, Failure> {
        match described {
            Ok(found) => of_kind(self.kind, found).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Says what was done (`done`), or would be done (no `done`: a dry run).
    pub(crate) fn tell(
        &self,
        context: &Context,
        before: Option<&Description>,
        done: Option<Declared>,
    ) -> Outcome {
        let changes = before.map(|now| self.wanted.changes(&now.settings)).unwrap_or_default();
        let what = match (done, before) {
            (Some(Declared::Created), _) => "created",
            (Some(Declared::Updated), _) => "updated",
            (Some(Declared::Unchanged), _) => "unchanged",
            (None, None) => "would be created",
            (None, Some(_)) if changes.is_empty() => "unchanged",
            (None, Some(_)) => "would be updated",
        };
        let kind = targets::kind(self.kind);
        let object = json!({
            "what": what,
            "kind": kind,
            "name": self.name,
            "dry_run": done.is_none(),
            "changes": changes.iter().map(Change::json).collect::<Vec<_>>(),
        });
        context.output.done(&[what, kind, self.name], object)?;
        if context.output.is_text() {
            for change in &changes {
                context.output.done(&["", &change.text()], json!({}))?;
            }
        }
        Ok(match done {
            Some(_) => Exit::Done,
            None => dry_run_exit(what != "unchanged"),
        })
    }
}

fn of_kind(kind: Kind, found: Description) -> Result<Description, Failure> {
    if found.kind == kind {
        return Ok(found);
    }
    let (is, asked) = (targets::kind(found.kind), targets::kind(kind));
    let what = format!("\"{}\" is a {is}, not a {asked}", found.name);
    Err(Failure::new(Exit::Conflict, Some("PH-0203"), what)
        .note("nothing was changed.")
        .step("look", format!("posthaste {is} show {}", found.name)))
}

/// Adds to a not-found error how to create what was meant.
pub(crate) fn not_found(error: impl Into<Failure>, kind: Kind, name: &str) -> Failure {
    let failure: Failure = error.into();
    if failure.exit() != Exit::NotFound {
        return failure;
    }
    failure.step("create", format!("posthaste {} set {name}", targets::kind(kind)))
}

pub(crate) async fn show(kind: Kind, name: &str, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let found = client.describe(name).await.map_err(|error| not_found(error, kind, name))?;
    let found = of_kind(kind, found)?;
    match context.output.format {
        Format::Text => {
            context.output.rows("facts", &["", ""], targets::facts(&found), Vec::new())?;
        }
        Format::Json | Format::Jsonl => context.output.value(targets::json(&found))?,
    }
    Ok(Exit::Done)
}

pub(crate) async fn remove(kind: Kind, name: &str, safety: Safety, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let found = client.describe(name).await.map_err(|error| not_found(error, kind, name))?;
    let found = of_kind(kind, found)?;
    let kept = found.next_position - found.first_position;
    let held: u64 = found.groups.iter().map(|g| g.ready + g.leased + g.delayed).sum();
    let (noun, messages) = match kind {
        Kind::Queue => ("queue", held),
        Kind::Topic => ("topic", kept),
    };
    let object = json!({
        "what": if safety.dry_run { "would be removed" } else { "removed" },
        "kind": noun,
        "name": name,
        "messages": messages,
        "dry_run": safety.dry_run,
    });
    let count = format!("{messages} messages");
    if safety.dry_run {
        context.output.done(&["would be removed", noun, name, &count], object)?;
        return Ok(dry_run_exit(true));
    }
    agreed(safety, context, &format!("removing the {noun} {name} with {count}"))?;
    match kind {
        Kind::Queue => client.queue(name).delete().await?,
        Kind::Topic => client.topic(name).delete().await?,
    }
    context.output.done(&["removed", noun, name, &count], object)?;
    Ok(Exit::Done)
}
