//! The Posthaste broker: one process, one log, queues and topics on it.
//!
//! ```text
//!  listen  ──chunks──▶  engine  ──blocks──▶  log thread (posthaste-storage)
//!  sockets              Core + Shard ◀─committed─┘
//!     ▲                   │
//!     └──── outboxes ─────┘
//! ```
//!
//! [`Broker`] is a server with a listening socket, [`Embedded`] the same broker inside another
//! process. [`shard`] holds every decision and does no I/O; `engine` drives it; `listen` and
//! `http` are doors that own no meaning.

#![forbid(unsafe_code)]

pub mod config;
mod embedded;
mod engine;
mod http;
mod listen;
mod running;
mod server;
pub mod shard;
#[cfg(feature = "testing")]
pub mod testing;

pub use config::{Config, Limits};
pub use embedded::Embedded;
pub use engine::run::EngineError;
pub use engine::start::OpenError;
pub use posthaste_storage::StorageError;
pub use running::StartError;
pub use server::Broker;
