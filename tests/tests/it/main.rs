//! Black-box tests: one binary, one module per kind of promise.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod atomic;
mod bench;
mod big_file;
mod crash;
mod dead_letters;
mod delivery;
mod groups;
mod hostile;
mod message_ids;
mod operate;
mod publish;
mod readme;
mod redelivery;
mod rigs;
mod services;
mod startup;
mod tidy;
mod tour;
