//! Drives `posthaste_fuzz::checkpoint` with what the fuzzing engine makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| posthaste_fuzz::run("checkpoint", data));
