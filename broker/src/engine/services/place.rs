//! The instances of one service, and whose turn it is.

use super::ConnectionId;
use std::collections::BTreeMap;

/// One stay of a connection among the instances; it may leave and come back. Never used again.
pub(super) type Registration = u64;

#[derive(Debug)]
struct Instance {
    registration: Registration,
    held: u32,
    max: u32,
    /// Its place in the row of those that can take a request.
    turn: Option<u64>,
}

/// What an instance says when its turn has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Takes {
    Now,
    /// It has enough for this turn of the engine.
    Later,
    /// It does not read: it steps out of the row until [`Instances::unblock`].
    Nothing,
}

/// All instances of a service. Each gets a request when its turn comes.
#[derive(Debug, Default)]
pub(super) struct Instances {
    all: BTreeMap<ConnectionId, Instance>,
    row: BTreeMap<u64, ConnectionId>,
    next_turn: u64,
    in_flight: u32,
}

impl Instances {
    pub(super) fn enter(&mut self, connection: ConnectionId, registration: Registration, max: u32) {
        self.all.insert(connection, Instance { registration, held: 0, max, turn: None });
        self.line_up(connection);
    }

    pub(super) fn leave(&mut self, connection: ConnectionId) {
        if let Some(gone) = self.all.remove(&connection) {
            self.in_flight -= gone.held;
            if let Some(turn) = gone.turn {
                self.row.remove(&turn);
            }
        }
    }

    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// Requests that they have.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight
    }

    /// Takes a place of the next instance.
    pub(super) fn next(
        &mut self,
        mut takes: impl FnMut(ConnectionId) -> Takes,
    ) -> Option<(ConnectionId, Registration)> {
        loop {
            let front = self.row.first_entry()?;
            let connection = *front.get();
            let takes = takes(connection);
            if takes == Takes::Later {
                return None;
            }
            front.remove();
            let instance = self.all.get_mut(&connection)?;
            instance.turn = None;
            if takes == Takes::Now {
                instance.held += 1;
                self.in_flight += 1;
                let registration = instance.registration;
                self.line_up(connection);
                return Some((connection, registration));
            }
        }
    }

    /// A request is over: its place is free.
    pub(super) fn give_back(&mut self, connection: ConnectionId, registration: Registration) {
        let found = self.all.get_mut(&connection);
        if let Some(instance) = found.filter(|one| one.registration == registration) {
            instance.held -= 1;
            self.in_flight -= 1;
            self.line_up(connection);
        }
    }

    pub(super) fn unblock(&mut self, connection: ConnectionId) {
        self.line_up(connection);
    }

    /// Behind all others, if it has a place and is not in the row.
    fn line_up(&mut self, connection: ConnectionId) {
        if let Some(instance) = self.all.get_mut(&connection)
            && instance.turn.is_none()
            && instance.held < instance.max
        {
            self.next_turn += 1;
            instance.turn = Some(self.next_turn);
            self.row.insert(self.next_turn, connection);
        }
    }
}
