//! `posthaste completions`: the script that lets a shell complete commands and flags.

use crate::args::Cli;
use crate::errors::{Exit, Outcome};
use clap::{Args, CommandFactory};
use std::io::Write;

/// Prints the completion script of a shell.
#[derive(Debug, Args)]
#[command(
    before_help = "Examples:\n  posthaste completions bash > ~/.local/share/bash-completion/completions/posthaste\n  posthaste completions zsh > ~/.zfunc/_posthaste"
)]
pub(crate) struct Completions {
    shell: clap_complete::Shell,
}

pub(crate) fn run(args: &Completions) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "posthaste", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Done)
}
