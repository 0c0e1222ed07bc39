//! Errors of the wire: what a decoder found wrong, and what the broker answers.
//!
//! Codes have one number each, for ever. What they mean, and what to do, is in [`mod@explain`];
//! nothing here repeats bytes of a peer that were not checked.

mod codec;
pub mod explain;

use std::fmt;

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
    /// Another message has that id, and its window is not over.
    IdConflict = 402,
    /// The broker remembers as many message ids as it may. Try later.
    IdsFull = 403,
    /// The queue or topic does not end where the publish expects it to.
    OffsetMismatch = 404,
    /// The lease cannot be extended beyond the longest hold of the queue or group.
    HoldLimit = 405,
    /// No instance of that service is connected.
    NoResponder = 421,
    /// A responder had the request, and its reply will not come.
    ReplyLost = 422,
    /// No reply in the time that the requester gave.
    ReplyTimeout = 423,
    /// The requester has as many requests under way as it may have.
    TooManyRequests = 424,
    /// The responder failed, or refused the request.
    RequestFailed = 425,
    /// Stored data is damaged; the damaged messages are not delivered.
    DataLoss = 501,
    /// The outcome is unknown: the broker stopped while it was being stored.
    Indeterminate = 502,
    /// The broker is shutting down. Reconnect.
    ShuttingDown = 503,
    /// A defect of the broker.
    Internal = 599,
}

impl ErrorCode {
    /// All codes, in the order of their numbers.
    pub const ALL: &'static [ErrorCode] = &[
        ErrorCode::MalformedFrame,
        ErrorCode::FrameTooLarge,
        ErrorCode::ChecksumMismatch,
        ErrorCode::Unsupported,
        ErrorCode::ProtocolError,
        ErrorCode::Timeout,
        ErrorCode::TooManyConnections,
        ErrorCode::NotFound,
        ErrorCode::InvalidName,
        ErrorCode::Conflict,
        ErrorCode::InvalidArgument,
        ErrorCode::MessageTooLarge,
        ErrorCode::QueueFull,
        ErrorCode::NoSpace,
        ErrorCode::Busy,
        ErrorCode::ProducerFenced,
        ErrorCode::QuotaExceeded,
        ErrorCode::LeaseExpired,
        ErrorCode::IdConflict,
        ErrorCode::IdsFull,
        ErrorCode::OffsetMismatch,
        ErrorCode::HoldLimit,
        ErrorCode::NoResponder,
        ErrorCode::ReplyLost,
        ErrorCode::ReplyTimeout,
        ErrorCode::TooManyRequests,
        ErrorCode::RequestFailed,
        ErrorCode::DataLoss,
        ErrorCode::Indeterminate,
        ErrorCode::ShuttingDown,
        ErrorCode::Internal,
    ];

    /// The code with this number.
    pub fn from_u16(number: u16) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|code| code.number() == number)
    }

    /// The number.
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// As people read it: `PH-0201`.
    pub fn as_str(self) -> &'static str {
        self.explained().text
    }

    /// A few words: "not found".
    pub fn title(self) -> &'static str {
        self.explained().title
    }

    /// What happened, and what did not.
    pub fn explanation(self) -> &'static str {
        self.explained().explanation
    }

    /// What to do.
    pub fn advice(self) -> &'static str {
        self.explained().advice
    }

    /// Whether the same request can succeed later without anyone changing anything, and without
    /// a risk of doing it twice.
    pub fn is_retryable(self) -> bool {
        self.explained().is_retryable
    }

    /// Whether the connection closes behind this error. A checksum or length that is wrong in a
    /// frame (rather than in a batch) always closes it: see [`DecodeError::closes_connection`].
    pub fn closes_connection(self) -> bool {
        self.explained().closes_connection
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A refusal as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply {
    /// What.
    pub code: ErrorCode,
    /// When to try again, in milliseconds; 0 = no advice.
    pub retry_after_ms: u32,
    /// One sentence, printable ASCII, without bytes of the peer's that are not a checked name.
    /// The encoder replaces what is not printable ASCII by `?` and cuts at 1,000 bytes.
    pub message: String,
    /// Names that were perhaps meant. At most 3.
    pub similar: Vec<String>,
}

impl ErrorReply {
    /// A refusal without advice on time or names.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> ErrorReply {
        ErrorReply { code, retry_after_ms: 0, message: message.into(), similar: Vec::new() }
    }
}

impl fmt::Display for ErrorReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for ErrorReply {}

/// What a decoder found wrong, and at which byte of the frame or batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code} {title}: {what} (at byte {offset})", title = code.title())]
pub struct DecodeError {
    code: ErrorCode,
    offset: usize,
    what: &'static str,
    is_framing: bool,
}

impl DecodeError {
    /// `what` is a sentence without a full stop, for people.
    pub const fn new(code: ErrorCode, offset: usize, what: &'static str) -> DecodeError {
        DecodeError { code, offset, what, is_framing: false }
    }

    /// The end of a frame is not known any more, so nothing behind it can be trusted.
    pub(crate) const fn framing(code: ErrorCode, offset: usize, what: &'static str) -> DecodeError {
        DecodeError { code, offset, what, is_framing: true }
    }

    /// The same, found in something that starts at byte `base`.
    pub(crate) const fn moved(self, base: usize) -> DecodeError {
        DecodeError { offset: self.offset.saturating_add(base), ..self }
    }

    /// Which kind of error.
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// Byte of the frame or batch at which it was found.
    pub const fn offset(&self) -> usize {
        self.offset
    }

    /// The same in words.
    pub const fn what(&self) -> &'static str {
        self.what
    }

    /// Whether the connection must close. Otherwise the request is answered and the next frame
    /// is good.
    pub fn closes_connection(&self) -> bool {
        self.is_framing || self.code.closes_connection()
    }

    /// As the peer is told.
    pub fn to_reply(self) -> ErrorReply {
        ErrorReply::new(self.code, format!("{} (at byte {})", self.what, self.offset))
    }
}

impl From<DecodeError> for ErrorReply {
    fn from(error: DecodeError) -> ErrorReply {
        error.to_reply()
    }
}
