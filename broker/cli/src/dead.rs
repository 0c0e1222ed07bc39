//! `posthaste dead ls|show|replay|drop`: the dead letters.

use crate::confirm::{Safety, agreed, dry_run_exit};
use crate::context::Context;
use crate::declared::not_found;
use crate::errors::{Exit, Outcome};
use crate::message::{peeked_object, unix_ms};
use crate::output::Cell;
use crate::shown;
use clap::{Args, Subcommand};
use posthaste::{Client, DeadLetter, DeadLetters, Kind, Sweep};
use serde_json::{Value, json};
use std::time::SystemTime;

/// Lists, shows, replays and drops dead letters.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste dead ls\n  posthaste dead show orders\n  posthaste dead replay orders --dry-run\n  posthaste dead drop orders --offset 17 --yes", help_template = crate::args::TEMPLATE)]
pub(crate) struct Dead {
    #[command(subcommand)]
    command: DeadCommand,
}

#[derive(Debug, Subcommand)]
enum DeadCommand {
    #[command(alias = "list")]
    Ls(Ls),
    Show(Show),
    Replay(Replay),
    Drop(Drop),
}

/// Lists the queues and groups that have dead letters.
#[derive(Debug, Args)]
struct Ls {}

/// Whose dead letters.
#[derive(Debug, Args)]
struct Whose {
    /// Queue or topic.
    dest: String,
    /// The group; needed for a topic.
    #[arg(short, long, value_name = "GROUP")]
    group: Option<String>,
}

/// Shows dead letters with the reason. They stay where they are.
#[derive(Debug, Args)]
struct Show {
    #[command(flatten)]
    whose: Whose,
    /// How many at most.
    #[arg(short, long, value_name = "N", default_value = "20",
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    n: u32,
    /// Begin at this offset.
    #[arg(long, value_name = "OFFSET", default_value = "0")]
    from: u64,
}

/// Makes dead letters ready again, their attempts forgotten.
#[derive(Debug, Args)]
struct Replay {
    #[command(flatten)]
    whose: Whose,
    /// Only this one.
    #[arg(long, value_name = "OFFSET")]
    offset: Option<u64>,
    /// Tell how many, and do nothing. Exit code 7 if there are any.
    #[arg(long, help_heading = "Safety")]
    dry_run: bool,
}

/// Forgets dead letters for ever.
#[derive(Debug, Args)]
struct Drop {
    #[command(flatten)]
    whose: Whose,
    /// Only this one.
    #[arg(long, value_name = "OFFSET")]
    offset: Option<u64>,
    #[command(flatten)]
    safety: Safety,
}

pub(crate) async fn run(args: &Dead, context: &Context) -> Outcome {
    let client = context.connect().await?;
    match &args.command {
        DeadCommand::Ls(Ls {}) => ls(&client, context).await,
        DeadCommand::Show(args) => show(args, &client, context).await,
        DeadCommand::Replay(args) => replay(args, &client, context).await,
        DeadCommand::Drop(args) => discard(args, &client, context).await,
    }
}

impl Whose {
    fn letters(&self, client: &Client) -> DeadLetters {
        match &self.group {
            Some(group) => client.topic(&self.dest).group(group).dead_letters(),
            None => client.queue(&self.dest).dead_letters(),
        }
    }

    fn name(&self) -> String {
        match &self.group {
            Some(group) => format!("{}/{group}", self.dest),
            None => self.dest.clone(),
        }
    }

    fn kind(&self) -> Kind {
        if self.group.is_some() { Kind::Topic } else { Kind::Queue }
    }
}

async fn ls(client: &Client, context: &Context) -> Outcome {
    let (mut rows, mut objects) = (Vec::new(), Vec::new());
    for target in client.list().await? {
        for group in target.groups.iter().filter(|group| group.dead > 0) {
            let name = group.name.as_deref().unwrap_or_default();
            rows.push(vec![Cell::text(&target.name), Cell::text(name), Cell::count(group.dead)]);
            objects.push(json!({
                "destination": target.name,
                "group": group.name,
                "dead": group.dead,
            }));
        }
    }
    context.output.rows("dead", &["DESTINATION", "GROUP", "DEAD"], rows, objects)?;
    Ok(Exit::Done)
}

async fn show(args: &Show, client: &Client, context: &Context) -> Outcome {
    let letters = args.whose.letters(client);
    let page = letters.list(args.from, args.n).await;
    let page = page.map_err(|error| not_found(error, args.whose.kind(), &args.whose.dest))?;
    let rows = page.letters.iter().map(row).collect();
    let headers = ["OFFSET", "ATTEMPTS", "DIED", "REASON", "KEY", "BODY"];
    context.output.rows("letters", &headers, rows, page.letters.iter().map(object).collect())?;
    let shown = page.letters.len() as u64;
    if page.total > shown && context.output.is_text() {
        context.notice(&format!("{shown} of {} dead letters; more with -n or --from", page.total));
    }
    Ok(Exit::Done)
}

fn row(letter: &DeadLetter) -> Vec<Cell> {
    let age = SystemTime::now().duration_since(letter.dead_at()).unwrap_or_default();
    vec![
        Cell::count(letter.position()),
        Cell::count(u64::from(letter.attempts())),
        Cell::both(format!("{} ago", shown::duration(age)), unix_ms(letter.dead_at()).to_string()),
        Cell::text(letter.reason()),
        Cell::text(letter.key().unwrap_or_default()),
        Cell::text(&shown::preview(letter.bytes(), 60)),
    ]
}

fn object(letter: &DeadLetter) -> Value {
    let mut object = peeked_object(letter);
    object["attempts"] = letter.attempts().into();
    object["dead_ms"] = unix_ms(letter.dead_at()).into();
    object["reason"] = letter.reason().into();
    object
}

async fn replay(args: &Replay, client: &Client, context: &Context) -> Outcome {
    let letters = args.whose.letters(client);
    let sweep = match args.offset {
        Some(offset) => letters.replay(offset),
        None => letters.replay_all(),
    };
    let what = if args.dry_run { "would be replayed" } else { "replayed" };
    let messages = swept(sweep, args.dry_run, &args.whose).await?;
    told(context, what, &args.whose, messages, args.dry_run)
}

async fn discard(args: &Drop, client: &Client, context: &Context) -> Outcome {
    let letters = args.whose.letters(client);
    let sweep = || match args.offset {
        Some(offset) => letters.discard(offset),
        None => letters.discard_all(),
    };
    let would = swept(sweep(), true, &args.whose).await?;
    if args.safety.dry_run {
        return told(context, "would be dropped", &args.whose, would, true);
    }
    if would > 0 {
        let what = format!("dropping {would} dead letters of {} for ever", args.whose.name());
        agreed(args.safety, context, &what)?;
    }
    let messages = swept(sweep(), false, &args.whose).await?;
    told(context, "dropped", &args.whose, messages, false)
}

async fn swept(sweep: Sweep, dry_run: bool, whose: &Whose) -> Result<u64, crate::errors::Failure> {
    let sweep = if dry_run { sweep.dry_run() } else { sweep };
    sweep.await.map_err(|error| not_found(error, whose.kind(), &whose.dest))
}

fn told(context: &Context, what: &str, whose: &Whose, messages: u64, dry_run: bool) -> Outcome {
    let object = json!({
        "what": what,
        "destination": whose.dest,
        "group": whose.group,
        "messages": messages,
        "dry_run": dry_run,
    });
    context.output.done(&[what, &whose.name(), &format!("{messages} dead letters")], object)?;
    Ok(if dry_run { dry_run_exit(messages > 0) } else { Exit::Done })
}
