//! A broker by hand: accepts connections over a pipe, gives out requests, says what it is told.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use posthaste::{Client, ClientBuilder, Transport};
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::names::Name;
use posthaste_protocol::request::{Consume, Credit, Held, Kind, Settings, Settle};
use posthaste_protocol::response::{Confirmed, Deliver, Description, GroupInfo, Piece, Welcome};
use posthaste_protocol::{
    BatchBuilder, BatchHeader, Cut, PREFACE, Record, Records, Request, Response, cut_frame,
    destination_seed,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// Longer than every timeout of the client. Virtual: it passes at once when nothing happens.
const PATIENCE: Duration = Duration::from_secs(300);
const FRAME_MAX: u32 = 4 << 20;

/// Where the client connects to.
pub(crate) struct Fake {
    connections: mpsc::UnboundedReceiver<DuplexStream>,
}

/// One connection, as the broker sees it.
pub(crate) struct Peer {
    stream: DuplexStream,
    buffer: BytesMut,
}

/// A request as it came.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) channel: u16,
    pub(crate) id: u64,
    pub(crate) request: Request,
}

/// A publish as it came.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) number: u64,
    pub(crate) target: u32,
    pub(crate) batch: Bytes,
}

impl Published {
    pub(crate) fn header(&self) -> BatchHeader {
        BatchHeader::peek(&self.batch).expect("a whole batch")
    }

    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        let records = Records::new(self.batch.clone()).expect("a whole batch");
        records.map(|record| record.expect("a whole record").value).collect()
    }
}

/// A fake broker and a client's options that lead to it.
pub(crate) fn fake() -> (Fake, ClientBuilder) {
    let (sender, connections) = mpsc::unbounded_channel();
    let sender = Arc::new(sender);
    let builder = Client::builder().name("test").connector(move || {
        let sender = Arc::clone(&sender);
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(64 << 10);
            let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
            sender.send(far).map_err(refused)?;
            Ok(Box::new(near) as Box<dyn Transport>)
        })
    });
    (Fake { connections }, builder)
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        features: 0,
        server: "fake/1".to_owned(),
        store: [7; 16],
        frame_bytes_max: FRAME_MAX,
        message_bytes_max: 1 << 20,
        publish_bytes_max: 8 << 20,
        idle_ms: 0,
    }
}

/// A connected client and its broker.
pub(crate) async fn connected() -> (Fake, Peer, Client) {
    connected_by(|builder| builder, welcome()).await
}

pub(crate) async fn connected_by(
    options: impl FnOnce(ClientBuilder) -> ClientBuilder,
    welcome: Welcome,
) -> (Fake, Peer, Client) {
    let (mut fake, builder) = fake();
    let connecting = tokio::spawn(options(builder).connect());
    let peer = fake.accept_with(welcome).await;
    let client = connecting.await.expect("no panic").expect("connected");
    (fake, peer, client)
}

impl Fake {
    /// The next connection, welcomed.
    pub(crate) async fn accept(&mut self) -> Peer {
        self.accept_with(welcome()).await
    }

    pub(crate) async fn accept_with(&mut self, welcome: Welcome) -> Peer {
        let mut peer = self.accept_raw().await;
        let mut preface = [0; 8];
        peer.stream.read_exact(&mut preface).await.expect("a preface");
        assert_eq!(preface, PREFACE);
        peer.stream.write_all(&PREFACE).await.expect("the client listens");
        let said = peer.next().await;
        assert!(matches!(said.request, Request::Hello(_)), "{said:?}");
        peer.say(0, said.id, Response::Welcome(welcome)).await;
        peer
    }

    /// Whether the client's options, and so the client, were freed.
    pub(crate) async fn is_forgotten(&mut self) -> bool {
        timeout(PATIENCE, self.connections.recv()).await.is_ok_and(|next| next.is_none())
    }

    /// The next connection, before anything was said.
    pub(crate) async fn accept_raw(&mut self) -> Peer {
        let next = timeout(PATIENCE, self.connections.recv()).await;
        let stream = next.expect("the client connects in time").expect("the client lives");
        Peer { stream, buffer: BytesMut::new() }
    }
}

impl Peer {
    pub(crate) fn stream(&mut self) -> &mut DuplexStream {
        &mut self.stream
    }

    pub(crate) async fn say_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the client listens");
    }

    pub(crate) async fn say(&mut self, channel: u16, id: u64, response: Response) {
        let mut out = BytesMut::new();
        response.encode(channel, id, &mut out);
        self.say_raw(&out).await;
    }

    /// The next request; a panic if none comes.
    pub(crate) async fn next(&mut self) -> Said {
        timeout(PATIENCE, self.read())
            .await
            .expect("a request in time")
            .expect("an open connection")
    }

    /// The next request, or `None` if nothing comes within `wait`.
    pub(crate) async fn next_within(&mut self, wait: Duration) -> Option<Said> {
        timeout(wait, self.read()).await.ok().flatten()
    }

    /// Whether the client hung up, without saying anything else.
    pub(crate) async fn is_closed(&mut self) -> bool {
        timeout(PATIENCE, self.read()).await.expect("the end in time").is_none()
    }

    async fn read(&mut self) -> Option<Said> {
        loop {
            match cut_frame(&mut self.buffer, FRAME_MAX).expect("a good frame") {
                Cut::Frame(frame) => {
                    let request = Request::decode(&frame).expect("a good request");
                    let (channel, id) = (frame.header.channel, frame.header.corr);
                    return Some(Said { channel, id, request });
                }
                Cut::NeedMore(_) => {
                    if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                        return None;
                    }
                }
            }
        }
    }

    // ---- publishing ----

    /// Answers the questions before a first publish: what number, which session.
    pub(crate) async fn open_producer(
        &mut self,
        target: u32,
        producer: u32,
        resumed: bool,
    ) -> [u8; 16] {
        let mut session = None;
        while session.is_none() {
            let said = self.next().await;
            match said.request {
                Request::Describe { name } => self.describe(said.id, &name, target).await,
                Request::OpenProducer { session: asked } => {
                    session = Some(asked);
                    self.say(0, said.id, Response::ProducerOpened { producer, resumed }).await;
                }
                other => panic!("not expected before a publish: {other:?}"),
            }
        }
        session.expect("just set")
    }

    pub(crate) async fn describe(&mut self, id: u64, name: &Name, target: u32) {
        let description = Description {
            id: target,
            kind: Kind::Queue,
            name: name.clone(),
            settings: Settings::default(),
            first_offset: 0,
            next_offset: 0,
            bytes: 0,
            groups: vec![GroupInfo { ready: 3, dead: 1, ..GroupInfo::default() }],
        };
        self.say(0, id, Response::Described(description)).await;
    }

    pub(crate) async fn publish(&mut self) -> Published {
        let said = self.next().await;
        match said.request {
            Request::Publish { target, durability, batch, .. } => {
                assert_eq!(durability, 0);
                Published { number: said.id, target, batch }
            }
            other => panic!("not a publish: {other:?}"),
        }
    }

    pub(crate) async fn confirm(&mut self, first: u64, count: u32, base_offset: u64) {
        let confirmed = Confirmed { first, count, target: 1, base_offset, duplicate: false };
        self.say(0, 0, Response::Confirms(vec![confirmed])).await;
    }

    pub(crate) async fn refuse(&mut self, id: u64, code: ErrorCode, similar: &[&str]) {
        let similar = similar.iter().map(|&name| name.to_owned()).collect();
        let message = "refused by the test".to_owned();
        let reply = ErrorReply { code, retry_after_ms: 250, message, similar };
        self.say(0, id, Response::Error(reply)).await;
    }

    // ---- consuming ----

    /// Opens the consumer that is asked for.
    pub(crate) async fn open_consumer(&mut self, lease_ms: u32) -> (u16, Consume) {
        let said = self.next().await;
        let Request::Consume(consume) = said.request else { panic!("not a consume: {said:?}") };
        self.say(said.channel, said.id, Response::Consuming { lease_ms }).await;
        (said.channel, consume)
    }

    pub(crate) async fn deliver(&mut self, channel: u16, deliver: Deliver) {
        self.say(channel, 0, Response::Deliver(deliver)).await;
    }

    pub(crate) async fn credit(&mut self) -> Credit {
        let said = self.next().await;
        let Request::Credit(credit) = said.request else { panic!("not a credit: {said:?}") };
        credit
    }

    /// The next settle, leaving credit aside.
    pub(crate) async fn settle(&mut self) -> (u64, bool, Vec<Settle>) {
        loop {
            let said = self.next().await;
            match said.request {
                Request::Settle { confirm, items } => return (said.id, confirm, items),
                Request::Credit(_) => {}
                other => panic!("not a settle: {other:?}"),
            }
        }
    }
}

/// One piece of `bodies` for the queue `name`, from `base_offset` on.
pub(crate) fn piece(name: &str, base_offset: u64, bodies: &[&str]) -> Piece {
    let mut builder = BatchBuilder::new();
    for body in bodies {
        let record = Record { value: body.as_bytes(), key: Some("k"), ..Record::default() };
        builder.push(&record).expect("a small record");
    }
    let seed = destination_seed(&Name::try_from(name).expect("a name"));
    let batches = builder.finish(seed, 0, 0, 0);
    let count = u32::try_from(bodies.len()).expect("few");
    let time_ms = 1_000;
    Piece { base_offset, from: 0, count, attempt: 1, redelivered: false, time_ms, batches }
}

/// The same as a delivery.
pub(crate) fn delivery(epoch: u64, pieces: Vec<Piece>) -> Deliver {
    Deliver { epoch, lease_ms: 30_000, pieces }
}

pub(crate) fn held(first: u64, count: u32, epoch: u64) -> Held {
    Held { first, count, epoch }
}

/// Lets everything that can run, run.
pub(crate) async fn settle_down() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}
