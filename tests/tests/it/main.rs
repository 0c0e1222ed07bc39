//! Black-box tests: one binary, one module per kind of promise.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod tidy;
