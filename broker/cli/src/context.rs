//! What every command is given: the broker's address, the way results are written, the patience.

use crate::args::Global;
use crate::errors::Failure;
use crate::output::Output;
use posthaste::Client;
use std::io::{IsTerminal, Write};
use std::time::Duration;

/// How long a single attempt to connect may take; a person waits for it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The shared flags, read once.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) url: String,
    pub(crate) timeout: Duration,
    pub(crate) output: Output,
    pub(crate) quiet: bool,
}

impl Context {
    pub(crate) fn new(global: Global) -> Self {
        Self {
            url: global.url,
            timeout: global.timeout,
            output: Output::new(global.output),
            quiet: global.quiet,
        }
    }

    /// Connects to the broker, or says why not.
    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        let client = Client::builder()
            .url(&self.url)
            .name(concat!("posthaste-cli/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.timeout.min(CONNECT_TIMEOUT))
            .request_timeout(self.timeout)
            .publish_timeout(self.timeout)
            .connect()
            .await;
        client.map_err(|error| Failure::from(error).step("broker", &self.url))
    }

    /// Whether progress may be drawn on stderr.
    pub(crate) fn draws_progress(&self) -> bool {
        !self.quiet && std::io::stderr().is_terminal()
    }

    /// Lines for the person, beside the data.
    pub(crate) fn notice_lines(&self, lines: &[String]) {
        for line in lines {
            self.notice(line);
        }
    }

    /// A line for the person, beside the data.
    pub(crate) fn notice(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }
}

/// A line on stderr, control characters escaped. Nobody may be there to read it.
pub(crate) fn say(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{}", crate::shown::line(text)));
}
