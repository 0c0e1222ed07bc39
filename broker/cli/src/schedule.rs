//! `posthaste schedule set|ls|cancel`: messages that the broker publishes again and again.

use crate::context::Context;
use crate::declared::not_found;
use crate::errors::{Exit, Failure, Outcome};
use crate::message::unix_ms;
use crate::output::Cell;
use crate::publish::Input;
use crate::{shown, values};
use clap::{Args, Subcommand};
use posthaste::{Declared, ErrorKind, Properties, ScheduleInfo};
use posthaste_protocol::cron::Recurrence;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime};

/// Sets, lists and cancels messages that recur.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste schedule set nightly reports 'all shops' --cron '30 2 * * mon-fri' --zone Europe/Berlin\n  posthaste schedule set tick jobs tick --every 10m\n  posthaste schedule ls\n  posthaste schedule cancel tick", help_template = crate::args::TEMPLATE)]
pub(crate) struct Schedule {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Set(Set),
    /// Lists the schedules, and when each is due.
    #[command(alias = "list")]
    Ls,
    Cancel(Cancel),
}

/// Creates or changes a schedule. The broker publishes its message by itself from then on.
#[derive(Debug, Args)]
struct Set {
    /// The schedule.
    name: String,
    /// Queue or topic.
    dest: String,
    /// The message: text, @FILE, or - for the standard input.
    body: String,
    #[command(flatten)]
    when: When,
    /// The time zone of --cron, as Europe/Berlin.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    zone: String,
    /// Key for ordering.
    #[arg(short, long, value_name = "KEY")]
    key: Option<String>,
    /// A header; may be given several times.
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = values::header)]
    header: Vec<(String, String)>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct When {
    /// Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly, @yearly.
    #[arg(long, value_name = "LINE", value_parser = recurrence)]
    cron: Option<String>,
    /// This long after the time before.
    #[arg(long, value_name = "DURATION", value_parser = values::nonzero_duration)]
    every: Option<Duration>,
}

impl When {
    fn text(&self) -> Result<String, Failure> {
        match self.every {
            Some(every) if every.subsec_nanos() > 0 => {
                Err(Failure::usage("an interval has whole seconds"))
            }
            Some(every) => Ok(format!("@every {}s", every.as_secs())),
            None => Ok(self.cron.clone().unwrap_or_default()),
        }
    }
}

/// Removes a schedule. What it has published stays.
#[derive(Debug, Args)]
struct Cancel {
    /// The schedule.
    name: String,
}

fn recurrence(text: &str) -> Result<String, String> {
    match Recurrence::parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("not a recurrence\n\n{}", error.marked(text))),
    }
}

pub(crate) async fn run(args: &Schedule, context: &Context) -> Outcome {
    match &args.what {
        What::Set(args) => set(args, context).await,
        What::Ls => list(context).await,
        What::Cancel(args) => cancel(args, context).await,
    }
}

async fn set(args: &Set, context: &Context) -> Outcome {
    let body = Input::from(args.body.as_str()).whole()?;
    let mut properties = Properties::new();
    for (name, value) in &args.header {
        properties = properties.header(name, value);
    }
    if let Some(key) = &args.key {
        properties = properties.key(key);
    }
    let when = args.when.text()?;
    let client = context.connect().await?;
    // Whether it is a queue or a topic makes no difference: it is a name to publish to.
    let dest = client.queue(args.dest.as_str());
    let message = dest.publish(&body).properties(properties);
    let set =
        message.recurring(&args.name, when).zone(&args.zone).await.map_err(|error| match error
            .kind()
        {
            ErrorKind::NotFound => not_found(error, posthaste::Kind::Queue, &args.dest),
            _ => Failure::from(error),
        })?;
    let what = match set.declared {
        Declared::Created => "created",
        Declared::Updated => "updated",
        Declared::Unchanged => "unchanged",
    };
    let next = format!("next {}", from_now(set.next));
    let object = json!({ "what": what, "schedule": args.name, "next_ms": unix_ms(set.next) });
    context.output.done(&[what, "schedule", &args.name, &next], object)?;
    client.close().await?;
    Ok(Exit::Done)
}

async fn list(context: &Context) -> Outcome {
    let client = context.connect().await?;
    let all = client.schedules().await?;
    let headers = ["NAME", "TO", "WHEN", "ZONE", "NEXT", "PUBLISHED", "WAITS FOR"];
    let rows = all.iter().map(row).collect();
    context.output.rows("schedules", &headers, rows, all.iter().map(object).collect())?;
    client.close().await?;
    Ok(Exit::Done)
}

async fn cancel(args: &Cancel, context: &Context) -> Outcome {
    let client = context.connect().await?;
    client.cancel_schedule(&args.name).await.map_err(|error| {
        let kind = error.kind();
        let failure = Failure::from(error);
        match kind {
            ErrorKind::NotFound => failure.step("which", "posthaste schedule ls"),
            _ => failure,
        }
    })?;
    let object = json!({ "what": "canceled", "schedule": args.name });
    context.output.done(&["canceled", "schedule", &args.name], object)?;
    client.close().await?;
    Ok(Exit::Done)
}

fn row(one: &ScheduleInfo) -> Vec<Cell> {
    vec![
        Cell::text(&one.name),
        Cell::text(&one.to),
        Cell::text(&one.when),
        Cell::text(&one.zone),
        Cell::both(from_now(one.next), unix_ms(one.next).to_string()),
        Cell::count(one.published),
        one.waits_for.as_deref().map_or_else(Cell::none, Cell::text),
    ]
}

fn object(one: &ScheduleInfo) -> Value {
    json!({
        "schedule": one.name,
        "to": one.to,
        "when": one.when,
        "zone": one.zone,
        "next_ms": unix_ms(one.next),
        "last_ms": one.last.map(unix_ms),
        "published": one.published,
        "waits_for": one.waits_for,
    })
}

/// `in 3h`, or `late by 5s`.
fn from_now(time: SystemTime) -> String {
    match time.duration_since(SystemTime::now()) {
        Ok(left) => format!("in {}", shown::duration(left)),
        Err(late) => format!("late by {}", shown::duration(late.duration())),
    }
}
