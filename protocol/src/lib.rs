//! The wire protocol of Posthaste.
#![forbid(unsafe_code)]
pub mod error;
pub mod request;
pub mod response;
pub mod names;
pub use request::Request;
pub use response::Response;
