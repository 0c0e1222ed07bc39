//! `posthaste group ls|seek|rm`: the positions on a topic.

use crate::confirm::{Safety, agreed, dry_run_exit};
use crate::context::Context;
use crate::declared::not_found;
use crate::errors::{Exit, Failure, Outcome};
use crate::output::Cell;
use crate::targets::group_json;
use crate::values::{self, Place};
use clap::{Args, Subcommand};
use posthaste::Kind;
use serde_json::json;

/// Lists, moves and removes the groups of a topic.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste group ls orders.events\n  posthaste group seek orders.events billing --to -2h --dry-run\n  posthaste group seek orders.events billing --to earliest --yes", help_template = crate::args::TEMPLATE)]
pub(crate) struct Group {
    #[command(subcommand)]
    command: GroupCommand,
}

#[derive(Debug, Subcommand)]
enum GroupCommand {
    #[command(alias = "list")]
    Ls(Ls),
    Seek(Seek),
    #[command(alias = "delete")]
    Rm(Rm),
}

/// Lists the groups of a topic with their lag.
#[derive(Debug, Args)]
struct Ls {
    /// The topic.
    topic: String,
}

/// Moves a group: forward skips messages, back delivers them again.
#[derive(Debug, Args)]
struct Seek {
    /// The topic.
    topic: String,
    /// The group.
    group: String,
    /// Where to: earliest, latest, an offset, or a time ago as -2h.
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true, value_parser = values::place)]
    to: Place,
    #[command(flatten)]
    safety: Safety,
}

/// Removes a group with its position and its dead letters. The topic's messages stay.
#[derive(Debug, Args)]
struct Rm {
    /// The topic.
    topic: String,
    /// The group.
    group: String,
    #[command(flatten)]
    safety: Safety,
}

pub(crate) async fn run(args: &Group, context: &Context) -> Outcome {
    match &args.command {
        GroupCommand::Ls(args) => ls(args, context).await,
        GroupCommand::Seek(args) => seek(args, context).await,
        GroupCommand::Rm(args) => rm(args, context).await,
    }
}

async fn ls(args: &Ls, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let topic = client.describe(&args.topic).await;
    let topic = topic.map_err(|error| not_found(error, Kind::Topic, &args.topic))?;
    if topic.kind != Kind::Topic {
        let what = format!("\"{}\" is a queue; only topics have groups", topic.name);
        return Err(Failure::new(Exit::Conflict, Some("PH-0203"), what)
            .step("look", format!("posthaste queue show {}", topic.name)));
    }
    let rows = topic.groups.iter().map(|group| {
        vec![
            Cell::text(group.name.as_deref().unwrap_or_default()),
            Cell::count(group.floor),
            Cell::count(group.ready + group.leased + group.delayed),
            Cell::duration(group.oldest_age),
            Cell::count(group.ready),
            Cell::count(group.leased),
            Cell::count(group.delayed),
            Cell::count(group.dead),
            Cell::count(u64::from(group.consumers)),
        ]
    });
    let headers =
        ["GROUP", "FLOOR", "LAG", "LAG AGE", "READY", "LEASED", "DELAYED", "DEAD", "CONSUMERS"];
    let objects = topic.groups.iter().map(group_json).collect();
    context.output.rows("groups", &headers, rows.collect(), objects)?;
    Ok(Exit::Done)
}

async fn seek(args: &Seek, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let group = client.topic(&args.topic).group(&args.group);
    let would = group.seek(args.to.start()).dry_run().await?;
    let name = format!("{}/{}", args.topic, args.group);
    let effect = if would.to < would.from {
        format!("{} messages will be delivered from there, some of them again", would.messages)
    } else {
        format!("{} messages are skipped, {} remain", would.to - would.from, would.messages)
    };
    let moves = would.to != would.from;
    if !args.safety.dry_run && moves {
        let what = format!("moving {name} from {} to {}: {effect}", would.from, would.to);
        agreed(args.safety, context, &what)?;
    }
    let sought = if args.safety.dry_run { would } else { group.seek(args.to.start()).await? };
    let what = match (args.safety.dry_run, moves) {
        (true, true) => "would move",
        (false, true) => "moved",
        (_, false) => "unchanged",
    };
    let object = json!({
        "what": what,
        "topic": args.topic,
        "group": args.group,
        "from": sought.from,
        "to": sought.to,
        "messages": sought.messages,
        "dry_run": args.safety.dry_run,
    });
    let way = format!("{} -> {}", sought.from, sought.to);
    context.output.done(&[what, &name, &way, &effect], object)?;
    Ok(if args.safety.dry_run { dry_run_exit(moves) } else { Exit::Done })
}

async fn rm(args: &Rm, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let group = client.topic(&args.topic).group(&args.group);
    let info = group.info().await?;
    let lag = info.ready + info.leased + info.delayed;
    let name = format!("{}/{}", args.topic, args.group);
    let object = json!({
        "what": if args.safety.dry_run { "would be removed" } else { "removed" },
        "topic": args.topic,
        "group": args.group,
        "lag": lag,
        "dead": info.dead,
        "dry_run": args.safety.dry_run,
    });
    if args.safety.dry_run {
        context.output.done(&["would be removed", "group", &name], object)?;
        return Ok(dry_run_exit(true));
    }
    let what = format!(
        "removing the group {name} with {lag} unsettled messages and {} dead letters",
        info.dead
    );
    agreed(args.safety, context, &what)?;
    group.delete().await?;
    context.output.done(&["removed", "group", &name], object)?;
    Ok(Exit::Done)
}
