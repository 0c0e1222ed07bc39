//! The rules, named as in Jepsen's checkers where those have a name.
//!
//! | rule | it was broken when |
//! | --- | --- |
//! | lost | a stored message left without an ack, a dead letter or a request that removes it |
//! | unseen | the same, of a message that was never delivered at all |
//! | phantom | something was delivered that nobody published there, or that was refused |
//! | duplicated | one message has two offsets |
//! | inconsistent offset | one offset has two messages |
//! | unflagged | a delivery claims to be the first and is not |
//! | after ack | a message came again after its confirmed ack |
//! | reordered | first deliveries of one producer's messages are out of order |
//! | two holders | two consumers held a lease on one message at once, or a lost lease settled it |
//! | resurrected | what was deleted came back |
//! | attempts | attempts went back without a replay |
//! | panic | a task of the broker panicked, wherever it was caught |
//! | counts | ready, leased, delayed and dead do not add up to what is there |

use super::history::{Delivered, Event, First, History, How};
use super::scene::{AUDIT, PLACES, PlaceId, Target, places_of};
use std::collections::BTreeMap;

/// Deliveries to two consumers within this time count as made at once.
const AT_ONCE_MS: u64 = 1_000;

/// One broken rule.
#[derive(Clone, Debug)]
pub(super) struct Violation {
    pub(super) rule: &'static str,
    pub(super) what: String,
}

impl History {
    pub(super) fn broken(&mut self, rule: &'static str, what: String) {
        // The first is the cause; the rest often follows from it.
        if self.violations.len() < 8 {
            self.violations.push(Violation { rule, what });
        }
    }

    /// Holds one event against what is known, and learns from it.
    pub(super) fn check(&mut self, event: &Event) {
        match event {
            Event::Made { .. } => self.on_made(event),
            Event::Confirmed { batch, base_offset, number } => {
                self.on_confirmed(*batch, *base_offset, *number);
            }
            Event::Refused { batch, .. } => self.batches[*batch as usize].was_refused = true,
            Event::Unanswered { batch } => self.batches[*batch as usize].has_doubt = true,
            Event::GivenUp { batch } => self.batches[*batch as usize].is_given_up = true,
            Event::Consumes { place, to } => {
                self.consumers.insert(*to, self.events);
                self.places.insert(*to, *place);
                self.leaving.remove(to);
            }
            Event::Delivered { at_ms, seen } => self.on_delivered(*at_ms, *seen),
            Event::Settling { place, id, epoch, how } => {
                self.on_settling(*place, *id, *epoch, *how);
            }
            Event::Settled { place, id, epoch, how, is_stale } => {
                self.on_settled((*place, *id), *epoch, *how, *is_stale);
            }
            Event::Extending { place, id, epoch, until_ms } => {
                if let Some(holder) =
                    self.state(*place, *id).and_then(|state| state.holder.as_mut())
                    && holder.epoch == *epoch
                {
                    holder.until_ms = holder.until_ms.min(*until_ms);
                }
            }
            Event::LetGo { to } => {
                self.leaving.insert(*to);
                self.let_go(*to);
            }
            Event::Ended { .. } => self.on_ended(),
            Event::Disturbed { target, what } => self.on_disturbed(*target, *what == "delete"),
            Event::Calm { target } => {
                let state = &mut self.targets[*target];
                state.disturbances = state.disturbances.saturating_sub(1);
            }
            Event::Declared { target, number } => {
                if self.gone.contains_key(number) {
                    self.broken("resurrected", format!("number {number} was deleted and is back"));
                }
                let state = &mut self.targets[*target];
                state.number = Some(*number);
                state.may_be_gone &= state.disturbances > 0;
            }
            Event::Deleted { target, number } => {
                self.gone.insert(*number, self.events);
                self.targets[*target].number = None;
            }
            Event::Replayed { place } => self.replayed[*place] = true,
            Event::Dead { place, id, offset } => self.on_dead(*place, *id, *offset),
            Event::Counts { place, open, dead } => self.on_counts(*place, *open, *dead),
            Event::Fault { what, .. } => self.was_full |= what.contains("full"),
            Event::Sent { .. } => {}
        }
    }

    fn on_confirmed(&mut self, batch: u32, base_offset: Option<u64>, number: u32) {
        let (first, count, meant) = {
            let batch = &mut self.batches[batch as usize];
            batch.is_confirmed = true;
            batch.is_stored = true;
            (batch.first, batch.count, batch.number)
        };
        if number != meant {
            self.broken("phantom", format!("batch {batch} for {meant} was stored in {number}"));
        }
        for (id, at) in (first..first + count).zip(0..) {
            if let Some(base_offset) = base_offset {
                self.place(id, number, base_offset + at);
            }
        }
    }

    /// A message lies at an offset.
    fn place(&mut self, id: u32, number: u32, offset: u64) {
        let known = self.messages[id as usize].offset.replace(offset);
        if let Some(known) = known.filter(|known| *known != offset) {
            self.broken(
                "duplicated",
                format!("message {id} lies at {known} and at {offset} of {number}"),
            );
        }
        if let Some(other) = self.offsets.insert((number, offset), id).filter(|other| *other != id)
        {
            self.broken(
                "inconsistent offset",
                format!("offset {offset} of {number} is message {other} and message {id}"),
            );
        }
    }

    fn on_delivered(&mut self, at_ms: u64, seen: Delivered) {
        let Delivered { place, id, offset, .. } = seen;
        let Some(batch) = self.batch_of(id).cloned() else {
            return self.broken("phantom", format!("nobody published message {id}"));
        };
        if batch.target != PLACES[place].target {
            return self.broken("phantom", format!("message {id} was not meant for place {place}"));
        }
        if batch.is_given_up && !batch.has_doubt && !batch.is_confirmed {
            self.broken("phantom", format!("message {id} was refused and is delivered"));
        }
        let asked = self.consumers.get(&seen.to).copied().unwrap_or(0);
        if self.gone.get(&batch.number).is_some_and(|gone| *gone < asked) {
            self.broken("resurrected", format!("message {id} of the deleted {}", batch.number));
        }
        let index = self.messages[id as usize].batch as usize;
        self.batches[index].is_stored = true;
        self.place(id, batch.number, offset);
        self.deliveries += 1;
        let order = self.deliveries;
        let may_reset = self.replayed[place] || self.is_disturbed(place);
        let may_return = self.is_disturbed(place);
        let is_held = !self.leaving.contains(&seen.to);
        let mut broken = Vec::new();
        let Some(state) = self.state(place, id) else { return };
        if state.is_acked && !may_return {
            broken.push(("after ack", format!("message {id} comes again to place {place}")));
        }
        if seen.attempt < state.attempt && seen.epoch > state.last_epoch && !may_reset {
            let what = format!("message {id}: attempt {} after {}", seen.attempt, state.attempt);
            broken.push(("attempts", what));
        }
        let is_first_known = state.deliveries == 0;
        state.first_epoch =
            if is_first_known { seen.epoch } else { state.first_epoch.min(seen.epoch) };
        if !seen.redelivered {
            if state.unflagged.is_some() {
                broken.push(("unflagged", format!("message {id} is new to place {place} twice")));
            }
            state.unflagged = Some(First { epoch: seen.epoch, order, to: seen.to, at_ms });
        }
        if state.unflagged.is_some_and(|first| first.epoch > state.first_epoch) {
            broken
                .push(("unflagged", format!("message {id} of place {place} was delivered before")));
        }
        if let Some(holder) = state.holder
            && holder.to != seen.to
            && holder.epoch < seen.epoch
            && at_ms < holder.until_ms
            && !may_return
        {
            let what = format!("message {id} at {at_ms} ms, held by {holder:?}");
            broken.push(("two holders", what));
        }
        state.deliveries += 1;
        state.attempt = state.attempt.max(seen.attempt);
        // What was decided earlier may be written later, on another wire.
        if seen.epoch >= state.last_epoch {
            state.holder = is_held.then_some(seen);
        }
        state.last_epoch = state.last_epoch.max(seen.epoch);
        self.held.entry(seen.to).or_default().push((place, id));
        for (rule, what) in broken {
            self.broken(rule, what);
        }
    }

    fn on_settling(&mut self, place: PlaceId, id: u32, epoch: u64, how: How) {
        let Some(state) = self.state(place, id) else { return };
        if state.last_epoch != epoch {
            state.superseded.push(epoch);
        }
        state.ack_sent |= how == How::Ack;
        if state.holder.is_some_and(|holder| holder.epoch == epoch) {
            state.holder = None;
        }
    }

    fn on_settled(&mut self, (place, id): (PlaceId, u32), epoch: u64, how: How, is_stale: bool) {
        let may_return = self.is_disturbed(place);
        let Some(state) = self.state(place, id) else { return };
        if is_stale {
            return;
        }
        state.is_acked |= how == How::Ack && !may_return;
        if state.superseded.contains(&epoch) {
            let what = format!(
                "message {id} was settled under epoch {epoch}, which another has taken over"
            );
            self.broken("two holders", what);
        }
    }

    /// Whether requests may bring back, or take, messages of the place.
    fn is_disturbed(&self, place: PlaceId) -> bool {
        let target = &self.targets[PLACES[place].target];
        place == AUDIT && target.was_disturbed
    }

    fn let_go(&mut self, to: (u32, u16)) {
        for (place, id) in self.held.remove(&to).unwrap_or_default() {
            if let Some(state) = self.state(place, id)
                && state.holder.is_some_and(|holder| holder.to == to)
            {
                state.holder = None;
            }
        }
    }

    fn on_ended(&mut self) {
        let held: Vec<(u32, u16)> = self.held.keys().copied().collect();
        for to in held {
            self.let_go(to);
        }
        for target in &mut self.targets {
            target.disturbances = 0;
        }
    }

    fn on_disturbed(&mut self, target: Target, is_delete: bool) {
        let state = &mut self.targets[target];
        state.may_be_gone |= is_delete;
        state.disturbances += 1;
        state.was_disturbed = true;
        let batches = self.batches.iter().filter(|batch| batch.target == target);
        let ids: Vec<u32> =
            batches.flat_map(|batch| batch.first..batch.first + batch.count).collect();
        for place in places_of(target).filter(|place| PLACES[*place].group != Some("billing")) {
            for id in &ids {
                if let Some(state) = self.state(place, *id) {
                    state.is_excused = true;
                }
            }
        }
    }

    fn on_made(&mut self, event: &Event) {
        let Event::Made { producer, target, number, first, count, is_delayed, .. } = event else {
            return;
        };
        let (target, number) = (*target, *number);
        self.batches.push(super::history::Batch {
            producer: *producer,
            target,
            number,
            first: *first,
            count: *count,
            is_delayed: *is_delayed,
            is_stored: false,
            is_confirmed: false,
            has_doubt: false,
            was_refused: false,
            is_given_up: false,
        });
        let batch = u32::try_from(self.batches.len() - 1).expect("a short history");
        for _ in 0..*count {
            let states = Default::default();
            self.messages.push(super::history::Message { batch, offset: None, states });
        }
        if self.targets[target].disturbances > 0 {
            let ids = *first..*first + *count;
            for (place, id) in
                places_of(target).flat_map(|place| ids.clone().map(move |id| (place, id)))
            {
                if PLACES[place].group != Some("billing")
                    && let Some(state) = self.state(place, id)
                {
                    state.is_excused = true;
                }
            }
        }
    }

    fn on_dead(&mut self, place: PlaceId, id: u32, offset: u64) {
        let Some(batch) = self.batch_of(id).cloned() else {
            return self.broken("phantom", format!("nobody published the dead letter {id}"));
        };
        self.place(id, batch.number, offset);
        let may_return = self.is_disturbed(place);
        let Some(state) = self.state(place, id) else { return };
        state.is_dead = true;
        if state.is_acked && !may_return {
            self.broken("after ack", format!("message {id} was acked and is a dead letter"));
        }
    }

    fn on_counts(&mut self, place: PlaceId, open: u64, dead: u64) {
        let slot = PLACES[place].slot;
        let known = self.messages.iter().filter(|message| {
            message.states[slot].is_dead
                && self.batches[message.batch as usize].target == PLACES[place].target
        });
        let known = known.count() as u64;
        if open != 0 || dead != known {
            self.broken(
                "counts",
                format!("place {place}: {open} open, {dead} dead, {known} of them listed"),
            );
        }
    }

    /// The end: everything that was stored is accounted for.
    pub(super) fn conclude(&mut self) {
        let mut broken = Vec::new();
        for (id, message) in self.messages.iter().enumerate() {
            let batch = &self.batches[message.batch as usize];
            if !batch.is_stored || self.gone.contains_key(&batch.number) {
                continue;
            }
            for place in places_of(batch.target) {
                let state = &message.states[PLACES[place].slot];
                if state.ack_sent || state.is_dead || state.is_excused {
                    continue;
                }
                let rule = if state.deliveries == 0 { "unseen" } else { "lost" };
                broken.push((
                    rule,
                    format!("message {id} of batch {} in place {place}", message.batch),
                ));
            }
        }
        for (rule, what) in broken {
            self.broken(rule, what);
        }
        self.check_order();
    }

    /// Messages of one producer are first delivered in publish order. What was refused once, given up or
    /// is delayed may be late; of what two consumers get at once nobody can tell the order.
    fn check_order(&mut self) {
        let mut broken = Vec::new();
        for (index, place) in PLACES.iter().enumerate() {
            let mut last: BTreeMap<(u8, u32), (First, usize)> = BTreeMap::new();
            let mut last_to = BTreeMap::new();
            for (id, message) in self.messages.iter().enumerate() {
                let batch = &self.batches[message.batch as usize];
                let state = &message.states[place.slot];
                let is_refused = batch.was_refused || self.was_full && batch.has_doubt;
                let is_late = batch.is_delayed || is_refused || batch.is_given_up;
                let is_free = is_late || state.is_excused;
                if batch.target != place.target || is_free {
                    continue;
                }
                let Some(first) = state.unflagged else { continue };
                let of = (batch.producer, batch.number);
                let before = last_to.insert((of, first.to), (first, id));
                let overtaken = before.filter(|(before, _)| before.order > first.order);
                let before = last.insert(of, (first, id));
                let late = before.filter(|(before, _)| before.at_ms > first.at_ms + AT_ONCE_MS);
                if let Some((before, earlier)) = overtaken.or(late) {
                    broken.push(format!(
                        "place {index}: message {id} at {first:?}, {earlier} at {before:?}"
                    ));
                }
            }
        }
        for what in broken {
            self.broken("reordered", what);
        }
    }
}
