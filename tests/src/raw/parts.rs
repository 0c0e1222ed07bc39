//! What a raw connection sends and gets, ready made.

use bytes::{Bytes, BytesMut};
use posthaste_protocol::request::{Consume, Credit, Held, Hello, Start};
use posthaste_protocol::{BatchBuilder, Name, Record, Request, destination_seed};

/// A message that was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Its number in the queue or topic.
    pub offset: u64,
    /// What the producer sent.
    pub body: Bytes,
    /// Attempt, from 1.
    pub attempt: u32,
    /// Whether it may have been delivered before.
    pub redelivered: bool,
    /// The epoch of its lease.
    pub epoch: u64,
    /// The consumer that got it.
    pub channel: u16,
}

impl Got {
    /// What goes back with a settle.
    pub fn held(&self) -> Held {
        Held { first: self.offset, count: 1, epoch: self.epoch }
    }

    /// The body as text.
    ///
    /// # Panics
    /// When it is none.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }
}

/// A frame as it travels.
pub fn encode(channel: u16, corr: u64, request: &Request) -> BytesMut {
    let mut out = BytesMut::new();
    request.encode(channel, corr, &mut out);
    out
}

/// The hello of a well-behaved client.
pub fn hello() -> Request {
    hello_of("posthaste-tests", 15_000)
}

/// A hello with a name and a longest silence.
pub fn hello_of(client: &str, idle_ms: u32) -> Request {
    let client = client.to_owned();
    Request::Hello(Hello { features: 0, client, frame_bytes_max: 4 << 20, idle_ms })
}

/// A name that is one.
///
/// # Panics
/// When it is none.
pub fn name(text: &str) -> Name {
    Name::try_from(text).expect("a valid name")
}

/// A consumer of a queue.
pub fn consume(queue: &str, messages: u32) -> Consume {
    let credit = Credit { messages, bytes: 1 << 20, begun: 0 };
    Consume { name: name(queue), group: None, start: Start::Earliest, lease_ms: None, credit }
}

/// A batch for a destination, outside of any producer session.
///
/// # Panics
/// When a body is too large for a batch.
pub fn batch(destination: &str, bodies: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new();
    for body in bodies {
        builder.push(&Record { value: body, ..Record::default() }).expect("it fits");
    }
    builder.finish(destination_seed(&name(destination)), 0, 0, 0)
}
