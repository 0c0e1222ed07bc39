//! Valid commands in odd orders, from three clients to one broker in memory.
//!
//! Held to: each request and publish is answered exactly once, nothing comes behind closing, what is confirmed is
//! accounted for in one of the states of its queue, leases and instances of services end with their connection, and
//! the broker goes on.

use crate::feed::Feed;
use crate::frame;
use crate::peer::{Peer, broker};
use bytes::Bytes;
use posthaste_broker::Embedded;
use posthaste_protocol::request::{
    Atomic, AtomicPart, AtomicSettle, Consume, Credit, DeadAction, Held, Kind, Outcome, Settings,
    Settle, Start,
};
use posthaste_protocol::schedule::ScheduleCall;
use posthaste_protocol::service::{Answer, ServiceCall};
use posthaste_protocol::{BatchBuilder, GroupName, Name, Record, Request, destination_seed};

const NAMES: [&str; 4] = ["q0", "q1", "t0", "t1"];
const STEPS_MAX: usize = 200;

/// Feeds `data`.
///
/// # Panics
/// When the broker breaks one of the rules above.
pub fn run(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(talk(Feed::new(data)));
}

async fn talk(mut feed: Feed<'_>) {
    let broker = broker().await;
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = Peer::greet(&broker).await;
        peer.barrier().await;
        peers.push(peer);
    }
    let mut confirmed = 0;
    for _ in 0..STEPS_MAX {
        if feed.is_empty() {
            break;
        }
        let index = usize::from(feed.below(3));
        let peer = &mut peers[index];
        peer.hear();
        if step(peer, &mut feed).await || peer.is_over() || peer.closing.is_some() {
            confirmed += end(peer).await;
            *peer = Peer::greet(&broker).await;
        }
    }
    for peer in &mut peers {
        confirmed += end(peer).await;
    }
    check(&broker, confirmed).await;
    broker.shutdown().await.expect("an orderly stop");
}

async fn end(peer: &mut Peer) -> u64 {
    peer.leave().await;
    peer.confirmed.values().sum()
}

/// One thing that a client does; whether it leaves.
async fn step(peer: &mut Peer, feed: &mut Feed<'_>) -> bool {
    let channel = 1 + u16::from(feed.below(4));
    let request = match feed.below(26) {
        0 | 1 => declare(feed),
        2 => Request::DeclareGroup {
            topic: name(feed),
            group: group(feed),
            start: start(feed),
            settings: settings(feed),
        },
        3 => Request::Describe { name: name(feed) },
        4 => Request::List { after: Some(name(feed)), limit: 1 + u32::from(feed.byte()) },
        5 => Request::Delete {
            name: name(feed),
            group: Some(group(feed)).filter(|_| feed.below(3) == 0),
        },
        6 => {
            let session = [feed.below(3); 16];
            Request::OpenProducer { session }
        }
        7..=10 => {
            publish(peer, feed).await;
            return false;
        }
        11 | 12 => return consume(peer, channel, feed).await,
        13 => Request::Credit(credit(feed)),
        14..=16 => settle(peer, feed),
        17 => {
            let items = vec![held(peer, feed)];
            Request::Extend { lease_ms: 100 + feed.number32() % 86_000_000, items }
        }
        18 => Request::Cancel,
        19 => Request::Read {
            name: name(feed),
            from: start(feed),
            messages_max: 1 + u32::from(feed.byte()),
            bytes_max: feed.number32(),
        },
        20 => Request::Seek {
            topic: name(feed),
            group: group(feed),
            to: start(feed),
            dry_run: feed.below(2) == 0,
        },
        21 => Request::Purge { name: name(feed), dry_run: feed.below(2) == 0 },
        22 => Request::Dead { name: name(feed), group: group_or_none(feed), action: dead(feed) },
        23 => Request::Stats,
        24 => {
            peer.barrier().await;
            return false;
        }
        _ => return odd(peer, feed).await,
    };
    let channel = if request.is_for_a_consumer() { channel } else { 0 };
    peer.ask(channel, &request).await;
    false
}

/// What is at the edge of the protocol: a broken frame, an early end.
async fn odd(peer: &mut Peer, feed: &mut Feed<'_>) -> bool {
    match feed.below(7) {
        0 => true,
        6 => {
            peer.ask(0, &Request::Schedule(schedule_call(feed))).await;
            false
        }
        1 => {
            // A frame of a kind and with fields that may be anything, under an id of its own.
            let (kind, channel) = (feed.byte() & 0x7f, u16::from(feed.below(3)));
            let meta = feed.take(24);
            peer.send(&frame::frame(kind, 0, channel, meta, &[])).await;
            peer.forget(1 << 63);
            true
        }
        2 => {
            peer.send(&[0xff; 4]).await;
            true
        }
        3 | 4 => {
            let call = service_call(peer, feed);
            peer.ask(0, &Request::Service(call)).await;
            false
        }
        _ => {
            peer.barrier().await;
            false
        }
    }
}

/// Two schedules, to what may be there or not, so far ahead that nothing comes of them.
fn schedule_call(feed: &mut Feed<'_>) -> ScheduleCall {
    let named = Name::try_from(["s0", "s1"][usize::from(feed.below(2))]).expect("a name");
    match feed.below(4) {
        0 => ScheduleCall::Cancel { name: named },
        1 => ScheduleCall::List { after: Some(named).filter(|_| feed.below(2) == 0), limit: 1 },
        _ => {
            let to = name(feed);
            let when = ["@every 365d", "0 0 29 2 *", "0 25 * * *", ""][usize::from(feed.below(4))];
            let zone = ["UTC", "Europe/Berlin", "Mars"][usize::from(feed.below(3))];
            let mut builder = BatchBuilder::new();
            for _ in 0..=feed.below(8) / 7 {
                builder.push(&Record { value: b"body", ..Record::default() }).expect("it fits");
            }
            let batch = builder.finish(destination_seed(&to), 0, 0, 0);
            ScheduleCall::Set { name: named, to, when: when.into(), zone: zone.into(), batch }
        }
    }
}

/// Serving, asking and answering, of two services; mostly what was asked, sometimes anything.
fn service_call(peer: &mut Peer, feed: &mut Feed<'_>) -> ServiceCall {
    let name = Name::try_from(["s0", "s1"][usize::from(feed.below(2))]).expect("a name");
    let mut builder = BatchBuilder::new();
    builder.push(&Record { value: b"body", ..Record::default() }).expect("it fits");
    let batch = builder.finish(destination_seed(&name), 0, 0, 0);
    match feed.below(6) {
        0 => ServiceCall::Serve { name, in_flight_max: 1 + u32::from(feed.below(3)) },
        1 => ServiceCall::Leave { name },
        2 | 3 => {
            let timeout_ms = [1, 3_600_000][usize::from(feed.below(2))];
            ServiceCall::Ask { name, timeout_ms, batch }
        }
        4 => {
            let (name, ticket) = match peer.requested.pop_front() {
                Some(known) if feed.below(4) != 0 => known,
                _ => (name, u64::from(feed.byte())),
            };
            let answer = Answer::Failed { reason: "r".into() };
            ServiceCall::Answer { name, ticket, answer }
        }
        _ => ServiceCall::Services { after: Some(name) },
    }
}

fn declare(feed: &mut Feed<'_>) -> Request {
    let name = name(feed);
    let mut kind = if name.as_str().starts_with('q') { Kind::Queue } else { Kind::Topic };
    if feed.below(16) == 0 {
        kind = Kind::Queue;
    }
    Request::Declare { kind, name, settings: settings(feed) }
}

async fn publish(peer: &mut Peer, feed: &mut Feed<'_>) {
    let (producer, sequence) = match feed.below(3) {
        0 => (1 + u32::from(feed.below(4)), 1 + u64::from(feed.below(6))),
        _ => (0, 0),
    };
    let expects = Some(u64::from(feed.below(4))).filter(|_| feed.below(8) == 0);
    if feed.below(6) == 0 {
        let request = Request::Atomic(atomic(peer, feed, producer, sequence));
        return peer.publish(&request, 0).await;
    }
    let (target, batch, count) = batch(feed, producer, sequence);
    peer.publish(&Request::Publish { target, durability: 0, expects, batch }, count).await;
}

/// Up to two batches and up to two settles.
fn atomic(peer: &Peer, feed: &mut Feed<'_>, producer: u32, sequence: u64) -> Atomic {
    let mut atomic = Atomic { producer, sequence, ..Atomic::default() };
    let mut batches = Vec::new();
    for _ in 0..feed.below(3) {
        let (target, batch, _) = batch(feed, producer, sequence);
        let expects = Some(u64::from(feed.below(4))).filter(|_| feed.below(4) == 0);
        atomic.parts.push(AtomicPart { target, expects });
        batches.extend_from_slice(&batch);
    }
    for _ in 0..feed.below(3) {
        let outcome = if feed.below(8) == 0 { Outcome::Release } else { Outcome::Ack };
        let (channel, settle) =
            (1 + u16::from(feed.below(4)), Settle { held: held(peer, feed), outcome });
        atomic.settles.push(AtomicSettle { channel, settle });
    }
    atomic.batches = batches.into();
    atomic
}

/// Some messages, mostly for the queue or topic that they are sent to.
fn batch(feed: &mut Feed<'_>, producer: u32, sequence: u64) -> (u32, Bytes, u32) {
    let name = name(feed);
    let target = 1 + u32::from(feed.below(6));
    let count = 1 + feed.below(4);
    let mut builder = BatchBuilder::new();
    for index in 0..count {
        let not_before_ms =
            Some(feed.number() % 253_402_300_800_000).filter(|_| feed.below(8) == 0);
        let value = [index; 3];
        let id =
            Some(["i0", "i1", "i2"][usize::from(feed.below(3))]).filter(|_| feed.below(4) == 0);
        let record = Record { value: &value, not_before_ms, id, ..Record::default() };
        builder.push(&record).expect("it fits");
    }
    let batch = builder.finish(destination_seed(&name), producer, sequence, 0);
    (target, batch, u32::from(count))
}

async fn consume(peer: &mut Peer, channel: u16, feed: &mut Feed<'_>) -> bool {
    let name = name(feed);
    let group = group_or_none(feed).filter(|_| name.as_str().starts_with('t'));
    let lease_ms = Some(100 + feed.number32() % 86_000_000).filter(|_| feed.below(2) == 0);
    let consume = Consume { name, group, start: start(feed), lease_ms, credit: credit(feed) };
    peer.ask(channel, &Request::Consume(consume)).await;
    false
}

fn settle(peer: &Peer, feed: &mut Feed<'_>) -> Request {
    let outcome = |feed: &mut Feed<'_>| match feed.below(6) {
        0 => Outcome::Retry { delay_ms: Some(feed.number() % 31_536_000_000), reason: "r".into() },
        1 => Outcome::Retry { delay_ms: None, reason: String::new() },
        2 => Outcome::Release,
        3 => Outcome::DeadLetter { reason: "d".into() },
        _ => Outcome::Ack,
    };
    let items =
        (0..1 + feed.below(3)).map(|_| Settle { held: held(peer, feed), outcome: outcome(feed) });
    Request::Settle { items: items.collect(), confirm: feed.below(2) == 0 }
}

/// Mostly what was delivered, in whole or in part; sometimes anything.
fn held(peer: &Peer, feed: &mut Feed<'_>) -> Held {
    let pick = usize::from(feed.byte());
    if let Some((_, epoch, first, count)) = peer.held.get(pick % peer.held.len().max(1))
        && feed.below(5) != 0
    {
        let from = u32::from(feed.below(3)) % count;
        return Held { first: first + u64::from(from), count: count - from, epoch: *epoch };
    }
    let count = 1 + feed.number32() % 1_000_000;
    let first = feed.number() % (u64::MAX - 2_000_000);
    Held { first, count, epoch: feed.number() }
}

fn dead(feed: &mut Feed<'_>) -> DeadAction {
    let offset = Some(feed.number()).filter(|_| feed.below(2) == 0);
    let dry_run = feed.below(4) == 0;
    match feed.below(3) {
        0 => DeadAction::List { from: feed.number(), limit: 1 + u32::from(feed.byte()) },
        1 => DeadAction::Replay { offset, dry_run },
        _ => DeadAction::Drop { offset, dry_run },
    }
}

fn name(feed: &mut Feed<'_>) -> Name {
    Name::try_from(NAMES[usize::from(feed.below(4))]).expect("a name")
}

fn group(feed: &mut Feed<'_>) -> GroupName {
    GroupName::try_from(["g0", "g1"][usize::from(feed.below(2))]).expect("a name")
}

fn group_or_none(feed: &mut Feed<'_>) -> Option<GroupName> {
    Some(group(feed)).filter(|_| feed.below(4) != 0)
}

fn start(feed: &mut Feed<'_>) -> Start {
    match feed.below(4) {
        0 => Start::Earliest,
        1 => Start::Latest,
        2 => Start::Offset(feed.number()),
        _ => Start::TimeMs(feed.number()),
    }
}

fn credit(feed: &mut Feed<'_>) -> Credit {
    Credit { messages: feed.number32(), bytes: feed.number(), begun: feed.number() }
}

fn settings(feed: &mut Feed<'_>) -> Settings {
    let mask = feed.byte();
    let mut number = |bit: u8| Some(feed.number32()).filter(|_| mask & 1 << bit != 0);
    Settings {
        max_attempts: number(0).map(|n| 1 + n % 1_000_000),
        lease_ms: number(1).map(|n| 100 + n % 86_000_000),
        max_messages: number(2).map(u64::from),
        retry_factor_percent: number(3).map(|n| 100 + n % 901),
        retry_jitter_percent: number(4).map(|n| n % 101),
        max_hold_ms: number(5).map(|n| 100 + n % 604_000_000),
        id_window_ms: number(6).map(|n| 1_000 + u64::from(n) % 2_591_000_000),
        ..Settings::default()
    }
}

/// Behind everything: a newcomer finds every confirmed message of a queue in one of its states.
async fn check(broker: &Embedded, confirmed: u64) {
    let mut peer = Peer::greet(broker).await;
    peer.describe_all().await;
    for description in &peer.described {
        for group in &description.groups {
            assert_eq!(group.leased, 0, "leases end with their connection: {description:?}");
            assert_eq!(group.consumers, 0, "consumers end with their connection");
            let known = group.ready + group.delayed + group.dead + group.settled;
            if description.kind == Kind::Queue {
                assert_eq!(known, description.next_offset, "each is in one state: {description:?}");
            }
        }
    }
    assert_eq!(peer.services, 0, "instances end with their connection");
    assert!(peer.published >= confirmed, "{} of {confirmed} confirmed are known", peer.published);
    peer.leave().await;
}
