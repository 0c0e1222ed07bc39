//! `posthaste report`: all queues and topics with rates, and a note on what needs attention.
//!
//! Rates are the difference of two looks a moment apart; nothing is measured in the broker for it.

use crate::context::Context;
use crate::errors::{Exit, Outcome};
use crate::output::Cell;
use crate::settings::millis;
use crate::{shown, targets, values};
use clap::Args;
use posthaste::{Description, GroupInfo, Kind};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Shows all queues and topics with rates, and what needs attention.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste report\n  posthaste report --over 10s -o json", help_template = crate::args::TEMPLATE)]
pub(crate) struct Report {
    /// Measure the rates over this long; 0 leaves them out.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = values::duration)]
    over: Duration,
}

pub(crate) async fn run(args: &Report, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let mut before = Vec::new();
    let began = Instant::now();
    if !args.over.is_zero() {
        before = client.list().await?;
        tokio::time::sleep(args.over).await;
    }
    let now = client.list().await?;
    let stats = client.stats().await?;
    let rates = Rates::new(&before, began.elapsed());
    let (queues, topics): (Vec<_>, Vec<_>) = now.iter().partition(|t| t.kind == Kind::Queue);
    if !context.output.is_text() {
        let object = |target: &&Description| target_object(target, &rates);
        context.output.value(json!({
            "queues": queues.iter().map(object).collect::<Vec<_>>(),
            "topics": topics.iter().map(object).collect::<Vec<_>>(),
            "broker": {
                "published": stats.published,
                "delivered": stats.delivered,
                "acked": stats.acked,
                "dead_lettered": stats.dead_lettered,
                "connections": stats.connections,
                "log_bytes": stats.log_bytes,
                "free_bytes": stats.free_bytes,
                "uptime_ms": millis(stats.uptime),
            },
        }))?;
        return Ok(Exit::Done);
    }
    let rows = queues.iter().map(|queue| queue_row(queue, &rates)).collect();
    context.output.rows("queues", &QUEUE_HEADERS, rows, Vec::new())?;
    if context.output.terminal && !queues.is_empty() && !topics.is_empty() {
        context.output.text("")?;
    }
    let rows = topics.iter().flat_map(|topic| topic_rows(topic, &rates)).collect();
    context.output.rows("topics", &TOPIC_HEADERS, rows, Vec::new())?;
    if context.output.terminal {
        context.output.text(&format!(
            "\nup {}  log {}  free {}  {} connections",
            shown::duration(stats.uptime),
            shown::bytes(stats.log_bytes),
            shown::bytes(stats.free_bytes),
            stats.connections,
        ))?;
    }
    Ok(Exit::Done)
}

const QUEUE_HEADERS: [&str; 10] =
    ["QUEUE", "READY", "LEASED", "DELAYED", "DEAD", "IN/s", "OUT/s", "OLDEST", "CONSUMERS", "NOTE"];
const TOPIC_HEADERS: [&str; 10] =
    ["TOPIC", "MESSAGES", "SIZE", "RETAIN", "IN/s", "GROUP", "LAG", "LAG AGE", "MEMBERS", "NOTE"];

/// The earlier look, by name and group.
struct Rates {
    published: BTreeMap<String, u64>,
    settled: BTreeMap<(String, String), u64>,
    over: Duration,
}

impl Rates {
    fn new(before: &[Description], over: Duration) -> Self {
        let published = before.iter().map(|t| (t.name.clone(), t.next_position)).collect();
        let settled = before
            .iter()
            .flat_map(|t| t.groups.iter().map(move |group| (key(t, group), group.settled)))
            .collect();
        Self { published, settled, over }
    }

    /// `None`: there is nothing to compare with.
    fn published(&self, target: &Description) -> Option<u64> {
        self.per_second(*self.published.get(&target.name)?, target.next_position)
    }

    fn settled(&self, target: &Description, group: &GroupInfo) -> Option<u64> {
        self.per_second(*self.settled.get(&key(target, group))?, group.settled)
    }

    fn per_second(&self, from: u64, to: u64) -> Option<u64> {
        let millis = self.over.as_millis().max(1);
        // Made anew under the same name in between, it counts from zero again.
        let more = u128::from(to.checked_sub(from)?);
        u64::try_from((more * 1_000 + millis / 2) / millis).ok()
    }
}

fn key(target: &Description, group: &GroupInfo) -> (String, String) {
    (target.name.clone(), group.name.clone().unwrap_or_default())
}

fn rate(value: Option<u64>) -> Cell {
    value.map_or_else(Cell::none, Cell::count)
}

fn queue_row(queue: &Description, rates: &Rates) -> Vec<Cell> {
    let none = GroupInfo::default();
    let group = queue.groups.first().unwrap_or(&none);
    vec![
        Cell::text(&queue.name),
        Cell::count(group.ready),
        Cell::count(group.leased),
        Cell::count(group.delayed),
        Cell::count(group.dead),
        rate(rates.published(queue)),
        rate(rates.settled(queue, group)),
        Cell::duration(group.oldest_age),
        Cell::count(u64::from(group.consumers)),
        Cell::text(&note(queue, group, rates)),
    ]
}

/// One row a group; a topic without groups has one all the same.
fn topic_rows(topic: &Description, rates: &Rates) -> Vec<Vec<Cell>> {
    let retain = topic.settings.retain_for.map(|time| shown::setting_ms(millis(time)));
    let about = |first: bool| {
        if !first {
            return vec![Cell::text(""), Cell::none(), Cell::none(), Cell::none(), Cell::none()];
        }
        vec![
            Cell::text(&topic.name),
            Cell::count(topic.next_position - topic.first_position),
            Cell::bytes(topic.bytes),
            Cell::text(retain.as_deref().unwrap_or("all")),
            rate(rates.published(topic)),
        ]
    };
    if topic.groups.is_empty() {
        let rest =
            [Cell::text(""), Cell::none(), Cell::none(), Cell::none(), Cell::text("no group")];
        return vec![about(true).into_iter().chain(rest).collect()];
    }
    let row = |(at, group): (usize, &GroupInfo)| {
        let rest = [
            Cell::text(group.name.as_deref().unwrap_or_default()),
            Cell::count(group.ready + group.leased + group.delayed),
            Cell::duration(group.oldest_age),
            Cell::count(u64::from(group.consumers)),
            Cell::text(&note(topic, group, rates)),
        ];
        about(at == 0).into_iter().chain(rest).collect()
    };
    topic.groups.iter().enumerate().map(row).collect()
}

/// What needs attention, with the command to look at it.
fn note(target: &Description, group: &GroupInfo, rates: &Rates) -> String {
    if group.dead > 0 {
        let of = match &group.name {
            Some(name) => format!("{} --group {name}", target.name),
            None => target.name.clone(),
        };
        return format!("{} dead: posthaste dead show {of}", group.dead);
    }
    let waiting = group.ready + group.delayed;
    if group.consumers == 0 && waiting > 0 {
        return "no consumers".to_owned();
    }
    match (rates.published(target), rates.settled(target, group)) {
        (Some(published), Some(settled)) if group.ready > 1_000 && settled < published => {
            format!("falling behind: in {published}/s, out {settled}/s")
        }
        _ => String::new(),
    }
}

fn target_object(target: &Description, rates: &Rates) -> Value {
    let mut object = targets::json(target);
    object["in_per_second"] = rates.published(target).into();
    let groups: Vec<Value> = target
        .groups
        .iter()
        .map(|group| {
            let mut one = targets::group_json(group);
            one["out_per_second"] = rates.settled(target, group).into();
            one["note"] = note(target, group, rates).into();
            one
        })
        .collect();
    object["groups"] = groups.into();
    object
}
