//! `posthaste tail` and `posthaste peek`: looking without taking.

use crate::context::Context;
use crate::declared::not_found;
use crate::errors::{Exit, Outcome};
use crate::interrupt::Interrupt;
use crate::message::{Printer, Style, peeked_object};
use crate::values::{self, Place};
use clap::Args;
use posthaste::Kind;
use serde_json::{Value, json};
use std::io::{self, Write};
use std::time::Duration;

/// Prints messages as they arrive, and takes none.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste tail orders\n  posthaste tail orders.events --from -1h --meta\n  posthaste tail orders -o jsonl", help_template = crate::args::TEMPLATE)]
pub(crate) struct Tail {
    /// Queue or topic.
    dest: String,
    /// Where to begin: earliest, latest, an offset, or a time ago as -2h.
    #[arg(long, value_name = "PLACE", default_value = "latest", allow_hyphen_values = true,
          value_parser = values::place)]
    from: Place,
    /// End after so many messages.
    #[arg(short, long, value_name = "N", value_parser = values::nonzero_count)]
    count: Option<u64>,
    /// End after this long without a message.
    #[arg(short, long, value_name = "DURATION", value_parser = values::duration)]
    wait: Option<Duration>,
    /// Print position, key and headers in front of each body.
    #[arg(short, long, help_heading = "Output")]
    meta: bool,
}

/// Prints messages that are stored, and takes none.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste peek orders\n  posthaste peek orders -n 20 --meta\n  posthaste peek orders.events --from -1h -o json", help_template = crate::args::TEMPLATE)]
pub(crate) struct Peek {
    /// Queue or topic.
    dest: String,
    /// How many at most.
    #[arg(short, long, value_name = "N", default_value = "10",
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    n: u32,
    /// Where to begin: earliest, latest, an offset, or a time ago as -2h.
    #[arg(long, value_name = "PLACE", default_value = "earliest", allow_hyphen_values = true,
          value_parser = values::place)]
    from: Place,
    /// Print position, key and headers in front of each body.
    #[arg(short, long, help_heading = "Output")]
    meta: bool,
}

pub(crate) async fn tail(args: &Tail, context: &Context) -> Outcome {
    let mut interrupt = Interrupt::watch()?;
    let client = context.connect().await?;
    let mut reader = client.queue(&args.dest).tail(args.from.start());
    let printer = Printer::new(context.output.format, args.meta, context.output.terminal);
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut line = Vec::new();
    while left > 0 {
        let silence = async {
            match args.wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let message = tokio::select! {
            biased;
            () = interrupt.once() => break,
            message = reader.next() => message,
            () = silence => break,
        };
        // The end of the stream: the queue or topic was deleted.
        let Some(message) = message else { break };
        let message = message.map_err(|error| not_found(error, Kind::Queue, &args.dest))?;
        line.clear();
        printer.peeked(&message, &mut line);
        tokio::task::block_in_place(|| write_out(&line))?;
        left -= 1;
    }
    client.close().await?;
    Ok(Exit::Done)
}

pub(crate) async fn peek(args: &Peek, context: &Context) -> Outcome {
    let client = context.connect().await?;
    let reader = client.queue(&args.dest).read(args.from.start());
    let messages = reader.up_to(args.n as usize).await;
    let messages = messages.map_err(|error| not_found(error, Kind::Queue, &args.dest))?;
    let printer = Printer::new(context.output.format, args.meta, context.output.terminal);
    if context.output.format == crate::output::Format::Json {
        debug_assert_eq!(printer.style, Style::Json);
        let objects: Vec<Value> = messages.iter().map(peeked_object).collect();
        context.output.value(json!({ "destination": args.dest, "messages": objects }))?;
        return Ok(Exit::Done);
    }
    let mut text = Vec::new();
    for message in &messages {
        printer.peeked(message, &mut text);
    }
    write_out(&text)?;
    Ok(Exit::Done)
}

fn write_out(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()
}
