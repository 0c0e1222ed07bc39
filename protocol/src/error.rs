//! Errors of the wire: what a decoder found wrong, and what the broker answers.

/// Everything the broker can refuse, one number each, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
#[non_exhaustive]
pub enum ErrorCode {
    /// The frame cannot be read; the connection closes.
    MalformedFrame = 101,
    /// The frame is larger than agreed; the connection closes.
    FrameTooLarge = 102,
    /// A checksum does not match; of a frame: the connection closes; of a batch: refused.
    ChecksumMismatch = 103,
    /// Unknown command, version, flag or durability.
    Unsupported = 104,
    /// A command before hello, or hello twice; the connection closes.
    ProtocolError = 105,
    /// Handshake, frame or heartbeat took too long; the connection closes.
    Timeout = 106,
    /// Too many connections.
    TooManyConnections = 107,
    /// There is no queue, topic or group of that name.
    NotFound = 201,
    /// A name outside `[A-Za-z0-9._-]{1,200}`, or starting with a dot.
    InvalidName = 202,
    /// It exists as something else (queue against topic), or the setting cannot be combined.
    Conflict = 203,
    /// A value is out of its range.
    InvalidArgument = 204,
    /// Message, key or headers too large.
    MessageTooLarge = 301,
    /// The queue holds as many messages as its limit allows. Try later.
    QueueFull = 302,
    /// The disk is nearly full: publishes are refused, everything else works. Try later.
    NoSpace = 303,
    /// The broker is too busy. Try later.
    Busy = 304,
    /// Another connection has taken this producer session over.
    ProducerFenced = 305,
    /// Too many consumers, producers, queues or groups.
    QuotaExceeded = 306,
    /// The lease is not held (any more).
    LeaseExpired = 401,
    /// Stored data is damaged; the damaged messages are not delivered.
    DataLoss = 501,
    /// The outcome is unknown: the broker stopped while it was being stored.
    Indeterminate = 502,
    /// The broker is shutting down. Reconnect.
    ShuttingDown = 503,
    /// A defect of the broker.
    Internal = 599,
}

/// A refusal as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// What.
    pub code: ErrorCode,
    /// When to try again, in milliseconds; 0 = no advice.
    pub retry_after_ms: u32,
    /// One sentence, printable ASCII, without bytes of the peer's that are not a checked name.
    pub message: String,
    /// Names that were perhaps meant. At most 3.
    pub similar: Vec<String>,
}
