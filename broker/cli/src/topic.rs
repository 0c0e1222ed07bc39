//! `posthaste topic set|show|rm`.

use crate::confirm::Safety;
use crate::context::Context;
use crate::declared::{self, Target};
use crate::errors::Outcome;
use crate::settings::{Delivery, millis};
use crate::{shown, values};
use clap::{Args, Subcommand};
use posthaste::Kind;
use std::time::Duration;

/// Creates, changes, shows and removes topics.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste topic set orders.events --retain 7d\n  posthaste topic show orders.events\n  posthaste topic rm orders.events --dry-run", help_template = crate::args::TEMPLATE)]
pub(crate) struct Topic {
    #[command(subcommand)]
    command: TopicCommand,
}

#[derive(Debug, Subcommand)]
enum TopicCommand {
    Set(Set),
    Show(Show),
    #[command(alias = "delete")]
    Rm(Rm),
}

/// Creates a topic, or changes the given settings of one that exists.
#[derive(Debug, Args)]
struct Set {
    /// The topic.
    name: String,
    /// Messages older than this may be deleted; 0 keeps them for ever.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    retain: Option<Duration>,
    /// The oldest messages beyond this size may be deleted; 0 means no limit.
    #[arg(long, value_name = "SIZE", value_parser = values::size)]
    retain_bytes: Option<u64>,
    #[command(flatten)]
    delivery: Delivery,
    /// Store a message once that is published under one id within this time; 0 remembers no ids.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    id_window: Option<Duration>,
    /// Tell what would change, and do nothing. Exit code 7 if something would.
    #[arg(long, help_heading = "Safety")]
    dry_run: bool,
}

/// Shows a topic: positions, size and settings.
#[derive(Debug, Args)]
struct Show {
    /// The topic.
    name: String,
}

/// Removes a topic with all its messages and groups.
#[derive(Debug, Args)]
struct Rm {
    /// The topic.
    name: String,
    #[command(flatten)]
    safety: Safety,
}

pub(crate) async fn run(args: &Topic, context: &Context) -> Outcome {
    match &args.command {
        TopicCommand::Set(args) => set(args, context).await,
        TopicCommand::Show(args) => declared::show(Kind::Topic, &args.name, context).await,
        TopicCommand::Rm(args) => {
            declared::remove(Kind::Topic, &args.name, args.safety, context).await
        }
    }
}

async fn set(args: &Set, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let topic = client.topic(&args.name);
    let mut wanted = args.delivery.wanted();
    wanted.limit("retain", args.retain.map(millis), shown::setting_ms);
    wanted.limit("retain_bytes", args.retain_bytes, |n| n.to_string());
    wanted.limit("id_window", args.id_window.map(millis), shown::setting_ms);
    let target = Target { kind: Kind::Topic, name: &args.name, wanted };
    let before = target.find(topic.describe().await)?;
    if args.dry_run {
        return target.tell(context, before.as_ref(), None);
    }
    let mut declare = topic.declare();
    if let Some(retain) = args.retain {
        declare = declare.retain_for(retain);
    }
    if let Some(bytes) = args.retain_bytes {
        declare = declare.retain_bytes(bytes);
    }
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
    if let Some(window) = args.id_window {
        declare = declare.id_window(window);
    }
    let done = declare.await?;
    target.tell(context, before.as_ref(), Some(done))
}
