//! The command line as a whole: the verbs and the flags that all of them share.

use clap::{Args, Parser, Subcommand};
use std::time::Duration;

use crate::output::Format;
use crate::values;
use crate::{
    bench, completions, consume, dead, explain, group, ls, publish, purge, queue, report, schedule,
    serve, service, tail, topic,
};

/// A durable message broker: queues, topics, groups.
#[derive(Debug, Parser)]
#[command(
    name = "posthaste",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    before_help = "Examples:\n  posthaste serve\n  posthaste queue set orders\n  posthaste pub orders '{\"id\":7}'\n  posthaste consume orders --count 1",
    after_help = "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 conflict, 5 not allowed,\n\
                  6 unreachable or timed out, 7 --dry-run found something to do, 8 busy.",
    help_template = TEMPLATE
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) global: Global,
}

/// Examples first, then the flags by group.
pub(crate) const TEMPLATE: &str =
    "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// The broker to talk to.
    #[arg(
        long,
        global = true,
        env = "POSTHASTE_URL",
        default_value = "posthaste://127.0.0.1:7420",
        help_heading = "Target"
    )]
    pub(crate) url: String,
    /// Give up on the broker after this long.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = values::nonzero_duration,
        help_heading = "Target"
    )]
    pub(crate) timeout: Duration,
    /// Notation of results; `text` is a table on a terminal and tab-separated when piped.
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        help_heading = "Output"
    )]
    pub(crate) output: Format,
    /// No progress and no notices on stderr.
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(crate) quiet: bool,
}

/// The verbs and nouns.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(serve::Serve),
    #[command(alias = "produce", alias = "publish")]
    Pub(publish::Publish),
    Consume(consume::Consume),
    #[command(alias = "sub")]
    Tail(tail::Tail),
    Peek(tail::Peek),
    Queue(queue::Queue),
    Topic(topic::Topic),
    Group(group::Group),
    #[command(alias = "list")]
    Ls(ls::Ls),
    Report(report::Report),
    Dead(dead::Dead),
    Purge(purge::Purge),
    #[command(alias = "cron")]
    Schedule(schedule::Schedule),
    #[command(alias = "request")]
    Req(service::Req),
    Reply(service::Reply),
    Service(service::Service),
    Ping(ls::Ping),
    Bench(bench::Bench),
    Completions(completions::Completions),
    Explain(explain::Explain),
}

/// Verbs of other tools, and ours.
const ALIASES: [(&str, &str); 6] = [
    ("produce", "pub"),
    ("publish", "pub"),
    ("sub", "tail"),
    ("list", "ls"),
    ("request", "req"),
    ("cron", "schedule"),
];

/// Says once, on stderr, what the verb is called here.
pub(crate) fn name_the_real_verb(global: &Global) {
    if global.quiet {
        return;
    }
    let typed = std::env::args().skip(1).find(|arg| ALIASES.iter().any(|(alias, _)| alias == arg));
    // A value that happens to read like an alias is behind the verb, and the verb is a real one.
    let first = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
    if let Some((alias, real)) =
        ALIASES.iter().find(|(alias, _)| typed.as_deref() == Some(alias) && first == typed)
    {
        crate::context::say(&format!("note: {alias} is called {real} here"));
    }
}
