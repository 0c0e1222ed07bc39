//! `posthaste req`, `posthaste reply`, `posthaste service`: request and reply, live and never stored.

use crate::context::Context;
use crate::errors::{Exit, Failure, Outcome};
use crate::exec::{self, Replied};
use crate::interrupt::Interrupt;
use crate::output::Cell;
use crate::publish::Input;
use crate::{shown, values};
use clap::{Args, Subcommand};
use posthaste::{Bytes, ErrorKind, RequestContext, ServiceError, ServiceInfo, ServiceOf};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;

/// Sends a request to a service, and prints the reply.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste req pricing.quote '{\"sku\":1}'\n  posthaste req images.thumbnail @photo.jpg --timeout 2s > small.jpg", help_template = crate::args::TEMPLATE)]
pub(crate) struct Req {
    /// The service.
    name: String,
    /// The request: text, @FILE, or - for the standard input.
    body: String,
    /// A header; may be given several times.
    #[arg(short = 'H', long, value_name = "NAME=VALUE", value_parser = values::header)]
    header: Vec<(String, String)>,
}

/// Answers requests with what a command prints.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste reply pricing.quote --exec ./quote\n  posthaste reply double --exec 'read n; echo $((n * 2))' --concurrency 4", help_template = crate::args::TEMPLATE)]
pub(crate) struct Reply {
    /// The service.
    name: String,
    /// Run this for each request: its body on the standard input, the reply on the standard output;
    /// another exit code than 0 fails the request with what is on the standard error.
    #[arg(short, long, value_name = "COMMAND")]
    exec: String,
    /// Commands that run at once.
    #[arg(long, value_name = "N", default_value = "1",
          value_parser = clap::value_parser!(u16).range(1..=1_024))]
    concurrency: u16,
}

/// Services: who answers requests.
#[derive(Debug, Args)]
#[command(before_help = "Examples:\n  posthaste service ls\n  posthaste service ls -o jsonl", help_template = crate::args::TEMPLATE)]
pub(crate) struct Service {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Lists the services that have instances now.
    Ls,
}

pub(crate) async fn req(args: &Req, context: &Context) -> Outcome {
    let body = Input::from(args.body.as_str()).whole()?;
    let client = context.connect().await?;
    let mut request = client.request(ServiceOf::raw(&args.name), &body).timeout(context.timeout);
    for (name, value) in &args.header {
        request = request.header(name, value);
    }
    let reply = request.await.map_err(|error| {
        let kind = error.kind();
        let failure = Failure::from(error);
        match kind {
            ErrorKind::NoResponder => failure
                .note("nobody has seen the request.")
                .step("who", "posthaste service ls")
                .step("start", format!("posthaste reply {} --exec COMMAND", args.name)),
            _ => failure,
        }
    })?;
    if context.output.is_text() {
        let mut out = std::io::stdout().lock();
        out.write_all(&reply)?;
        if context.output.terminal && !reply.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
        out.flush()?;
    } else {
        let body = String::from_utf8_lossy(&reply);
        context.output.value(json!({ "service": args.name, "reply": body }))?;
    }
    client.close().await?;
    Ok(Exit::Done)
}

pub(crate) async fn reply(args: &Reply, context: &Context) -> Outcome {
    let mut interrupt = Interrupt::watch()?;
    let client = context.connect().await?;
    let service =
        client.service(ServiceOf::raw(&args.name)).concurrency(usize::from(args.concurrency));
    context.notice(&format!("answering requests for {}; Ctrl-C ends it", args.name));
    let command: Arc<str> = args.exec.as_str().into();
    service
        .serve(interrupt.once(), move |body, about| answer(Arc::clone(&command), body, about))
        .await?;
    client.close().await?;
    Ok(Exit::Done)
}

async fn answer(
    command: Arc<str>,
    body: Bytes,
    about: RequestContext,
) -> Result<Bytes, ServiceError> {
    let left_ms = about.time_left().as_millis().to_string();
    match exec::reply(&command, &body, about.service(), &left_ms).await {
        Ok(Replied::Well(reply)) => Ok(reply.into()),
        Ok(Replied::Badly(why)) => Err(ServiceError::new(shown::line(&why))),
        Err(error) => Err(ServiceError::new(format_args!("the command cannot be run: {error}"))),
    }
}

pub(crate) async fn run(args: &Service, context: &Context) -> Outcome {
    let What::Ls = args.what;
    let client = context.connect().await?;
    let all = client.services().await?;
    let headers = ["NAME", "INSTANCES", "IN FLIGHT", "WAITING", "REQUESTS"];
    let rows = all.iter().map(row).collect();
    context.output.rows("services", &headers, rows, all.iter().map(object).collect())?;
    if all.is_empty() && context.output.is_text() && context.output.terminal {
        context.notice("no service has an instance now: posthaste reply NAME --exec COMMAND");
    }
    Ok(Exit::Done)
}

fn row(service: &ServiceInfo) -> Vec<Cell> {
    vec![
        Cell::text(&service.name),
        Cell::count(service.instances.into()),
        Cell::count(service.in_flight.into()),
        Cell::count(service.waiting.into()),
        Cell::count(service.requests),
    ]
}

fn object(service: &ServiceInfo) -> Value {
    json!({
        "service": service.name,
        "instances": service.instances,
        "in_flight": service.in_flight,
        "waiting": service.waiting,
        "requests": service.requests,
    })
}
