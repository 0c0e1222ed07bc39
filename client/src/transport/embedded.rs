//! A broker inside this process: the only file that knows the broker crate.
//!
//! Brokers are shared by name: every client of one `memory:NAME` or one folder talks to the same
//! broker, which is stopped in order when the last of them is closed. A plain `memory:` is a broker
//! of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use posthaste_broker::Embedded as Broker;
use tokio::sync::Mutex;

use super::{Reading, Writing};
use crate::error::{Failed, Failure, Local};

/// All brokers of this process. Held over starting and stopping, so that a folder is never opened
/// while its last broker still closes it.
static BROKERS: Mutex<BTreeMap<Key, Shared>> = Mutex::const_new(BTreeMap::new());
/// Numbers for brokers without a name.
static UNNAMED: AtomicU64 = AtomicU64::new(0);

/// One client's share in a broker of this process.
#[derive(Debug)]
pub(crate) struct Embedded {
    key: Key,
    /// Whether this client is counted among the broker's users.
    is_user: AtomicBool,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Unnamed(u64),
    Memory(String),
    Folder(PathBuf),
}

#[derive(Debug)]
struct Shared {
    broker: Arc<Broker>,
    users: usize,
}

impl Embedded {
    pub(crate) fn memory(name: &str) -> Self {
        let key = if name.is_empty() {
            Key::Unnamed(UNNAMED.fetch_add(1, Ordering::Relaxed))
        } else {
            Key::Memory(name.to_owned())
        };
        Self { key, is_user: AtomicBool::new(false) }
    }

    pub(crate) fn folder(folder: &str) -> Self {
        let folder = PathBuf::from(folder);
        let key = Key::Folder(std::path::absolute(&folder).unwrap_or(folder));
        Self { key, is_user: AtomicBool::new(false) }
    }

    /// A connection to the broker, which is started by the first.
    pub(crate) async fn open(&self) -> Result<(Reading, Writing), Failed> {
        let mut brokers = BROKERS.lock().await;
        if !brokers.contains_key(&self.key) {
            let broker = Arc::new(self.start().await?);
            brokers.insert(self.key.clone(), Shared { broker, users: 0 });
        }
        let Some(shared) = brokers.get_mut(&self.key) else {
            return Err(Failure::local(Local::Refused, "the broker is gone"));
        };
        if !self.is_user.swap(true, Ordering::Relaxed) {
            shared.users += 1;
        }
        let (reading, writing) = tokio::io::split(shared.broker.connect());
        Ok((Box::new(reading), Box::new(writing)))
    }

    async fn start(&self) -> Result<Broker, Failed> {
        let started = match &self.key {
            Key::Unnamed(_) | Key::Memory(_) => Broker::memory().await,
            Key::Folder(folder) => Broker::open(folder.clone()).await,
        };
        started.map_err(|error| {
            let text = format!("the embedded broker did not start: {error}");
            Failure::caused(Local::Refused, text, error)
        })
    }

    /// Gives the share back; the last one stops the broker in order.
    pub(crate) async fn release(self) {
        let mut brokers = BROKERS.lock().await;
        if let Some(broker) = self.leave(&mut brokers)
            && let Err(error) = broker.shutdown().await
        {
            tracing::warn!(%error, "the embedded broker did not stop in order");
        }
    }

    /// The broker, if this was its last user.
    fn leave(&self, brokers: &mut BTreeMap<Key, Shared>) -> Option<Broker> {
        if !self.is_user.swap(false, Ordering::Relaxed) {
            return None;
        }
        let shared = brokers.get_mut(&self.key)?;
        shared.users -= 1;
        if shared.users > 0 {
            return None;
        }
        Arc::into_inner(brokers.remove(&self.key)?.broker)
    }
}

impl Drop for Embedded {
    /// The runtime ended before the client was closed: the broker ends with it, without ceremony.
    fn drop(&mut self) {
        if let Ok(mut brokers) = BROKERS.try_lock() {
            drop(self.leave(&mut brokers));
        }
    }
}
