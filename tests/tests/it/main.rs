//! Black-box tests: one binary, one module per kind of promise.

mod tidy;
