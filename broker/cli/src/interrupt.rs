//! Ctrl-C and SIGTERM for commands that go on until told otherwise: they end in order.

use crate::errors::{Exit, Failure};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Resolves when the person or the system asks the command to end.
#[derive(Debug)]
pub(crate) struct Interrupt {
    interrupt: Signal,
    terminate: Signal,
    times: u32,
}

impl Interrupt {
    /// From here on these signals no longer kill the process.
    pub(crate) fn watch() -> Result<Self, Failure> {
        let on = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Failed, None, format!("cannot watch signals: {error}"))
            })
        };
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            times: 0,
        })
    }

    /// How often it was asked so far.
    pub(crate) fn times(&self) -> u32 {
        self.times
    }

    /// Returns at once if it was asked before, else waits for it.
    pub(crate) async fn once(&mut self) {
        if self.times == 0 {
            self.asked().await;
        }
    }

    /// Waits until it is asked (again).
    ///
    /// *Cancel safety*: nothing is lost when the future is dropped.
    pub(crate) async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        self.times += 1;
    }
}
