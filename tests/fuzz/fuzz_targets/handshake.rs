//! Drives `posthaste_fuzz::handshake` with what the fuzzing engine makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| posthaste_fuzz::run("handshake", data));
