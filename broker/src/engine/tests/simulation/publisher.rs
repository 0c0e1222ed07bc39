//! A publisher: pipelines batches, and sends again what was not answered, under its session.

use super::actor::{Asked, Line, Stage};
use super::history::Event;
use super::scene::{SCRATCH, TARGETS, Target, body};
use bytes::Bytes;
use posthaste_protocol::batch::{BatchBuilder, Record, destination_seed};
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::{Request, Response};
use std::collections::BTreeMap;

/// Batches under way at most.
const WINDOW: usize = 12;
const OPENED: u32 = 1_000;

/// A batch that was not confirmed yet.
struct Waiting {
    batch: u32,
    target: Target,
    bytes: Bytes,
    /// It may be sent again: its session or its ids tell the broker that it was there before.
    is_known: bool,
    /// Not before: it was refused for now.
    not_before_ms: u64,
    /// The publish number on this connection, while it is under way.
    sent: Option<u64>,
}

/// See the module.
pub(super) struct Publisher {
    index: u8,
    /// `None`: without a session; only what has ids is sent again.
    session: Option<[u8; 16]>,
    producer: Option<u32>,
    sequence: u64,
    numbers: [Option<u32>; TARGETS.len()],
    /// By sequence.
    waiting: BTreeMap<u64, Waiting>,
    /// Publish number to sequence.
    sent: BTreeMap<u64, u64>,
    next_number: u64,
}

impl Publisher {
    pub(super) fn new(index: u8, has_session: bool) -> Publisher {
        Publisher {
            index,
            session: has_session.then_some([index + 1; 16]),
            producer: None,
            sequence: 1,
            numbers: [None; TARGETS.len()],
            waiting: BTreeMap::new(),
            sent: BTreeMap::new(),
            next_number: 1,
        }
    }

    /// Everything that was published has an outcome.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn on_welcome(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        *stage.operations += 1;
        if let Some(session) = self.session {
            line.ask(0, &Request::OpenProducer { session }, Asked::Role(OPENED));
        } else {
            self.producer = Some(0);
        }
        for target in 0..TARGETS.len() {
            self.resolve(target, line);
        }
    }

    fn resolve(&mut self, target: Target, line: &mut Line) {
        self.numbers[target] = None;
        let name = TARGETS[target].name();
        let asked = Asked::Role(u32::try_from(target).expect("few"));
        line.ask(0, &Request::Describe { name }, asked);
    }

    pub(super) fn on_lost(&mut self, stage: &mut Stage<'_>) {
        self.producer = None;
        self.sent.clear();
        self.next_number = 1;
        for waiting in self.waiting.values_mut() {
            if waiting.sent.take().is_some() {
                stage.history.note(Event::Unanswered { batch: waiting.batch });
            }
        }
        // A resend of others could store them twice: the outcome stays unknown, and when they are stored too, for
        // the next connection may overtake this one.
        self.waiting.retain(|_, waiting| {
            if !waiting.is_known {
                stage.history.note(Event::GivenUp { batch: waiting.batch });
            }
            waiting.is_known
        });
    }

    pub(super) fn act(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        let Some(producer) = self.producer else { return };
        self.resend(line, stage);
        if stage.is_healing {
            return;
        }
        for _ in 0..=stage.dice.below(4) {
            if self.waiting.len() >= WINDOW {
                return;
            }
            let target = match stage.dice.below(10) {
                0..4 => 0,
                4..6 => 1,
                6..7 => SCRATCH,
                _ => 3,
            };
            if let Some(number) = self.numbers[target] {
                self.publish(target, number, producer, stage);
                self.resend(line, stage);
            }
        }
    }

    fn publish(&mut self, target: Target, number: u32, producer: u32, stage: &mut Stage<'_>) {
        let most = if stage.dice.one_in(20) { 30 } else { 5 };
        let count = 1 + u32::try_from(stage.dice.below(most)).expect("small");
        let first = u32::try_from(stage.history.messages.len()).expect("a short history");
        let batch = u32::try_from(stage.history.batches.len()).expect("a short history");
        let is_delayed = stage.dice.one_in(12);
        let not_before_ms = is_delayed.then(|| stage.wall_ms + stage.dice.below(600));
        let has_ids = self.session.is_none() && TARGETS[target].id_window_ms.is_some();
        let is_known = has_ids || self.session.is_some();
        let mut builder = BatchBuilder::new();
        for id in first..first + count {
            let name = format!("message-{id}");
            let id_of = Some(&*name).filter(|_| has_ids);
            let record = Record { value: &body(id), not_before_ms, id: id_of, ..Record::default() };
            builder.push(&record).expect("small records fit");
        }
        let sequence = self.sequence;
        self.sequence += 1;
        let seed = destination_seed(&TARGETS[target].name());
        let stamp = if producer == 0 { 0 } else { sequence };
        let bytes = builder.finish(seed, producer, stamp, 1);
        stage.history.note(Event::Made {
            batch,
            producer: self.index,
            target,
            number,
            first,
            count,
            is_delayed,
        });
        let waiting = Waiting { batch, target, bytes, is_known, not_before_ms: 0, sent: None };
        self.waiting.insert(sequence, waiting);
    }

    /// Sends what is not under way, in order.
    fn resend(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        if self.producer.is_none() {
            return;
        }
        for (sequence, waiting) in &mut self.waiting {
            if waiting.sent.is_some() || waiting.not_before_ms > stage.now_ms {
                continue;
            }
            let number = self.next_number;
            self.next_number += 1;
            waiting.sent = Some(number);
            self.sent.insert(number, *sequence);
            let target = stage.history.batches[waiting.batch as usize].number;
            let batch = waiting.bytes.clone();
            line.say(0, number, &Request::Publish { target, durability: 0, expects: None, batch });
            stage.history.note(Event::Sent { batch: waiting.batch });
            *stage.operations += 1;
        }
    }

    /// `true`: the connection should end.
    pub(super) fn on_response(
        &mut self,
        line: &mut Line,
        corr: u64,
        asked: Option<u32>,
        said: Response,
        stage: &mut Stage<'_>,
    ) -> bool {
        match (asked, said) {
            (Some(OPENED), Response::ProducerOpened { producer, .. }) => {
                self.producer = Some(producer);
                self.resend(line, stage);
            }
            (Some(target), Response::Described(described)) => {
                self.numbers[target as usize] = Some(described.id);
            }
            // It may be declared again later.
            (Some(target), Response::Error(_)) if target < OPENED && stage.dice.one_in(2) => {
                self.resolve(target as usize, line);
            }
            (Some(OPENED), Response::Error(_)) => return true,
            (_, Response::Confirms(ranges)) => {
                for range in ranges {
                    let mut base_offset =
                        Some(range.base_offset).filter(|offset| *offset != u64::MAX);
                    for number in range.first..range.first + u64::from(range.count) {
                        let Some(batch) = self.take(number) else {
                            let what =
                                format!("publish {number} was confirmed twice or never sent");
                            stage.history.broken("phantom", what);
                            continue;
                        };
                        let records = stage.history.batches[batch as usize].count;
                        stage.history.note(Event::Confirmed {
                            batch,
                            base_offset,
                            number: range.target,
                        });
                        base_offset = base_offset.map(|offset| offset + u64::from(records));
                    }
                }
            }
            (None, Response::Error(reply)) => {
                return self.on_refused(corr, reply.code, line, stage);
            }
            _ => {}
        }
        false
    }

    fn take(&mut self, number: u64) -> Option<u32> {
        let sequence = self.sent.remove(&number)?;
        self.waiting.remove(&sequence).map(|waiting| waiting.batch)
    }

    fn on_refused(
        &mut self,
        number: u64,
        code: ErrorCode,
        line: &mut Line,
        stage: &mut Stage<'_>,
    ) -> bool {
        let Some(sequence) = self.sent.remove(&number) else { return false };
        let Some(waiting) = self.waiting.get_mut(&sequence) else { return false };
        waiting.sent = None;
        let batch = waiting.batch;
        match code {
            ErrorCode::Indeterminate | ErrorCode::ShuttingDown | ErrorCode::ProducerFenced => {
                stage.history.note(Event::Unanswered { batch });
                if !waiting.is_known {
                    stage.history.note(Event::GivenUp { batch });
                    self.waiting.remove(&sequence);
                }
                true
            }
            code if code.is_retryable() && waiting.is_known => {
                waiting.not_before_ms = stage.now_ms + 20 + stage.dice.below(100);
                stage.history.note(Event::Refused { batch, code: code.number() });
                false
            }
            code => {
                stage.history.note(Event::Refused { batch, code: code.number() });
                stage.history.note(Event::GivenUp { batch });
                let target = waiting.target;
                self.waiting.remove(&sequence);
                if code == ErrorCode::NotFound {
                    self.resolve(target, line);
                }
                false
            }
        }
    }
}
