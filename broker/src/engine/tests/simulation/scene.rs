//! What every simulated broker holds: queues and topics with different fates, and message bodies.

use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Kind, Settings};
use posthaste_storage::Options;

/// A queue or topic, by its place in [`TARGETS`].
pub(super) type Target = usize;
/// A queue, or a group of a topic, by its place in [`PLACES`].
pub(super) type PlaceId = usize;

/// Messages leave it by ack alone.
pub(super) const ORDERS: Target = 0;
/// Messages die and are replayed.
pub(super) const JOBS: Target = 1;
/// Deleted, purged, limited; dead letters are dropped.
pub(super) const SCRATCH: Target = 2;
/// A topic.
pub(super) const EVENTS: Target = 3;

/// Much longer than any history, however its clocks jump: nothing may ever be old enough.
const HOUR_MS: u64 = 3_600_000;

/// A queue or topic of the scene.
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    max_attempts: u32,
    lease_ms: u32,
    max_hold_ms: Option<u32>,
    retry_max_ms: u32,
    max_messages: Option<u64>,
    retain_ms: Option<u64>,
    /// Publishers without a session then give their messages ids, and send them again.
    pub(super) id_window_ms: Option<u64>,
}

pub(super) const TARGETS: [Scene; 4] = [
    Scene {
        name: "orders",
        kind: Kind::Queue,
        max_attempts: 1_000_000,
        lease_ms: 1_500,
        max_hold_ms: None,
        retry_max_ms: 200,
        max_messages: None,
        retain_ms: None,
        id_window_ms: Some(HOUR_MS),
    },
    Scene {
        name: "jobs",
        kind: Kind::Queue,
        max_attempts: 3,
        lease_ms: 500,
        max_hold_ms: Some(900),
        retry_max_ms: 50,
        max_messages: None,
        retain_ms: None,
        id_window_ms: None,
    },
    Scene {
        name: "scratch",
        kind: Kind::Queue,
        max_attempts: 5,
        lease_ms: 700,
        max_hold_ms: None,
        retry_max_ms: 20,
        max_messages: Some(60),
        retain_ms: None,
        id_window_ms: None,
    },
    Scene {
        name: "events",
        kind: Kind::Topic,
        max_attempts: 4,
        lease_ms: 800,
        max_hold_ms: Some(1_000),
        retry_max_ms: 100,
        max_messages: None,
        retain_ms: Some(HOUR_MS),
        id_window_ms: None,
    },
];

/// A queue, or a group of a topic.
pub(super) struct Place {
    pub(super) target: Target,
    pub(super) group: Option<&'static str>,
    /// Which of the groups of its target it is.
    pub(super) slot: usize,
}

/// Groups that one message can be in.
pub(super) const SLOTS: usize = 2;

pub(super) const PLACES: [Place; 5] = [
    Place { target: ORDERS, group: None, slot: 0 },
    Place { target: JOBS, group: None, slot: 0 },
    Place { target: SCRATCH, group: None, slot: 0 },
    Place { target: EVENTS, group: Some("billing"), slot: 0 },
    Place { target: EVENTS, group: Some("audit"), slot: 1 },
];
/// The group that is sent back and forth.
pub(super) const AUDIT: PlaceId = 4;

impl Scene {
    pub(super) fn name(&self) -> Name {
        Name::try_from(self.name).expect("a valid name")
    }

    pub(super) fn settings(&self) -> Settings {
        Settings {
            max_attempts: Some(self.max_attempts),
            lease_ms: Some(self.lease_ms),
            max_hold_ms: self.max_hold_ms,
            retry_min_ms: Some(1),
            retry_max_ms: Some(self.retry_max_ms),
            retry_factor_percent: Some(150),
            retry_jitter_percent: Some(30),
            max_messages: self.max_messages,
            retain_ms: self.retain_ms,
            id_window_ms: self.id_window_ms,
            ..Settings::default()
        }
    }
}

impl Place {
    pub(super) fn name(&self) -> Name {
        TARGETS[self.target].name()
    }

    pub(super) fn group_name(&self) -> Option<GroupName> {
        self.group.map(|group| GroupName::try_from(group).expect("a valid name"))
    }
}

/// The places of a target.
pub(super) fn places_of(target: Target) -> impl Iterator<Item = PlaceId> {
    (0..PLACES.len()).filter(move |place| PLACES[*place].target == target)
}

/// A small log, so that it rolls, is reclaimed and runs out of its caches within a short history.
pub(super) fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        segment_bytes_max: 64 << 10,
        spares: 3,
        reserve_bytes: 0,
        tail_cache_bytes: 16 << 10,
        block_bytes_max: 48 << 10,
        checkpoint_log_bytes: 24 << 10,
        background: false,
        prewrite: false,
        seed: Some(7),
        ..Options::default()
    }
}

/// The body of a message: its number, and bytes that follow from it.
pub(super) fn body(id: u32) -> Vec<u8> {
    let padding = if id.is_multiple_of(7) { 900 } else { 16 + id as usize % 40 };
    let mut body = Vec::with_capacity(4 + padding);
    body.extend_from_slice(&id.to_le_bytes());
    body.resize(4 + padding, id.to_le_bytes()[0]);
    body
}

/// The number of a message, if it is one of ours and whole.
pub(super) fn id_of(value: &[u8]) -> Option<u32> {
    let id = u32::from_le_bytes(*value.first_chunk()?);
    (value == body(id)).then_some(id)
}
