//! Rigs: the real process on real file systems that fail. Each says on the standard error what it did,
//! or that it was skipped and why; `bash tests/rigs/run` installs what they need and runs them at length.

mod frozen;
mod fsync;
mod full;
mod ground;
mod inject;
mod mangle;
mod power;
