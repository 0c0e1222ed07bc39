//! `posthaste purge`: removes what waits in a queue, or all messages of a topic.

use crate::confirm::{Safety, agreed, dry_run_exit};
use crate::context::Context;
use crate::declared::not_found;
use crate::errors::{Exit, Outcome};
use clap::Args;
use posthaste::Kind;
use serde_json::json;

/// Removes the ready and delayed messages of a queue, or all messages of a topic.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste purge orders --dry-run\n  posthaste purge orders --yes", help_template = crate::args::TEMPLATE)]
pub(crate) struct Purge {
    /// Queue or topic.
    dest: String,
    #[command(flatten)]
    safety: Safety,
}

pub(crate) async fn run(args: &Purge, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let queue = client.queue(&args.dest);
    let would = queue.purge().dry_run().await;
    let would = would.map_err(|error| not_found(error, Kind::Queue, &args.dest))?;
    let mut messages = would;
    if !args.safety.dry_run {
        if would > 0 {
            agreed(args.safety, context, &format!("removing {would} messages of {}", args.dest))?;
        }
        messages = queue.purge().await?;
    }
    let what = if args.safety.dry_run { "would be removed" } else { "removed" };
    let object = json!({
        "what": what,
        "destination": args.dest,
        "messages": messages,
        "dry_run": args.safety.dry_run,
    });
    context.output.done(&[what, &args.dest, &format!("{messages} messages")], object)?;
    Ok(if args.safety.dry_run { dry_run_exit(messages > 0) } else { Exit::Done })
}
