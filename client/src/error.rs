//! Errors: one type per operation, all of one shape, all convertible into [`Error`].
//!
//! Each says what kind it is ([`ErrorKind`]), its stable code ("PH-0201", the same that the broker,
//! the command line and the documentation use), whether trying again can help, and the next step.
//! An error is cheap to clone: one failed batch fails each of its messages.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use posthaste_protocol::error::{ErrorCode, ErrorReply};

/// What went wrong, coarse enough to match on.
///
/// ```
/// use posthaste::ErrorKind;
/// fn worth_a_page(kind: ErrorKind) -> bool {
///     matches!(kind, ErrorKind::DataLoss | ErrorKind::NoSpace | ErrorKind::Internal)
/// }
/// assert!(!worth_a_page(ErrorKind::Timeout));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no queue, topic or group of that name.
    NotFound,
    /// It exists as something else, or the settings cannot be combined.
    Conflict,
    /// A name or a value is outside its range, or a URL cannot be read.
    Invalid,
    /// The message, its key or its headers are too large.
    TooLarge,
    /// The broker or the queue cannot take more at the moment.
    Busy,
    /// The broker's disk is nearly full: publishes are refused, everything else works.
    NoSpace,
    /// There is no connection, or it broke before the answer came.
    Disconnected,
    /// No answer in time. A publish may or may not have been stored.
    Timeout,
    /// It may or may not have happened: the broker cannot tell any more.
    Indeterminate,
    /// The lease was not held any more: the message belongs to somebody else now.
    LeaseExpired,
    /// Another message has that id, within the window of the queue or topic.
    IdConflict,
    /// The lease cannot last longer than the longest hold of the queue or group.
    HoldLimit,
    /// The queue or topic does not end where the publish expected it to.
    OffsetMismatch,
    /// The payload could not be written.
    Encode,
    /// The payload could not be read as the type of the contract.
    Decode,
    /// What a reference leads to has another size or digest than it says.
    Mismatch,
    /// The store or server of a reference failed.
    Unreachable,
    /// The client was closed.
    Closed,
    /// Client and broker do not understand each other.
    Protocol,
    /// Stored data is damaged.
    DataLoss,
    /// A defect of the broker.
    Internal,
    /// No instance of the service is connected: nobody has seen the request.
    NoResponder,
    /// The service failed, or refused the request; the message is its own.
    Failed,
}

/// Codes of failures that happen on this side of the wire; the broker's own codes stay below 0900.
#[cfg_attr(not(feature = "events"), expect(dead_code, reason = "only events load something"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    Disconnected,
    Timeout,
    Closed,
    Encode,
    Decode,
    InvalidUrl,
    Refused,
    SizeMismatch,
    DigestMismatch,
    ReferenceNotFound,
    ReferenceUnreachable,
    ReferenceUnsupported,
    LoadTooLarge,
}

impl Local {
    fn kind(self) -> ErrorKind {
        match self {
            Self::Disconnected | Self::Refused => ErrorKind::Disconnected,
            Self::Timeout => ErrorKind::Timeout,
            Self::Closed => ErrorKind::Closed,
            Self::Encode => ErrorKind::Encode,
            Self::Decode => ErrorKind::Decode,
            Self::InvalidUrl | Self::ReferenceUnsupported => ErrorKind::Invalid,
            Self::SizeMismatch | Self::DigestMismatch => ErrorKind::Mismatch,
            Self::ReferenceNotFound => ErrorKind::NotFound,
            Self::ReferenceUnreachable => ErrorKind::Unreachable,
            Self::LoadTooLarge => ErrorKind::TooLarge,
        }
    }

    fn code(self) -> &'static str {
        match self {
            Self::Disconnected => "PH-0901",
            Self::Timeout => "PH-0902",
            Self::Closed => "PH-0903",
            Self::Encode => "PH-0904",
            Self::Decode => "PH-0905",
            Self::InvalidUrl => "PH-0906",
            Self::Refused => "PH-0907",
            Self::SizeMismatch => "PH-0908",
            Self::DigestMismatch => "PH-0909",
            Self::ReferenceNotFound => "PH-0910",
            Self::ReferenceUnreachable => "PH-0911",
            Self::ReferenceUnsupported => "PH-0912",
            Self::LoadTooLarge => "PH-0913",
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Disconnected => {
                "the client reconnects by itself; try again, and look at the broker's log if it lasts"
            }
            Self::Timeout => {
                "a message that was being published may or may not be stored: publish it again under \
                 an id if that matters, and look at the client's state and the broker's log"
            }
            Self::Closed => "the client was closed or dropped; connect a new one",
            Self::Encode => "the payload's Serialize implementation refused it",
            Self::Decode => "the message does not match the type of the contract",
            Self::InvalidUrl => {
                "write posthaste://host[:port] (port 7420 by default), memory: or embedded:./folder"
            }
            Self::SizeMismatch | Self::DigestMismatch => {
                "what is stored there is not what was published: it was changed, cut off or damaged; \
                 publish the event again, or dead-letter it"
            }
            Self::ReferenceNotFound => {
                "what events refer to must be kept for as long as the events themselves"
            }
            Self::ReferenceUnreachable => "try again later, and look after the store or server",
            Self::ReferenceUnsupported => "load it with the resolver of its publisher",
            Self::LoadTooLarge => "raise the limit with up_to(), if it is meant to be so large",
            Self::Refused => "is the broker running there? start one with: posthaste serve",
        }
    }
}

/// The whole of an error; every public error type is one `Arc` of this.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    similar: Vec<String>,
    help: Option<&'static str>,
    retryable: bool,
    retry_after: Option<Duration>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// How failures travel inside the client.
pub(crate) type Failed = Arc<Failure>;

impl Failure {
    /// A failure on this side of the wire.
    pub(crate) fn local(what: Local, message: impl Into<String>) -> Failed {
        Arc::new(Self {
            kind: what.kind(),
            code: what.code(),
            message: message.into(),
            similar: Vec::new(),
            help: Some(what.help()),
            retryable: matches!(
                what,
                Local::Disconnected | Local::Timeout | Local::Refused | Local::ReferenceUnreachable
            ),
            retry_after: None,
            source: None,
        })
    }

    /// The same with the error underneath.
    pub(crate) fn caused(
        what: Local,
        message: impl Into<String>,
        source: impl StdError + Send + Sync + 'static,
    ) -> Failed {
        let mut failure = Self::local(what, message);
        if let Some(inner) = Arc::get_mut(&mut failure) {
            inner.source = Some(Arc::new(source));
        }
        failure
    }

    /// A failure with one of the broker's codes, found on this side.
    pub(crate) fn coded(code: ErrorCode, message: impl Into<String>) -> Failed {
        Self::reply(ErrorReply {
            code,
            retry_after_ms: 0,
            message: message.into(),
            similar: Vec::new(),
        })
    }

    /// What the broker answered.
    pub(crate) fn reply(reply: ErrorReply) -> Failed {
        let retry_after = Duration::from_millis(u64::from(reply.retry_after_ms));
        Arc::new(Self {
            kind: kind_of(reply.code),
            code: reply.code.as_str(),
            message: reply.message,
            similar: reply.similar,
            help: Some(reply.code.advice()),
            retryable: reply.code.is_retryable(),
            retry_after: (!retry_after.is_zero()).then_some(retry_after),
            source: None,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if !self.similar.is_empty() {
            write!(f, "; similar: {}", self.similar.join(", "))?;
        }
        Ok(())
    }
}

fn kind_of(code: ErrorCode) -> ErrorKind {
    match code {
        ErrorCode::NotFound => ErrorKind::NotFound,
        ErrorCode::Conflict => ErrorKind::Conflict,
        ErrorCode::InvalidName | ErrorCode::InvalidArgument => ErrorKind::Invalid,
        ErrorCode::MessageTooLarge => ErrorKind::TooLarge,
        ErrorCode::QueueFull
        | ErrorCode::Busy
        | ErrorCode::QuotaExceeded
        | ErrorCode::TooManyRequests
        | ErrorCode::TooManyConnections => ErrorKind::Busy,
        ErrorCode::IdsFull => ErrorKind::Busy,
        ErrorCode::OffsetMismatch => ErrorKind::OffsetMismatch,
        ErrorCode::IdConflict => ErrorKind::IdConflict,
        ErrorCode::NoSpace => ErrorKind::NoSpace,
        ErrorCode::LeaseExpired => ErrorKind::LeaseExpired,
        ErrorCode::HoldLimit => ErrorKind::HoldLimit,
        ErrorCode::DataLoss => ErrorKind::DataLoss,
        ErrorCode::Indeterminate | ErrorCode::ProducerFenced | ErrorCode::ReplyLost => {
            ErrorKind::Indeterminate
        }
        ErrorCode::ShuttingDown => ErrorKind::Disconnected,
        ErrorCode::Timeout | ErrorCode::ReplyTimeout => ErrorKind::Timeout,
        ErrorCode::NoResponder => ErrorKind::NoResponder,
        ErrorCode::RequestFailed => ErrorKind::Failed,
        ErrorCode::Internal => ErrorKind::Internal,
        _ => ErrorKind::Protocol,
    }
}

macro_rules! error_types {
    ($($(#[$doc:meta])* $name:ident;)*) => { $(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name(pub(crate) Failed);

        impl $name {
            /// What kind of failure, to match on.
            #[must_use]
            pub fn kind(&self) -> ErrorKind {
                self.0.kind
            }

            /// The stable code, such as "PH-0201"; `posthaste explain CODE` says more.
            #[must_use]
            pub fn code(&self) -> &'static str {
                self.0.code
            }

            /// Whether doing the same again can succeed.
            #[must_use]
            pub fn is_retryable(&self) -> bool {
                self.0.retryable
            }

            /// How long the broker advises to wait before that.
            #[must_use]
            pub fn retry_after(&self) -> Option<Duration> {
                self.0.retry_after
            }

            /// The next step, in a sentence.
            #[must_use]
            pub fn help(&self) -> Option<&str> {
                self.0.help
            }

            /// Names that were perhaps meant.
            #[must_use]
            pub fn similar(&self) -> &[String] {
                &self.0.similar
            }

            /// What happened, in a sentence, without the code.
            #[must_use]
            pub fn message(&self) -> &str {
                &self.0.message
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl StdError for $name {
            fn source(&self) -> Option<&(dyn StdError + 'static)> {
                self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
            }
        }

        impl From<Failed> for $name {
            fn from(failure: Failed) -> Self {
                Self(failure)
            }
        }
    )* };
}

error_types! {
    /// Any error of this crate: every other error converts into it, so one `?` fits all.
    Error;
    /// Connecting failed.
    ConnectError;
    /// Creating or changing a queue, topic or group failed.
    DeclareError;
    /// A message was not stored, or nobody can tell whether it was (see [`PublishError::kind`]).
    PublishError;
    /// Consuming, reading or peeking failed.
    ConsumeError;
    /// A delivery could not be settled or extended.
    SettleError;
    /// What an event refers to could not be loaded or kept.
    LoadError;
    /// An administrative request (describe, list, purge, ...) failed.
    RequestError;
    /// Closing did not end in order; everything is closed all the same.
    CloseError;
}

macro_rules! into_error {
    ($($name:ident)*) => { $(
        impl From<$name> for Error {
            fn from(error: $name) -> Self {
                Self(error.0)
            }
        }
    )* };
}

into_error! { ConnectError DeclareError PublishError ConsumeError SettleError LoadError RequestError CloseError }
