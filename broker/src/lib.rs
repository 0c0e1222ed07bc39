//! The Posthaste broker.
pub mod shard;
