//! `posthaste consume`: takes messages, prints or runs, and acks.
//!
//! A message is acked after it was written to stdout and flushed, or after its command ended well;
//! so a message that nobody has seen is never gone. A consumer that is killed in between leaves
//! messages that come again, flagged.

use crate::context::Context;
use crate::declared::not_found;
use crate::errors::{Exit, Failure, Outcome};
use crate::exec;
use crate::interrupt::Interrupt;
use crate::message::Printer;
use crate::taker::Taker;
use crate::values::{self, Place};
use clap::Args;
use posthaste::{Client, ConsumeError, Consumer, Delivery, ErrorKind, Kind, SettleError};
use std::io::{self, Write};
use std::time::Duration;

/// Takes messages: prints each body on a line of its own, and acks it.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste consume orders --count 1\n  posthaste consume orders --wait 2s -o jsonl\n  posthaste consume orders --exec './ship.sh'\n  posthaste consume orders.events --group billing", help_template = crate::args::TEMPLATE)]
pub(crate) struct Consume {
    /// Queue or topic.
    dest: String,
    /// The group; needed for a topic.
    #[arg(short, long, value_name = "GROUP")]
    group: Option<String>,
    /// Where the group starts if it is new: earliest, latest, an offset, or a time ago as -2h.
    #[arg(long, value_name = "PLACE", default_value = "earliest", allow_hyphen_values = true,
          value_parser = values::place, requires = "group")]
    from: Place,
    /// End after so many messages.
    #[arg(short, long, value_name = "N", value_parser = values::nonzero_count)]
    count: Option<u64>,
    /// End after this long without a message.
    #[arg(short, long, value_name = "DURATION", value_parser = values::duration)]
    wait: Option<Duration>,
    /// Run this for each message: the body on its standard input, acked on exit 0, else retried.
    #[arg(short, long, value_name = "COMMAND")]
    exec: Option<String>,
    /// How long a message may be held without a sign of life.
    #[arg(long, value_name = "DURATION", value_parser = values::nonzero_duration)]
    lease: Option<Duration>,
    /// Print position, attempt, redelivered, key and headers in front of each body.
    #[arg(short, long, conflicts_with = "exec", help_heading = "Output")]
    meta: bool,
}

/// Messages that may wait in this process; with `--exec` only the one at work is held.
const PREFETCH: u32 = 4_096;
/// Bodies that are printed before they are acked.
const CHUNK_MESSAGES: usize = 1_024;
const CHUNK_BYTES: usize = 1 << 20;
/// How long the last acks may take to be durable.
const GRACE: Duration = Duration::from_secs(10);

pub(crate) async fn run(args: &Consume, context: &Context) -> Outcome {
    let mut interrupt = Interrupt::watch()?;
    let client = context.connect().await?;
    let consumer = open(args, &client).await?;
    let mut session = Session {
        taker: Taker::new(consumer),
        wait: args.wait,
        stale: 0,
        printer: Printer::new(context.output.format, args.meta, context.output.terminal),
    };
    let outcome = match &args.exec {
        Some(command) => session.exec_all(command, context, &mut interrupt).await,
        None => session.print_all(&mut interrupt).await,
    };
    let stale = session.stale;
    // The acks of what was printed must be on disk before this process says that it is done.
    let closed = session.taker.into_consumer().shutdown(GRACE).await;
    let left = client.close().await;
    if stale > 0 {
        context.notice(&format!(
            "{stale} messages had gone back before they were acked; they are delivered again"
        ));
    }
    outcome?;
    closed?;
    left?;
    Ok(Exit::Done)
}

async fn open(args: &Consume, client: &Client) -> Result<Consumer, Failure> {
    let (kind, mut consume) = match &args.group {
        Some(group) => {
            let group = client.topic(&args.dest).group(group).start(args.from.start());
            (Kind::Topic, group.consume())
        }
        None => (Kind::Queue, client.queue(&args.dest).consume()),
    };
    let prefetch = if args.exec.is_some() { 1 } else { PREFETCH };
    if let Some(count) = args.count {
        consume = consume.limit(count);
    }
    if let Some(lease) = args.lease {
        consume = consume.lease(lease);
    }
    consume.prefetch(prefetch).await.map_err(|error| not_consumed(error, kind, args))
}

fn not_consumed(error: ConsumeError, kind: Kind, args: &Consume) -> Failure {
    let is_conflict = error.kind() == ErrorKind::Conflict || error.kind() == ErrorKind::Invalid;
    let failure = not_found(error, kind, &args.dest);
    match kind {
        Kind::Queue if is_conflict => {
            failure.step("topic", format!("posthaste consume {} --group GROUP", args.dest))
        }
        _ => failure,
    }
}

struct Session {
    taker: Taker,
    wait: Option<Duration>,
    /// Messages whose lease was lost before the ack.
    stale: u64,
    printer: Printer,
}

impl Session {
    async fn print_all(&mut self, interrupt: &mut Interrupt) -> Result<(), Failure> {
        let mut text = Vec::new();
        while let Some(chunk) = self.next(interrupt, CHUNK_MESSAGES).await? {
            text.clear();
            for delivery in &chunk {
                self.printer.delivery(delivery, &mut text);
            }
            // ORDER: written and flushed before the ack, or a crash between them loses messages.
            // Dropping `chunk` on an error gives the messages back.
            tokio::task::block_in_place(|| write_out(&text))?;
            for delivery in chunk {
                self.settled(delivery.ack().await)?;
            }
        }
        Ok(())
    }

    async fn exec_all(
        &mut self,
        command: &str,
        context: &Context,
        interrupt: &mut Interrupt,
    ) -> Result<(), Failure> {
        while let Some(chunk) = self.next(interrupt, 1).await? {
            for delivery in chunk {
                let ended = exec::run(command, &delivery, interrupt).await?;
                let settled = match &ended {
                    exec::Ended::Well => delivery.ack_confirmed().await,
                    exec::Ended::Badly(why) => {
                        context.notice(&format!("position {}: {why}", delivery.position()));
                        delivery.retry_because(None, why).await
                    }
                    exec::Ended::Interrupted => delivery.release().await,
                };
                self.settled(settled)?;
                if matches!(ended, exec::Ended::Interrupted) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// The messages that are here, at least one. `None` when the command shall end.
    async fn next(
        &mut self,
        interrupt: &mut Interrupt,
        max: usize,
    ) -> Result<Option<Vec<Delivery>>, Failure> {
        let wait = self.wait;
        let silence = async move {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        let chunk = tokio::select! {
            biased;
            () = interrupt.once() => return Ok(None),
            chunk = self.taker.next(max, CHUNK_BYTES) => chunk?,
            () = silence => return Ok(None),
        };
        // An empty chunk: all that were wanted are here, or the queue was deleted.
        Ok((!chunk.is_empty()).then_some(chunk))
    }

    /// A lease that was lost means that the message comes again; that is no failure of this command.
    fn settled(&mut self, settled: Result<(), SettleError>) -> Result<(), Failure> {
        match settled {
            Ok(()) => Ok(()),
            Err(error)
                if matches!(error.kind(), ErrorKind::LeaseExpired | ErrorKind::Disconnected) =>
            {
                self.stale += 1;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}

fn write_out(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()
}
