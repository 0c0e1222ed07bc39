//! The contract of the wire: what is encoded is decoded, and nothing else is.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod batches;
mod edges;
mod frames;
mod golden;
mod hostile;
mod random;
mod round_trip;
mod slices;
mod wire;
