//! A client: one connection at a time, requests and what they were for, and a role.

use super::admin::Admin;
use super::consumer::Consumer;
use super::history::{Event, History};
use super::network::Wire;
use super::publisher::Publisher;
use bytes::BytesMut;
use posthaste_protocol::frame::{CutOf, CutPreface, PREFACE, cut_preface};
use posthaste_protocol::request::{Hello, REQUEST_ID_FIRST};
use posthaste_protocol::{Request, Response};
use posthaste_storage::disk::sim::Dice;
use std::collections::BTreeMap;

/// Something is said at least this often.
const PING_MS: u64 = 1_000;
/// Silence after which a connection is taken for dead.
const SILENCE_MS: u64 = 4_000;

/// What a client does when it has its turn.
pub(super) enum Role {
    Publisher(Publisher),
    Consumer(Consumer),
    Admin(Admin),
}

/// What an answer is for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Nothing,
    /// Of the role's own numbering.
    Role(u32),
}

/// What the role may use while it acts.
pub(super) struct Stage<'a> {
    pub(super) history: &'a mut History,
    pub(super) dice: &'a mut Dice,
    pub(super) now_ms: u64,
    pub(super) wall_ms: u64,
    pub(super) operations: &'a mut u64,
    /// Wires that their clients have given up, with bytes still under way.
    pub(super) ghosts: &'a mut Vec<Wire>,
    /// Nothing new is begun; everything is brought to its end.
    pub(super) is_healing: bool,
    /// And what was published has been answered.
    pub(super) is_answered: bool,
}

/// The client's end of its connection.
pub(super) struct Line {
    pub(super) wire: Wire,
    inbox: BytesMut,
    out: BytesMut,
    asked: BTreeMap<u64, Asked>,
    next_corr: u64,
    has_preface: bool,
    is_welcome: bool,
    heard_ms: u64,
    said_ms: u64,
}

impl Line {
    fn new(wire: Wire, now_ms: u64) -> Line {
        let mut line = Line {
            wire,
            inbox: BytesMut::new(),
            out: BytesMut::from(&PREFACE[..]),
            asked: BTreeMap::new(),
            next_corr: REQUEST_ID_FIRST,
            has_preface: false,
            is_welcome: false,
            heard_ms: now_ms,
            said_ms: now_ms,
        };
        let hello = Hello {
            features: 0,
            client: "simulation".into(),
            frame_bytes_max: 4 << 20,
            idle_ms: 1_000,
        };
        line.ask(0, &Request::Hello(hello), Asked::Nothing);
        line
    }

    pub(super) fn number(&self) -> u32 {
        self.wire.number()
    }

    /// Sends a request that is answered.
    pub(super) fn ask(&mut self, channel: u16, request: &Request, asked: Asked) {
        let corr = self.next_corr;
        self.next_corr += 1;
        request.encode(channel, corr, &mut self.out);
        self.asked.insert(corr, asked);
    }

    /// Sends a request under this id: a publish, or one that is never answered.
    pub(super) fn say(&mut self, channel: u16, corr: u64, request: &Request) {
        request.encode(channel, corr, &mut self.out);
    }

    fn flush(&mut self, now_ms: u64) {
        if !self.out.is_empty() {
            self.wire.send(&self.out);
            self.out.clear();
            self.said_ms = now_ms;
        }
    }
}

/// See the module.
pub(super) struct Client {
    pub(super) line: Option<Line>,
    pub(super) role: Role,
    away_until_ms: u64,
}

impl Client {
    pub(super) fn new(role: Role) -> Client {
        Client { line: None, role, away_until_ms: 0 }
    }

    /// Whether it should connect now.
    pub(super) fn wants_line(&self, now_ms: u64) -> bool {
        self.line.is_none() && now_ms >= self.away_until_ms
    }

    pub(super) fn connect(&mut self, wire: Wire, now_ms: u64) {
        self.line = Some(Line::new(wire, now_ms));
    }

    /// The connection is over, for this client; it may come back later.
    pub(super) fn hang_up(&mut self, rest_ms: u64, stage: &mut Stage<'_>) {
        let Some(line) = self.line.take() else { return };
        self.away_until_ms = stage.now_ms + rest_ms;
        match &mut self.role {
            Role::Publisher(publisher) => publisher.on_lost(stage),
            Role::Consumer(consumer) => consumer.on_lost(line.number(), stage),
            Role::Admin(admin) => admin.on_lost(stage),
        }
    }

    /// Its turn.
    pub(super) fn act(&mut self, stage: &mut Stage<'_>) {
        let Some(line) = &mut self.line else { return };
        if !line.is_welcome {
            return;
        }
        match &mut self.role {
            Role::Publisher(publisher) => publisher.act(line, stage),
            Role::Consumer(consumer) => consumer.act(line, stage),
            Role::Admin(admin) => admin.act(line, stage),
        }
    }

    /// Everything that happens without the client's own decision.
    pub(super) fn tend(&mut self, stage: &mut Stage<'_>) {
        let Some(line) = &mut self.line else { return };
        if stage.now_ms >= line.said_ms + PING_MS && line.is_welcome {
            line.ask(0, &Request::Ping(stage.now_ms), Asked::Nothing);
        }
        line.flush(stage.now_ms);
        let is_over = self.receive(stage);
        let Some(line) = &self.line else { return };
        let is_silent = stage.now_ms >= line.heard_ms + SILENCE_MS;
        if is_over || is_silent {
            if !is_over && stage.dice.one_in(2) {
                stage.ghosts.push(line.wire.clone());
            } else {
                line.wire.cut();
            }
            let rest_ms = stage.dice.below(20);
            self.hang_up(rest_ms, stage);
        }
    }

    /// Takes in what has arrived. `true`: the connection is over.
    fn receive(&mut self, stage: &mut Stage<'_>) -> bool {
        let Some(line) = &mut self.line else { return true };
        let before = line.inbox.len();
        line.wire.receive(&mut line.inbox);
        if line.inbox.len() > before {
            line.heard_ms = stage.now_ms;
        }
        if !line.has_preface {
            match cut_preface(&mut line.inbox) {
                Ok(CutPreface::Major(_)) => line.has_preface = true,
                Ok(CutPreface::NeedMore(_)) => return line.wire.is_over(),
                Err(error) => panic!("the broker's preface: {error}"),
            }
        }
        loop {
            let Some(line) = &mut self.line else { return true };
            match Response::cut(&mut line.inbox, 16 << 20) {
                Ok(CutOf::NeedMore(_)) => return line.wire.is_over(),
                Ok(CutOf::Frame { header, said }) => {
                    let said =
                        said.unwrap_or_else(|error| panic!("a frame of the broker: {error}"));
                    if self.on_response(header.channel, header.corr, said, stage) {
                        return true;
                    }
                }
                Err(error) => panic!("what the broker sends cannot be read: {error}"),
            }
        }
    }

    /// `true`: the broker closes the connection.
    fn on_response(
        &mut self,
        channel: u16,
        corr: u64,
        said: Response,
        stage: &mut Stage<'_>,
    ) -> bool {
        let Some(line) = &mut self.line else { return true };
        let asked = line.asked.remove(&corr);
        match &said {
            Response::Welcome(_) => {
                line.is_welcome = true;
                match &mut self.role {
                    Role::Publisher(publisher) => publisher.on_welcome(line, stage),
                    Role::Consumer(consumer) => consumer.on_welcome(line, stage),
                    Role::Admin(admin) => admin.on_welcome(line, stage),
                }
                return false;
            }
            Response::Pong(_) => return false,
            Response::Closing(why) => {
                stage.history.note(Event::Fault {
                    at_ms: stage.now_ms,
                    what: format!("wire {} is closed: {}", line.number(), why.code),
                });
                return true;
            }
            _ => {}
        }
        let asked = match asked {
            Some(Asked::Role(number)) => Some(number),
            _ => None,
        };
        match &mut self.role {
            Role::Publisher(publisher) => publisher.on_response(line, corr, asked, said, stage),
            Role::Consumer(consumer) => consumer.on_response(line, channel, asked, said, stage),
            Role::Admin(admin) => admin.on_response(line, asked, said, stage),
        }
    }
}
