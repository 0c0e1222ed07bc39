//! A consumer: takes deliveries and ends them in every way there is, or leaves them.

use super::actor::{Asked, Line, Stage};
use super::history::{Event, How};
use super::scene::{PLACES, PlaceId, id_of};
use posthaste_protocol::destination_seed;
use posthaste_protocol::request::{Consume, Credit, Held, Outcome, Settle, Start};
use posthaste_protocol::response::Deliver;
use posthaste_protocol::{Request, Response};
use std::collections::BTreeMap;

pub(super) const CHANNEL: u16 = 1;
const CONSUMING: u32 = 0;
const CANCELED: u32 = 1;
/// Settles are numbered from here.
const SETTLES: u32 = 16;

#[derive(Clone, Copy, Debug)]
struct Holding {
    id: u32,
    offset: u64,
    epoch: u64,
}

/// See the module.
pub(super) struct Consumer {
    place: PlaceId,
    is_open: bool,
    is_asking: bool,
    holding: Vec<Holding>,
    begun: u64,
    credit: u32,
    settles: BTreeMap<u32, Vec<(Holding, How)>>,
    next_settle: u32,
    /// Does nothing until then.
    hangs_until_ms: u64,
}

impl Consumer {
    pub(super) fn new(place: PlaceId) -> Consumer {
        Consumer {
            place,
            is_open: false,
            is_asking: false,
            holding: Vec::new(),
            begun: 0,
            credit: 0,
            settles: BTreeMap::new(),
            next_settle: SETTLES,
            hangs_until_ms: 0,
        }
    }

    fn reset(&mut self) {
        self.is_open = false;
        self.is_asking = false;
        self.holding.clear();
        self.settles.clear();
        self.begun = 0;
        self.credit = 0;
    }

    pub(super) fn on_welcome(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        self.consume(line, stage);
    }

    fn consume(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        self.reset();
        let place = &PLACES[self.place];
        self.credit = 1 + u32::try_from(stage.dice.below(12)).expect("small");
        let bytes = if stage.dice.one_in(4) { 200 } else { 1 << 20 };
        let consume = Consume {
            name: place.name(),
            group: place.group_name(),
            start: Start::Earliest,
            lease_ms: None,
            credit: Credit { messages: self.credit, bytes, begun: 0 },
        };
        let to = (line.number(), CHANNEL);
        stage.history.note(Event::Consumes { place: self.place, to });
        self.is_asking = true;
        *stage.operations += 1;
        line.ask(CHANNEL, &Request::Consume(consume), Asked::Role(CONSUMING));
    }

    pub(super) fn on_lost(&mut self, wire: u32, stage: &mut Stage<'_>) {
        self.reset();
        stage.history.note(Event::LetGo { to: (wire, CHANNEL) });
    }

    pub(super) fn act(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        if stage.now_ms < self.hangs_until_ms || self.is_asking {
            return;
        }
        if !self.is_open {
            return self.consume(line, stage);
        }
        if stage.is_healing {
            let all = std::mem::take(&mut self.holding);
            self.settle(all, Some(How::Ack), true, line, stage);
            return self.top_up(16, line, stage);
        }
        match stage.dice.below(24) {
            0..10 => {
                let count = 1 + stage.dice.index(self.holding.len());
                let some = self.some(count, stage);
                self.settle(some, Some(How::Ack), stage.dice.one_in(2), line, stage);
            }
            10..14 => {
                let count = 1 + stage.dice.index(4);
                let some = self.some(count, stage);
                self.settle(some, None, stage.dice.one_in(2), line, stage);
            }
            14..21 => {
                self.top_up(1 + u32::try_from(stage.dice.below(8)).expect("small"), line, stage);
            }
            21 => self.extend(line, stage),
            22 if stage.dice.one_in(3) => self.cancel(line, stage),
            23 if stage.dice.one_in(3) => {
                self.hangs_until_ms = stage.now_ms + stage.dice.below(3_000);
            }
            _ => {}
        }
    }

    /// Some of what is held, from the front or from anywhere.
    fn some(&mut self, count: usize, stage: &mut Stage<'_>) -> Vec<Holding> {
        let count = count.min(self.holding.len());
        if stage.dice.one_in(3) {
            let from = stage.dice.index(self.holding.len() - count + 1);
            self.holding.drain(from..from + count).collect()
        } else {
            self.holding.drain(..count).collect()
        }
    }

    fn settle(
        &mut self,
        some: Vec<Holding>,
        how: Option<How>,
        confirm: bool,
        line: &mut Line,
        stage: &mut Stage<'_>,
    ) {
        if some.is_empty() {
            return;
        }
        let mut items = Vec::new();
        let mut told = Vec::new();
        for holding in some {
            let how = how.unwrap_or_else(|| match stage.dice.below(8) {
                0..3 => How::Retry,
                3..5 => How::Release,
                _ => How::Dead,
            });
            let Holding { id, offset, epoch } = holding;
            stage.history.note(Event::Settling { place: self.place, id, epoch, how });
            let held = Held { first: offset, count: 1, epoch };
            items.push(Settle { held, outcome: outcome(how, stage) });
            told.push((holding, how));
        }
        *stage.operations += 1;
        let request = Request::Settle { confirm, items };
        if confirm {
            let number = self.next_settle;
            self.next_settle += 1;
            self.settles.insert(number, told);
            line.ask(CHANNEL, &request, Asked::Role(number));
        } else {
            line.say(CHANNEL, 0, &request);
        }
    }

    fn top_up(&mut self, messages: u32, line: &mut Line, stage: &mut Stage<'_>) {
        if self.credit >= 40 {
            return;
        }
        self.credit += messages;
        *stage.operations += 1;
        let credit = Credit { messages, bytes: u64::from(messages) * 400, begun: self.begun };
        line.say(CHANNEL, 0, &Request::Credit(credit));
    }

    fn extend(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        let lease_ms = 100 + u32::try_from(stage.dice.below(1_500)).expect("small");
        let until_ms = stage.now_ms + u64::from(lease_ms);
        let mut items = Vec::new();
        for holding in self.holding.iter().take(3) {
            let Holding { id, offset, epoch } = *holding;
            stage.history.note(Event::Extending { place: self.place, id, epoch, until_ms });
            items.push(Held { first: offset, count: 1, epoch });
        }
        if !items.is_empty() {
            *stage.operations += 1;
            line.ask(CHANNEL, &Request::Extend { lease_ms, items }, Asked::Nothing);
        }
    }

    fn cancel(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        *stage.operations += 1;
        self.is_asking = true;
        stage.history.note(Event::LetGo { to: (line.number(), CHANNEL) });
        line.ask(CHANNEL, &Request::Cancel, Asked::Role(CANCELED));
    }

    /// `true`: the connection should end.
    pub(super) fn on_response(
        &mut self,
        _line: &mut Line,
        channel: u16,
        asked: Option<u32>,
        said: Response,
        stage: &mut Stage<'_>,
    ) -> bool {
        match (asked, said) {
            (_, Response::Deliver(deliver)) if channel == CHANNEL => self.take(&deliver, stage),
            (Some(CONSUMING), Response::Consuming { .. }) => {
                self.is_open = true;
                self.is_asking = false;
            }
            // The queue is deleted at present.
            (Some(CONSUMING), Response::Error(_)) => self.is_asking = false,
            (_, Response::Canceled) => self.reset(),
            (Some(number), Response::Settled { stale }) => {
                for (holding, how) in self.settles.remove(&number).unwrap_or_default() {
                    let Holding { id, offset, epoch } = holding;
                    let is_stale = stale.iter().any(|held| {
                        held.epoch == epoch
                            && (held.first..held.first + u64::from(held.count)).contains(&offset)
                    });
                    let place = self.place;
                    stage.history.note(Event::Settled { place, id, epoch, how, is_stale });
                }
            }
            (Some(_), Response::Error(_)) => return true,
            _ => {}
        }
        false
    }

    fn take(&mut self, deliver: &Deliver, stage: &mut Stage<'_>) {
        let seed = destination_seed(&PLACES[self.place].name());
        for piece in &deliver.pieces {
            for record in piece.records(seed) {
                let read =
                    record.ok().and_then(|(offset, record)| Some((offset, id_of(&record.value)?)));
                let Some((offset, id)) = read else {
                    stage.history.broken("phantom", "a delivery is not what was published".into());
                    continue;
                };
                self.holding.push(Holding { id, offset, epoch: deliver.epoch });
                self.credit = self.credit.saturating_sub(1);
                // Begun in order; one is left alone now and then.
                self.begun += u64::from(!stage.dice.one_in(20));
            }
        }
    }
}

fn outcome(how: How, stage: &mut Stage<'_>) -> Outcome {
    let reason = || "simulated".to_owned();
    match how {
        How::Ack => Outcome::Ack,
        How::Retry => {
            let delay_ms = stage.dice.one_in(2).then(|| stage.dice.below(1_500));
            Outcome::Retry { delay_ms, reason: reason() }
        }
        How::Release => Outcome::Release,
        How::Dead => Outcome::DeadLetter { reason: reason() },
    }
}
