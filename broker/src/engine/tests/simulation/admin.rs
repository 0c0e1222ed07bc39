//! The operator: declares, deletes, purges, seeks, replays, looks; one request at a time. At the
//! end it tells whether everything has come to rest.

use super::actor::{Asked, Line, Stage};
use super::history::Event;
use super::scene::{
    AUDIT, EVENTS, JOBS, PLACES, PlaceId, SCRATCH, TARGETS, Target, id_of, places_of,
};
use posthaste_protocol::destination_seed;
use posthaste_protocol::request::{DeadAction, Settings, Start};
use posthaste_protocol::response::{DeadLetter, Description};
use posthaste_protocol::{Request, Response};

/// Dead letters per answer.
const PAGE: u32 = 200;

/// What the request under way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Declare(Target),
    DeclareGroup(PlaceId),
    Delete(Target),
    /// A request that takes or brings back messages.
    Disturb(Target),
    Look,
    /// At the end.
    Count(Target),
    List(PlaceId),
}

/// What is found out at the end.
#[derive(Clone, Debug, Default)]
struct Findings {
    next: usize,
    dead: Vec<(PlaceId, u64, u32)>,
    counts: Vec<(PlaceId, u64, u64)>,
    next_offset: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Admin {
    doing: Option<Doing>,
    declared: [bool; TARGETS.len()],
    grouped: [bool; PLACES.len()],
    findings: Findings,
    not_before_ms: u64,
    /// Everything is at rest, and what is there was told.
    pub(super) is_done: bool,
}

impl Admin {
    pub(super) fn has_set_up(&self) -> bool {
        self.declared.iter().all(|done| *done) && self.grouped.iter().all(|done| *done)
    }

    pub(super) fn on_welcome(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        self.act(line, stage);
    }

    pub(super) fn on_lost(&mut self, stage: &mut Stage<'_>) {
        // What was asked may or may not be done, or still be on its way.
        if let Some(Doing::Declare(target) | Doing::Delete(target)) = self.doing.take() {
            self.declared[target] = false;
        }
        self.findings = Findings::default();
        self.not_before_ms = stage.now_ms;
    }

    pub(super) fn act(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        if self.doing.is_some() || stage.now_ms < self.not_before_ms {
            return;
        }
        if let Some(target) = self.declared.iter().position(|done| !done) {
            let scene = &TARGETS[target];
            let (kind, name, settings) = (scene.kind, scene.name(), scene.settings());
            let declare = Request::Declare { kind, name, settings };
            return self.ask(Doing::Declare(target), &declare, line, stage);
        }
        if let Some(place) = (0..PLACES.len()).find(|place| !self.grouped[*place]) {
            return match PLACES[place].group_name() {
                None => self.grouped[place] = true,
                Some(group) => {
                    let (topic, settings) = (PLACES[place].name(), Settings::default());
                    let start = Start::Earliest;
                    let declare = Request::DeclareGroup { topic, group, start, settings };
                    self.ask(Doing::DeclareGroup(place), &declare, line, stage);
                }
            };
        }
        if stage.is_healing { self.find_out(line, stage) } else { self.meddle(line, stage) }
    }

    fn ask(&mut self, doing: Doing, request: &Request, line: &mut Line, stage: &mut Stage<'_>) {
        self.doing = Some(doing);
        *stage.operations += 1;
        line.ask(0, request, Asked::Role(0));
    }

    fn meddle(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        let dry_run = stage.dice.one_in(4);
        match stage.dice.below(40) {
            0 => {
                stage.history.note(Event::Disturbed { target: SCRATCH, what: "delete" });
                let name = TARGETS[SCRATCH].name();
                self.ask(
                    Doing::Delete(SCRATCH),
                    &Request::Delete { name, group: None },
                    line,
                    stage,
                );
            }
            1 => {
                stage.history.note(Event::Disturbed { target: SCRATCH, what: "purge" });
                let name = TARGETS[SCRATCH].name();
                self.ask(Doing::Disturb(SCRATCH), &Request::Purge { name, dry_run }, line, stage);
            }
            2 => {
                stage.history.note(Event::Disturbed { target: SCRATCH, what: "drop" });
                let action = DeadAction::Drop { offset: None, dry_run };
                let ask = Request::Dead { name: TARGETS[SCRATCH].name(), group: None, action };
                self.ask(Doing::Disturb(SCRATCH), &ask, line, stage);
            }
            3 => {
                stage.history.note(Event::Replayed { place: JOBS });
                let action = DeadAction::Replay { offset: None, dry_run };
                let ask = Request::Dead { name: TARGETS[JOBS].name(), group: None, action };
                self.ask(Doing::Look, &ask, line, stage);
            }
            4 => {
                stage.history.note(Event::Disturbed { target: EVENTS, what: "seek" });
                let to = match stage.dice.below(4) {
                    0 => Start::Earliest,
                    1 => Start::Latest,
                    2 => Start::TimeMs(stage.wall_ms.saturating_sub(stage.dice.below(5_000))),
                    _ => Start::Offset(stage.dice.below(1 + stage.history.messages.len() as u64)),
                };
                let place = &PLACES[AUDIT];
                let group = place.group_name().expect("a group");
                let seek = Request::Seek { topic: place.name(), group, to, dry_run };
                self.ask(Doing::Disturb(EVENTS), &seek, line, stage);
            }
            5 => self.ask(Doing::Look, &Request::List { after: None, limit: 10 }, line, stage),
            6 => self.ask(Doing::Look, &Request::Stats, line, stage),
            7 => {
                let name = TARGETS[stage.dice.index(TARGETS.len())].name();
                let from = Start::Offset(stage.dice.below(200));
                let read = Request::Read { name, from, messages_max: 20, bytes_max: 4_096 };
                self.ask(Doing::Look, &read, line, stage);
            }
            _ => {}
        }
    }

    /// Asks for the counts of everything, then for the dead letters; from the start if anything is
    /// still open.
    fn find_out(&mut self, line: &mut Line, stage: &mut Stage<'_>) {
        if self.is_done || !stage.is_answered {
            return;
        }
        let next = self.findings.next;
        if next < TARGETS.len() {
            let name = TARGETS[next].name();
            return self.ask(Doing::Count(next), &Request::Describe { name }, line, stage);
        }
        let place = next - TARGETS.len();
        if let Some(found) = PLACES.get(place) {
            let action = DeadAction::List { from: self.findings.next_offset, limit: PAGE };
            let ask = Request::Dead { name: found.name(), group: found.group_name(), action };
            return self.ask(Doing::List(place), &ask, line, stage);
        }
        for (place, offset, id) in &self.findings.dead {
            stage.history.note(Event::Dead { place: *place, id: *id, offset: *offset });
        }
        for (place, open, dead) in &self.findings.counts {
            stage.history.note(Event::Counts { place: *place, open: *open, dead: *dead });
        }
        self.is_done = true;
    }

    /// `true`: the connection should end.
    pub(super) fn on_response(
        &mut self,
        _line: &mut Line,
        asked: Option<u32>,
        said: Response,
        stage: &mut Stage<'_>,
    ) -> bool {
        if asked.is_none() {
            return false;
        }
        let Some(doing) = self.doing.take() else { return false };
        match (doing, said) {
            (Doing::Declare(target), Response::Declared { id, .. }) => {
                self.declared[target] = true;
                stage.history.note(Event::Declared { target, number: id });
            }
            (Doing::DeclareGroup(place), Response::Declared { .. }) => self.grouped[place] = true,
            (Doing::Delete(target), Response::Deleted) => {
                if let Some(number) = stage.history.targets[target].number {
                    stage.history.note(Event::Deleted { target, number });
                }
                stage.history.note(Event::Calm { target });
                // It is declared again by and by.
                self.declared[target] = false;
                self.not_before_ms = stage.now_ms + stage.dice.below(100);
            }
            (Doing::Disturb(target) | Doing::Delete(target), _) => {
                stage.history.note(Event::Calm { target });
            }
            (Doing::Count(target), Response::Described(described)) => {
                self.on_counts(target, &described, stage);
            }
            (Doing::List(place), Response::DeadLetters { items, total }) => {
                self.on_dead(place, &items, total, stage);
            }
            (Doing::Look, _) => {}
            // It was deleted late, by a request that nobody waits for any more.
            (Doing::Count(target), Response::Error(_)) => {
                if !stage.history.targets[target].may_be_gone {
                    let what = format!("{} was declared and is gone", TARGETS[target].name);
                    stage.history.broken("lost", what);
                }
                self.declared[target] = false;
                self.findings = Findings::default();
            }
            // Refused for now, as when the disk is full.
            (_, Response::Error(_)) => self.not_before_ms = stage.now_ms + 50,
            (doing, other) => {
                stage.history.broken("phantom", format!("{doing:?} is answered by {other:?}"));
            }
        }
        false
    }

    fn on_counts(&mut self, target: Target, described: &Description, stage: &mut Stage<'_>) {
        self.findings.next += 1;
        for place in places_of(target) {
            let group = PLACES[place].group_name();
            let Some(info) = described.groups.iter().find(|info| info.name == group) else {
                stage.history.broken("lost", format!("place {place} is gone"));
                continue;
            };
            let open = info.ready + info.leased + info.delayed;
            let states = open + info.dead + info.settled;
            if info.unaccounted > 0 || states != info.published {
                let told = format!("place {place}: {info:?} does not add up");
                stage.history.broken("counts", told);
            }
            self.findings.counts.push((place, open, info.dead));
            if open > 0 {
                self.findings = Findings::default();
                self.not_before_ms = stage.now_ms + 100;
                return;
            }
        }
    }

    fn on_dead(&mut self, place: PlaceId, items: &[DeadLetter], total: u64, stage: &mut Stage<'_>) {
        let seed = destination_seed(&PLACES[place].name());
        for item in items {
            let mut records = item.piece.records(seed);
            let read = records.next().and_then(Result::ok);
            match read.and_then(|(offset, record)| Some((offset, id_of(&record.value)?))) {
                Some((offset, id)) => self.findings.dead.push((place, offset, id)),
                None => stage.history.broken("phantom", "a dead letter is not readable".into()),
            }
        }
        let known = self.findings.dead.iter().filter(|(at, ..)| *at == place).count() as u64;
        match items.last() {
            Some(last) if known < total => self.findings.next_offset = last.offset + 1,
            _ => {
                self.findings.next += 1;
                self.findings.next_offset = 0;
            }
        }
    }
}
