//! The log of Posthaste.

pub mod disk;
