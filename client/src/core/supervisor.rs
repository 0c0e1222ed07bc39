//! The connection task: connects, runs the connection, and begins again when it breaks.

use std::future::Future;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::{Duration, Instant};

use super::driver::Driver;
use super::handshake::handshake;
use super::link::{Link, LinkEnd};
use super::{Core, Status, lock, random};
use crate::error::{Failed, Failure, Local};
use crate::info::BrokerInfo;
use crate::options::ConnState;
use crate::transport::Endpoint;
use posthaste_protocol::response::Welcome;

/// LIMIT: a broker that asks for less does not make this side talk without a pause.
const IDLE_MIN: Duration = Duration::from_secs(1);
/// Without any other reason the task looks around this often.
const ROUND: Duration = Duration::from_secs(60);

/// Runs until the client is closed. Whatever ends it, the driver's drop leaves nobody waiting.
pub(crate) async fn run(core: Arc<Core>, endpoint: Endpoint) {
    let ending = Ending(Arc::clone(&core));
    let mut driver = Driver::new(Arc::clone(&core));
    let mut attempt = 0;
    loop {
        let connecting = connect(&core, &endpoint, attempt);
        let Some(connected) = while_offline(&mut driver, connecting).await else { break };
        let failure = match connected {
            Ok((link, welcome)) => {
                driver.connected(&welcome);
                core.connected(&welcome);
                let end = link.run(&mut driver).await;
                driver.disconnected();
                if driver.was_answered() {
                    attempt = 0;
                }
                match end {
                    LinkEnd::Finished | LinkEnd::OutOfTime => break,
                    LinkEnd::Broken(failure) => {
                        tracing::info!(%failure, "reconnecting");
                        failure
                    }
                }
            }
            Err(failure) => {
                tracing::debug!(%failure, attempt, "cannot connect");
                failure
            }
        };
        core.not_connected(failure);
        attempt += 1;
        let pause = core.options().backoff.delay(attempt, random::number());
        if while_offline(&mut driver, tokio::time::sleep(pause)).await.is_none() {
            break;
        }
    }
    // ORDER: nobody waits any more, then a broker of this process stops, then the client is closed.
    drop(driver);
    endpoint.release().await;
    drop(ending);
}

/// Tells that the task is over, however it ends.
struct Ending(Arc<Core>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.set_status(|status| status.state = ConnState::Closed);
    }
}

/// Waits for something while there is no connection: lanes are fetched, timeouts kept. `None` if
/// the client was closed meanwhile.
async fn while_offline<T>(driver: &mut Driver, work: impl Future<Output = T>) -> Option<T> {
    let core = Arc::clone(&driver.core);
    tokio::pin!(work);
    loop {
        let now = Instant::now();
        driver.collect(now);
        if driver.is_finished() || driver.is_out_of_time(now) {
            return None;
        }
        let alarm = driver.next_due().unwrap_or(now + ROUND);
        tokio::select! {
            done = &mut work => return Some(done),
            () = core.wake.notified() => {}
            () = tokio::time::sleep_until(alarm) => {}
        }
    }
}

async fn connect(
    core: &Core,
    endpoint: &Endpoint,
    attempt: u32,
) -> Result<(Link, Welcome), Failed> {
    let options = core.options();
    let connecting = async {
        let (mut reading, mut writing) = endpoint.open(attempt).await?;
        let mut inbound = BytesMut::new();
        let name = options.shown_name();
        let welcome = handshake(&mut reading, &mut writing, &mut inbound, &name).await?;
        let idle = match welcome.idle_ms {
            0 => Duration::ZERO,
            idle_ms => Duration::from_millis(u64::from(idle_ms)).max(IDLE_MIN),
        };
        Ok((Link { reading, writing, inbound, idle }, welcome))
    };
    let timeout = options.connect_timeout;
    tokio::time::timeout(timeout, connecting).await.unwrap_or_else(|_elapsed| {
        let text = format!("{} did not answer within {timeout:?}", options.url);
        Err(Failure::local(Local::Refused, text))
    })
}

impl Core {
    fn connected(&self, welcome: &Welcome) {
        self.set_status(|status| {
            status.state = ConnState::Ready;
            status.failure = None;
            status.broker = Some(BrokerInfo {
                server: welcome.server.clone(),
                store: welcome.store,
                message_bytes_max: welcome.message_bytes_max,
            });
        });
    }

    fn not_connected(&self, failure: Failed) {
        self.set_status(|status| {
            if status.state != ConnState::Connecting {
                status.state = ConnState::Reconnecting;
            }
            status.failure = Some(failure);
        });
    }

    /// Nothing is sent any more.
    pub(super) fn ended(&self, undecided: u64) {
        // Lanes hold the core: without this, neither would ever be freed.
        lock(&self.destinations).clear();
        if undecided > 0 {
            let text = format!("{undecided} batches of messages were not confirmed in time");
            tracing::warn!("{text}");
            let failure = Failure::local(Local::Timeout, text);
            self.set_status(|status| status.unfinished = Some(failure));
        }
    }

    fn set_status(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_modify(change);
    }
}
