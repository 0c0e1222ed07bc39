//! Places for connections: how many there may be, in all and from one address.
//!
//! One address may take half of what there is, so that nobody keeps everybody else out by opening
//! connections. A process may open only so many files: some are left for the log, for metrics, and
//! for one connection that is told why it is refused.

use crate::config::Limits;
use posthaste_protocol::ErrorCode;
use posthaste_protocol::error::ErrorReply;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// LIMIT: files that are not for clients: at least so many, and a quarter of all.
const FILES_RESERVED: usize = 64;
/// A broker that may open very few files serves a few clients all the same.
const CONNECTIONS_MIN: usize = 8;

/// Connections at once, and how many of them have not said hello.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    connections: usize,
    handshakes: usize,
}

#[derive(Debug, Default)]
struct Taken {
    /// How many there may be because of the files of this process.
    files: usize,
    all: Count,
    by_address: HashMap<IpAddr, Count>,
}

/// All places.
#[derive(Debug)]
pub(super) struct Places {
    taken: Mutex<Taken>,
    max: Count,
    max_per_address: Count,
}

impl Places {
    pub(super) fn new(limits: &Limits) -> Places {
        Places {
            taken: Mutex::new(Taken { files: usize::MAX, ..Taken::default() }),
            max: Count { connections: limits.connections_max, handshakes: limits.handshakes_max },
            max_per_address: Count {
                connections: limits.connections_per_address_max,
                handshakes: limits.handshakes_per_address_max,
            },
        }
    }

    /// Connections will be files of this process: no more of them than it may open.
    pub(super) fn count_files(&self) {
        let files = for_clients();
        self.taken().files = files;
        let wanted = self.max.connections;
        if files < wanted {
            tracing::warn!(
                wanted,
                max = files,
                "fewer connections than set: the open files limit is low"
            );
        }
    }

    /// Connections now.
    pub(super) fn connections(&self) -> usize {
        self.taken().all.connections
    }

    /// A place for a connection that has not said hello; without an address it is in this process.
    pub(super) fn enter(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Place, ErrorReply> {
        let mut taken = self.taken();
        if taken.all.connections >= self.max.connections.min(taken.files) {
            return Err(refusal("the broker has as many connections as it is allowed to have"));
        }
        if taken.all.handshakes >= self.max.handshakes {
            return Err(refusal("too many connections have not said hello yet"));
        }
        if let Some(address) = address {
            let mine = taken.by_address.get(&address).copied().unwrap_or_default();
            if mine.connections >= self.max_per_address.connections {
                return Err(refusal("this address has as many connections as one may have"));
            }
            if mine.handshakes >= self.max_per_address.handshakes {
                let what = "too many connections of this address have not said hello yet";
                return Err(refusal(what));
            }
        }
        taken.change(address, |count| {
            count.connections += 1;
            count.handshakes += 1;
        });
        Ok(Place { places: Arc::clone(self), address, is_greeted: false })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    fn change(&mut self, address: Option<IpAddr>, change: impl Fn(&mut Count)) {
        change(&mut self.all);
        let Some(address) = address else { return };
        let mine = self.by_address.entry(address).or_default();
        change(mine);
        if *mine == Count::default() {
            self.by_address.remove(&address);
        }
    }
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
    is_greeted: bool,
}

impl Place {
    /// The handshake is over.
    pub(super) fn greeted(&mut self) {
        if !std::mem::replace(&mut self.is_greeted, true) {
            self.places.taken().change(self.address, |count| count.handshakes -= 1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.greeted();
        self.places.taken().change(self.address, |count| count.connections -= 1);
    }
}

/// Connections that this process may hold, after asking the system for all it gives.
fn for_clients() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let files = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_refused) => limit.current,
    };
    let files = files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    files.saturating_sub((files / 4).max(FILES_RESERVED)).max(CONNECTIONS_MIN)
}

/// What the one connection is told that came when there was no file left.
pub(super) fn out_of_files() -> ErrorReply {
    refusal("the broker may not open more files")
}

fn refusal(message: &str) -> ErrorReply {
    ErrorReply {
        code: ErrorCode::TooManyConnections,
        retry_after_ms: 1_000,
        message: message.into(),
        similar: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(connections: usize, per_address: usize) -> Arc<Places> {
        let limits = Limits {
            connections_max: connections,
            connections_per_address_max: per_address,
            handshakes_max: 4,
            handshakes_per_address_max: 2,
            ..Limits::default()
        };
        Arc::new(Places::new(&limits))
    }

    fn address(n: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, n]))
    }

    fn enter(places: &Arc<Places>, n: u8) -> Result<Place, String> {
        let mut place = places.enter(address(n)).map_err(|reply| reply.message)?;
        place.greeted();
        Ok(place)
    }

    #[test]
    fn one_address_cannot_take_every_place() {
        let places = places(5, 3);
        let mine: Vec<_> = (0..3).map(|_| enter(&places, 1).unwrap()).collect();
        assert!(enter(&places, 1).unwrap_err().contains("this address"));
        let other = enter(&places, 2).unwrap();
        let inside = places.enter(None).unwrap();
        assert!(enter(&places, 3).unwrap_err().contains("the broker"));
        drop((mine, other, inside));
        assert_eq!(places.connections(), 0);
        assert!(places.taken().by_address.is_empty(), "an address that left is forgotten");
    }

    #[test]
    fn who_says_nothing_keeps_nobody_out() {
        let places = places(100, 100);
        let silent: Vec<_> = (0..2).map(|_| places.enter(address(1)).unwrap()).collect();
        assert!(places.enter(address(1)).is_err(), "two of this address are silent already");
        let welcome = enter(&places, 2).unwrap();
        assert_eq!(places.connections(), 3);
        drop(silent);
        drop(enter(&places, 1).unwrap());
        drop(welcome);
        assert_eq!(places.taken().all, Count::default());
    }
}
