//! The log of Posthaste.
