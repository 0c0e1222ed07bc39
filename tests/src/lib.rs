//! What the black-box tests stand on: the real process, raw sockets, and waiting with a deadline.
//!
//! Nothing here looks inside the broker. A test starts the binary that a user starts, talks to it over
//! TCP or through the command line, kills it as a power cut of the process would, and judges what it
//! observed from outside.

pub mod binary;
pub mod broker;
pub mod checking;
pub mod craft;
pub mod history;
pub mod http;
pub mod random;
pub mod raw;
pub mod scratch;
pub mod text;
pub mod told;
pub mod volume;
pub mod wait;

pub use broker::{Exit, TestBroker};
pub use checking::Checking;
pub use random::Random;
pub use raw::Raw;
pub use scratch::Scratch;
pub use volume::{Cut, FileSystem, Volume};
pub use wait::eventually;
