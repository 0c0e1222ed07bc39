//! Each error code in words: the one table behind `explain`, the documents and the tests.

use super::ErrorCode;

/// One code, explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explained {
    /// As people read it: `PH-0201`.
    pub text: &'static str,
    /// A few words.
    pub title: &'static str,
    /// What happened, and what did not.
    pub explanation: &'static str,
    /// What to do.
    pub advice: &'static str,
    /// Whether the same request can succeed later without anyone changing anything.
    pub is_retryable: bool,
    /// Whether the connection closes behind it.
    pub closes_connection: bool,
}

/// The request may be repeated later as it is.
const RETRY: u8 = 1;
/// The connection closes.
const CLOSE: u8 = 2;

const fn e(
    text: &'static str,
    title: &'static str,
    traits: u8,
    explanation: &'static str,
    advice: &'static str,
) -> Explained {
    Explained {
        text,
        title,
        explanation,
        advice,
        is_retryable: traits & RETRY != 0,
        closes_connection: traits & CLOSE != 0,
    }
}

impl ErrorCode {
    /// The row of the table.
    pub const fn explained(self) -> &'static Explained {
        match self {
            ErrorCode::MalformedFrame => &MALFORMED_FRAME,
            ErrorCode::FrameTooLarge => &FRAME_TOO_LARGE,
            ErrorCode::ChecksumMismatch => &CHECKSUM_MISMATCH,
            ErrorCode::Unsupported => &UNSUPPORTED,
            ErrorCode::ProtocolError => &PROTOCOL_ERROR,
            ErrorCode::Timeout => &TIMEOUT,
            ErrorCode::TooManyConnections => &TOO_MANY_CONNECTIONS,
            ErrorCode::NotFound => &NOT_FOUND,
            ErrorCode::InvalidName => &INVALID_NAME,
            ErrorCode::Conflict => &CONFLICT,
            ErrorCode::InvalidArgument => &INVALID_ARGUMENT,
            ErrorCode::MessageTooLarge => &MESSAGE_TOO_LARGE,
            ErrorCode::QueueFull => &QUEUE_FULL,
            ErrorCode::NoSpace => &NO_SPACE,
            ErrorCode::Busy => &BUSY,
            ErrorCode::ProducerFenced => &PRODUCER_FENCED,
            ErrorCode::QuotaExceeded => &QUOTA_EXCEEDED,
            ErrorCode::LeaseExpired => &LEASE_EXPIRED,
            ErrorCode::IdConflict => &ID_CONFLICT,
            ErrorCode::IdsFull => &IDS_FULL,
            ErrorCode::OffsetMismatch => &OFFSET_MISMATCH,
            ErrorCode::HoldLimit => &HOLD_LIMIT,
            ErrorCode::DataLoss => &DATA_LOSS,
            ErrorCode::Indeterminate => &INDETERMINATE,
            ErrorCode::ShuttingDown => &SHUTTING_DOWN,
            ErrorCode::Internal => &INTERNAL,
            ErrorCode::NoResponder => &NO_RESPONDER,
            ErrorCode::ReplyLost => &REPLY_LOST,
            ErrorCode::ReplyTimeout => &REPLY_TIMEOUT,
            ErrorCode::TooManyRequests => &TOO_MANY_REQUESTS,
            ErrorCode::RequestFailed => &REQUEST_FAILED,
        }
    }
}

static MALFORMED_FRAME: Explained = e(
    "PH-0101",
    "malformed frame",
    CLOSE,
    "Bytes arrived that are no frame of the protocol, and the connection was closed. Nothing of \
     that frame took effect.",
    "Check that the client speaks the posthaste protocol on this port; with the official client, \
     report it.",
);
static FRAME_TOO_LARGE: Explained = e(
    "PH-0102",
    "frame too large",
    CLOSE,
    "A frame was larger than both sides agreed on when the connection opened. The connection was \
     closed before any of it was stored.",
    "Publish in smaller batches; the limit is told in the welcome.",
);
static CHECKSUM_MISMATCH: Explained = e(
    "PH-0103",
    "checksum mismatch",
    0,
    "Bytes changed on their way, or a batch was sent to another destination than it was made for. \
     It was refused; if the frame itself was damaged, the connection was closed.",
    "Send it again. If it happens again, test the memory and the network of the machines involved.",
);
static UNSUPPORTED: Explained = e(
    "PH-0104",
    "unsupported",
    0,
    "The broker does not know this command, protocol version, flag or durability. The connection \
     stays open.",
    "Use a client of the broker's version, or update the broker.",
);
static PROTOCOL_ERROR: Explained = e(
    "PH-0105",
    "protocol error",
    CLOSE,
    "A command came in an order that the protocol does not allow, and the connection was closed.",
    "With the official client, report it. Otherwise: hello comes first, and once.",
);
static TIMEOUT: Explained = e(
    "PH-0106",
    "timeout",
    RETRY | CLOSE,
    "The handshake, a frame or a heartbeat took too long, and the connection was closed. Unsettled \
     deliveries went back at once.",
    "Check the network and the load of the client's machine. The official client reconnects by \
     itself.",
);
static TOO_MANY_CONNECTIONS: Explained = e(
    "PH-0107",
    "too many connections",
    RETRY | CLOSE,
    "The broker has as many connections as it may have.",
    "Close idle clients, or share one client per process: it carries any number of producers and \
     consumers.",
);
static NOT_FOUND: Explained = e(
    "PH-0201",
    "not found",
    0,
    "There is no queue, topic or group of that name. Nothing was stored and nothing was changed.",
    "Check the spelling (posthaste ls), or create it: posthaste queue set NAME, posthaste topic \
     set NAME.",
);
static INVALID_NAME: Explained = e(
    "PH-0202",
    "invalid name",
    0,
    "Names are 1 to 200 letters, digits, '.', '_' or '-', and do not start with a dot.",
    "Choose a name within these rules.",
);
static CONFLICT: Explained = e(
    "PH-0203",
    "conflict",
    0,
    "The name exists as something else (a queue where a topic was meant, or the reverse), or the \
     settings cannot be combined. Nothing was changed.",
    "Look at it with posthaste queue show NAME or posthaste topic show NAME, and choose another \
     name or other settings.",
);
static INVALID_ARGUMENT: Explained = e(
    "PH-0204",
    "invalid argument",
    0,
    "A value is outside of the range that is allowed for it. Nothing was changed.",
    "The message names the value and the range.",
);
static MESSAGE_TOO_LARGE: Explained = e(
    "PH-0301",
    "message too large",
    0,
    "The message, its key or its headers are larger than the broker accepts. Nothing was stored.",
    "Store the large part elsewhere and publish a reference to it, or split it.",
);
static QUEUE_FULL: Explained = e(
    "PH-0302",
    "queue full",
    RETRY,
    "The queue holds as many unsettled messages as its limit allows. Nothing was stored.",
    "Add consumers, raise the limit (posthaste queue set NAME --max-messages N), or try later.",
);
static NO_SPACE: Explained = e(
    "PH-0303",
    "no space",
    RETRY,
    "The disk of the broker is nearly full. Publishes are refused; consuming, settling, deleting \
     and reading go on.",
    "Consume or purge what is stored, delete topics that nobody needs, or give the disk more room.",
);
static BUSY: Explained = e(
    "PH-0304",
    "busy",
    RETRY,
    "The broker has more work than it may hold at once. Nothing was stored.",
    "Try later; the official client waits and tries again by itself until its deadline.",
);
static PRODUCER_FENCED: Explained = e(
    "PH-0305",
    "producer fenced",
    0,
    "Another connection has taken over this producer's session. What it sends here is refused.",
    "Use one producer session per process; do not copy a session into a second one.",
);
static QUOTA_EXCEEDED: Explained = e(
    "PH-0306",
    "quota exceeded",
    0,
    "There are too many consumers, producers, queues or groups.",
    "Delete what is not used; share consumers.",
);
static LEASE_EXPIRED: Explained = e(
    "PH-0401",
    "lease expired",
    0,
    "The delivery was not held any more when it was settled: its lease had run out, or the \
     connection was lost. Nothing was changed; the message goes to another consumer.",
    "Make handlers idempotent; give long work a longer lease (posthaste queue set NAME --lease \
     5m).",
);
static ID_CONFLICT: Explained = e(
    "PH-0402",
    "id conflict",
    0,
    "Within the id window of the queue or topic another message, with another key or body, was \
     stored under this id. This one was not stored.",
    "Give each message an id of its own; publish the same message again if you meant that one.",
);
static IDS_FULL: Explained = e(
    "PH-0403",
    "message ids full",
    RETRY,
    "The broker remembers as many message ids as it may, so it could not recognise this one if it \
     came again. Nothing was stored; messages whose id is known, and those without, are answered \
     as always.",
    "Shorten the windows (posthaste queue set NAME --id-window 10m), raise the limit (posthaste \
     serve --message-ids N), or try later.",
);
static OFFSET_MISMATCH: Explained = e(
    "PH-0404",
    "offset mismatch",
    0,
    "The publish was to be stored only if the queue or topic ended with a certain message, and it \
     does not. Nothing was stored.",
    "Read what has come meanwhile, decide again, and name the last position that the message of \
     this error tells.",
);
static HOLD_LIMIT: Explained = e(
    "PH-0405",
    "hold limit",
    0,
    "The lease was extended to the end of the longest time that this queue or group lets a delivery \
     be held, and not as far as was asked for. After that the message goes to another consumer, one \
     attempt later.",
    "Settle before then, or allow more (posthaste queue set NAME --max-hold 6h; 0 means no limit).",
);
static DATA_LOSS: Explained = e(
    "PH-0501",
    "data loss",
    0,
    "Stored data is damaged. The damaged messages are not delivered; all others are.",
    "The broker's log names the file and place. Keep a copy of the data directory and check the \
     disk.",
);
static INDETERMINATE: Explained = e(
    "PH-0502",
    "indeterminate",
    0,
    "The broker stopped while the message was being stored: it may or may not be there.",
    "Publish it again through the same producer: it is stored once. Otherwise expect a possible \
     duplicate.",
);
static SHUTTING_DOWN: Explained = e(
    "PH-0503",
    "shutting down",
    RETRY | CLOSE,
    "The broker is being stopped in order. What it confirmed is stored.",
    "Start it again; the official client reconnects by itself.",
);
static INTERNAL: Explained = e(
    "PH-0599",
    "internal error",
    0,
    "A defect of the broker. What it did not confirm may not have happened.",
    "Report it with the broker's log.",
);
static NO_RESPONDER: Explained = e(
    "PH-0421",
    "no responder",
    RETRY,
    "No instance of a service of that name is connected. Nobody has seen the request, and nothing \
     keeps it.",
    "Check the spelling (posthaste service ls), or start an instance: client.service(NAME).serve(..) \
     or posthaste reply NAME --exec COMMAND. What must not be lost goes into a queue.",
);
static REPLY_LOST: Explained = e(
    "PH-0422",
    "reply lost",
    0,
    "A responder had the request, and its reply will not come: its connection ended, or the reply \
     did not fit beside the answers that this connection has not taken. The request may have been \
     done, in part or wholly.",
    "Ask again if the request may be done twice. Look at the log of the service.",
);
static REPLY_TIMEOUT: Explained = e(
    "PH-0423",
    "no reply in time",
    0,
    "No reply came in the time that was given. The message says whether a responder had the request; \
     if so, it may have been done.",
    "Give it more time (Request::timeout), or start more instances: posthaste service ls shows how \
     many requests wait.",
);
static TOO_MANY_REQUESTS: Explained = e(
    "PH-0424",
    "too many requests",
    RETRY,
    "This connection, or all together, has as many requests under way as it may have. Nobody has \
     seen the request.",
    "Wait for replies before asking for more, or start more instances of the service.",
);
static REQUEST_FAILED: Explained = e(
    "PH-0425",
    "request failed",
    0,
    "The responder says that it failed, or refuses the request; the message is its own.",
    "The message says why. Look at the log of the service.",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_number_in_its_text_and_says_what_to_do() {
        for code in ErrorCode::ALL {
            assert_eq!(code.as_str(), format!("PH-{:04}", code.number()));
            assert_eq!(ErrorCode::from_u16(code.number()), Some(*code));
            for text in [code.title(), code.explanation(), code.advice()] {
                assert!(!text.is_empty() && text.is_ascii() && !text.contains("  "), "{text}");
            }
            assert!(code.explanation().ends_with('.') && code.advice().ends_with('.'));
        }
        assert_eq!(ErrorCode::from_u16(0), None);
        assert_eq!(ErrorCode::from_u16(u16::MAX), None);
    }

    #[test]
    fn codes_are_listed_once_and_in_order() {
        assert!(ErrorCode::ALL.is_sorted_by(|a, b| a.number() < b.number()));
        let known = (0..=u16::MAX).filter(|number| ErrorCode::from_u16(*number).is_some());
        assert_eq!(known.count(), ErrorCode::ALL.len());
    }

    #[test]
    fn what_may_have_happened_is_not_repeated_by_itself() {
        assert!(!ErrorCode::Indeterminate.is_retryable());
        assert!(ErrorCode::Busy.is_retryable());
    }
}
