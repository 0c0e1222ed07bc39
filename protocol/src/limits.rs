//! Every limit of the wire, in one place, with the relations between them checked by the compiler.
//!
//! A decoder refuses what lies beyond; it never allocates first. Operator limits (connections,
//! quotas, memory) are in the broker's configuration and may only be narrower than these.

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: u32 = 24;
/// Largest frame, header included, unless both sides agree on less in hello and welcome.
pub const FRAME_BYTES_MAX: u32 = 4 << 20;
/// The least a peer may accept: any message of the default size can be delivered to it.
pub const FRAME_BYTES_MIN: u32 = 2 << 20;
/// Largest frame before the hello was answered.
pub const HANDSHAKE_FRAME_BYTES_MAX: u32 = 4 << 10;
/// Largest meta section of a frame.
pub const META_BYTES_MAX: u32 = 256 << 10;
/// Room that every reply needs around a single batch: header, meta, a piece, a reason.
pub const FRAME_OVERHEAD_BYTES_MAX: u32 = 4 << 10;

/// Bytes of a batch's header.
pub const BATCH_HEADER_BYTES: u32 = 40;
/// Largest batch, so that it fits into a frame of any kind.
pub const BATCH_BYTES_MAX: u32 = FRAME_BYTES_MAX - FRAME_OVERHEAD_BYTES_MAX;
/// Most records in a batch.
pub const BATCH_RECORDS_MAX: u32 = 65_536;
/// The smallest record: its length and its flags.
pub const RECORD_BYTES_MIN: u32 = 2;

/// Largest message: key, headers, times, id and body together.
pub const MESSAGE_BYTES_MAX: u32 = 1 << 20;
/// Largest key.
pub const KEY_BYTES_MAX: u32 = 1_024;
/// Most headers of a message.
pub const HEADERS_MAX: u32 = 64;
/// Names and values of all headers of a message together.
pub const HEADERS_BYTES_MAX: u32 = 16 << 10;
/// Largest message id.
pub const ID_BYTES_MAX: u32 = 256;
/// Latest wall-clock time of a record, in milliseconds since 1970: the end of the year 9999.
pub const TIME_MS_MAX: u64 = 253_402_300_799_999;

/// Longest name of a queue, topic or group.
pub const NAME_BYTES_MAX: u32 = 200;
/// Longest name-and-version text of a client or server.
pub const PEER_BYTES_MAX: u32 = 200;
/// Longest name of an authentication mechanism.
pub const MECHANISM_BYTES_MAX: u32 = 64;
/// Largest opaque part of one authentication round.
pub const AUTH_BYTES_MAX: u32 = 2 << 10;
/// Longest reason of a retry or dead letter.
pub const REASON_BYTES_MAX: u32 = 1_000;
/// Longest sentence of an error.
pub const ERROR_BYTES_MAX: u32 = 1_000;
/// Most names that an error suggests.
pub const SIMILAR_MAX: u32 = 3;

/// Most items in one settle or extend.
pub const SETTLE_ITEMS_MAX: u32 = 4_096;
/// Most destinations of an atomic group.
pub const ATOMIC_PARTS_MAX: u32 = 64;
/// Most settles in an atomic group.
pub const ATOMIC_SETTLES_MAX: u32 = 1_024;
/// Most pieces in one delivery or read.
pub const PIECES_MAX: u32 = 4_096;
/// Bytes of a piece in a piece table.
pub const PIECE_BYTES: u32 = 40;
/// Most queues and topics, or dead letters, in one answer.
pub const LIST_MAX: u32 = 1_000;
/// Most messages in one read.
pub const READ_MESSAGES_MAX: u32 = 10_000;

/// Channels are numbered 1..=1,000, one consumer each.
pub const CONSUMERS_PER_CONNECTION_MAX: u16 = 1_000;
/// Message credit beyond this is cut off, not refused.
pub const CREDIT_MESSAGES_MAX: u32 = 65_535;

/// Shortest lease, in milliseconds.
pub const LEASE_MS_MIN: u32 = 100;
/// Longest lease: a day.
pub const LEASE_MS_MAX: u32 = 86_400_000;
/// Longest time that a delivery may be held at most, if there is a limit: a week.
pub const HOLD_MS_MAX: u32 = 604_800_000;
/// Most attempts that can be asked for.
pub const ATTEMPTS_MAX: u32 = 1_000_000;
/// Longest backoff between attempts: a week.
pub const RETRY_MS_MAX: u32 = 604_800_000;
/// Least growth of the delay from one attempt to the next, in percent: none.
pub const RETRY_FACTOR_PERCENT_MIN: u32 = 100;
/// Most growth of the delay from one attempt to the next, in percent: tenfold.
pub const RETRY_FACTOR_PERCENT_MAX: u32 = 1_000;
/// Most that a delay before a retry may be cut by at random, in percent: all of it.
pub const RETRY_JITTER_PERCENT_MAX: u32 = 100;
/// Shortest window of message ids: a second.
pub const ID_WINDOW_MS_MIN: u64 = 1_000;
/// Longest window of message ids: 30 days.
pub const ID_WINDOW_MS_MAX: u64 = 2_592_000_000;
/// Longest delay that a single retry may ask for: a year.
pub const DELAY_MS_MAX: u64 = 31_536_000_000;

/// Services of which one connection may be an instance.
pub const SERVICES_PER_CONNECTION_MAX: u32 = 100;
/// Requests that one instance of a service may work on at once.
pub const SERVICE_IN_FLIGHT_MAX: u32 = 1_024;
/// Requests of one connection that wait for their reply.
pub const REQUESTS_PER_CONNECTION_MAX: u32 = 1_024;
/// Bytes of requests of one connection that wait for a free instance.
pub const REQUESTS_BYTES_PER_CONNECTION_MAX: u32 = 8 << 20;
/// Longest time that a request may ask for, in milliseconds: an hour.
pub const REQUEST_TIMEOUT_MS_MAX: u32 = 3_600_000;
/// Most services in one answer.
pub const SERVICES_LISTED_MAX: u32 = 1_000;

/// Largest message of a schedule, as a batch.
pub const SCHEDULE_BATCH_BYTES_MAX: u32 = 64 << 10;
/// Longest name of a time zone.
pub const ZONE_BYTES_MAX: u32 = 64;
/// Most schedules in one answer.
pub const SCHEDULES_LISTED_MAX: u32 = 1_000;

// The largest message, alone in a batch (5 bytes of length, 1 of flags), can be published and
// delivered.
const _: () = assert!(MESSAGE_BYTES_MAX + BATCH_HEADER_BYTES + 6 <= BATCH_BYTES_MAX);
// All fields of a record together stay below the largest message.
const _: () = assert!(KEY_BYTES_MAX + HEADERS_BYTES_MAX + ID_BYTES_MAX < MESSAGE_BYTES_MAX / 2);
// A frame without a batch, and one with the largest message, fit into the smallest agreed frame.
const _: () = assert!(FRAME_HEADER_BYTES + META_BYTES_MAX <= FRAME_BYTES_MIN);
const _: () = assert!(MESSAGE_BYTES_MAX + FRAME_OVERHEAD_BYTES_MAX <= FRAME_BYTES_MIN);
const _: () = assert!(FRAME_BYTES_MIN <= FRAME_BYTES_MAX);
// Around one batch there is room for the piece, a reason and everything else of a dead letter.
const _: () =
    assert!(FRAME_HEADER_BYTES + PIECE_BYTES + REASON_BYTES_MAX + 64 <= FRAME_OVERHEAD_BYTES_MAX);
// Full tables fit into the meta section. Settles with reasons may need to be split.
const _: () = assert!(PIECE_BYTES * PIECES_MAX + 64 <= META_BYTES_MAX);
const _: () = assert!(32 * SETTLE_ITEMS_MAX + 64 <= META_BYTES_MAX);
// A full list of services with the longest names, and the longest head of a request.
const _: () = assert!((NAME_BYTES_MAX + 21) * SERVICES_LISTED_MAX + 64 <= META_BYTES_MAX);
const _: () = assert!(NAME_BYTES_MAX + 64 <= FRAME_OVERHEAD_BYTES_MAX);
// Hello and one round of authentication fit into a frame of the handshake.
const _: () = assert!(FRAME_HEADER_BYTES + PEER_BYTES_MAX + 64 <= HANDSHAKE_FRAME_BYTES_MAX);
const _: () = assert!(
    FRAME_HEADER_BYTES + MECHANISM_BYTES_MAX + AUTH_BYTES_MAX + 64 <= HANDSHAKE_FRAME_BYTES_MAX
);
// A text's length travels as u16, a name's as u8.
const _: () = assert!(REASON_BYTES_MAX <= 65_535 && ERROR_BYTES_MAX <= 65_535);
const _: () = assert!(NAME_BYTES_MAX <= 255);
