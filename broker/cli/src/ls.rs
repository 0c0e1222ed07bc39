//! `posthaste ls` and `posthaste ping`: what is there, and whether anything is.

use crate::context::Context;
use crate::errors::{Exit, Outcome};
use crate::output::Cell;
use crate::targets;
use clap::Args;
use posthaste::{Description, Kind};
use serde_json::json;
use std::time::Duration;

/// Lists queues and topics.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste ls\n  posthaste ls -o jsonl", help_template = crate::args::TEMPLATE)]
pub(crate) struct Ls {}

/// Asks the broker for a sign of life, and tells how long it took.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste ping\n  posthaste ping --count 5 --timeout 2s", help_template = crate::args::TEMPLATE)]
pub(crate) struct Ping {
    /// How often.
    #[arg(short, long, value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

pub(crate) async fn ls(context: &Context) -> Outcome {
    let client = context.connect().await?;
    let all = client.list().await?;
    let rows = all.iter().map(row).collect();
    let headers = ["NAME", "KIND", "MESSAGES", "SIZE", "DEAD", "GROUPS", "CONSUMERS"];
    context.output.rows("targets", &headers, rows, all.iter().map(targets::json).collect())?;
    if all.is_empty() && context.output.is_text() && context.output.terminal {
        context.notice("there is no queue and no topic yet: posthaste queue set NAME");
    }
    Ok(Exit::Done)
}

fn row(target: &Description) -> Vec<Cell> {
    let sum = |of: fn(&posthaste::GroupInfo) -> u64| target.groups.iter().map(of).sum::<u64>();
    let messages = match target.kind {
        Kind::Queue => sum(|group| group.ready + group.leased + group.delayed),
        Kind::Topic => target.next_position - target.first_position,
    };
    let groups = match target.kind {
        Kind::Queue => Cell::none(),
        Kind::Topic => Cell::count(target.groups.len() as u64),
    };
    vec![
        Cell::text(&target.name),
        Cell::text(targets::kind(target.kind)),
        Cell::count(messages),
        Cell::bytes(target.bytes),
        Cell::count(sum(|group| group.dead)),
        groups,
        Cell::count(sum(|group| u64::from(group.consumers))),
    ]
}

pub(crate) async fn ping(args: &Ping, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let broker = client.broker().await?;
    for at in 0..args.count {
        if at > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let took = client.ping().await?;
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let object = json!({
            "broker": broker.server,
            "url": context.url,
            "round_trip_us": micros,
        });
        let time = format!("{micros} us");
        context.output.done(&["pong", &broker.server, &context.url, &time], object)?;
    }
    Ok(Exit::Done)
}
