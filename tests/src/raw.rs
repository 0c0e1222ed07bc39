//! A connection that speaks bytes: what a client of ours would never send, and what a stranger would.

mod parts;
pub mod services;

use crate::wait::PATIENCE;
use bytes::{Bytes, BytesMut};
pub use parts::{Got, batch, consume, encode, hello, hello_of, name};
use posthaste_protocol::request::{Kind, Outcome, Settings, Settle};
use posthaste_protocol::response::{Deliver, Description, GroupInfo, Outcomes};
use posthaste_protocol::{
    Cut, ErrorCode, Frame, PREFACE, Request, Response, cut_frame, destination_seed,
};
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Frames of the broker are never larger than this.
const FRAME_BYTES_MAX: u32 = 64 << 20;

/// Of what is sent in single bytes, so many at each end.
const SPLIT_BYTES: usize = 1_024;

thread_local! {
    static SPLIT: Cell<bool> = const { Cell::new(false) };
}

/// Runs a test in which every connection of this thread sends each byte on its own.
pub fn byte_by_byte(test: impl FnOnce()) {
    SPLIT.set(true);
    test();
    SPLIT.set(false);
}

/// One socket.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    buffer: BytesMut,
    corr: u64,
    publishes: u64,
    /// Of publishes, while others were waited for: the offset of their range, or the refusal.
    outcomes: HashMap<u64, Result<u64, ErrorCode>>,
    /// Came while something else was waited for.
    deliveries: VecDeque<(u16, Deliver)>,
}

impl Raw {
    /// Connects, and says nothing.
    ///
    /// # Panics
    /// When nobody listens.
    pub fn connect(address: &str) -> Raw {
        let stream = TcpStream::connect(address).expect("the broker listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.set_nodelay(true).expect("no delay can be set");
        // Publishes are numbered from 1, so other requests keep out of their way.
        Raw {
            stream,
            buffer: BytesMut::new(),
            corr: 1 << 32,
            publishes: 0,
            outcomes: HashMap::new(),
            deliveries: VecDeque::new(),
        }
    }

    /// Connects, says hello, and takes the welcome.
    ///
    /// # Panics
    /// When the broker does not welcome us.
    pub fn greet(address: &str) -> Raw {
        Raw::greet_with(address, &hello())
    }

    /// [`Raw::greet`] with another hello.
    ///
    /// # Panics
    /// When the broker does not welcome us.
    pub fn greet_with(address: &str, hello: &Request) -> Raw {
        let mut raw = Raw::connect(address);
        raw.send(&PREFACE);
        raw.skip_preface();
        let welcome = raw.ask(0, hello);
        assert!(matches!(welcome, Response::Welcome(_)), "{welcome:?}");
        raw
    }

    /// Takes the broker's preface.
    ///
    /// # Panics
    /// When something else comes.
    pub fn skip_preface(&mut self) {
        assert_eq!(self.read_exactly(8).as_deref(), Some(&PREFACE[..]));
    }

    /// Sends bytes as they are. A broker that has closed already is no error here: what it said
    /// is read afterwards.
    pub fn send(&mut self, bytes: &[u8]) {
        if !SPLIT.get() || bytes.len() < 2 {
            return self.write(bytes);
        }
        // What is large goes byte by byte at both ends only, or it would take minutes.
        let head = bytes.len().min(SPLIT_BYTES);
        let tail = bytes.len().saturating_sub(SPLIT_BYTES).max(head);
        bytes[..head].chunks(1).for_each(|byte| self.write(byte));
        self.write(&bytes[head..tail]);
        bytes[tail..].chunks(1).for_each(|byte| self.write(byte));
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes) {
            let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(gone.contains(&error.kind()), "cannot send: {error}");
        }
    }

    /// Sends each byte on its own.
    pub fn send_byte_by_byte(&mut self, bytes: &[u8]) {
        bytes.chunks(1).for_each(|byte| self.write(byte));
    }

    /// Sends a request under a fresh id, which it gives.
    pub fn request(&mut self, channel: u16, request: &Request) -> u64 {
        self.corr += 1;
        self.send(&encode(channel, self.corr, request));
        self.corr
    }

    /// Sends a request and waits for its answer. Confirms in between are dropped.
    ///
    /// # Panics
    /// When the connection ends instead.
    pub fn ask(&mut self, channel: u16, request: &Request) -> Response {
        let corr = self.request(channel, request);
        self.answer(corr)
    }

    /// Waits for the answer to the request of this id.
    ///
    /// # Panics
    /// When the connection ends instead.
    pub fn answer(&mut self, corr: u64) -> Response {
        loop {
            let (frame, response) = self.heard().expect("the broker answers");
            match response {
                Response::Confirms(_) => {}
                Response::Deliver(deliver) => self.keep(&frame, deliver),
                answer if frame.header.corr == corr => return answer,
                _ => {}
            }
        }
    }

    fn keep(&mut self, frame: &Frame, deliver: Deliver) {
        self.deliveries.push_back((frame.header.channel, deliver));
    }

    fn next_delivery(&mut self) -> (u16, Deliver) {
        loop {
            if let Some(kept) = self.deliveries.pop_front() {
                return kept;
            }
            let (frame, response) = self.heard().expect("a delivery");
            if let Response::Deliver(deliver) = response {
                self.keep(&frame, deliver);
            }
        }
    }

    /// Sends a request that must be refused, and checks with which code.
    ///
    /// # Panics
    /// When it is not refused so.
    pub fn refused(&mut self, channel: u16, request: &Request, code: ErrorCode) {
        match self.ask(channel, request) {
            Response::Error(reply) => assert_eq!(reply.code, code, "{}", reply.message),
            other => panic!("{request:?} was to be refused, and got {other:?}"),
        }
    }

    /// The next frame and what it says; `None` when the broker has closed.
    ///
    /// # Panics
    /// When the broker says nothing for too long, or something that cannot be read.
    pub fn heard(&mut self) -> Option<(Frame, Response)> {
        loop {
            let cut = cut_frame(&mut self.buffer, FRAME_BYTES_MAX).expect("a readable frame");
            if let Cut::Frame(frame) = cut {
                let response = Response::decode(&frame).expect("a readable response");
                return Some((frame, response));
            }
            if self.read_some() == 0 {
                assert!(self.buffer.is_empty(), "closed inside a frame: {:?}", self.buffer);
                return None;
            }
        }
    }

    /// The broker must close with this code, and without another word.
    ///
    /// # Panics
    /// When it does something else.
    pub fn closes_with(&mut self, code: ErrorCode) {
        loop {
            match self.heard() {
                Some((_, Response::Closing(reply))) => {
                    assert_eq!(reply.code, code, "{}", reply.message);
                    assert!(self.heard().is_none(), "nothing comes after closing");
                    return;
                }
                Some((_, Response::Deliver(_) | Response::Confirms(_))) => {}
                other => panic!("closing with {code:?} was expected, and {other:?} came"),
            }
        }
    }

    /// Reads everything until the broker closes.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while self.read_some() > 0 {}
        self.buffer.split().to_vec()
    }

    /// Up to `count` bytes, fewer when the broker closes.
    pub fn read_some_bytes(&mut self, count: usize) -> Vec<u8> {
        while self.buffer.len() < count && self.read_some() > 0 {}
        let count = count.min(self.buffer.len());
        self.buffer.split_to(count).to_vec()
    }

    /// Waits until something has come, and leaves it where it is.
    ///
    /// # Panics
    /// When nothing comes.
    pub fn wait_for_bytes(&self) {
        let mut byte = [0];
        assert_eq!(self.stream.peek(&mut byte).expect("the broker says something"), 1);
    }

    /// Sends as much as the other side takes at once.
    ///
    /// # Panics
    /// When the socket fails otherwise.
    pub fn send_what_fits(&mut self, bytes: &[u8]) {
        let patience = Duration::from_millis(100);
        self.stream.set_write_timeout(Some(patience)).expect("a timeout can be set");
        if let Err(error) = self.stream.write_all(bytes) {
            let full = [ErrorKind::WouldBlock, ErrorKind::TimedOut];
            assert!(full.contains(&error.kind()), "cannot send: {error}");
        }
    }

    /// Has the broker closed within `limit`, whatever it said before?
    pub fn is_closed_within(&mut self, limit: Duration) -> bool {
        let deadline = std::time::Instant::now() + limit;
        while std::time::Instant::now() < deadline {
            self.stream.set_read_timeout(Some(Duration::from_millis(50))).expect("it can be set");
            if self.read_some_or(None) == Some(0) {
                return true;
            }
        }
        false
    }

    /// Takes the next delivery, and says nothing about it.
    ///
    /// # Panics
    /// When none comes.
    pub fn deliveries(&mut self) -> (u16, Deliver) {
        self.next_delivery()
    }

    /// We send no more, and go on reading.
    ///
    /// # Panics
    /// When the socket is gone already.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).expect("a socket can be half closed");
    }

    fn read_exactly(&mut self, count: usize) -> Option<Bytes> {
        while self.buffer.len() < count {
            if self.read_some() == 0 {
                return None;
            }
        }
        Some(self.buffer.split_to(count).freeze())
    }

    fn read_some(&mut self) -> usize {
        self.read_some_or(Some("the broker says nothing")).unwrap_or_default()
    }

    /// Bytes read; 0 when the broker has closed, by whatever means; `None` when it is silent.
    fn read_some_or(&mut self, complaint: Option<&str>) -> Option<usize> {
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk) {
            Ok(count) => {
                self.buffer.extend_from_slice(&chunk[..count]);
                Some(count)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Some(0),
            Err(error) => {
                let silent = matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
                assert!(silent && complaint.is_none(), "{}: {error}", complaint.unwrap_or("read"));
                None
            }
        }
    }

    /// Creates a queue or topic, and gives its number.
    ///
    /// # Panics
    /// When it is refused.
    pub fn declare(&mut self, kind: Kind, name: &str) -> u32 {
        self.declare_with(kind, name, Settings::default())
    }

    /// [`Raw::declare`] with settings.
    ///
    /// # Panics
    /// When it is refused.
    pub fn declare_with(&mut self, kind: Kind, name: &str, settings: Settings) -> u32 {
        match self.ask(0, &Request::Declare { kind, name: crate::raw::name(name), settings }) {
            Response::Declared { id, .. } => id,
            other => panic!("{name} is not declared: {other:?}"),
        }
    }

    /// Sends a publish under the next publish number, which it gives.
    pub fn publish(&mut self, target: u32, batch: Bytes) -> u64 {
        self.publish_as(&Request::Publish { target, durability: 0, expects: None, batch })
    }

    /// Sends any request that takes a publish number, which it gives.
    pub fn publish_as(&mut self, request: &Request) -> u64 {
        self.publishes += 1;
        let frame = encode(0, self.publishes, request);
        self.send(&frame);
        self.publishes
    }

    /// Opens a producer session.
    ///
    /// # Panics
    /// When it is refused.
    pub fn open_producer(&mut self, session: [u8; 16]) -> u32 {
        match self.ask(0, &Request::OpenProducer { session }) {
            Response::ProducerOpened { producer, .. } => producer,
            other => panic!("{other:?}"),
        }
    }

    /// The outcome of a publish: the offset of its first message, or the refusal.
    ///
    /// # Errors
    /// The code with which it was refused.
    ///
    /// # Panics
    /// When the connection ends instead.
    pub fn outcome(&mut self, publish: u64) -> Result<u64, ErrorCode> {
        loop {
            if let Some(outcome) = self.outcomes.remove(&publish) {
                return outcome;
            }
            let (frame, response) = self.heard().expect("the broker answers a publish");
            match response {
                Response::Confirms(confirms) => {
                    for one in confirms {
                        let numbers = one.first..one.first + u64::from(one.count);
                        self.outcomes.extend(numbers.map(|number| (number, Ok(one.base_offset))));
                    }
                }
                Response::Error(reply) => {
                    self.outcomes.insert(frame.header.corr, Err(reply.code));
                }
                Response::Deliver(deliver) => self.keep(&frame, deliver),
                _ => {}
            }
        }
    }

    /// What became of each record of a publish that is not told as a whole.
    ///
    /// # Panics
    /// When the broker says something else.
    pub fn receipts(&mut self, publish: u64) -> Vec<Outcomes> {
        let (frame, response) = self.heard().expect("the broker answers a publish");
        match response {
            Response::Receipts(outcomes) if frame.header.corr == publish => outcomes,
            other => panic!("{other:?}"),
        }
    }

    /// Publishes one message and waits until it is confirmed.
    ///
    /// # Panics
    /// When it is refused.
    pub fn store(&mut self, target: u32, name: &str, body: &[u8]) -> u64 {
        let number = self.publish(target, batch(name, &[body]));
        self.outcome(number).expect("the publish is confirmed")
    }

    /// Opens a consumer of a queue with this credit.
    ///
    /// # Panics
    /// When it is refused.
    pub fn consume(&mut self, channel: u16, queue: &str, messages: u32) {
        let consume = consume(queue, messages);
        let answer = self.ask(channel, &Request::Consume(consume));
        assert!(matches!(answer, Response::Consuming { .. }), "{answer:?}");
    }

    /// Takes messages of a queue or topic until it has so many.
    ///
    /// # Panics
    /// When the connection ends instead, or a batch is not as its producer made it.
    pub fn take(&mut self, destination: &str, count: usize) -> Vec<Got> {
        let seed = destination_seed(&name(destination));
        let mut got = Vec::new();
        while got.len() < count {
            let (channel, deliver) = self.next_delivery();
            for piece in deliver.pieces {
                let (attempt, redelivered) = (piece.attempt, piece.redelivered);
                for record in piece.records(seed) {
                    let (offset, record) = record.expect("an intact batch");
                    got.push(Got {
                        offset,
                        body: record.value,
                        attempt,
                        redelivered,
                        epoch: deliver.epoch,
                        channel,
                    });
                }
            }
        }
        got
    }

    /// Settles a delivery, waits until that is durable, and says whether the lease was held.
    ///
    /// # Panics
    /// When the broker answers with something else.
    pub fn settle(&mut self, got: &Got, outcome: Outcome) -> bool {
        let items = vec![Settle { held: got.held(), outcome }];
        match self.ask(got.channel, &Request::Settle { confirm: true, items }) {
            Response::Settled { stale } => stale.is_empty(),
            other => panic!("a settle was answered by {other:?}"),
        }
    }

    /// Describes a queue or topic.
    ///
    /// # Panics
    /// When it is not there.
    pub fn describe(&mut self, destination: &str) -> Description {
        match self.ask(0, &Request::Describe { name: name(destination) }) {
            Response::Described(description) => description,
            other => panic!("{destination} is not described: {other:?}"),
        }
    }

    /// Counts of a queue.
    ///
    /// # Panics
    /// When it is not there.
    pub fn counts(&mut self, queue: &str) -> GroupInfo {
        self.describe(queue).groups.remove(0)
    }
}
