//! A small deterministic generator, and values of every kind made with it.

use bytes::Bytes;
use posthaste_protocol::batch::{BatchBuilder, Record, destination_seed};
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::*;
use posthaste_protocol::response::*;
use posthaste_protocol::schedule::{ScheduleCall, ScheduleInfo, ScheduleReply};
use posthaste_protocol::service::{Answer, Requested, ServiceCall, ServiceInfo, ServiceReply};

/// Kinds that [`Random::request`] makes, one after the other.
pub(crate) const REQUESTS: usize = 30;
/// Kinds that [`Random::response`] makes.
pub(crate) const RESPONSES: usize = 29;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    /// Seeded by `SEED`, or by `otherwise`; the seed is printed, and shown when a test fails.
    pub(crate) fn from_env(otherwise: u64) -> Random {
        let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or(otherwise);
        println!("SEED={seed}");
        Random(seed)
    }

    pub(crate) fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `range`, all alike.
    pub(crate) fn within(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.u64() % (range.end - range.start)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.within(0..end as u64) as usize
    }

    /// Small, middle and huge numbers.
    pub(crate) fn number(&mut self) -> u64 {
        let bits = self.within(0..65);
        if bits == 0 { 0 } else { self.u64() >> (64 - bits) }
    }

    pub(crate) fn number32(&mut self) -> u32 {
        (self.number() >> self.within(0..33)) as u32
    }

    pub(crate) fn chance(&mut self) -> bool {
        self.u64() & 1 == 1
    }

    pub(crate) fn option<T>(&mut self, make: impl FnOnce(&mut Random) -> T) -> Option<T> {
        if self.chance() { Some(make(self)) } else { None }
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.u64() as u8).collect()
    }

    pub(crate) fn text(&mut self, chars: usize) -> String {
        let letters: Vec<char> = "aZ 09_.-é\u{1f680}\u{202e}".chars().collect();
        (0..self.below(chars + 1)).map(|_| letters[self.below(letters.len())]).collect()
    }

    pub(crate) fn plain_text(&mut self) -> String {
        (0..self.below(40)).map(|_| char::from(self.within(32..127) as u8)).collect()
    }

    fn raw_name(&mut self) -> String {
        let letters = b"abcXYZ019_-.";
        let mut name = String::from("n");
        let more = if self.below(20) == 0 { 199 } else { self.below(12) };
        name.extend((0..more).map(|_| char::from(letters[self.below(letters.len())])));
        name
    }

    pub(crate) fn name(&mut self) -> Name {
        Name::try_from(self.raw_name().as_str()).unwrap()
    }

    pub(crate) fn group(&mut self) -> GroupName {
        GroupName::try_from(self.raw_name().as_str()).unwrap()
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Random) -> T) -> Vec<T> {
        (0..self.below(6)).map(|_| make(self)).collect()
    }

    fn array(&mut self) -> [u8; 16] {
        self.bytes(16).try_into().unwrap()
    }

    fn kind(&mut self) -> Kind {
        if self.chance() { Kind::Queue } else { Kind::Topic }
    }

    fn settings(&mut self) -> Settings {
        let min = self.within(0..1_000) as u32;
        Settings {
            max_attempts: self.option(|r| r.within(1..1_000_001) as u32),
            lease_ms: self.option(|r| r.within(100..86_400_001) as u32),
            retry_min_ms: self.option(|_| min),
            retry_max_ms: self.option(|r| min + r.within(0..604_000_000) as u32),
            retain_ms: self.option(Random::number),
            retain_bytes: self.option(Random::number),
            max_messages: self.option(Random::number),
            retry_factor_percent: self.option(|r| r.within(100..1_001) as u32),
            retry_jitter_percent: self.option(|r| r.within(0..101) as u32),
            id_window_ms: self.option(|r| r.within(1_000..2_592_000_001)),
            max_hold_ms: self.option(|r| r.within(100..604_800_001) as u32),
        }
    }

    fn start(&mut self) -> Start {
        match self.below(4) {
            0 => Start::Earliest,
            1 => Start::Latest,
            2 => Start::Offset(self.number()),
            _ => Start::TimeMs(self.number()),
        }
    }

    pub(crate) fn held(&mut self) -> Held {
        let count = self.number32().max(1);
        let first = self.number().min(u64::MAX - u64::from(count));
        Held { first, count, epoch: self.number() }
    }

    pub(crate) fn settle(&mut self) -> Settle {
        let outcome = match self.below(4) {
            0 => Outcome::Ack,
            1 => Outcome::Retry {
                delay_ms: self.option(|r| r.within(0..31_536_000_001)),
                reason: self.text(30),
            },
            2 => Outcome::Release,
            _ => Outcome::DeadLetter { reason: self.text(30) },
        };
        Settle { held: self.held(), outcome }
    }

    fn atomic(&mut self) -> Atomic {
        let parts =
            self.list(|r| AtomicPart { target: r.number32(), expects: r.option(Random::number) });
        let settles = self.list(|r| AtomicSettle { channel: r.u64() as u16, settle: r.settle() });
        let batches: Vec<Bytes> = parts.iter().map(|_| self.batch()).collect();
        let (producer, sequence) = (self.number32(), self.number());
        Atomic { producer, sequence, parts, settles, batches: batches.concat().into() }
    }

    fn credit(&mut self) -> Credit {
        Credit { messages: self.number32(), bytes: self.number(), begun: self.number() }
    }

    fn action(&mut self) -> DeadAction {
        let (offset, dry_run) = (self.option(Random::number), self.chance());
        match self.below(3) {
            0 => DeadAction::List { from: self.number(), limit: self.within(1..1_001) as u32 },
            1 => DeadAction::Replay { offset, dry_run },
            _ => DeadAction::Drop { offset, dry_run },
        }
    }

    /// A batch of a few records, for the destination named "n".
    pub(crate) fn batch(&mut self) -> Bytes {
        let mut builder = BatchBuilder::new();
        for _ in 0..1 + self.below(4) {
            let value = self.bytes_up_to(30);
            let key = self.option(|r| r.text(5));
            let record = Record { value: &value, key: key.as_deref(), ..Record::default() };
            builder.push(&record).unwrap();
        }
        let seed = destination_seed(&Name::try_from("n").unwrap());
        builder.finish(seed, 1, 1 + self.number() / 2, self.number())
    }

    pub(crate) fn bytes_up_to(&mut self, max: usize) -> Vec<u8> {
        let len = self.below(max + 1);
        self.bytes(len)
    }

    fn answer(&mut self) -> Answer {
        match self.chance() {
            true => Answer::Done(self.batch()),
            false => Answer::Failed { reason: self.text(30) },
        }
    }

    fn service_call(&mut self, turn: usize) -> ServiceCall {
        match turn {
            0 => ServiceCall::Serve {
                name: self.name(),
                in_flight_max: self.within(1..1_025) as u32,
            },
            1 => ServiceCall::Leave { name: self.name() },
            2 => ServiceCall::Ask {
                name: self.name(),
                timeout_ms: self.within(1..3_600_001) as u32,
                batch: self.batch(),
            },
            3 => ServiceCall::Answer {
                name: self.name(),
                ticket: self.number(),
                answer: self.answer(),
            },
            _ => ServiceCall::Services { after: self.option(Random::name) },
        }
    }

    fn schedule_call(&mut self, turn: usize) -> ScheduleCall {
        match turn {
            0 => ScheduleCall::Set {
                name: self.name(),
                to: self.name(),
                when: self.text(30),
                zone: self.text(10),
                batch: self.batch(),
            },
            1 => ScheduleCall::Cancel { name: self.name() },
            _ => ScheduleCall::List {
                after: self.option(Random::name),
                limit: self.within(1..1_001) as u32,
            },
        }
    }

    fn schedule_info(&mut self) -> ScheduleInfo {
        ScheduleInfo {
            name: self.name(),
            to: self.name(),
            when: self.text(30),
            zone: self.text(10),
            next_ms: self.number(),
            last_ms: self.number(),
            published: self.number(),
            waits_for: self.text(30),
        }
    }

    fn schedule_reply(&mut self, turn: usize) -> ScheduleReply {
        match turn {
            0 => ScheduleReply::Set { declared: Declared::Updated, next_ms: self.number() },
            1 => ScheduleReply::Canceled,
            _ => ScheduleReply::Listed {
                items: self.list(Random::schedule_info),
                more: self.chance(),
            },
        }
    }

    fn service_info(&mut self) -> ServiceInfo {
        ServiceInfo {
            name: self.name(),
            instances: self.number32(),
            in_flight: self.number32(),
            waiting: self.number32(),
            requests: self.number(),
        }
    }

    fn service_reply(&mut self, turn: usize) -> ServiceReply {
        match turn {
            0 => ServiceReply::Serving,
            1 => ServiceReply::Left,
            2 => ServiceReply::Replied(self.answer()),
            3 => ServiceReply::Requested(Requested {
                name: self.name(),
                ticket: self.number(),
                left_ms: self.number32(),
                batch: self.batch(),
            }),
            _ => ServiceReply::Services {
                items: self.list(Random::service_info),
                more: self.chance(),
            },
        }
    }

    /// One of each kind, in turn.
    pub(crate) fn request(&mut self, turn: usize) -> Request {
        match turn % REQUESTS {
            0 => Request::Hello(Hello {
                features: self.number(),
                client: self.text(40),
                frame_bytes_max: self.within(2 << 20..1 << 32) as u32,
                idle_ms: self.number32(),
            }),
            1 => Request::Auth { mechanism: self.text(10), data: self.bytes_up_to(99).into() },
            2 => Request::Ping(self.number()),
            3 => Request::Close,
            4 => {
                Request::Declare { kind: self.kind(), name: self.name(), settings: self.settings() }
            }
            5 => Request::DeclareGroup {
                topic: self.name(),
                group: self.group(),
                start: self.start(),
                settings: self.settings(),
            },
            6 => Request::Describe { name: self.name() },
            7 => Request::List {
                after: self.option(Random::name),
                limit: self.within(1..1_001) as u32,
            },
            8 => Request::Delete { name: self.name(), group: self.option(Random::group) },
            9 => Request::OpenProducer { session: self.array() },
            10 => Request::Publish {
                target: self.number32(),
                durability: self.u64() as u8,
                expects: self.option(Random::number),
                batch: self.batch(),
            },
            21 => Request::Atomic(self.atomic()),
            11 => Request::Consume(Consume {
                name: self.name(),
                group: self.option(Random::group),
                start: self.start(),
                lease_ms: self.option(|r| r.within(100..86_400_001) as u32),
                credit: self.credit(),
            }),
            12 => Request::Credit(self.credit()),
            13 => Request::Settle { confirm: self.chance(), items: self.list(Random::settle) },
            14 => Request::Extend {
                lease_ms: self.within(100..86_400_001) as u32,
                items: self.list(Random::held),
            },
            15 => Request::Cancel,
            16 => Request::Read {
                name: self.name(),
                from: self.start(),
                messages_max: self.within(1..10_001) as u32,
                bytes_max: self.number32(),
            },
            17 => Request::Seek {
                topic: self.name(),
                group: self.group(),
                to: self.start(),
                dry_run: self.chance(),
            },
            18 => Request::Purge { name: self.name(), dry_run: self.chance() },
            19 => Request::Dead {
                name: self.name(),
                group: self.option(Random::group),
                action: self.action(),
            },
            20 => Request::Stats,
            turn @ 22..27 => Request::Service(self.service_call(turn - 22)),
            turn => Request::Schedule(self.schedule_call(turn - 27)),
        }
    }

    /// A channel on which the request may be sent.
    pub(crate) fn channel(&mut self, request: &Request) -> u16 {
        if request.is_for_a_consumer() { self.within(1..65_536) as u16 } else { 0 }
    }

    fn error(&mut self) -> ErrorReply {
        ErrorReply {
            code: ErrorCode::ALL[self.below(ErrorCode::ALL.len())],
            retry_after_ms: self.number32(),
            message: self.plain_text(),
            similar: (0..self.below(4)).map(|_| self.name().to_string()).collect(),
        }
    }

    fn group_info(&mut self) -> GroupInfo {
        GroupInfo {
            name: self.option(Random::group),
            settings: self.settings(),
            floor: self.number(),
            ready: self.number(),
            leased: self.number(),
            delayed: self.number(),
            dead: self.number(),
            settled: self.number(),
            consumers: self.number32(),
            oldest_ms: self.number(),
            published: self.number(),
            unaccounted: self.number(),
        }
    }

    pub(crate) fn description(&mut self) -> Description {
        Description {
            id: self.number32(),
            kind: self.kind(),
            name: self.name(),
            settings: self.settings(),
            first_offset: self.number(),
            next_offset: self.number(),
            bytes: self.number(),
            groups: self.list(Random::group_info),
        }
    }

    fn outcomes(&mut self) -> Outcomes {
        Outcomes {
            target: self.number32(),
            count: self.number32().max(1),
            base_offset: self.number(),
            fate: [Fate::Stored, Fate::Duplicate, Fate::Conflict][self.below(3)],
        }
    }

    fn confirmed(&mut self) -> Confirmed {
        let count = self.number32().max(1);
        Confirmed {
            first: self.number().min(u64::MAX - u64::from(count)),
            count,
            target: self.number32(),
            base_offset: self.number(),
            duplicate: self.chance(),
        }
    }

    pub(crate) fn piece(&mut self) -> Piece {
        let from = self.number32() / 2;
        let count = (self.number32() / 2).max(1);
        Piece {
            base_offset: self.number().min(u64::MAX - u64::from(from + count)),
            from,
            count,
            attempt: self.number32(),
            redelivered: self.chance(),
            time_ms: self.number(),
            batches: self.batch(),
        }
    }

    pub(crate) fn dead_letter(&mut self) -> DeadLetter {
        DeadLetter {
            offset: self.number(),
            attempts: self.number32(),
            dead_ms: self.number(),
            reason: self.text(30),
            piece: self.piece(),
        }
    }

    /// One of each kind, in turn.
    pub(crate) fn response(&mut self, turn: usize) -> Response {
        match turn % RESPONSES {
            0 => Response::Welcome(Welcome {
                features: self.number(),
                server: self.text(20),
                store: self.array(),
                frame_bytes_max: self.number32(),
                message_bytes_max: self.number32(),
                publish_bytes_max: self.number(),
                idle_ms: self.number32(),
            }),
            1 => Response::Pong(self.number()),
            2 => Response::Closing(self.error()),
            3 => {
                let all = [Declared::Created, Declared::Unchanged, Declared::Updated];
                Response::Declared { declared: all[self.below(3)], id: self.number32() }
            }
            4 => Response::Described(self.description()),
            5 => Response::Listed { items: self.list(Random::description), more: self.chance() },
            6 => Response::Deleted,
            7 => Response::ProducerOpened { producer: self.number32(), resumed: self.chance() },
            8 => Response::Confirms(self.list(Random::confirmed)),
            20 => Response::Receipts(self.list(Random::outcomes)),
            9 => Response::Consuming { lease_ms: self.number32() },
            10 => Response::Deliver(Deliver {
                epoch: self.number(),
                lease_ms: self.number32(),
                pieces: self.list(Random::piece),
            }),
            11 => Response::Settled { stale: self.list(Random::held) },
            12 => {
                let stale = self.list(Random::held);
                Response::Extended { stale, limited: self.list(Random::held) }
            }
            13 => Response::Canceled,
            14 => Response::Records {
                pieces: self.list(Random::piece),
                next_offset: self.number(),
                end_offset: self.number(),
            },
            15 => {
                Response::Sought { from: self.number(), to: self.number(), messages: self.number() }
            }
            16 => Response::Done { messages: self.number() },
            17 => Response::DeadLetters {
                items: self.list(Random::dead_letter),
                total: self.number(),
            },
            18 => Response::Stats(Stats {
                published: self.number(),
                delivered: self.number(),
                acked: self.number(),
                dead_lettered: self.number(),
                connections: self.number32(),
                targets: self.number32(),
                log_bytes: self.number(),
                free_bytes: self.number(),
                uptime_ms: self.number(),
            }),
            19 => Response::Error(self.error()),
            turn @ 21..26 => Response::Service(self.service_reply(turn - 21)),
            turn => Response::Schedule(self.schedule_reply(turn - 26)),
        }
    }
}
