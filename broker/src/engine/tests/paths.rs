//! The three paths, and what a client sees at their edges.

use super::rig::{Rig, batch, name, publish, request};
use crate::engine::input::ConnectionId;
use bytes::Bytes;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::names::GroupName;
use posthaste_protocol::request::{
    Consume, Credit, DeadAction, Held, Kind, Outcome, Settings, Settle, Start,
};
use posthaste_protocol::response::{Confirmed, Deliver, Description};
use posthaste_protocol::{Request, Response, destination_seed};

/// A rig with the queue `orders` and a connection.
fn orders(settings: Settings) -> (Rig, ConnectionId, u32) {
    let mut rig = Rig::fresh();
    let connection = rig.connect();
    let declare = Request::Declare { kind: Kind::Queue, name: name("orders"), settings };
    let answer = rig.ask(connection, declare).expect("no faults");
    let Response::Declared { id, .. } = answer else { panic!("declared, not {answer:?}") };
    (rig, connection, id)
}

fn put(rig: &mut Rig, connection: ConnectionId, target: u32, bodies: &[&[u8]]) -> Vec<Response> {
    rig.send(connection, vec![publish(1, target, batch("orders", 0, 0, bodies))]);
    rig.settle().expect("no faults");
    answers(rig, connection)
}

fn answers(rig: &mut Rig, connection: ConnectionId) -> Vec<Response> {
    rig.received(connection).into_iter().map(|(_, _, response)| response).collect()
}

fn consume(messages: u32) -> Request {
    Request::Consume(Consume {
        name: name("orders"),
        group: None,
        start: Start::Earliest,
        lease_ms: Some(1_000),
        credit: Credit { messages, bytes: 1 << 20, begun: 0 },
    })
}

fn take(rig: &mut Rig, messages: u32) -> (ConnectionId, Vec<Deliver>) {
    let connection = rig.connect();
    rig.send(connection, vec![request(1, 1, consume(messages))]);
    rig.settle().expect("no faults");
    (connection, delivers(rig, connection))
}

fn delivers(rig: &mut Rig, connection: ConnectionId) -> Vec<Deliver> {
    let is_deliver = |response| match response {
        Response::Deliver(deliver) => Some(deliver),
        _ => None,
    };
    answers(rig, connection).into_iter().filter_map(is_deliver).collect()
}

fn bodies(delivers: &[Deliver]) -> Vec<Bytes> {
    let seed = destination_seed(&name("orders"));
    let pieces = delivers.iter().flat_map(|deliver| &deliver.pieces);
    let records = pieces.flat_map(|piece| piece.records(seed));
    records.map(|record| record.expect("a whole record").1.value).collect()
}

fn settle(deliver: &Deliver, outcome: &Outcome, confirm: bool) -> Request {
    let held = deliver.pieces.iter().map(|piece| Held {
        first: piece.base_offset + u64::from(piece.from),
        count: piece.count,
        epoch: deliver.epoch,
    });
    let items = held.map(|held| Settle { held, outcome: outcome.clone() }).collect();
    Request::Settle { confirm, items }
}

fn describe(rig: &mut Rig, connection: ConnectionId) -> Description {
    let answer = rig.ask(connection, Request::Describe { name: name("orders") });
    match answer.expect("no faults") {
        Response::Described(description) => description,
        other => panic!("described, not {other:?}"),
    }
}

fn counts(rig: &mut Rig, connection: ConnectionId) -> (u64, u64, u64, u64, u64) {
    let info = describe(rig, connection).groups.remove(0);
    (info.ready, info.leased, info.delayed, info.dead, info.settled)
}

fn refused(response: &Response) -> ErrorCode {
    match response {
        Response::Error(reply) => reply.code,
        other => panic!("refused, not {other:?}"),
    }
}

#[test]
fn a_publish_is_confirmed_with_its_place() {
    let (mut rig, connection, id) = orders(Settings::default());
    let one = Confirmed { first: 1, count: 1, target: id, base_offset: 0, duplicate: false };
    assert_eq!(put(&mut rig, connection, id, &[b"a", b"b"]), [Response::Confirms(vec![one])]);
    let two = Confirmed { base_offset: 2, ..one };
    assert_eq!(put(&mut rig, connection, id, &[b"c"]), [Response::Confirms(vec![two])]);
}

#[test]
fn neighbouring_publishes_share_one_confirm() {
    let (mut rig, connection, id) = orders(Settings::default());
    let items = (1..=100).map(|n| publish(n, id, batch("orders", 0, 0, &[b"x"]))).collect();
    rig.send(connection, items);
    rig.settle().expect("no faults");
    let all = Confirmed { first: 1, count: 100, target: id, base_offset: 0, duplicate: false };
    assert_eq!(answers(&mut rig, connection), [Response::Confirms(vec![all])]);
}

#[test]
fn a_full_block_follows_the_one_under_way_and_each_confirms_its_own() {
    let (mut rig, connection, id) = orders(Settings::default());
    let body = [0; 3 << 10];
    let send = |rig: &mut Rig, number| {
        rig.send(connection, vec![publish(number, id, batch("orders", 0, 0, &[&body]))]);
    };
    send(&mut rig, 1);
    let first = rig.core.next_block(rig.now).expect("nothing is under way");
    send(&mut rig, 2);
    assert!(rig.core.next_block(rig.now).is_none(), "a small block waits");
    send(&mut rig, 3);
    assert!(!rig.core.has_room());
    let second = rig.core.next_block(rig.now).expect("a full one does not");
    assert!(rig.core.has_room());
    send(&mut rig, 4);
    send(&mut rig, 5);
    assert!(rig.core.next_block(rig.now).is_none(), "two are enough");
    for (body, confirmed) in [(first, (1, 1)), (second, (2, 2))] {
        rig.core.flush();
        assert_eq!(answers(&mut rig, connection), []);
        rig.commit(body).expect("no faults");
        rig.core.flush();
        let (number, count) = confirmed;
        let confirmed = Confirmed {
            first: number,
            count,
            target: id,
            base_offset: number - 1,
            duplicate: false,
        };
        assert_eq!(answers(&mut rig, connection), [Response::Confirms(vec![confirmed])]);
    }
    rig.settle().expect("no faults");
    assert_eq!(answers(&mut rig, connection).len(), 1);
}

#[test]
fn messages_of_one_producer_come_in_publish_order() {
    let (mut rig, connection, id) = orders(Settings::default());
    put(&mut rig, connection, id, &[b"1", b"2", b"3"]);
    put(&mut rig, connection, id, &[b"4"]);
    let (_, got) = take(&mut rig, 10);
    assert_eq!(bodies(&got), ["1", "2", "3", "4"]);
}

#[test]
fn a_consumer_gets_no_more_than_its_credit() {
    let (mut rig, connection, id) = orders(Settings::default());
    put(&mut rig, connection, id, &[b"1", b"2", b"3", b"4", b"5", b"6", b"7"]);
    let (consumer, got) = take(&mut rig, 2);
    assert_eq!(bodies(&got), ["1", "2"]);
    let credit = Credit { messages: 4, bytes: 0, begun: 0 };
    rig.send(consumer, vec![request(1, 2, Request::Credit(credit))]);
    rig.settle().expect("no faults");
    assert_eq!(bodies(&delivers(&mut rig, consumer)), ["3", "4", "5", "6"]);
}

#[test]
fn consumers_of_one_queue_share_it() {
    let (mut rig, connection, id) = orders(Settings::default());
    let (first, second) = (take(&mut rig, 100).0, take(&mut rig, 100).0);
    for _ in 0..20 {
        put(&mut rig, connection, id, &[b"x"]);
    }
    let shares = [first, second].map(|consumer| bodies(&delivers(&mut rig, consumer)).len());
    assert_eq!(shares, [10, 10]);
}

#[test]
fn an_acked_message_is_settled_and_never_comes_again() {
    let (mut rig, connection, id) = orders(Settings::default());
    put(&mut rig, connection, id, &[b"1", b"2"]);
    let (consumer, got) = take(&mut rig, 2);
    assert_eq!(counts(&mut rig, connection), (0, 2, 0, 0, 0));
    let ack = settle(&got[0], &Outcome::Ack, true);
    let answer = rig.ask_on(consumer, 1, ack.clone()).expect("no faults");
    assert_eq!(answer, Response::Settled { stale: vec![] });
    assert_eq!(counts(&mut rig, connection), (0, 0, 0, 0, 2));
    let again = rig.ask_on(consumer, 1, ack).expect("no faults");
    assert!(matches!(again, Response::Settled { stale } if !stale.is_empty()));
    rig.disconnect(consumer);
    assert!(bodies(&take(&mut rig, 10).1).is_empty());
}

#[test]
fn a_lost_consumer_gives_its_messages_back_at_once_and_flagged() {
    let (mut rig, connection, id) = orders(Settings::default());
    put(&mut rig, connection, id, &[b"1", b"2"]);
    let (consumer, got) = take(&mut rig, 2);
    assert!(got.iter().flat_map(|d| &d.pieces).all(|p| !p.redelivered && p.attempt == 1));
    rig.disconnect(consumer);
    rig.settle().expect("no faults");
    let (_, got) = take(&mut rig, 2);
    assert_eq!(bodies(&got), ["1", "2"]);
    assert!(got.iter().flat_map(|d| &d.pieces).all(|p| p.redelivered && p.attempt == 1));
}

#[test]
fn a_begun_delivery_of_a_lost_consumer_is_charged_an_attempt() {
    let (mut rig, connection, id) = orders(Settings::default());
    put(&mut rig, connection, id, &[b"1", b"2"]);
    let (consumer, _) = take(&mut rig, 2);
    let begun = Credit { messages: 0, bytes: 0, begun: 1 };
    rig.send(consumer, vec![request(1, 2, Request::Credit(begun))]);
    rig.disconnect(consumer);
    rig.settle().expect("no faults");
    let (_, got) = take(&mut rig, 2);
    let attempts: Vec<u32> = got.iter().flat_map(|d| &d.pieces).map(|p| p.attempt).collect();
    assert_eq!(attempts, [2, 1]);
}

#[test]
fn a_lease_that_is_not_extended_ends() {
    let (mut rig, connection, id) = orders(Settings::default());
    put(&mut rig, connection, id, &[b"1"]);
    let (consumer, got) = take(&mut rig, 5);
    rig.advance(900);
    let piece = &got[0].pieces[0];
    let items = vec![Held { first: piece.base_offset, count: 1, epoch: got[0].epoch }];
    let extend = Request::Extend { lease_ms: 1_000, items };
    let answer = rig.ask_on(consumer, 1, extend).expect("no faults");
    assert_eq!(answer, Response::Extended { stale: vec![], limited: vec![] });
    rig.advance(900);
    rig.settle().expect("no faults");
    assert!(delivers(&mut rig, consumer).is_empty(), "it was extended");
    rig.advance(200);
    rig.settle().expect("no faults");
    let again = delivers(&mut rig, consumer);
    assert_eq!(again[0].pieces[0].attempt, 2);
    let late = rig.ask_on(consumer, 1, settle(&got[0], &Outcome::Ack, true)).expect("no faults");
    assert!(
        matches!(late, Response::Settled { stale } if stale.len() == 1),
        "a stale ack is refused"
    );
}

#[test]
fn the_last_attempt_ends_in_the_dead_letters_with_the_reason() {
    let settings = Settings { max_attempts: Some(2), ..Settings::default() };
    let (mut rig, connection, id) = orders(settings);
    put(&mut rig, connection, id, &[b"poison", b"good"]);
    let retry = Outcome::Retry { delay_ms: Some(0), reason: "no printer".into() };
    for _ in 0..2 {
        let (consumer, got) = take(&mut rig, 1);
        assert_eq!(bodies(&got), ["poison"]);
        rig.ask_on(consumer, 1, settle(&got[0], &retry, true)).expect("no faults");
        rig.disconnect(consumer);
    }
    let action = DeadAction::List { from: 0, limit: 10 };
    let list = Request::Dead { name: name("orders"), group: None, action };
    let Response::DeadLetters { items, total } = rig.ask(connection, list).expect("no faults")
    else {
        panic!("dead letters");
    };
    assert_eq!((total, items[0].attempts, items[0].reason.as_str()), (1, 2, "no printer"));
    let (consumer, got) = take(&mut rig, 5);
    assert_eq!(bodies(&got), ["good"], "the dead one is not delivered");
    let action = DeadAction::Replay { offset: None, dry_run: false };
    let replay = Request::Dead { name: name("orders"), group: None, action };
    assert_eq!(rig.ask(connection, replay).expect("no faults"), Response::Done { messages: 1 });
    let got = delivers(&mut rig, consumer);
    assert_eq!(bodies(&got), ["poison"]);
    assert!(got[0].pieces[0].redelivered);
}

#[test]
fn a_retry_with_a_delay_waits_and_frees_the_consumer() {
    let (mut rig, connection, id) = orders(Settings::default());
    put(&mut rig, connection, id, &[b"1"]);
    let (consumer, got) = take(&mut rig, 5);
    let retry = Outcome::Retry { delay_ms: Some(5_000), reason: String::new() };
    rig.ask_on(consumer, 1, settle(&got[0], &retry, true)).expect("no faults");
    assert_eq!(counts(&mut rig, connection), (0, 0, 1, 0, 0));
    rig.advance(4_999);
    rig.settle().expect("no faults");
    assert!(delivers(&mut rig, consumer).is_empty());
    rig.advance(1);
    rig.settle().expect("no faults");
    assert_eq!(bodies(&delivers(&mut rig, consumer)), ["1"]);
}

#[test]
fn looking_never_takes() {
    let (mut rig, connection, id) = orders(Settings::default());
    put(&mut rig, connection, id, &[b"1", b"2", b"3"]);
    let read = Request::Read {
        name: name("orders"),
        from: Start::Earliest,
        messages_max: 2,
        bytes_max: 1 << 20,
    };
    let Response::Records { pieces, next_offset, end_offset } =
        rig.ask(connection, read).expect("no faults")
    else {
        panic!("records");
    };
    assert_eq!((next_offset, end_offset), (2, 3));
    assert_eq!(bodies(&[Deliver { epoch: 0, lease_ms: 0, pieces }]), ["1", "2"]);
    let (_, got) = take(&mut rig, 5);
    assert_eq!(bodies(&got), ["1", "2", "3"]);
    assert!(got.iter().flat_map(|d| &d.pieces).all(|p| !p.redelivered), "P23");
}

#[test]
fn each_group_of_a_topic_gets_each_message() {
    let mut rig = Rig::fresh();
    let connection = rig.connect();
    let declare =
        Request::Declare { kind: Kind::Topic, name: name("orders"), settings: Settings::default() };
    let Response::Declared { id, .. } = rig.ask(connection, declare).expect("no faults") else {
        panic!("declared");
    };
    put(&mut rig, connection, id, &[b"1", b"2"]);
    for group in ["billing", "search"] {
        let consumer = rig.connect();
        let Request::Consume(mut consume) = consume(10) else { unreachable!("see above") };
        consume.group = Some(GroupName::try_from(group).expect("valid"));
        rig.send(consumer, vec![request(1, 1, Request::Consume(consume))]);
        rig.settle().expect("no faults");
        assert_eq!(bodies(&delivers(&mut rig, consumer)), ["1", "2"], "{group}");
    }
}

#[test]
fn a_resent_publish_is_stored_once() {
    let (mut rig, connection, id) = orders(Settings::default());
    let open = Request::OpenProducer { session: [1; 16] };
    let Response::ProducerOpened { producer, resumed: false } =
        rig.ask(connection, open.clone()).expect("no faults")
    else {
        panic!("a new session");
    };
    let sent = batch("orders", producer, 1, &[b"once"]);
    rig.send(connection, vec![publish(1, id, sent.clone())]);
    rig.settle().expect("no faults");
    rig.disconnect(connection);
    let again = rig.connect();
    let opened = rig.ask(again, open).expect("no faults");
    assert_eq!(opened, Response::ProducerOpened { producer, resumed: true });
    rig.send(again, vec![publish(1, id, sent)]);
    rig.settle().expect("no faults");
    let duplicate = Confirmed { first: 1, count: 1, target: id, base_offset: 0, duplicate: true };
    assert_eq!(answers(&mut rig, again), [Response::Confirms(vec![duplicate])]);
    assert_eq!(bodies(&take(&mut rig, 5).1), ["once"]);
}

#[test]
fn a_producer_session_that_was_taken_over_is_fenced() {
    let (mut rig, connection, id) = orders(Settings::default());
    let open = Request::OpenProducer { session: [1; 16] };
    rig.ask(connection, open.clone()).expect("no faults");
    let other = rig.connect();
    let Response::ProducerOpened { producer, .. } = rig.ask(other, open).expect("no faults") else {
        panic!("opened");
    };
    rig.send(connection, vec![publish(1, id, batch("orders", producer, 1, &[b"late"]))]);
    rig.settle().expect("no faults");
    assert_eq!(refused(&answers(&mut rig, connection)[0]), ErrorCode::ProducerFenced);
}

#[test]
fn unknown_names_are_refused_with_near_ones() {
    let (mut rig, connection, _) = orders(Settings::default());
    let answer = rig.ask(connection, Request::Describe { name: name("ordrs") }).expect("no faults");
    let Response::Error(reply) = answer else { panic!("refused") };
    assert_eq!(reply.code, ErrorCode::NotFound);
    assert_eq!(reply.similar, ["orders"]);
}

#[test]
fn a_deleted_queue_refuses_publishes_and_tells_its_consumers() {
    let (mut rig, connection, id) = orders(Settings::default());
    let (consumer, _) = take(&mut rig, 5);
    let delete = Request::Delete { name: name("orders"), group: None };
    assert_eq!(rig.ask(connection, delete).expect("no faults"), Response::Deleted);
    assert_eq!(answers(&mut rig, consumer), [Response::Canceled]);
    let answer = put(&mut rig, connection, id, &[b"late"]);
    assert_eq!(refused(&answer[0]), ErrorCode::NotFound);
}

#[test]
fn a_full_queue_refuses_and_takes_again_after_acks() {
    let settings = Settings { max_messages: Some(2), ..Settings::default() };
    let (mut rig, connection, id) = orders(settings);
    put(&mut rig, connection, id, &[b"1", b"2"]);
    let answer = put(&mut rig, connection, id, &[b"3"]);
    assert_eq!(refused(&answer[0]), ErrorCode::QueueFull);
    let (consumer, got) = take(&mut rig, 1);
    rig.ask_on(consumer, 1, settle(&got[0], &Outcome::Ack, true)).expect("no faults");
    let answer = put(&mut rig, connection, id, &[b"3"]);
    assert!(matches!(answer[0], Response::Confirms(_)), "{answer:?}");
}

#[test]
fn a_large_batch_is_sliced_for_small_credits_and_stays_whole_for_large_ones() {
    let (mut rig, connection, id) = orders(Settings::default());
    let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let many: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    put(&mut rig, connection, id, &many);
    let (small, got) = take(&mut rig, 10);
    assert_eq!(bodies(&got), texts[..10]);
    assert!(got[0].pieces[0].batches.len() < 200, "a slice, not the whole batch");
    let (_, rest) = take(&mut rig, 1_000);
    assert_eq!(bodies(&rest), texts[10..]);
    rig.disconnect(small);
    rig.settle().expect("no faults");
}

#[test]
fn acks_right_before_a_cancel_count() {
    let (mut rig, connection, id) = orders(Settings::default());
    put(&mut rig, connection, id, &[b"1", b"2", b"3"]);
    let (consumer, got) = take(&mut rig, 3);
    let ack = settle(&got[0], &Outcome::Ack, false);
    rig.send(consumer, vec![request(1, 2, ack), request(1, 3, Request::Cancel)]);
    rig.settle().expect("no faults");
    assert_eq!(answers(&mut rig, consumer), [Response::Canceled]);
    assert_eq!(counts(&mut rig, connection), (0, 0, 0, 0, 3));
}
