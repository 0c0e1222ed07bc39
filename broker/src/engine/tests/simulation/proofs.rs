//! Proof that each rule of the checker can be broken: tiny histories made by hand, one event away
//! from a good one.

use super::history::{Delivered, Event, History, How};
use super::scene::{EVENTS, JOBS, ORDERS};

const NUMBER: u32 = 1;
const A: (u32, u16) = (1, 1);
const B: (u32, u16) = (2, 1);

/// Message `id` of its own batch, made by one producer for the first queue.
fn made(id: u32) -> Event {
    let (producer, target, number) = (0, ORDERS, NUMBER);
    Event::Made { batch: id, producer, target, number, first: id, count: 1, is_delayed: false }
}

fn confirmed(id: u32, offset: u64) -> Event {
    Event::Confirmed { batch: id, base_offset: Some(offset), number: NUMBER }
}

fn first(id: u32, epoch: u64) -> Delivered {
    let (place, to, offset) = (0, A, u64::from(id));
    Delivered { place, to, id, offset, epoch, attempt: 1, redelivered: false, until_ms: 1_000 }
}

fn delivered(at_ms: u64, seen: Delivered) -> Event {
    Event::Delivered { at_ms, seen }
}

fn again(id: u32, epoch: u64) -> Delivered {
    Delivered { redelivered: true, ..first(id, epoch) }
}

fn acked(id: u32, epoch: u64, is_stale: bool) -> [Event; 2] {
    let (place, how) = (0, How::Ack);
    [Event::Settling { place, id, epoch, how }, Event::Settled { place, id, epoch, how, is_stale }]
}

/// The rules that this history breaks.
fn broken(events: impl IntoIterator<Item = Event>) -> Vec<&'static str> {
    let mut history = History::default();
    for event in events {
        history.note(event);
    }
    history.conclude();
    let mut rules: Vec<_> = history.violations.iter().map(|broken| broken.rule).collect();
    rules.dedup();
    rules
}

/// Two messages, stored, delivered and acked.
fn good() -> Vec<Event> {
    let mut events = vec![made(0), made(1), confirmed(0, 0), confirmed(1, 1)];
    events.push(Event::Consumes { place: 0, to: A });
    events.extend([delivered(10, first(0, 7)), delivered(10, first(1, 7))]);
    events.extend(acked(0, 7, false));
    events.extend(acked(1, 7, false));
    events
}

#[test]
fn a_good_history_breaks_no_rule() {
    assert_eq!(broken(good()), [""; 0]);
    let never_stored = [made(0), Event::Unanswered { batch: 0 }];
    assert_eq!(broken(never_stored), [""; 0], "without an answer it may be there or not");
}

#[test]
fn a_confirmed_message_that_never_comes_is_unseen() {
    assert_eq!(broken([made(0), confirmed(0, 0)]), ["unseen"]);
}

#[test]
fn a_message_that_was_delivered_and_is_then_gone_is_lost() {
    assert_eq!(broken([made(0), delivered(10, first(0, 7))]), ["lost"], "also if unconfirmed");
    let half = Event::Made {
        batch: 0,
        producer: 0,
        target: ORDERS,
        number: NUMBER,
        first: 0,
        count: 2,
        is_delayed: false,
    };
    let [sent, done] = acked(0, 7, false);
    let torn = [half, delivered(10, first(0, 7)), sent, done];
    assert_eq!(broken(torn), ["unseen"], "a batch is stored wholly or not at all");
}

#[test]
fn what_nobody_published_there_or_what_was_refused_is_a_phantom() {
    assert_eq!(broken([delivered(10, first(0, 7))]), ["phantom"]);
    let elsewhere = Delivered { place: JOBS, ..first(0, 7) };
    assert_eq!(broken([made(0), delivered(10, elsewhere)]), ["phantom"]);
    let refused = [Event::Refused { batch: 0, code: 201 }, Event::GivenUp { batch: 0 }];
    let mut events = vec![made(0)];
    events.extend(refused);
    events.push(delivered(10, first(0, 7)));
    events.extend(acked(0, 7, false));
    assert_eq!(broken(events), ["phantom"]);
}

#[test]
fn a_message_at_two_offsets_is_duplicated() {
    let mut events = good();
    events.push(delivered(2_000, Delivered { offset: 5, ..again(0, 8) }));
    assert!(broken(events).contains(&"duplicated"));
    let twice = [made(0), confirmed(0, 0), confirmed(0, 4)];
    assert!(broken(twice).contains(&"duplicated"));
}

#[test]
fn two_messages_at_one_offset_are_inconsistent() {
    let both = [made(0), made(1), confirmed(0, 0), confirmed(1, 0)];
    assert!(broken(both).contains(&"inconsistent offset"));
}

#[test]
fn a_second_delivery_without_the_flag_is_unflagged_in_whatever_order_it_is_seen() {
    let of = |a: Delivered, b: Delivered| {
        let mut events = vec![made(0), delivered(10, a), delivered(3_000, b)];
        events.extend(acked(0, 9, false));
        broken(events)
    };
    assert_eq!(of(first(0, 7), first(0, 9)), ["unflagged"]);
    assert_eq!(of(again(0, 7), first(0, 9)), ["unflagged"]);
    assert_eq!(of(first(0, 7), again(0, 9)), [""; 0]);
    assert_eq!(
        of(again(0, 9), first(0, 7)),
        [""; 0],
        "decided in the right order, seen in the other"
    );
}

#[test]
fn a_delivery_after_a_confirmed_ack_is_noticed_and_after_a_plain_one_is_not() {
    let mut events = good();
    events.push(delivered(2_000, again(0, 8)));
    assert_eq!(broken(events), ["after ack"]);
    let [sent, _] = acked(0, 7, false);
    assert_eq!(
        broken([made(0), delivered(10, first(0, 7)), sent, delivered(2_000, again(0, 8))]),
        [""; 0]
    );
    let mut dead = good();
    dead.push(Event::Dead { place: 0, id: 0, offset: 0 });
    assert_eq!(broken(dead), ["after ack"]);
}

#[test]
fn first_deliveries_out_of_publish_order_are_reordered() {
    let mut events = vec![made(0), made(1), delivered(10, first(1, 7)), delivered(11, first(0, 8))];
    events.extend(acked(0, 8, false));
    events.extend(acked(1, 7, false));
    assert_eq!(broken(events.clone()), ["reordered"]);
    events.insert(2, Event::Refused { batch: 0, code: 303 });
    assert_eq!(broken(events), [""; 0], "what was refused at first may be late");
    let late = Delivered { to: B, ..first(0, 8) };
    let mut events = vec![made(0), made(1), delivered(10, first(1, 7)), delivered(5_000, late)];
    events.extend(acked(0, 8, false));
    events.extend(acked(1, 7, false));
    assert_eq!(broken(events), ["reordered"]);
}

#[test]
fn a_second_holder_before_the_lease_ends_is_noticed() {
    let of = |at_ms, between: Option<Event>| {
        let other = Delivered { to: B, until_ms: at_ms + 1_000, ..again(0, 8) };
        let mut events = vec![made(0), delivered(10, first(0, 7))];
        events.extend(between);
        events.push(delivered(at_ms, other));
        events.extend(acked(0, 8, false));
        broken(events)
    };
    assert_eq!(of(999, None), ["two holders"]);
    assert_eq!(of(1_000, None), [""; 0]);
    assert_eq!(of(500, Some(Event::LetGo { to: A })), [""; 0]);
    assert_eq!(of(500, Some(Event::Ended { at_ms: 400 })), [""; 0]);
}

#[test]
fn a_settle_under_a_lost_lease_that_is_accepted_is_noticed() {
    let other = Delivered { to: B, until_ms: 3_000, ..again(0, 8) };
    let start = [made(0), delivered(10, first(0, 7)), delivered(1_500, other)];
    let of = |is_stale| broken(start.iter().cloned().chain(acked(0, 7, is_stale)));
    assert_eq!(of(false), ["two holders"]);
    assert_eq!(of(true), [""; 0]);
}

#[test]
fn what_was_deleted_must_not_be_served_to_who_asks_later() {
    let target = ORDERS;
    let mut events = vec![Event::Declared { target, number: NUMBER }, made(0), confirmed(0, 0)];
    events.push(Event::Deleted { target, number: NUMBER });
    assert_eq!(broken(events.clone()), [""; 0]);
    let mut back = events.clone();
    back.push(Event::Declared { target, number: NUMBER });
    assert_eq!(broken(back), ["resurrected"]);
    events.push(Event::Consumes { place: 0, to: B });
    events.push(delivered(100, Delivered { to: B, ..first(0, 9) }));
    assert_eq!(broken(events), ["resurrected"]);
}

#[test]
fn attempts_must_not_go_back() {
    let of = |between: Option<Event>| {
        let mut events = vec![made(0), delivered(10, Delivered { attempt: 3, ..first(0, 7) })];
        events.extend(between);
        events.push(delivered(2_000, Delivered { attempt: 2, ..again(0, 8) }));
        events.extend(acked(0, 8, false));
        broken(events)
    };
    assert_eq!(of(None), ["attempts"]);
    assert_eq!(of(Some(Event::Replayed { place: 0 })), [""; 0]);
}

#[test]
fn counts_that_do_not_add_up_are_noticed() {
    let mut events = good();
    events.push(Event::Counts { place: 0, open: 0, dead: 0 });
    assert_eq!(broken(events.clone()), [""; 0]);
    events.push(Event::Counts { place: 0, open: 1, dead: 0 });
    events.push(Event::Counts { place: EVENTS, open: 0, dead: 2 });
    assert_eq!(broken(events), ["counts"]);
}
