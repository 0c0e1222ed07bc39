//! A connection to a broker in this process: what was asked, and that each of it is answered once.

use bytes::BytesMut;
use posthaste_broker::{Config, Embedded, Limits};
use posthaste_protocol::frame::{CutOf, CutPreface, cut_preface};
use posthaste_protocol::request::Hello;
use posthaste_protocol::response::{Confirmed, Description, Fate};
use posthaste_protocol::service::{ServiceCall, ServiceReply};
use posthaste_protocol::{ErrorCode, Name, PREFACE, Request, Response};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc;

/// Nothing may take longer, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
const REQUESTS_FROM: u64 = 1 << 63;

/// A broker in memory. No deadline of it ends before ours, so that a slow machine changes nothing.
///
/// # Panics
/// When it does not start.
pub async fn broker() -> Embedded {
    let limits = Limits { handshake_timeout: PATIENCE * 2, ..Limits::default() };
    let config = Config { in_memory: true, limits, ..Config::default() };
    Embedded::start(config).await.expect("a broker in memory starts")
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    writer: WriteHalf<DuplexStream>,
    heard: mpsc::UnboundedReceiver<(u16, u64, Response)>,
    next_request: u64,
    next_publish: u64,
    /// Requests and publishes without an answer; publishes with their records.
    asked: BTreeMap<u64, u32>,
    /// Records confirmed, by target.
    pub confirmed: BTreeMap<u32, u64>,
    /// Last number of each name that was told.
    pub targets: BTreeSet<u32>,
    /// What was delivered last: channel, epoch, first offset, count.
    pub held: VecDeque<(u16, u64, u64, u32)>,
    /// Requests for this connection that it has not answered.
    pub requested: VecDeque<(Name, u64)>,
    /// Services with instances, when they were last listed.
    pub services: usize,
    /// What was described or counted last.
    pub described: Vec<Description>,
    /// Messages that the broker says it has confirmed.
    pub published: u64,
    /// Why the broker closed, if it said so.
    pub closing: Option<ErrorCode>,
    /// An id that was used behind our back, and may be answered.
    foreign: Option<u64>,
    is_over: bool,
}

impl Peer {
    /// Connects and says hello.
    pub async fn greet(broker: &Embedded) -> Peer {
        let (reader, writer) = tokio::io::split(broker.connect());
        let (sender, heard) = mpsc::unbounded_channel();
        tokio::spawn(listen(reader, sender));
        let mut peer = Peer {
            writer,
            heard,
            next_request: REQUESTS_FROM,
            next_publish: 1,
            asked: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            targets: BTreeSet::new(),
            held: VecDeque::new(),
            requested: VecDeque::new(),
            services: 0,
            described: Vec::new(),
            published: 0,
            closing: None,
            foreign: None,
            is_over: false,
        };
        peer.send(&PREFACE).await;
        let client = "fuzz".to_owned();
        let hello = Hello { features: 0, client, frame_bytes_max: 4 << 20, idle_ms: 60_000 };
        peer.ask(0, &Request::Hello(hello)).await;
        peer
    }

    /// Sends bytes as they are; a broker that has closed is no error.
    pub async fn send(&mut self, bytes: &[u8]) {
        if self.writer.write_all(bytes).await.is_err() {
            self.is_over = true;
        }
    }

    /// Sends a request.
    pub async fn ask(&mut self, channel: u16, request: &Request) {
        let corr = self.next_request;
        self.next_request += 1;
        let is_answered = !matches!(
            request,
            Request::Credit(_)
                | Request::Close
                | Request::Settle { confirm: false, .. }
                | Request::Service(ServiceCall::Answer { .. })
        );
        if is_answered {
            self.asked.insert(corr, 0);
        }
        let mut out = BytesMut::new();
        request.encode(channel, corr, &mut out);
        self.send(&out).await;
    }

    /// Sends a publish of so many records, or an atomic group.
    pub async fn publish(&mut self, request: &Request, records: u32) {
        let number = self.next_publish;
        self.next_publish += 1;
        self.asked.insert(number, records);
        let mut out = BytesMut::new();
        request.encode(0, number, &mut out);
        self.send(&out).await;
    }

    /// Whether the connection is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// Takes in what has come, without waiting.
    pub fn hear(&mut self) {
        while let Ok((channel, corr, response)) = self.heard.try_recv() {
            self.take(channel, corr, response);
        }
    }

    /// Asks and waits until everything asked before has been read.
    pub async fn barrier(&mut self) {
        let corr = self.next_request;
        self.ask(0, &Request::Ping(corr)).await;
        while self.asked.contains_key(&corr) && self.wait().await {}
    }

    /// What is answered under this id does not count.
    pub fn forget(&mut self, corr: u64) {
        self.foreign = Some(corr);
    }

    /// Looks at all queues and topics, and at the counters.
    pub async fn describe_all(&mut self) {
        self.ask(0, &Request::List { after: None, limit: 1_000 }).await;
        self.ask(0, &Request::Stats).await;
        self.ask(0, &Request::Service(ServiceCall::Services { after: None })).await;
        self.barrier().await;
    }

    /// Leaves in order: everything asked is answered before the broker closes.
    ///
    /// # Panics
    /// When something was not.
    pub async fn leave(&mut self) {
        self.ask(0, &Request::Close).await;
        while self.wait().await {}
        if self.closing.is_none() {
            assert!(self.asked.is_empty(), "not answered: {:?}", self.asked);
        }
    }

    async fn wait(&mut self) -> bool {
        let next = tokio::time::timeout(PATIENCE, self.heard.recv()).await;
        match next.expect("the broker answers or closes") {
            Some((channel, corr, response)) => self.take(channel, corr, response),
            None => self.is_over = true,
        }
        !self.is_over
    }

    fn take(&mut self, channel: u16, corr: u64, response: Response) {
        assert!(self.closing.is_none(), "{response:?} came behind closing");
        match response {
            Response::Closing(reply) => {
                assert_ne!(reply.code, ErrorCode::Internal, "{}", reply.message);
                self.closing = Some(reply.code);
            }
            Response::Confirms(confirms) => confirms.iter().for_each(|one| self.confirm(one)),
            Response::Receipts(outcomes) => {
                self.asked.remove(&corr).expect("told once, and published");
                for one in outcomes.iter().filter(|one| one.fate == Fate::Stored) {
                    *self.confirmed.entry(one.target).or_default() += u64::from(one.count);
                }
            }
            Response::Deliver(deliver) => {
                for piece in deliver.pieces {
                    let first = piece.base_offset + u64::from(piece.from);
                    self.held.push_back((channel, deliver.epoch, first, piece.count));
                }
                while self.held.len() > 100 {
                    self.held.pop_front();
                }
            }
            Response::Service(ServiceReply::Requested(requested)) => {
                self.requested.push_back((requested.name, requested.ticket));
                while self.requested.len() > 100 {
                    self.requested.pop_front();
                }
            }
            // Unasked: stale settles, and consumers whose queue is gone.
            _ if corr == 0 => {}
            answer => {
                if let Response::Error(reply) = &answer {
                    assert_ne!(reply.code, ErrorCode::Internal, "{}", reply.message);
                }
                if let Response::Declared { id, .. } = &answer {
                    self.targets.insert(*id);
                }
                let asked = self.asked.remove(&corr);
                let is_foreign = self.foreign == Some(corr);
                match answer {
                    Response::Listed { items, .. } => self.described = items,
                    Response::Stats(stats) => self.published = stats.published,
                    Response::Service(ServiceReply::Services { items, .. }) => {
                        self.services = items.len();
                    }
                    _ => {}
                }
                assert!(is_foreign || asked.is_some(), "an answer to {corr:#x} that nobody asked");
            }
        }
    }

    fn confirm(&mut self, confirmed: &Confirmed) {
        for number in confirmed.first..confirmed.first + u64::from(confirmed.count) {
            let records = self.asked.remove(&number).expect("confirmed once, and published");
            if !confirmed.duplicate {
                *self.confirmed.entry(confirmed.target).or_default() += u64::from(records);
            }
        }
    }
}

/// Reads until the broker closes; everything must be readable.
async fn listen(
    mut reader: ReadHalf<DuplexStream>,
    sender: mpsc::UnboundedSender<(u16, u64, Response)>,
) {
    let mut buffer = BytesMut::new();
    let mut has_preface = false;
    loop {
        while has_preface
            && let CutOf::Frame { header, said } =
                Response::cut(&mut buffer, 64 << 20).expect("a broker sends whole frames")
        {
            let said = said.expect("a broker says what can be read");
            if sender.send((header.channel, header.corr, said)).is_err() {
                return;
            }
        }
        if !has_preface && matches!(cut_preface(&mut buffer), Ok(CutPreface::Major(_))) {
            has_preface = true;
            continue;
        }
        match reader.read_buf(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    assert!(buffer.is_empty(), "the broker closed inside a frame: {buffer:?}");
}
