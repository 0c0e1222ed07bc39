//! `posthaste queue set|show|rm`.

use crate::confirm::Safety;
use crate::context::Context;
use crate::declared::{self, Target};
use crate::errors::Outcome;
use crate::settings::{Delivery, millis};
use crate::{shown, values};
use clap::{Args, Subcommand};
use posthaste::Kind;
use std::time::Duration;

/// Creates, changes, shows and removes queues.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste queue set orders --max-attempts 8 --lease 30s\n  posthaste queue show orders\n  posthaste queue rm orders --dry-run", help_template = crate::args::TEMPLATE)]
pub(crate) struct Queue {
    #[command(subcommand)]
    command: QueueCommand,
}

#[derive(Debug, Subcommand)]
enum QueueCommand {
    Set(Set),
    Show(Show),
    #[command(alias = "delete")]
    Rm(Rm),
}

/// Creates a queue, or changes the given settings of one that exists.
#[derive(Debug, Args)]
struct Set {
    /// The queue.
    name: String,
    #[command(flatten)]
    delivery: Delivery,
    /// Refuse publishes beyond this many unsettled messages; 0 means no limit.
    #[arg(long, value_name = "N", value_parser = values::count)]
    max_messages: Option<u64>,
    /// Store a message once that is published under one id within this time; 0 remembers no ids.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    id_window: Option<Duration>,
    /// Tell what would change, and do nothing. Exit code 7 if something would.
    #[arg(long, help_heading = "Safety")]
    dry_run: bool,
}

/// Shows a queue: counts and settings.
#[derive(Debug, Args)]
struct Show {
    /// The queue.
    name: String,
}

/// Removes a queue with all its messages and dead letters.
#[derive(Debug, Args)]
struct Rm {
    /// The queue.
    name: String,
    #[command(flatten)]
    safety: Safety,
}

pub(crate) async fn run(args: &Queue, context: &Context) -> Outcome {
    match &args.command {
        QueueCommand::Set(args) => set(args, context).await,
        QueueCommand::Show(args) => declared::show(Kind::Queue, &args.name, context).await,
        QueueCommand::Rm(args) => {
            declared::remove(Kind::Queue, &args.name, args.safety, context).await
        }
    }
}

async fn set(args: &Set, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let queue = client.queue(&args.name);
    let mut wanted = args.delivery.wanted();
    wanted.limit("max_messages", args.max_messages, |n| n.to_string());
    wanted.limit("id_window", args.id_window.map(millis), shown::setting_ms);
    let target = Target { kind: Kind::Queue, name: &args.name, wanted };
    let before = target.find(queue.describe().await)?;
    if args.dry_run {
        return target.tell(context, before.as_ref(), None);
    }
    let mut declare = queue.declare();
    if let Some(attempts) = args.delivery.max_attempts {
        declare = declare.max_attempts(attempts);
    }
    if let Some(lease) = args.delivery.lease {
        declare = declare.lease(lease);
    }
    if let Some(max_hold) = args.delivery.max_hold {
        declare = declare.max_hold(max_hold);
    }
    if let Some(backoff) = args.delivery.backoff() {
        declare = declare.retry(backoff);
    }
    if let Some(limit) = args.max_messages {
        declare = declare.max_messages(limit);
    }
    if let Some(window) = args.id_window {
        declare = declare.id_window(window);
    }
    let done = declare.await?;
    target.tell(context, before.as_ref(), Some(done))
}
