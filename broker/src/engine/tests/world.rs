//! A scripted life of a broker, with a record of what was promised, and the check of a survivor.

use super::rig::{Rig, batch, name, publish, request};
use crate::engine::Now;
use crate::engine::input::ConnectionId;
use bytes::Bytes;
use posthaste_protocol::destination_seed;
use posthaste_protocol::names::GroupName;
use posthaste_protocol::request::{
    Consume, Credit, DeadAction, Held, Kind, Outcome, Settings, Settle, Start,
};
use posthaste_protocol::response::Deliver;
use posthaste_protocol::{Request, Response};
use posthaste_storage::StorageError;
use posthaste_storage::disk::SimDisk;
use std::collections::{BTreeMap, BTreeSet};

/// Queue, or topic and group.
type Place = &'static str;
pub(super) const ORDERS: Place = "orders";
pub(super) const BILLING: Place = "events/billing";

/// What an outside observer has seen.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    attempted: BTreeSet<u64>,
    /// Ids that were published in one batch, and where to.
    batches: Vec<(Place, Vec<u64>)>,
    confirmed: BTreeSet<u64>,
    delivered: BTreeSet<(Place, u64)>,
    attempts: BTreeMap<(Place, u64), u32>,
    settle_sent: BTreeSet<(Place, u64)>,
    ack_confirmed: BTreeSet<(Place, u64)>,
    dead_confirmed: BTreeSet<u64>,
    declared: BTreeSet<&'static str>,
    deleted: BTreeSet<&'static str>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) id: u64,
    pub(super) offset: u64,
    pub(super) epoch: u64,
    pub(super) attempt: u32,
    pub(super) redelivered: bool,
}

pub(super) struct World<'a> {
    pub(super) rig: Rig,
    pub(super) history: &'a mut History,
    connection: ConnectionId,
    number: u64,
    producer: u32,
    sequence: u64,
}

pub(super) fn body(id: u64) -> Bytes {
    // Some are large enough that the log rolls within a short script.
    let padding = if id.is_multiple_of(3) { 3_000 } else { 40 };
    Bytes::from(format!("{id:<padding$}"))
}

fn id_of(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).expect("bodies are text");
    text.trim_end().parse().expect("bodies are numbers")
}

/// The messages of a delivery.
pub(super) fn seen(to: &str, deliver: &Deliver) -> Vec<Seen> {
    let mut all = Vec::new();
    for piece in &deliver.pieces {
        let records = piece.records(destination_seed(&name(to)));
        for record in records {
            let (offset, record) = record.expect("a whole record");
            all.push(Seen {
                id: id_of(&record.value),
                offset,
                epoch: deliver.epoch,
                attempt: piece.attempt,
                redelivered: piece.redelivered,
            });
        }
    }
    all
}

impl<'a> World<'a> {
    pub(super) fn new(mut rig: Rig, history: &'a mut History) -> World<'a> {
        let connection = rig.connect();
        World { rig, history, connection, number: 1, producer: 0, sequence: 1 }
    }

    fn declare(&mut self, kind: Kind, what: &'static str) -> Result<u32, StorageError> {
        let settings = Settings {
            max_attempts: Some(3),
            retry_min_ms: Some(1),
            retry_max_ms: Some(1),
            ..Settings::default()
        };
        let declare = Request::Declare { kind, name: name(what), settings };
        let Response::Declared { id, .. } = self.rig.ask(self.connection, declare)? else {
            panic!("a declare is answered by declared");
        };
        self.history.declared.insert(what);
        Ok(id)
    }

    fn open_producer(&mut self) -> Result<(), StorageError> {
        let open = Request::OpenProducer { session: [9; 16] };
        let Response::ProducerOpened { producer, .. } = self.rig.ask(self.connection, open)? else {
            panic!("open-producer is answered");
        };
        self.producer = producer;
        Ok(())
    }

    /// Publishes batches in one chunk and notes which were confirmed.
    fn publish(
        &mut self,
        target: u32,
        to: &'static str,
        place: Place,
        batches: &[&[u64]],
    ) -> Result<(), StorageError> {
        let mut items = Vec::new();
        let mut numbers = BTreeMap::new();
        for ids in batches {
            let bodies: Vec<Bytes> = ids.iter().map(|id| body(*id)).collect();
            let bodies: Vec<&[u8]> = bodies.iter().map(|body| &body[..]).collect();
            items.push(publish(
                self.number,
                target,
                batch(to, self.producer, self.sequence, &bodies),
            ));
            numbers.insert(self.number, ids.to_vec());
            self.number += 1;
            self.sequence += 1;
            self.history.attempted.extend(ids.iter());
            self.history.batches.push((place, ids.to_vec()));
        }
        self.rig.send(self.connection, items);
        let settled = self.rig.settle();
        for (_, _, response) in self.rig.received(self.connection) {
            if let Response::Confirms(ranges) = response {
                for range in ranges {
                    for number in range.first..range.first + u64::from(range.count) {
                        self.history.confirmed.extend(&numbers[&number]);
                    }
                }
            }
        }
        settled
    }

    /// Takes up to `messages` and notes them.
    fn take(
        &mut self,
        place: Place,
        messages: u32,
    ) -> Result<(ConnectionId, Vec<Seen>), StorageError> {
        let connection = self.rig.connect();
        let (what, group) = place.split_once('/').map_or((place, None), |(t, g)| (t, Some(g)));
        let consume = Consume {
            name: name(what),
            group: group.map(|group| GroupName::try_from(group).expect("valid")),
            start: Start::Earliest,
            lease_ms: None,
            credit: Credit { messages, bytes: 1 << 20, begun: 0 },
        };
        self.rig.send(connection, vec![request(1, 1, Request::Consume(consume))]);
        let settled = self.rig.settle();
        let mut all = Vec::new();
        for (_, _, response) in self.rig.received(connection) {
            if let Response::Deliver(deliver) = response {
                all.extend(seen(what, &deliver));
            }
        }
        for message in &all {
            check_flag(self.history, place, message);
            self.history.delivered.insert((place, message.id));
            self.history.attempts.insert((place, message.id), message.attempt);
        }
        settled.map(|()| (connection, all))
    }

    fn end(
        &mut self,
        place: Place,
        connection: ConnectionId,
        messages: &[Seen],
        outcome: &Outcome,
        confirm: bool,
    ) -> Result<(), StorageError> {
        let items: Vec<Settle> = messages
            .iter()
            .map(|m| Settle {
                held: Held { first: m.offset, count: 1, epoch: m.epoch },
                outcome: outcome.clone(),
            })
            .collect();
        self.history.settle_sent.extend(messages.iter().map(|m| (place, m.id)));
        self.rig.send(connection, vec![request(1, 77, Request::Settle { confirm, items })]);
        let settled = self.rig.settle();
        for (_, corr, response) in self.rig.received(connection) {
            if let Response::Settled { stale } = response
                && corr == 77
            {
                assert!(stale.is_empty(), "a held lease is not stale: {stale:?}");
                for message in messages {
                    match outcome {
                        Outcome::Ack => {
                            self.history.ack_confirmed.insert((place, message.id));
                        }
                        Outcome::DeadLetter { .. } => {
                            self.history.dead_confirmed.insert(message.id);
                        }
                        Outcome::Retry { .. } | Outcome::Release => {}
                    }
                }
            }
        }
        settled
    }

    /// A short life with everything in it. Stops where the power goes.
    pub(super) fn live(mut self, disk: &SimDisk) -> Result<(), StorageError> {
        let orders = self.declare(Kind::Queue, "orders")?;
        let events = self.declare(Kind::Topic, "events")?;
        self.declare(Kind::Queue, "temp")?;
        self.open_producer()?;
        self.publish(orders, "orders", ORDERS, &[&[1], &[2, 3, 4], &[5], &[6, 7, 8, 9]])?;
        self.publish(events, "events", BILLING, &[&[101, 102], &[103]])?;
        let (consumer, got) = self.take(ORDERS, 6)?;
        self.end(ORDERS, consumer, &got[..1], &Outcome::Ack, false)?;
        self.end(ORDERS, consumer, &got[1..2], &Outcome::Ack, true)?;
        let retry = Outcome::Retry { delay_ms: Some(0), reason: "try again".into() };
        self.end(ORDERS, consumer, &got[2..3], &retry, true)?;
        let hopeless = Outcome::DeadLetter { reason: "hopeless".into() };
        self.end(ORDERS, consumer, &got[3..4], &hopeless, true)?;
        self.rig.disconnect(consumer);
        let (consumer, got) = self.take(BILLING, 2)?;
        self.end(BILLING, consumer, &got, &Outcome::Ack, true)?;
        self.rig.disconnect(consumer);
        self.rig.settle()?;
        self.rig.checkpoint()?;
        for first in (10..40).step_by(5) {
            let ids: Vec<u64> = (first..first + 5).collect();
            self.publish(orders, "orders", ORDERS, &[&ids[..2], &ids[2..]])?;
        }
        let (consumer, got) = self.take(ORDERS, 12)?;
        self.end(ORDERS, consumer, &got, &Outcome::Ack, true)?;
        let delete = Request::Delete { name: name("temp"), group: None };
        self.rig.ask(self.connection, delete)?;
        self.history.deleted.insert("temp");
        self.rig.checkpoint()?;
        let World { rig, history, sequence, .. } = self;
        let now = rig.now;
        rig.stop()?;
        let mut again = World::new(reopen(disk, now)?, history);
        again.sequence = sequence;
        again.open_producer()?;
        again.publish(orders, "orders", ORDERS, &[&[50, 51], &[52]])?;
        again.publish(events, "events", BILLING, &[&[104]])?;
        let (consumer, got) = again.take(ORDERS, 5)?;
        again.end(ORDERS, consumer, &got[..3], &Outcome::Ack, true)?;
        again.rig.checkpoint()?;
        again.publish(orders, "orders", ORDERS, &[&[60], &[61, 62, 63]])
    }
}

fn reopen(disk: &SimDisk, now: Now) -> Result<Rig, StorageError> {
    match Rig::open(disk, now) {
        Ok(rig) => Ok(rig),
        Err(crate::engine::start::OpenError::Storage(error)) => Err(error),
        Err(error) => panic!("the log does not replay: {error}"),
    }
}

fn check_flag(history: &History, place: Place, message: &Seen) {
    assert!(
        message.redelivered || !history.delivered.contains(&(place, message.id)),
        "P23: message {} of {place} comes again without the flag",
        message.id
    );
    let before = history.attempts.get(&(place, message.id)).copied().unwrap_or(1);
    assert!(message.attempt >= before, "P23: the attempts of message {} went back", message.id);
    assert!(
        history.attempted.contains(&message.id),
        "phantom: message {} was never published",
        message.id
    );
    assert!(
        !history.ack_confirmed.contains(&(place, message.id)),
        "P5: message {} of {place} comes again after its confirmed ack",
        message.id
    );
}

/// Opens a survivor, drains it and holds it against the history. Returns what it served.
pub(super) fn check(disk: &SimDisk, now: Now, history: &History) -> BTreeMap<Place, Vec<u64>> {
    let rig = Rig::open(disk, now).unwrap_or_else(|error| panic!("P14: recovery refused: {error}"));
    assert!(rig.report.damaged.is_empty(), "P12: a crash is not damage: {}", rig.report);
    let mut after = history.clone();
    let mut world = World::new(rig, &mut after);
    let names: BTreeSet<String> = names(&mut world);
    for declared in &history.declared {
        let may_be_gone = *declared == "temp";
        assert!(
            may_be_gone || names.contains(*declared),
            "P6: {declared} was declared and is gone"
        );
    }
    for deleted in &history.deleted {
        assert!(!names.contains(*deleted), "P6: {deleted} was deleted and is back");
    }
    let mut served = BTreeMap::new();
    for (place, what) in [(ORDERS, "orders"), (BILLING, "events")] {
        if !names.contains(what) {
            continue;
        }
        world.rig.advance(60_000);
        let (_, got) = world.take(place, 10_000).expect("no faults any more");
        let mut ids: Vec<u64> = got.iter().map(|seen| seen.id).collect();
        ids.sort_unstable();
        let distinct: BTreeSet<u64> = ids.iter().copied().collect();
        assert_eq!(
            distinct.len(),
            ids.len(),
            "duplicated: {place} serves a message twice: {ids:?}"
        );
        let dead: BTreeSet<u64> = match place {
            ORDERS => dead(&mut world),
            _ => BTreeSet::new(),
        };
        check_place(history, place, &distinct, &dead);
        served.insert(place, ids);
    }
    served
}

fn check_place(history: &History, place: Place, served: &BTreeSet<u64>, dead: &BTreeSet<u64>) {
    for (at, ids) in &history.batches {
        if *at != place {
            continue;
        }
        for id in ids {
            let is_settled = history.settle_sent.contains(&(place, *id));
            let is_there = served.contains(id) || dead.contains(id);
            assert!(
                is_there || is_settled || !history.confirmed.contains(id),
                "P1: message {id} of {place} was confirmed and is lost"
            );
            assert!(
                is_there || is_settled || !history.delivered.contains(&(place, *id)),
                "P4: message {id} of {place} was delivered and has vanished"
            );
            assert!(!(served.contains(id) && dead.contains(id)), "P24: {id} is ready and dead");
        }
        let open: Vec<&u64> =
            ids.iter().filter(|id| !history.settle_sent.contains(&(place, **id))).collect();
        let there = open.iter().filter(|id| served.contains(id) || dead.contains(id)).count();
        assert!(there == 0 || there == open.len(), "P2: batch {ids:?} of {place} is torn");
    }
    if place == ORDERS {
        for id in &history.dead_confirmed {
            assert!(dead.contains(id), "P24: message {id} was dead-lettered and is not there");
        }
    }
}

fn names(world: &mut World<'_>) -> BTreeSet<String> {
    let list = Request::List { after: None, limit: 100 };
    let Ok(Response::Listed { items, .. }) = world.rig.ask(world.connection, list) else {
        panic!("a list is answered");
    };
    items.iter().map(|item| item.name.to_string()).collect()
}

fn dead(world: &mut World<'_>) -> BTreeSet<u64> {
    let action = DeadAction::List { from: 0, limit: 100 };
    let ask = Request::Dead { name: name("orders"), group: None, action };
    let Ok(Response::DeadLetters { items, .. }) = world.rig.ask(world.connection, ask) else {
        panic!("dead letters are listed");
    };
    let pieces = items.into_iter().map(|item| item.piece).collect();
    let deliver = Deliver { epoch: 0, lease_ms: 0, pieces };
    seen("orders", &deliver).iter().map(|seen| seen.id).collect()
}
