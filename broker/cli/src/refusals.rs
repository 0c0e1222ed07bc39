//! Why `serve` did not start, or stopped by itself: each as a coded error with the next step.

use crate::errors::{Exit, Failure};
use crate::serve::Serve;
use posthaste_broker::{EngineError, OpenError, StartError, StorageError};
use std::error::Error;
use std::io;
use std::net::SocketAddr;

/// The broker did not start; nothing is left running.
pub(crate) fn not_started(error: &StartError, args: &Serve) -> Failure {
    match error {
        StartError::Listen { address, source } => cannot_listen(*address, source, args),
        StartError::Open { source, .. } => cannot_open(source, args),
        StartError::System(_) => Failure::new(Exit::Failed, None, error.to_string()),
        // The enum is open-ended; what is new in it says for itself what happened.
        _ => Failure::new(Exit::Failed, None, error.to_string()),
    }
}

fn cannot_listen(address: SocketAddr, source: &io::Error, args: &Serve) -> Failure {
    let flag = if args.http_addr() == Some(address) { "--http" } else { "--listen" };
    if source.kind() != io::ErrorKind::AddrInUse {
        let what = format!("cannot listen on {address}: {source}");
        return Failure::new(Exit::Failed, Some("PH-0608"), what);
    }
    let what = format!("another process listens on {address}");
    let failure = Failure::new(Exit::Failed, Some("PH-0601"), what)
        .note("nothing was started.")
        .step("who", format!("ss -ltnp 'sport = :{}'", address.port()))
        .step("other", format!("posthaste serve {flag} {}:0", address.ip()));
    if flag == "--http" { failure.step("without", "posthaste serve --http off") } else { failure }
}

fn cannot_open(error: &OpenError, args: &Serve) -> Failure {
    let code = match error {
        OpenError::Storage(error) => code_of(error),
        _ => "PH-0604",
    };
    let mut failure = Failure::new(Exit::Failed, Some(code), error.to_string());
    failure = causes(failure, error.source());
    let failure = failure.note("nothing was changed.");
    let data = args.data().display();
    match code {
        "PH-0602" => failure
            .step("who", format!("fuser -v {data}/*"))
            .step("other", "posthaste serve --data DIR --listen 127.0.0.1:0"),
        "PH-0603" => failure.step("next", "start the newer version of posthaste again"),
        "PH-0604" => failure
            .step("keep", format!("cp -a {data} {data}.damaged"))
            .step("serve", format!("posthaste serve --data {data} --quarantine-damage")),
        _ => failure,
    }
}

/// The code of a refusal of the log.
fn code_of(error: &StorageError) -> &'static str {
    match error {
        StorageError::AlreadyLocked { .. } => "PH-0602",
        StorageError::NewerFormat { .. } => "PH-0603",
        StorageError::Damaged(_) | StorageError::MissingSegment { .. } => "PH-0604",
        StorageError::NoSpace { .. } => "PH-0303",
        _ => "PH-0607",
    }
}

/// The log failed while the broker ran. What was confirmed is on disk.
pub(crate) fn stopped_by_itself(error: &EngineError) -> Failure {
    let failure = Failure::new(Exit::Failed, Some("PH-0606"), error.to_string());
    causes(failure, error.source())
        .note("what was confirmed is stored; nothing later was confirmed.")
}

fn causes(mut failure: Failure, mut cause: Option<&(dyn Error + 'static)>) -> Failure {
    while let Some(error) = cause {
        failure = failure.note(format!("because: {error}"));
        cause = error.source();
    }
    failure
}
