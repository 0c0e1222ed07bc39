//! The durable state as bytes, and back.
//!
//! ```text
//! magic "PHSTATE2" 8 · sections, in the order of their types, each:
//!   type u16 · version u16 · class u8 (1 replicated, 2 local) · 0 0 0 · len u32 · crc u32 · bytes
//! ```
//! Types 1 to 5 are always there, the others if there is something to say, and End is the last. "PHSTATE1" is the older form: the
//! first five and no End.
//! The CRC-32 covers the 12 header bytes before it and the bytes. Everything is written in the order of its numbers, so equal state gives
//! equal bytes. A section of a type not known here is refused: it could hold what must not be lost.

mod read;
mod write;

use super::effects::StateError;
use super::wire::Malformed;

const MAGIC: &[u8; 8] = b"PHSTATE2";
/// Of checkpoints that have the first five sections and no end.
const MAGIC_BEFORE: &[u8; 8] = b"PHSTATE1";
const SECTION_HEADER_BYTES: usize = 16;
const VERSION: u16 = 1;

/// The sections, in order. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u16)]
enum Section {
    /// Time and the highest numbers given.
    Shard = 1,
    /// Queues and topics.
    Streams = 2,
    /// Groups and their progress.
    Groups = 3,
    /// Producer sessions.
    Producers = 4,
    /// What was delivered, if all consumers are gone. Of this node only.
    CleanStop = 5,
    /// What went into each group and what came out. Older checkpoints have none; then it follows from the progress.
    Ledgers = 6,
    /// Message ids of queues and topics with a window.
    MessageIds = 8,
    /// Recurring messages.
    Schedules = 12,
    /// Empty: nothing is cut off.
    End = 0xffff,
}

impl Section {
    const ALL: [Section; 9] = [
        Section::Shard,
        Section::Streams,
        Section::Groups,
        Section::Producers,
        Section::CleanStop,
        Section::Ledgers,
        Section::MessageIds,
        Section::Schedules,
        Section::End,
    ];

    /// Part of the older form, too.
    fn is_old(self) -> bool {
        self <= Section::CleanStop
    }

    /// Written only if there is something to say.
    fn is_optional(self) -> bool {
        !self.is_old() && self != Section::End
    }

    fn class(self) -> u8 {
        match self {
            Section::CleanStop => 2,
            Section::Shard
            | Section::Streams
            | Section::Groups
            | Section::Producers
            | Section::Ledgers
            | Section::MessageIds
            | Section::Schedules
            | Section::End => 1,
        }
    }
}

fn crc(header: &[u8], bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(bytes);
    hasher.finalize()
}

impl From<Malformed> for StateError {
    fn from(Malformed { at, what }: Malformed) -> StateError {
        StateError::Checkpoint { at, what }
    }
}
