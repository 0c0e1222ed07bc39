//! The pure shard state machine.
