//! The `posthaste` program: the broker (`serve`) and everything that talks to one.
//!
//! One file per verb or noun. Each command has its arguments and a `run` that returns how it ended;
//! printing of errors and the exit code happen here, once.

mod args;
mod bench;
mod codes;
mod completions;
mod confirm;
mod consume;
mod context;
mod dead;
mod declared;
mod errors;
mod exec;
mod explain;
mod group;
mod interrupt;
mod lines;
mod ls;
mod message;
mod output;
mod publish;
mod purge;
mod queue;
mod refusals;
mod report;
mod schedule;
mod serve;
mod service;
mod settings;
mod shown;
mod tail;
mod taker;
mod targets;
mod topic;
mod values;

use args::{Cli, Command};
use clap::Parser as _;
use context::Context;
use errors::{Exit, Failure, Outcome};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    args::name_the_real_verb(&cli.global);
    let format = cli.global.output;
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.report(format);
            failure.exit().into()
        }
    }
}

fn run(cli: Cli) -> Outcome {
    let context = Context::new(cli.global);
    match cli.command {
        // These need neither a broker nor a runtime.
        Command::Completions(args) => completions::run(&args),
        Command::Explain(args) => explain::run(&args, context.output),
        Command::Serve(args) => serve::run(&args, &context),
        command => runtime()?.block_on(ask(command, &context)),
    }
}

/// The commands that talk to a broker.
async fn ask(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Pub(args) => publish::run(&args, context).await,
        Command::Consume(args) => consume::run(&args, context).await,
        Command::Tail(args) => tail::tail(&args, context).await,
        Command::Peek(args) => tail::peek(&args, context).await,
        Command::Queue(args) => queue::run(&args, context).await,
        Command::Topic(args) => topic::run(&args, context).await,
        Command::Group(args) => group::run(&args, context).await,
        Command::Ls(ls::Ls {}) => ls::ls(context).await,
        Command::Report(args) => report::run(&args, context).await,
        Command::Dead(args) => dead::run(&args, context).await,
        Command::Purge(args) => purge::run(&args, context).await,
        Command::Schedule(args) => schedule::run(&args, context).await,
        Command::Req(args) => service::req(&args, context).await,
        Command::Reply(args) => service::reply(&args, context).await,
        Command::Service(args) => service::run(&args, context).await,
        Command::Ping(args) => ls::ping(&args, context).await,
        Command::Bench(args) => Box::pin(bench::run(&args, context)).await,
        Command::Completions(_) | Command::Explain(_) | Command::Serve(_) => Ok(Exit::Done),
    }
}

/// Two workers: one for the work, one for the connection.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, None, format!("cannot start threads: {error}")))
}

/// Whether messages to the person may be coloured, terminal provided.
fn colored() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
