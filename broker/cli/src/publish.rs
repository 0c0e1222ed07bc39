//! `posthaste pub`: one message, the same message many times, or a message for each line.

use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::lines;
use crate::{shown, values};
use bytes::Bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use posthaste::{Client, ErrorKind, Properties, PublishError};
use serde_json::json;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::time::{Duration, Instant};

/// Publishes messages, and returns when they are on the broker's disk.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste pub orders '{\"id\":7}' --key c42 --header kind=new\n  posthaste pub orders @job.json --in 10m\n  posthaste pub orders @order.json --id order-7\n  posthaste pub account-7 paid --if-last 41\n  posthaste pub orders @lines.txt --lines\n  seq 1000 | posthaste pub orders --lines", help_template = crate::args::TEMPLATE)]
pub(crate) struct Publish {
    /// Queue or topic.
    dest: String,
    /// The message: text, @FILE, or - for the standard input (with --lines the default).
    body: Option<String>,
    /// One message for each line of the file or the standard input.
    #[arg(long, conflicts_with = "count")]
    lines: bool,
    /// Key for ordering.
    #[arg(short, long, value_name = "KEY")]
    key: Option<String>,
    /// A header; may be given several times.
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = values::header)]
    header: Vec<(String, String)>,
    /// The message's own id: where the queue or topic has an id window, it is stored once under it.
    #[arg(long, value_name = "ID", conflicts_with_all = ["lines", "count"])]
    id: Option<String>,
    /// Store it only if the message at this position is the last one; `none`: if nothing was ever published.
    #[arg(long, value_name = "POSITION|none", conflicts_with_all = ["lines", "count"])]
    if_last: Option<Last>,
    /// Publish the message so many times.
    #[arg(short, long, value_name = "N", value_parser = values::nonzero_count, default_value = "1")]
    count: u64,
    /// Deliver not before this long from now.
    #[arg(long = "in", value_name = "DURATION", value_parser = values::duration)]
    delay: Option<Duration>,
}

/// The value of `--if-last`.
#[derive(Clone, Copy, Debug)]
enum Last {
    None,
    Position(u64),
}

impl std::str::FromStr for Last {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" { Ok(Self::None) } else { text.parse().map(Self::Position) }
    }
}

/// LIMIT: a message read from a file or the standard input; brokers accept much less.
const BODY_BYTES_MAX: u64 = 64 * 1024 * 1024;

pub(crate) async fn run(args: &Publish, context: &Context) -> Outcome {
    let input = Input::of(args)?;
    let properties = properties(args);
    if args.lines {
        let input = input.stream()?;
        let client = context.connect().await?;
        return lines(args, context, &client, input, &properties).await;
    }
    let body = input.whole()?;
    let client = context.connect().await?;
    if args.count == 1 {
        one(args, context, &client, &body, properties).await
    } else {
        many(args, context, &client, &body, &properties).await
    }
}

/// Where the bodies come from.
pub(crate) enum Input {
    Text(String),
    File(String),
    Stdin,
}

impl From<&str> for Input {
    fn from(body: &str) -> Self {
        match (body, body.strip_prefix('@')) {
            ("-", _) => Self::Stdin,
            (_, Some(path)) => Self::File(path.to_owned()),
            (_, None) => Self::Text(body.to_owned()),
        }
    }
}

impl Input {
    fn of(args: &Publish) -> Result<Self, Failure> {
        match args.body.as_deref() {
            Some(body) => Ok(Self::from(body)),
            // Never waits for a person to type a file, and never stores an empty message by accident.
            None if !args.lines || io::stdin().is_terminal() => {
                let with = |body: &str| format!("posthaste pub {} {body}", args.dest);
                Err(Failure::usage("there is no message to publish")
                    .note("nothing was stored.")
                    .step("text", with("'TEXT'"))
                    .step("file", with("@FILE"))
                    .step("stdin", with("-")))
            }
            None => Ok(Self::Stdin),
        }
    }

    fn stream(self) -> Result<Box<dyn Read + Send>, Failure> {
        match self {
            Self::Text(text) => Ok(Box::new(io::Cursor::new(text.into_bytes()))),
            Self::File(path) => match File::open(&path) {
                Ok(file) => Ok(Box::new(file)),
                Err(error) => Err(unreadable(&path, &error)),
            },
            Self::Stdin => Ok(Box::new(io::stdin())),
        }
    }

    pub(crate) fn whole(self) -> Result<Bytes, Failure> {
        let name = match &self {
            Self::Text(text) => return Ok(Bytes::copy_from_slice(text.as_bytes())),
            Self::File(path) => path.clone(),
            Self::Stdin => "the standard input".to_owned(),
        };
        let mut body = Vec::new();
        let read = self.stream()?.take(BODY_BYTES_MAX + 1).read_to_end(&mut body);
        read.map_err(|error| unreadable(&name, &error))?;
        if body.len() as u64 > BODY_BYTES_MAX {
            let what = format!("{name} is longer than {BODY_BYTES_MAX} bytes");
            return Err(
                Failure::new(Exit::Failed, Some("PH-0301"), what).note("nothing was stored.")
            );
        }
        Ok(body.into())
    }
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, Some("PH-0704"), format!("cannot read {name}: {error}"))
        .note("nothing was stored.")
}

fn properties(args: &Publish) -> Properties {
    let mut properties = Properties::new();
    if let Some(key) = &args.key {
        properties = properties.key(key);
    }
    if let Some(id) = &args.id {
        properties = properties.id(id);
    }
    for (name, value) in &args.header {
        properties = properties.header(name, value);
    }
    if let Some(delay) = args.delay {
        properties = properties.delay(delay);
    }
    properties
}

async fn one(
    args: &Publish,
    context: &Context,
    client: &Client,
    body: &Bytes,
    properties: Properties,
) -> Outcome {
    let queue = client.queue(&args.dest);
    let publish = queue.publish(body).properties(properties);
    let receipt = match args.if_last {
        None => publish.await,
        Some(Last::None) => publish.if_empty().await,
        Some(Last::Position(position)) => publish.if_last(position).await,
    };
    let receipt = receipt.map_err(|error| refused(error, &args.dest, true))?;
    let object = json!({
        "what": "stored",
        "destination": args.dest,
        "position": receipt.position,
        "duplicate": receipt.duplicate,
        "stored": 1,
        "durability": "synced",
    });
    // The place of what was stored long ago may be forgotten.
    let position = match receipt.position {
        u64::MAX => "position unknown".to_owned(),
        position => format!("position {position}"),
    };
    let what = if receipt.duplicate { "stored before" } else { "stored" };
    context.output.done(&[what, &args.dest, &position], object)?;
    Ok(Exit::Done)
}

async fn many(
    args: &Publish,
    context: &Context,
    client: &Client,
    body: &Bytes,
    properties: &Properties,
) -> Outcome {
    let producer = client.queue(&args.dest).producer().build();
    for _ in 0..args.count {
        let sent = producer.send_with(body, properties).await;
        drop(sent.map_err(|error| refused(error, &args.dest, false))?);
    }
    let flushed = producer.flush().await.map_err(|error| refused(error, &args.dest, false))?;
    summary(context, &args.dest, flushed.confirmed)
}

async fn lines(
    args: &Publish,
    context: &Context,
    client: &Client,
    input: Box<dyn Read + Send>,
    properties: &Properties,
) -> Outcome {
    let mut bar = Bar::new(context);
    let producer = client.queue(&args.dest).producer().build();
    let plain = *properties == Properties::new();
    let mut pieces = lines::read(input);
    let mut confirmed = 0;
    let mut ended_early = None;
    while let Some(piece) = pieces.recv().await {
        let piece = match piece {
            Ok(piece) => piece,
            Err(error) => {
                // What was read before is published all the same.
                ended_early = Some(Failure::from(error));
                break;
            }
        };
        bar.read(piece.input_bytes);
        for line in piece.lines() {
            let sent = match plain {
                true => producer.send(&line).await,
                false => producer.send_with(&line, properties).await,
            };
            drop(sent.map_err(|error| refused_line(error, &args.dest, bar.lines + 1))?);
            bar.lines += 1;
        }
        bar.draw();
    }
    let flushed = producer.flush().await.map_err(|error| refused(error, &args.dest, false))?;
    confirmed += flushed.confirmed;
    bar.bar.finish_and_clear();
    match ended_early {
        Some(failure) => Err(failure.note(format!("{confirmed} messages were stored before."))),
        None => summary(context, &args.dest, confirmed),
    }
}

fn summary(context: &Context, dest: &str, stored: u64) -> Outcome {
    let object = json!({
        "what": "stored",
        "destination": dest,
        "stored": stored,
        "durability": "synced",
    });
    if context.output.is_text() {
        context.output.text(&format!("stored {stored} messages in {}", shown::line(dest)))?;
    } else {
        context.output.value(object)?;
    }
    Ok(Exit::Done)
}

/// What a person needs to know about a publish that failed: whether anything is stored.
fn refused(error: PublishError, dest: &str, single: bool) -> Failure {
    let (kind, unknown) = (error.kind(), "it is unknown whether the message was stored.");
    let note = match kind {
        ErrorKind::Timeout | ErrorKind::Disconnected | ErrorKind::Indeterminate if single => {
            unknown
        }
        ErrorKind::NotFound => "nothing was stored.",
        _ if single => "nothing was stored.",
        _ => "messages before this one may have been stored.",
    };
    let failure = Failure::from(error).note(note);
    if kind == ErrorKind::NotFound {
        return failure.step("create", format!("posthaste queue set {dest}"));
    }
    failure
}

/// The same for one of many lines; only a line that is itself at fault has a number, any other error may be an earlier one's.
fn refused_line(error: PublishError, dest: &str, number: u64) -> Failure {
    let is_its_own = error.kind() == ErrorKind::TooLarge;
    let failure = refused(error, dest, false);
    if is_its_own { failure.note(format!("it is line {number} of the input.")) } else { failure }
}

/// Progress of a long input on stderr, if that is a terminal.
struct Bar {
    bar: ProgressBar,
    began: Instant,
    bytes: u64,
    lines: u64,
}

impl Bar {
    fn new(context: &Context) -> Self {
        let bar = if context.draws_progress() {
            ProgressBar::new_spinner()
        } else {
            ProgressBar::hidden()
        };
        if let Ok(style) = ProgressStyle::with_template("{elapsed:>4}  {msg}") {
            bar.set_style(style);
        }
        Self { bar, began: Instant::now(), bytes: 0, lines: 0 }
    }

    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
    }

    fn draw(&self) {
        if self.bar.is_hidden() {
            return;
        }
        let millis = self.began.elapsed().as_millis().max(1);
        let rate = u128::from(self.lines) * 1_000 / millis;
        self.bar.set_message(format!(
            "{} messages, {}, {} msg/s",
            shown::number(self.lines),
            shown::bytes(self.bytes),
            shown::number(u64::try_from(rate).unwrap_or(u64::MAX)),
        ));
        self.bar.tick();
    }
}
