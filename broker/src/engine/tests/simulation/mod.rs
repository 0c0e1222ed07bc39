//! The whole broker in one thread, from one seed: loop, shard, log and listener as they ship, on a
//! simulated disk, network and clock, with clients that speak the real protocol.
//!
//! [`world`] takes turns with the broker: actors act, bytes arrive in pieces, faults strike. What
//! an observer outside could see goes into the [`history`], which is checked as it grows. The same
//! seed gives the same history; a failure prints it.

mod actor;
mod admin;
mod backstage;
mod broker;
mod checker;
mod consumer;
mod faults;
mod history;
mod network;
mod observer;
mod proofs;
mod publisher;
mod runs;
mod scene;
mod stops;
mod world;

pub(crate) use backstage::Stagehand;
