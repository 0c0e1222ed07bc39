//! The wire protocol of Posthaste.
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::panic,
        clippy::expect_used
    )
)]

pub mod batch;
pub mod error;
pub mod frame;
pub mod limits;
pub mod names;
pub mod request;
pub mod response;
mod wire;

pub use batch::{
    BatchBuilder, BatchHeader, PieceRecords, Record, RecordError, RecordLimits, RecordView,
    Records, Seed, SliceCursor, check_records, delayed_records, destination_seed, slice_batch,
    verify_batch,
};
pub use error::{DecodeError, ErrorCode, ErrorReply};
pub use frame::{Cut, CutPreface, Frame, FrameHeader, PREFACE, cut_frame, cut_preface};
pub use names::{GroupName, Name, NameError};
pub use request::{Request, encode_publish_head};
pub use response::{PieceHead, Response, encode_deliver_head};
