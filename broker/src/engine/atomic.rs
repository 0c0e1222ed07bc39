//! Atomic groups: several publishes and settles in one block, or nothing of them.

use super::Now;
use super::core::{Core, consumer};
use super::input::{AtomicGroup, ConnectionId, GroupPart};
use super::open::After;
use super::publish::offer;
use crate::shard::effects::{AdmitAtomic, AtomicOffer, ConsumerId, Refusal};
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::request::{AtomicSettle, Settle};

impl Core {
    pub(super) fn publish_atomic(
        &mut self,
        connection: ConnectionId,
        number: u64,
        group: AtomicGroup,
        now: Now,
    ) {
        if let Err(refusal) = self.try_publish_atomic(connection, number, group, now) {
            self.refuse_publish(connection, number, refusal);
        }
    }

    fn try_publish_atomic(
        &mut self,
        connection: ConnectionId,
        number: u64,
        group: AtomicGroup,
        now: Now,
    ) -> Result<(), Refusal> {
        self.check_owner(connection, group.producer)?;
        if !group.parts.is_empty() {
            self.check_publish(connection, group.producer)?;
        }
        for GroupPart { target, header, .. } in &group.parts {
            self.check_delays(*target, header)?;
        }
        if !group.settles.is_empty() && self.open.is_behind() {
            let message =
                "more settles wait than go into a block, and this group must be whole in one";
            return Err(Refusal::new(ErrorCode::Busy, message));
        }
        let offered = self.offered(connection, &group);
        match self.shard.admit_atomic(&offered, now.wall_ms) {
            AdmitAtomic::Ok { parts, commands } => {
                let mut picked = Vec::with_capacity(parts.len());
                for ((part, (offer, _)), taken) in
                    group.parts.into_iter().zip(&offered.parts).zip(&parts)
                {
                    picked.push((*offer, self.picked(offer, part.batch, taken)?));
                }
                let mut outcomes = Vec::new();
                for ((offer, batch), taken) in picked.into_iter().zip(parts) {
                    self.append_taken(&offer, batch, &taken);
                    outcomes.extend(taken.outcomes);
                }
                for command in &commands {
                    self.open.command(command);
                }
                self.open.keep_whole();
                self.open.waiting.afters.push(After::Receipts { connection, number, outcomes });
                Ok(())
            }
            AdmitAtomic::Duplicate => {
                self.counters.duplicates += 1;
                let group = Box::new(offered);
                self.open.waiting.afters.push(After::AtomicAgain { connection, number, group });
                Ok(())
            }
            AdmitAtomic::Refused(refusal) => Err(refusal),
        }
    }

    /// The group as the shard looks at it.
    fn offered(&self, connection: ConnectionId, group: &AtomicGroup) -> AtomicOffer {
        let parts = group.parts.iter().map(|part| {
            let ids = self.shard.identify(part.target, &part.batch);
            (offer(part.target, part.expects, &part.header), ids.filter(|ids| !ids.is_empty()))
        });
        let mut settles: Vec<(ConsumerId, Vec<Settle>)> = Vec::new();
        for AtomicSettle { channel, settle } in &group.settles {
            let who = consumer(connection, *channel);
            match settles.iter_mut().find(|(of, _)| *of == who) {
                Some((_, items)) => items.push(settle.clone()),
                None => settles.push((who, vec![settle.clone()])),
            }
        }
        let AtomicGroup { producer, sequence, .. } = *group;
        AtomicOffer { producer, sequence, parts: parts.collect(), settles }
    }
}
