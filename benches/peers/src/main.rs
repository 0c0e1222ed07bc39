//! Posthaste and its peers, side by side: the same workloads through each broker's usual client, on
//! this machine, in turn. `README.md` says how to run it and what each setting is for.

mod args;
mod backlog;
mod bodies;
mod calm;
mod cell;
mod comparison;
mod confirms;
mod counters;
mod growth;
mod limits;
mod load;
mod machine;
mod pace;
mod page;
mod peer;
mod peers;
mod plot;
mod proc;
mod record;
mod server;
mod stats;
mod table;
mod visit;

use args::{Args, Command};
use clap::Parser;

fn main() -> anyhow::Result<()> {
    match Args::parse().command {
        // Brokers die with the thread that started them, which is therefore this one.
        Command::Compare(compare) => runtime()?.block_on(comparison::run(&compare)),
        Command::Growth(growth) => runtime()?.block_on(growth::run(&growth)),
        Command::Page(page) => comparison::page(&page),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}
