//! Message ids with a window: what is told of each record, before and after commits, restarts and time.

use super::desk::{Desk, name, offer};
use crate::shard::Shard;
use crate::shard::command::Command;
use crate::shard::effects::*;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::{Kind, Settings};
use posthaste_protocol::response::Fate;

const HOUR: u64 = 3_600_000;

fn window(ms: u64) -> Settings {
    Settings { id_window_ms: Some(ms), ..Settings::default() }
}

/// Ids of the records from 0 on; none where it is 0. The body is told by the second number.
fn ids(all: &[(u128, u32)]) -> Vec<Identified> {
    let all = all.iter().zip(0..).filter(|((hash, _), _)| *hash > 0);
    all.map(|((hash, print), index)| Identified { index, hash: *hash, print: *print }).collect()
}

/// Fate, count and offset of what is told.
type Told = Vec<(Fate, u32, u64)>;

impl Desk {
    fn offer_ids(
        &mut self,
        offer: &Offer,
        ids: &[Identified],
    ) -> Result<(Told, u64, u32), Refusal> {
        let taken = self.shard.admit_with_ids(offer, ids, self.now_ms)?;
        let told = taken.outcomes.iter().map(|one| (one.fate, one.count, one.base_offset));
        Ok((told.collect(), taken.base_offset, taken.stored))
    }

    /// Publishes under ids and commits what is new.
    fn publish_ids(&mut self, stream: StreamId, all: &[(u128, u32)]) -> Told {
        self.publish_ids_as(stream, 0, 0, all)
    }

    fn publish_ids_as(
        &mut self,
        stream: StreamId,
        producer: u32,
        sequence: u64,
        all: &[(u128, u32)],
    ) -> Told {
        let offer = offer(stream, producer, sequence, all.len() as u32);
        let (told, base_offset, stored) = self.offer_ids(&offer, &ids(all)).unwrap();
        if stored > 0 {
            let fates = told.iter().flat_map(|(fate, count, _)| (0..*count).map(|_| *fate));
            let new: Vec<_> =
                all.iter().zip(fates).filter(|(_, fate)| *fate == Fate::Stored).collect();
            let new: Vec<(u128, u32)> = new.into_iter().map(|(id, _)| *id).collect();
            let ids = &ids(&new)[..];
            let batch = AppliedBatch { count: stored, producer, sequence, delayed: &[], ids };
            self.run(stream, base_offset, &[batch]).unwrap();
        }
        told
    }
}

#[test]
fn a_message_is_stored_once_under_its_id_and_each_record_is_on_its_own() {
    let mut desk = Desk::new();
    let (stream, _) = desk.queue("orders", &window(HOUR));
    assert_eq!(desk.publish_ids(stream, &[(7, 1), (8, 1)]), [(Fate::Stored, 2, 0)]);
    assert_eq!(desk.publish_ids(stream, &[(7, 1), (8, 1)]), [(Fate::Duplicate, 2, 0)]);
    // The second one of one batch is a duplicate too; another body is a conflict; no id is always new.
    let told = desk.publish_ids(stream, &[(0, 1), (9, 1), (8, 1), (9, 1), (7, 2), (0, 1)]);
    assert_eq!(
        told,
        [
            (Fate::Stored, 2, 2),
            (Fate::Duplicate, 1, 1),
            (Fate::Duplicate, 1, 3),
            (Fate::Conflict, 1, 0),
            (Fate::Stored, 1, 4),
        ]
    );
    assert_eq!(desk.info("orders").ready, 5);
    let (other, _) = desk.queue("others", &window(HOUR));
    assert_eq!(desk.publish_ids(other, &[(7, 1)]), [(Fate::Stored, 1, 0)], "ids are of a queue");
}

#[test]
fn what_is_appended_and_not_committed_counts_and_what_is_refused_does_not() {
    let mut desk = Desk::new();
    let limits = Settings { max_messages: Some(2), ..window(HOUR) };
    let (stream, _) = desk.queue("orders", &limits);
    let one = offer(stream, 0, 0, 1);
    assert_eq!(desk.offer_ids(&one, &ids(&[(7, 1)])).unwrap().0, [(Fate::Stored, 1, 0)]);
    assert_eq!(desk.offer_ids(&one, &ids(&[(7, 1)])).unwrap().0, [(Fate::Duplicate, 1, 0)]);
    let three = ids(&[(8, 1), (7, 1), (9, 1)]);
    let refusal = desk.offer_ids(&offer(stream, 0, 0, 3), &three).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::QueueFull);
    assert_eq!(desk.offer_ids(&one, &ids(&[(9, 2)])).unwrap().0, [(Fate::Stored, 1, 1)]);
}

#[test]
fn ids_last_for_the_window_over_restarts_and_not_much_longer() {
    for in_a_checkpoint in [false, true] {
        let mut desk = Desk::new();
        let (stream, _) = desk.queue("orders", &window(HOUR));
        desk.publish_ids(stream, &[(7, 1)]);
        if in_a_checkpoint {
            desk = desk.restart(false);
        }
        desk.tick(HOUR - 1);
        assert_eq!(desk.publish_ids(stream, &[(7, 1)]), [(Fate::Duplicate, 1, 0)]);
        desk.tick(HOUR / 32);
        assert_eq!(desk.publish_ids(stream, &[(7, 2)]), [(Fate::Stored, 1, 1)]);
        assert_eq!(desk.publish_ids(stream, &[(7, 2)]), [(Fate::Duplicate, 1, 1)]);
    }
}

#[test]
fn a_resend_is_told_what_the_first_was_told_even_if_it_was_stored_in_part() {
    let mut desk = Desk::new();
    let (stream, _) = desk.queue("orders", &window(HOUR));
    desk.apply([Command::OpenProducer { session: [1; 16], producer: 1 }]);
    desk.publish_ids(stream, &[(7, 1), (8, 1)]);
    let batch = [(0, 0), (8, 1), (9, 1), (7, 5), (0, 0)];
    let told = desk.publish_ids_as(stream, 1, 1, &batch);
    let first = [
        (Fate::Stored, 1, 2),
        (Fate::Duplicate, 1, 1),
        (Fate::Stored, 1, 3),
        (Fate::Conflict, 1, 0),
        (Fate::Stored, 1, 4),
    ];
    assert_eq!(told, first);
    let again = first.map(|(fate, count, offset)| match fate {
        Fate::Stored => (Fate::Duplicate, count, offset),
        _ => (fate, count, offset),
    });
    assert_eq!(desk.publish_ids_as(stream, 1, 1, &batch), again);
    let mut desk = desk.restart(false);
    assert_eq!(desk.publish_ids_as(stream, 1, 1, &batch), again);
}

#[test]
fn at_the_limit_new_ids_are_refused_by_name_until_old_ones_have_had_their_time() {
    let mut desk = Desk::new();
    let (stream, _) = desk.queue("orders", &window(HOUR));
    desk.shard.limit_message_ids(2);
    desk.publish_ids(stream, &[(7, 1), (8, 1)]);
    let two = offer(stream, 0, 0, 2);
    let refusal = desk.offer_ids(&two, &ids(&[(7, 1), (9, 1)])).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::IdsFull);
    assert_eq!(desk.publish_ids(stream, &[(7, 1), (0, 0)]).len(), 2, "others pass");
    assert_eq!(desk.info("orders").ready, 3, "nothing of what was refused is stored");
    desk.tick(HOUR + 1);
    assert_eq!(desk.publish_ids(stream, &[(9, 1)]), [(Fate::Stored, 1, 3)]);
    assert_eq!(desk.shard.message_id_count(), 1);
}

#[test]
fn a_window_is_changed_and_taken_away_online() {
    let mut desk = Desk::new();
    let (stream, _) = desk.queue("orders", &window(HOUR));
    desk.publish_ids(stream, &[(7, 1)]);
    desk.queue("orders", &window(2 * HOUR));
    desk.tick(HOUR + HOUR / 2);
    assert_eq!(desk.publish_ids(stream, &[(7, 1)]), [(Fate::Duplicate, 1, 0)]);
    desk.queue("orders", &window(0));
    assert_eq!(desk.shard.message_id_count(), 0);
    let old = Shard::restore(&desk.shard.checkpoint()).unwrap();
    assert!(!old.lacks_id_key() || old.message_id_count() == 0);
    for ms in [1, 999, 30 * 24 * HOUR + 1, u64::MAX] {
        let refused = desk.shard.admit_declare(Kind::Queue, &name("orders"), &window(ms));
        assert_eq!(refused.unwrap_err().code, ErrorCode::InvalidArgument, "{ms}");
    }
}
