//! Atomic groups and conditional publishes: all of it or nothing, once, and what is told of it.

use super::desk::{Desk, offer};
use crate::shard::command::Command;
use crate::shard::effects::*;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::{Kind, Outcome, Settings, Settle};
use posthaste_protocol::response::Fate;

fn none() -> Settings {
    Settings::default()
}

fn part(stream: StreamId, records: u32) -> (Offer, Option<Vec<Identified>>) {
    (offer(stream, 1, 1, records), None)
}

fn ack(delivery: super::desk::Delivery) -> (ConsumerId, Vec<Settle>) {
    (delivery.consumer, vec![Settle { held: delivery.held(), outcome: Outcome::Ack }])
}

impl Desk {
    fn commit(&mut self, group: &AtomicOffer) -> Vec<(StreamId, u64, u32)> {
        let AdmitAtomic::Ok { parts, commands } = self.shard.admit_atomic(group, self.now_ms)
        else {
            panic!("refused")
        };
        let mut told = Vec::new();
        for ((offer, _), taken) in group.parts.iter().zip(parts) {
            let Offer { stream, producer, sequence, records: count, .. } = *offer;
            let batch = AppliedBatch { count, producer, sequence, delayed: &[], ids: &[] };
            self.run(stream, taken.base_offset, &[batch]).unwrap();
            told.push((stream, taken.base_offset, count));
        }
        self.apply(commands);
        told
    }

    fn refused(&mut self, group: &AtomicOffer) -> Refusal {
        match self.shard.admit_atomic(group, self.now_ms) {
            AdmitAtomic::Refused(refusal) => refusal,
            other => panic!("{other:?}"),
        }
    }

    fn session(&mut self) {
        self.apply([Command::OpenProducer { session: [1; 16], producer: 1 }]);
    }
}

#[test]
fn a_group_publishes_and_settles_at_once_and_a_resend_is_told_the_same() {
    let mut desk = Desk::new();
    desk.session();
    let (orders, group) = desk.queue("orders", &none());
    let (bills, _) = desk.queue("bills", &none());
    let (mail, _) = desk.queue("mail", &none());
    desk.publish(orders, 1);
    desk.publish(mail, 4);
    desk.consumer(group, 10);
    let delivery = desk.deliver(1).unwrap();
    let (parts, settles) = (vec![part(mail, 2), part(bills, 1)], vec![ack(delivery)]);
    let offered = AtomicOffer { producer: 1, sequence: 1, parts, settles };
    let told = desk.commit(&offered);
    assert_eq!(told, [(mail, 4, 2), (bills, 0, 1)]);
    assert_eq!((desk.info("orders").settled, desk.info("bills").ready), (1, 1));
    let mut desk = desk.restart(false);
    assert_eq!(desk.shard.admit_atomic(&offered, desk.now_ms), AdmitAtomic::Duplicate);
    let again = desk.shard.atomic_again(&offered, desk.now_ms);
    let again: Vec<_> = again.iter().map(|one| (one.target, one.base_offset, one.count)).collect();
    assert_eq!(again, told);
    assert_eq!((desk.info("mail").ready, desk.info("bills").ready), (6, 1));
}

#[test]
fn whichever_part_is_refused_nothing_is_done_and_the_part_is_named() {
    let mut desk = Desk::new();
    desk.session();
    let (orders, group) = desk.queue("orders", &none());
    let (full, _) = desk.queue("full", &Settings { max_messages: Some(1), ..none() });
    desk.publish(orders, 2);
    desk.consumer(group, 1);
    let held = desk.deliver(1).unwrap();
    let offered = |parts, settles| AtomicOffer { producer: 1, sequence: 1, parts, settles };
    let refusal = desk.refused(&offered(vec![part(orders, 3), part(full, 2)], vec![ack(held)]));
    assert_eq!(refusal.code, ErrorCode::QueueFull);
    assert!(refusal.message.starts_with("publish 2 of the group: "), "{refusal:?}");
    let refusal = desk.refused(&offered(vec![part(orders, 1), part(99, 1)], vec![ack(held)]));
    assert_eq!(refusal.code, ErrorCode::NotFound);
    let stale = super::desk::Delivery { epoch: held.epoch + 1, ..held };
    let refusal = desk.refused(&offered(vec![part(orders, 1)], vec![ack(held), ack(stale)]));
    assert_eq!(refusal.code, ErrorCode::LeaseExpired);
    assert!(refusal.message.starts_with("settle 2 of the group: "), "{refusal:?}");
    let twice = vec![(held.consumer, [ack(held).1, ack(held).1].concat())];
    assert_eq!(desk.refused(&offered(vec![], twice)).code, ErrorCode::InvalidArgument);
    let twice = vec![part(orders, 1), part(orders, 1)];
    assert_eq!(desk.refused(&offered(twice, vec![])).code, ErrorCode::InvalidArgument);
    let release = Settle { held: held.held(), outcome: Outcome::Release };
    let release = vec![(held.consumer, vec![release])];
    assert_eq!(desk.refused(&offered(vec![], release)).code, ErrorCode::InvalidArgument);
    // Nothing of all that is left: offsets go on, the delivery is held.
    assert_eq!(
        desk.commit(&offered(vec![part(orders, 1), part(full, 1)], vec![ack(held)]))[0].1,
        2
    );
    assert_eq!(desk.info("orders").settled, 1);
}

#[test]
fn a_group_without_messages_is_stored_once_too() {
    let mut desk = Desk::new();
    desk.session();
    let (orders, group) = desk.queue("orders", &none());
    desk.publish(orders, 1);
    desk.consumer(group, 1);
    let settles = vec![ack(desk.deliver(1).unwrap())];
    let offered = AtomicOffer { producer: 1, sequence: 5, parts: vec![], settles };
    desk.commit(&offered);
    let mut desk = desk.restart(false);
    assert_eq!(desk.shard.admit_atomic(&offered, desk.now_ms), AdmitAtomic::Duplicate);
    assert_eq!(desk.shard.atomic_again(&offered, desk.now_ms), []);
}

#[test]
fn an_id_that_is_known_keeps_its_place_in_a_group_and_a_conflict_refuses_all_of_it() {
    let mut desk = Desk::new();
    desk.session();
    let window = Settings { id_window_ms: Some(3_600_000), ..none() };
    let (orders, _) = desk.queue("orders", &window);
    let (plain, _) = desk.queue("plain", &none());
    let id = |hash, print| Some(vec![Identified { index: 0, hash, print }]);
    let one = offer(orders, 0, 0, 1);
    let taken = desk.shard.admit_with_ids(&one, &id(7, 1).unwrap(), desk.now_ms).unwrap();
    let ids = id(7, 1).unwrap();
    let batch = AppliedBatch { count: 1, producer: 0, sequence: 0, delayed: &[], ids: &ids };
    desk.run(orders, taken.base_offset, &[batch]).unwrap();
    let group = |print| AtomicOffer {
        producer: 1,
        sequence: 1,
        parts: vec![part(plain, 1), (offer(orders, 1, 1, 1), id(7, print))],
        settles: vec![],
    };
    assert_eq!(desk.refused(&group(2)).code, ErrorCode::IdConflict);
    let AdmitAtomic::Ok { parts, .. } = desk.shard.admit_atomic(&group(1), desk.now_ms) else {
        panic!("refused")
    };
    assert_eq!((parts[0].base_offset, parts[0].stored), (0, 1), "nothing was taken before");
    assert_eq!((parts[1].outcomes[0].fate, parts[1].stored), (Fate::Duplicate, 0));
}

#[test]
fn a_conditional_publish_is_stored_only_behind_the_expected_message() {
    let mut desk = Desk::new();
    let (stream, _) = desk.queue("orders", &none());
    let only = |expects| Offer { expects: Some(expects), ..offer(stream, 0, 0, 2) };
    let refusal = |admit| match admit {
        Admit::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    };
    let early = refusal(desk.shard.admit_publish(&only(1)));
    assert_eq!(early.code, ErrorCode::OffsetMismatch);
    assert_eq!(early.message, "the last of orders is nothing, and position 0 was expected");
    assert_eq!(desk.shard.admit_publish(&only(0)), Admit::Ok { base_offset: 0 });
    // What is appended and not committed counts.
    let late = refusal(desk.shard.admit_publish(&only(0)));
    assert_eq!(late.message, "the last of orders is position 1, and nothing was expected");
    assert_eq!(desk.shard.admit_publish(&only(2)), Admit::Ok { base_offset: 2 });
}

#[test]
fn a_resend_of_a_conditional_publish_is_a_duplicate_and_no_mismatch() {
    let mut desk = Desk::new();
    desk.session();
    let (stream, _) = desk.queue("orders", &none());
    let only = Offer { expects: Some(0), ..offer(stream, 1, 1, 1) };
    assert_eq!(desk.shard.admit_publish(&only), Admit::Ok { base_offset: 0 });
    let duplicate = Admit::Duplicate { stream, base_offset: Some(0) };
    assert_eq!(desk.shard.admit_publish(&only), duplicate);
}

#[test]
fn a_group_is_refused_where_a_queue_was_deleted_before_its_declaration_was_committed() {
    let mut desk = Desk::new();
    desk.session();
    let (stays, _) = desk.queue("stays", &none());
    let gone = super::desk::name("gone");
    let declared = desk.shard.admit_declare(Kind::Queue, &gone, &none()).unwrap();
    let deleted = desk.shard.admit_delete(&gone).unwrap();
    desk.apply(declared.command);
    let parts = vec![part(stays, 1), part(declared.answer.1, 1)];
    let offered = AtomicOffer { producer: 1, sequence: 1, parts, settles: vec![] };
    assert_eq!(desk.refused(&offered).code, ErrorCode::NotFound);
    desk.apply(deleted.command);
    assert_eq!(desk.publish(stays, 1), 0, "nothing of the group is left");
}
