//! `posthaste serve`: the broker as a process.
//!
//! It says in six lines what it found and who may connect, tells `--ready-fd` once clients are
//! accepted, and ends in order on SIGTERM or SIGINT. A log that cannot be written ends it at once
//! with a failing exit code: nothing at or after the failed write was confirmed.

use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::refusals::{not_started, stopped_by_itself};
use crate::values;
use clap::Args;
use posthaste_broker::{Broker, Config, Limits};
use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;

/// Starts a broker: durable, on loopback, with its data in ./posthaste-data.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste serve\n  posthaste serve --data /var/lib/posthaste --http off\n  posthaste serve --dev --listen 127.0.0.1:0 --ready-fd 1", help_template = crate::args::TEMPLATE)]
pub(crate) struct Serve {
    /// Where the messages are kept.
    #[arg(long, value_name = "DIR", default_value = "posthaste-data")]
    data: PathBuf,
    /// Address for clients; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7420")]
    listen: SocketAddr,
    /// Address for metrics and health, or `off`.
    #[arg(long, value_name = "ADDR|off", default_value = "127.0.0.1:7421")]
    http: Http,
    /// Keep everything in memory: for development, nothing survives.
    #[arg(long)]
    dev: bool,
    /// Write `ready ADDR HTTP-ADDR` to this file descriptor once clients are accepted.
    #[arg(long, value_name = "N")]
    ready_fd: Option<u32>,
    /// Least severe messages that are logged on stderr.
    #[arg(long, value_enum, value_name = "LEVEL", default_value = "info")]
    log: LogLevel,
    /// Message ids remembered in all queues and topics together, some 60 bytes of memory each.
    #[arg(long, value_name = "N", value_parser = values::count, default_value = "10000000")]
    message_ids: u64,
    /// Serve what is intact when the log is damaged, and report what is lost, instead of refusing.
    #[arg(long, help_heading = "Safety")]
    quarantine_damage: bool,
    /// Allow addresses that others can reach, although there is no login and no encryption.
    #[arg(long, help_heading = "Safety")]
    listen_insecure_no_auth_no_tls: bool,
}

impl Serve {
    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    pub(crate) fn http_addr(&self) -> Option<SocketAddr> {
        self.http.0
    }
}

/// The value of `--log`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// The value of `--http`.
#[derive(Clone, Copy, Debug)]
struct Http(Option<SocketAddr>);

impl std::str::FromStr for Http {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" { Ok(Self(None)) } else { text.parse().map(|addr| Self(Some(addr))) }
    }
}

/// How long threads that are stuck in the disk may delay the end of the process.
const LINGER: Duration = Duration::from_millis(500);

pub(crate) fn run(args: &Serve, context: &Context) -> Outcome {
    refuse_strangers(args)?;
    tracing_subscriber::fmt()
        .with_max_level(args.log.filter())
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
            Failure::new(Exit::Failed, None, format!("cannot start threads: {error}"))
        })?;
    let outcome = runtime.block_on(serve(args, context));
    runtime.shutdown_timeout(LINGER);
    outcome
}

/// There is no login yet, so whoever reaches the port owns the data.
fn refuse_strangers(args: &Serve) -> Result<(), Failure> {
    if args.listen_insecure_no_auth_no_tls {
        return Ok(());
    }
    let addresses = [("--listen", Some(args.listen)), ("--http", args.http.0)];
    for (flag, address) in addresses {
        let Some(address) = address.filter(|address| !address.ip().is_loopback()) else { continue };
        let what =
            format!("{flag} {address} can be reached from outside, without login or encryption");
        return Err(Failure::new(Exit::Usage, Some("PH-0605"), what)
            .note("nothing was started.")
            .step("safe", format!("{flag} 127.0.0.1:{}", address.port()))
            .step("accept", "posthaste serve --listen-insecure-no-auth-no-tls ..."));
    }
    Ok(())
}

async fn serve(args: &Serve, context: &Context) -> Outcome {
    let mut term = on_signal(SignalKind::terminate())?;
    let mut interrupt = on_signal(SignalKind::interrupt())?;
    let config = Config {
        data_dir: args.data.clone(),
        in_memory: args.dev,
        listen: args.listen,
        http: args.http.0,
        quarantine_damage: args.quarantine_damage,
        limits: Limits {
            message_ids_max: usize::try_from(args.message_ids).unwrap_or(usize::MAX),
            ..Limits::default()
        },
        ..Config::default()
    };
    let broker = Broker::start(config).await.map_err(|error| not_started(&error, args))?;
    context.notice_lines(&banner(args, &broker));
    if let Some(fd) = args.ready_fd {
        tell_ready(fd, &broker)?;
    }
    let by = tokio::select! {
        _ = term.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        error = broker.failed() => return Err(stopped_by_itself(&error)),
    };
    context.notice(&format!("{by}: stopping in order; once more stops at once"));
    let stopped = tokio::select! {
        stopped = broker.shutdown() => stopped,
        _ = term.recv() => return Ok(stopped_at_once(context)),
        _ = interrupt.recv() => return Ok(stopped_at_once(context)),
    };
    stopped.map_err(|error| stopped_by_itself(&error))?;
    context.notice("stopped; the log is sealed");
    Ok(Exit::Done)
}

fn stopped_at_once(context: &Context) -> Exit {
    context.notice("stopped at once; what was confirmed is stored, the next start recovers");
    Exit::Failed
}

fn on_signal(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind)
        .map_err(|error| Failure::new(Exit::Failed, None, format!("cannot watch signals: {error}")))
}

fn banner(args: &Serve, broker: &Broker) -> [String; 6] {
    let opened = broker.opened();
    let data = if args.dev {
        "in memory: nothing is kept (--dev)".to_owned()
    } else {
        format!("{}: {opened}", args.data.display())
    };
    let http = broker.http_addr().map_or_else(
        || "off".to_owned(),
        |addr| format!("http://{addr} (/metrics, /livez, /readyz)"),
    );
    let durability = if args.dev {
        "none (--dev): a confirmed message is lost with this process"
    } else {
        "synced: a publish is confirmed when it is on disk"
    };
    let access = if args.listen_insecure_no_auth_no_tls {
        "UNSAFE: no login, no encryption, reachable from outside if the address is"
    } else {
        "this machine only; no login, no encryption"
    };
    [
        format!("posthaste {}", env!("CARGO_PKG_VERSION")),
        format!("data        {data}"),
        format!("clients     posthaste://{}", broker.local_addr()),
        format!("http        {http}"),
        format!("durability  {durability}"),
        format!("access      {access}"),
    ]
}

/// One line: `ready`, the address for clients, the address for metrics and health or `off`.
fn tell_ready(fd: u32, broker: &Broker) -> Result<(), Failure> {
    let http = broker.http_addr().map_or_else(|| "off".to_owned(), |addr| addr.to_string());
    let line = format!("ready {} {http}\n", broker.local_addr());
    // Appending, because a redirected file may hold something already.
    let told = OpenOptions::new()
        .append(true)
        .open(format!("/dev/fd/{fd}"))
        .and_then(|mut file| file.write_all(line.as_bytes()));
    told.map_err(|error| {
        let what = format!("cannot write to --ready-fd {fd}: {error}");
        Failure::new(Exit::Failed, Some("PH-0703"), what)
    })
}
