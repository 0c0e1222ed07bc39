//! Fuzz targets: plain functions from bytes to nothing that must neither panic, nor hang, nor take memory.
//!
//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz --features libfuzzer frame` drives one of them with an engine;
//! `cargo test -p posthaste-fuzz` replays the corpora through the same functions on any compiler.
//!
//! | target | what it feeds |
//! | --- | --- |
//! | `frame` | the cutting and decoding of frames, whole and in pieces, with and without right checksums |
//! | `handshake` | the first bytes of a connection to a broker |
//! | `batch` | the checks, the reading and the slicing of batches |
//! | `blocks`, `footer`, `checkpoint` | the decoders of the log's files |
//! | `state` | the state in a checkpoint, and commands of the log applied to it |
//! | `config` | values of the command line |
//! | `names` | names, and the search for near ones |
//! | `conversation` | valid commands in odd orders, to a broker in memory |

pub mod batch;
pub mod config;
pub mod conversation;
pub mod feed;
pub mod frame;
pub mod handshake;
pub mod limit;
pub mod names;
pub mod peer;
pub mod state;
pub mod store;

/// A target.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Target); 10] = [
    ("frame", frame::run),
    ("handshake", handshake::run),
    ("batch", batch::run),
    ("blocks", store::blocks),
    ("footer", store::footer),
    ("checkpoint", store::checkpoint),
    ("state", state::run),
    ("config", config::run),
    ("names", names::run),
    ("conversation", conversation::run),
];

/// Runs a target on one input.
///
/// # Panics
/// When the target finds a defect, or takes more memory than [`limit::BYTES_MAX`] on the way.
pub fn run(target: &str, data: &[u8]) {
    let (_, body) = TARGETS.iter().find(|(name, _)| *name == target).expect("a known target");
    limit::within_limit(|| body(data));
}
