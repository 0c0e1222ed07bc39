//! Publishes: admission, and the cumulative confirms once their block is durable.

use super::Now;
use super::core::Core;
use super::input::ConnectionId;
use super::open::{After, Promise};
use crate::shard::effects::{Admit, Effect, Identified, Offer, Refusal, StreamId, Taken};
use bytes::Bytes;
use posthaste_protocol::batch::{BatchHeader, pick_records};
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::response::{Confirmed, Fate, Outcomes};
use posthaste_protocol::{Response, mutant};

/// Ranges per confirm frame.
const CONFIRMS_PER_FRAME: usize = 4_096;
/// Items per frame that tells the fates of records.
const OUTCOMES_PER_FRAME: usize = 8_192;
/// LIMIT: of a batch with delayed messages, its messages times the groups that get them.
const DELAYS_PER_BATCH_MAX: u64 = 262_144;
/// Advice to a client that is told to wait.
pub(super) const RETRY_AFTER_MS: u32 = 500;

/// A publish on its way to admission.
pub(super) struct Published {
    pub(super) connection: ConnectionId,
    pub(super) number: u64,
    pub(super) target: StreamId,
    pub(super) expects: Option<u64>,
    pub(super) header: BatchHeader,
    pub(super) batch: Bytes,
}

pub(super) fn offer(stream: StreamId, expects: Option<u64>, header: &BatchHeader) -> Offer {
    let BatchHeader { producer, sequence, count, .. } = *header;
    Offer { stream, producer, sequence, records: count, expects }
}

impl Core {
    pub(super) fn publish(&mut self, published: Published, now: Now) {
        let Published { connection, number, target, expects, header, .. } = published;
        let checked = self.check_publish(connection, header.producer);
        if let Err(refusal) = checked.and_then(|()| self.check_delays(target, &header)) {
            return self.refuse_publish(connection, number, refusal);
        }
        let ids = self.shard.identify(target, &published.batch);
        if let Some(ids) = ids.filter(|ids| !ids.is_empty()) {
            return self.publish_with_ids(published, &ids, now);
        }
        let admitted = self.shard.admit_publish(&offer(target, expects, &header));
        let mut promise = Promise {
            connection,
            number,
            target,
            base_offset: u64::MAX,
            records: header.count,
            is_duplicate: false,
        };
        match admitted {
            Admit::Ok { base_offset } => {
                promise.base_offset = base_offset;
                self.open.append(target, base_offset, header.count, published.batch);
            }
            Admit::Duplicate { stream, base_offset } => {
                promise.target = stream;
                promise.base_offset = base_offset.unwrap_or(u64::MAX);
                promise.is_duplicate = true;
                self.counters.duplicates += 1;
            }
            Admit::Refused(refusal) => {
                return self.refuse_publish(connection, number, refusal);
            }
        }
        if mutant("confirm-at-admission") {
            return self.confirm(&[promise], &[]);
        }
        self.open.waiting.promises.push(promise);
    }

    /// The same where ids are remembered: each record may meet another fate.
    fn publish_with_ids(&mut self, published: Published, ids: &[Identified], now: Now) {
        let Published { connection, number, target, expects, header, batch } = published;
        let offer = offer(target, expects, &header);
        let taken = match self.shard.admit_with_ids(&offer, ids, now.wall_ms) {
            Ok(taken) => taken,
            Err(refusal) => return self.refuse_publish(connection, number, refusal),
        };
        match self.picked(&offer, batch, &taken) {
            Ok(batch) => self.append_taken(&offer, batch, &taken),
            Err(refusal) => return self.refuse_publish(connection, number, refusal),
        }
        let outcomes = taken.outcomes;
        match outcomes[..] {
            [one] if one.fate != Fate::Conflict => self.open.waiting.promises.push(Promise {
                connection,
                number,
                target: one.target,
                base_offset: one.base_offset,
                records: header.count,
                is_duplicate: one.fate == Fate::Duplicate,
            }),
            _ => self.open.waiting.afters.push(After::Receipts { connection, number, outcomes }),
        }
    }

    /// Appends the records of a batch that are to be stored.
    pub(super) fn append_taken(&mut self, offer: &Offer, batch: Bytes, taken: &Taken) {
        for outcome in &taken.outcomes {
            match outcome.fate {
                Fate::Stored => {}
                Fate::Duplicate => self.counters.duplicates += u64::from(outcome.count),
                Fate::Conflict => self.counters.id_conflicts += u64::from(outcome.count),
            }
        }
        if taken.stored > 0 {
            self.open.append(offer.stream, taken.base_offset, taken.stored, batch);
        }
    }

    /// The records of a batch that are to be stored.
    ///
    /// *Errors* cannot be, as it was checked. Its offsets are then missing, which is told as a loss.
    pub(super) fn picked(
        &self,
        offer: &Offer,
        batch: Bytes,
        taken: &Taken,
    ) -> Result<Bytes, Refusal> {
        if taken.stored == offer.records || taken.stored == 0 {
            return Ok(batch);
        }
        let (mut ranges, mut from) = (Vec::new(), 0);
        for outcome in &taken.outcomes {
            if outcome.fate == Fate::Stored {
                ranges.push((from, outcome.count));
            }
            from += outcome.count;
        }
        let seed = self.directory.seed(offer.stream).ok_or("its destination has no name");
        let picked = seed.and_then(|seed| {
            pick_records(&batch, seed, &ranges).map_err(|_damaged| "it cannot be cut")
        });
        picked.map_err(|why| Refusal::new(ErrorCode::Internal, format!("a checked batch: {why}")))
    }

    /// Tells a publisher what became of each record.
    pub(super) fn say_receipts(
        &mut self,
        connection: ConnectionId,
        number: u64,
        outcomes: &[Outcomes],
    ) {
        for outcome in outcomes.iter().filter(|outcome| outcome.fate != Fate::Conflict) {
            self.counters.confirmed += u64::from(outcome.count);
        }
        let (mut rest, mut is_first) = (outcomes, true);
        // An atomic group may have no records; it is told so.
        while !rest.is_empty() || is_first {
            let (now, later) = rest.split_at(rest.len().min(OUTCOMES_PER_FRAME));
            self.say(connection, 0, number, &Response::Receipts(now.to_vec()));
            (rest, is_first) = (later, false);
        }
    }

    pub(super) fn check_disk(&self) -> Result<(), Refusal> {
        if self.has_space {
            return Ok(());
        }
        let message = "the disk is nearly full: publishes are refused, consuming and deleting work";
        Err(Refusal::new(ErrorCode::NoSpace, message))
    }

    pub(super) fn check_publish(
        &self,
        connection: ConnectionId,
        producer: u32,
    ) -> Result<(), Refusal> {
        self.check_disk()?;
        self.check_owner(connection, producer)
    }

    /// Whether the connection may publish under this producer.
    pub(super) fn check_owner(
        &self,
        connection: ConnectionId,
        producer: u32,
    ) -> Result<(), Refusal> {
        let owns = producer == 0
            || self.connections.get(&connection).is_some_and(|c| c.producer == Some(producer));
        if owns {
            return Ok(());
        }
        let message = "this producer session was not opened on this connection, or another \
                       connection has taken it over";
        Err(Refusal::new(ErrorCode::ProducerFenced, message))
    }

    /// Each delayed message is remembered by each group.
    pub(super) fn check_delays(
        &self,
        target: StreamId,
        header: &BatchHeader,
    ) -> Result<(), Refusal> {
        let groups = if header.is_delayed() { self.shard.group_count(target) } else { 0 };
        if u64::from(header.count).saturating_mul(groups as u64) <= DELAYS_PER_BATCH_MAX {
            return Ok(());
        }
        let message = "a batch with delayed messages for so many groups is too much at once: \
                       publish them in smaller batches";
        Err(Refusal::new(ErrorCode::InvalidArgument, message))
    }

    pub(super) fn refuse_publish(
        &mut self,
        connection: ConnectionId,
        number: u64,
        refusal: Refusal,
    ) {
        self.counters.refused += 1;
        if refusal.code == ErrorCode::OffsetMismatch {
            // It tells of messages that may be appended and not stored yet.
            let response = Response::Error(reply_of(refusal));
            return self.say_after(connection, 0, number, response);
        }
        let response = Response::Error(reply_of(refusal));
        self.say(connection, 0, number, &response);
    }

    /// Tells publishers that their block is durable; neighbouring publishes share one range.
    pub(super) fn confirm(&mut self, promises: &[Promise], effects: &[Effect]) {
        let mut rest = promises;
        while let Some(first) = rest.first() {
            let same = rest.iter().take_while(|p| p.connection == first.connection).count();
            let (mine, others) = rest.split_at(same);
            self.confirm_one(first.connection, mine, effects);
            rest = others;
        }
    }

    fn confirm_one(&mut self, connection: ConnectionId, promises: &[Promise], effects: &[Effect]) {
        let mut ranges: Vec<Confirmed> = Vec::new();
        let mut next_offset = 0;
        for promise in promises {
            if is_rejected(promise, effects) {
                let message = "the queue or topic was deleted before this was stored";
                let refusal = Refusal::new(ErrorCode::NotFound, message);
                self.refuse_publish(connection, promise.number, refusal);
                continue;
            }
            self.counters.confirmed += u64::from(promise.records);
            match ranges.last_mut() {
                Some(last)
                    if !promise.is_duplicate
                        && !last.duplicate
                        && last.first + u64::from(last.count) == promise.number
                        && last.target == promise.target
                        && next_offset == promise.base_offset =>
                {
                    last.count += 1;
                }
                _ => ranges.push(Confirmed {
                    first: promise.number,
                    count: 1,
                    target: promise.target,
                    base_offset: promise.base_offset,
                    duplicate: promise.is_duplicate,
                }),
            }
            next_offset = promise.base_offset.wrapping_add(u64::from(promise.records));
        }
        for ranges in ranges.chunks(CONFIRMS_PER_FRAME) {
            self.say(connection, 0, 0, &Response::Confirms(ranges.to_vec()));
        }
    }
}

fn is_rejected(promise: &Promise, effects: &[Effect]) -> bool {
    !promise.is_duplicate
        && effects.iter().any(|effect| {
            matches!(effect, Effect::Rejected { stream, base_offset, records }
                if *stream == promise.target
                    && (*base_offset..*base_offset + u64::from(*records))
                        .contains(&promise.base_offset))
        })
}

/// A refusal as it travels.
pub(super) fn reply_of(refusal: Refusal) -> ErrorReply {
    let retry_after_ms = if refusal.code.is_retryable() { RETRY_AFTER_MS } else { 0 };
    ErrorReply {
        code: refusal.code,
        retry_after_ms,
        message: refusal.message,
        similar: refusal.similar,
    }
}
