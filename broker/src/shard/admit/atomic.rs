//! Admission of atomic groups: publishes to several streams and settles of held deliveries, all or none.
//!
//! Everything is looked at before anything changes; what a part has taken goes back when a later one is
//! refused. A group has one number of its producer, under which each of its batches is stored.

use crate::shard::Shard;
use crate::shard::command::Command;
use crate::shard::effects::{AdmitAtomic, AtomicOffer, ConsumerId, Offer, Range, Refusal, Taken};
use crate::shard::settle::LOOKS_MAX;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::mutant;
use posthaste_protocol::request::{Held, Outcome, Settle};
use posthaste_protocol::response::{Fate, Outcomes};

impl Shard {
    /// May this atomic group be appended?
    pub fn admit_atomic(&mut self, group: &AtomicOffer, now_ms: u64) -> AdmitAtomic {
        match self.try_admit_atomic(group, now_ms) {
            Ok(admitted) => admitted,
            Err(refusal) => AdmitAtomic::Refused(refusal),
        }
    }

    fn try_admit_atomic(
        &mut self,
        group: &AtomicOffer,
        now_ms: u64,
    ) -> Result<AdmitAtomic, Refusal> {
        let AtomicOffer { producer, sequence, parts, settles } = group;
        if self.stored_before(*producer, *sequence)?.is_some() {
            return Ok(AdmitAtomic::Duplicate);
        }
        check_parts(parts.iter().map(|(offer, _)| offer))?;
        self.check_held(settles)?;
        let mut taken: Vec<Taken> = Vec::with_capacity(parts.len());
        for (number, (offer, ids)) in parts.iter().enumerate() {
            let done = self.take(offer, ids.as_deref(), now_ms);
            let done = done.map(|one| taken.push(one)).and_then(|()| check_fates(&taken));
            if let Err(refusal) = done {
                let undone = parts.iter().zip(&taken).rev().filter(|_| !mutant("half-a-group"));
                for ((offer, ids), one) in undone {
                    let ids = ids.as_deref().unwrap_or_default();
                    self.give_back(offer, ids, one.base_offset);
                }
                let message = format!("publish {} of the group: {}", number + 1, refusal.message);
                return Err(Refusal { message, ..refusal });
            }
        }
        let first = parts.iter().zip(&taken).find(|(_, one)| one.stored > 0);
        let place = first.map(|((offer, _), one)| (offer.stream, one.base_offset));
        self.producers.append(*producer, *sequence, place.unwrap_or((0, u64::MAX)));
        let mut commands = Vec::new();
        if place.is_none() {
            // No batch tells that the group is stored.
            commands.push(Command::Atomic { producer: *producer, sequence: *sequence });
        }
        for (consumer, items) in settles {
            commands.extend(self.settle(*consumer, items, now_ms).commands);
        }
        Ok(AdmitAtomic::Ok { parts: taken, commands })
    }

    /// What a group that is stored was told, as duplicates.
    #[must_use]
    pub fn atomic_again(&self, group: &AtomicOffer, now_ms: u64) -> Vec<Outcomes> {
        let all = group.parts.iter().flat_map(|(offer, ids)| {
            let place = self.producers.place_in(group.producer, group.sequence, offer.stream);
            let place = place.map(|base_offset| (offer.stream, base_offset));
            self.told_again(offer, ids.as_deref().unwrap_or_default(), place, now_ms)
        });
        all.collect()
    }

    /// Whether every delivery that is to be settled is held under its lease, and none comes twice.
    fn check_held(&self, settles: &[(ConsumerId, Vec<Settle>)]) -> Result<(), Refusal> {
        let mut looks = LOOKS_MAX;
        let mut number = 0;
        for (who, items) in settles {
            let mut ranges: Vec<(u64, u64)> = Vec::with_capacity(items.len());
            for Settle { held, outcome } in items {
                number += 1;
                if *outcome == Outcome::Release {
                    let what =
                        format!("settle {number} of the group: a release cannot be part of it");
                    return Err(Refusal::new(ErrorCode::InvalidArgument, what));
                }
                if !self.holds(*who, *held, &mut looks) {
                    let what = format!(
                        "settle {number} of the group: the lease on position {} is not held (any more)",
                        held.first
                    );
                    return Err(Refusal::new(ErrorCode::LeaseExpired, what));
                }
                ranges.push((held.first, held.first + u64::from(held.count)));
            }
            ranges.sort_unstable();
            if ranges.windows(2).any(|pair| matches!(pair, [(_, end), (first, _)] if end > first)) {
                let what = "a delivery is settled twice by the group";
                return Err(Refusal::new(ErrorCode::InvalidArgument, what));
            }
        }
        Ok(())
    }

    /// Whether all of `held` is with this consumer under its epoch.
    fn holds(&self, who: ConsumerId, held: Held, looks: &mut usize) -> bool {
        let end = held.first.checked_add(u64::from(held.count)).filter(|_| held.count > 0);
        let (Some(end), Some(holder)) = (end, self.consumers.get(&who)) else { return false };
        let mut count = 0;
        for (range, lease) in holder.leases.parts(Range { first: held.first, end }) {
            *looks = looks.saturating_sub(1);
            if *looks == 0 || lease.epoch != held.epoch {
                return false;
            }
            count += range.count();
        }
        count == u64::from(held.count)
    }
}

/// A message that cannot be stored keeps the others from being stored.
fn check_fates(taken: &[Taken]) -> Result<(), Refusal> {
    let last = taken.last().into_iter().flat_map(|one| &one.outcomes);
    if last.into_iter().any(|outcome| outcome.fate == Fate::Conflict) {
        let what = "another message was stored under one of its ids within the window";
        return Err(Refusal::new(ErrorCode::IdConflict, what));
    }
    Ok(())
}

/// No stream comes twice: the places of its batches could not be told apart.
fn check_parts<'a>(offers: impl Iterator<Item = &'a Offer>) -> Result<(), Refusal> {
    let mut streams: Vec<_> = offers.map(|offer| offer.stream).collect();
    streams.sort_unstable();
    if streams.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
        let what = "a queue or topic comes twice in the group: its messages go into one batch";
        return Err(Refusal::new(ErrorCode::InvalidArgument, what));
    }
    Ok(())
}
