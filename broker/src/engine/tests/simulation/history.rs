//! What an observer saw, as events, and what is known of each message from them.

use super::scene::{PLACES, PlaceId, SLOTS, TARGETS, Target};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;

/// Events kept for a failure's report.
const TRAIL: usize = 400;
/// A single history is shown whole.
static IS_ONE: LazyLock<bool> =
    LazyLock::new(|| std::env::var("POSTHASTE_HISTORIES").is_ok_and(|number| number == "1"));

/// How a delivery is settled.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) enum How {
    Ack,
    Retry,
    Release,
    Dead,
}

/// A message in the hands of a consumer, as the broker sent it.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(super) struct Delivered {
    pub(super) place: PlaceId,
    /// Wire and channel.
    pub(super) to: (u32, u16),
    pub(super) id: u32,
    pub(super) offset: u64,
    pub(super) epoch: u64,
    pub(super) attempt: u32,
    pub(super) redelivered: bool,
    /// When its lease ends, at the latest, in simulated milliseconds.
    pub(super) until_ms: u64,
}

/// One thing that was seen from outside. Times are simulated milliseconds.
#[derive(Clone, Debug, Hash)]
pub(super) enum Event {
    /// A batch is made: messages `first..first + count` for the target with this number.
    Made {
        batch: u32,
        producer: u8,
        target: Target,
        number: u32,
        first: u32,
        count: u32,
        is_delayed: bool,
    },
    /// It goes onto a wire, for the first time or again.
    Sent {
        batch: u32,
    },
    Confirmed {
        batch: u32,
        base_offset: Option<u64>,
        number: u32,
    },
    /// Nothing was done, this time.
    Refused {
        batch: u32,
        code: u16,
    },
    /// The connection ended before an answer came.
    Unanswered {
        batch: u32,
    },
    /// It will not be sent again.
    GivenUp {
        batch: u32,
    },
    /// A consumer asks to be served; from now on what was deleted before must stay away.
    Consumes {
        place: PlaceId,
        to: (u32, u16),
    },
    Delivered {
        at_ms: u64,
        seen: Delivered,
    },
    /// The client sends a settle.
    Settling {
        place: PlaceId,
        id: u32,
        epoch: u64,
        how: How,
    },
    /// The broker has confirmed it, or refused it as stale.
    Settled {
        place: PlaceId,
        id: u32,
        epoch: u64,
        how: How,
        is_stale: bool,
    },
    Extending {
        place: PlaceId,
        id: u32,
        epoch: u64,
        until_ms: u64,
    },
    /// The consumer is canceled, or its connection is closed, cut or given up.
    LetGo {
        to: (u32, u16),
    },
    /// The process ended.
    Ended {
        at_ms: u64,
    },
    /// From now on messages of the target may go, or come back, by request.
    Disturbed {
        target: Target,
        what: &'static str,
    },
    /// The request was answered.
    Calm {
        target: Target,
    },
    Declared {
        target: Target,
        number: u32,
    },
    Deleted {
        target: Target,
        number: u32,
    },
    /// Dead letters of a place are made ready again, attempts reset.
    Replayed {
        place: PlaceId,
    },
    /// At the end, when everything has settled: it is among the dead letters.
    Dead {
        place: PlaceId,
        id: u32,
        offset: u64,
    },
    /// At the end: counts of a place.
    Counts {
        place: PlaceId,
        open: u64,
        dead: u64,
    },
    /// A fault, for the report.
    Fault {
        at_ms: u64,
        what: String,
    },
}

/// A delivery that said it was the first.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    pub(super) epoch: u64,
    /// Its place among all deliveries, as they were written.
    pub(super) order: u32,
    pub(super) to: (u32, u16),
    pub(super) at_ms: u64,
}

/// What is known of a message in one group.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) deliveries: u32,
    pub(super) attempt: u32,
    pub(super) last_epoch: u64,
    pub(super) first_epoch: u64,
    /// The delivery that said it was the first.
    pub(super) unflagged: Option<First>,
    pub(super) holder: Option<Delivered>,
    /// Settles under way that cannot hold the lease any more.
    pub(super) superseded: Vec<u64>,
    pub(super) ack_sent: bool,
    pub(super) is_acked: bool,
    pub(super) is_dead: bool,
    /// It may go without being acked, by request.
    pub(super) is_excused: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) batch: u32,
    pub(super) offset: Option<u64>,
    pub(super) states: [State; SLOTS],
}

#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub(super) producer: u8,
    pub(super) target: Target,
    pub(super) number: u32,
    pub(super) first: u32,
    pub(super) count: u32,
    pub(super) is_delayed: bool,
    /// It was confirmed, or a message of it was seen: all of it has to be there.
    pub(super) is_stored: bool,
    pub(super) is_confirmed: bool,
    /// An attempt ended without an answer.
    pub(super) has_doubt: bool,
    pub(super) was_refused: bool,
    pub(super) is_given_up: bool,
}

/// What is known of a queue or topic.
#[derive(Clone, Debug, Default)]
pub(super) struct TargetState {
    /// Requests under way that may take or bring back messages.
    pub(super) disturbances: u32,
    pub(super) was_disturbed: bool,
    /// A delete may be under way, or done without an answer.
    pub(super) may_be_gone: bool,
    pub(super) number: Option<u32>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct History {
    pub(super) messages: Vec<Message>,
    pub(super) batches: Vec<Batch>,
    pub(super) targets: [TargetState; TARGETS.len()],
    /// (number, offset) to message.
    pub(super) offsets: BTreeMap<(u32, u64), u32>,
    /// Deleted numbers, and when.
    pub(super) gone: BTreeMap<u32, u64>,
    /// When each consumer asked.
    pub(super) consumers: BTreeMap<(u32, u16), u64>,
    pub(super) places: BTreeMap<(u32, u16), PlaceId>,
    /// Consumers that have let go; what still comes to them is not held.
    pub(super) leaving: BTreeSet<(u32, u16)>,
    pub(super) replayed: [bool; PLACES.len()],
    pub(super) held: BTreeMap<(u32, u16), Vec<(PlaceId, u32)>>,
    pub(super) deliveries: u32,
    /// Publishes may have been refused without anybody hearing of it.
    pub(super) was_full: bool,
    pub(super) violations: Vec<super::checker::Violation>,
    pub(super) events: u64,
    hasher: DefaultHasher,
    trail: VecDeque<Event>,
}

impl History {
    /// Takes an event in, and holds it against what is known.
    pub(super) fn note(&mut self, event: Event) {
        self.events += 1;
        event.hash(&mut self.hasher);
        self.check(&event);
        if self.trail.len() == TRAIL && !*IS_ONE {
            self.trail.pop_front();
        }
        self.trail.push_back(event);
    }

    /// The same for the same history.
    pub(super) fn fingerprint(&self) -> u64 {
        self.hasher.finish()
    }

    /// The last events, one a line.
    pub(super) fn trail(&self) -> String {
        self.trail.iter().map(|event| format!("  {event:?}\n")).collect()
    }

    pub(super) fn batch_of(&self, id: u32) -> Option<&Batch> {
        let message = self.messages.get(id as usize)?;
        self.batches.get(message.batch as usize)
    }

    pub(super) fn state(&mut self, place: PlaceId, id: u32) -> Option<&mut State> {
        let message = self.messages.get_mut(id as usize)?;
        Some(&mut message.states[PLACES[place].slot])
    }
}
