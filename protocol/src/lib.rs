//! The wire protocol of Posthaste: bytes in, values out; no I/O, no clock, no task.
//!
//! ```text
//! client                                             broker
//!   PREFACE, Hello                          ───▶
//!                                           ◀───       PREFACE, Welcome
//!   Describe "orders"                       ───▶
//!                                           ◀───       Described: id 2
//!   Publish 1, 2, 3 … (batches for id 2)    ───▶
//!                                           ◀───       Confirms 1..=3: on disk, offsets 100..
//!   Consume "orders" on channel 1, credit   ───▶
//!                                           ◀───       Consuming
//!                                           ◀───       Deliver on channel 1: offsets 100.., epoch e
//!   Settle 100..=102 under e: ack           ───▶
//!   Credit                                  ───▶
//!                                           ◀───       Deliver …
//!   Close                                   ───▶
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | [`frame`] | how commands follow one another: preface, header, checksum |
//! | [`request`], [`response`] | what may be said, one variant per command, with its bytes |
//! | [`service`] | the same of request and reply |
//! | [`batch`] | records under one checksum, which nobody between producer and consumer changes |
//! | [`names`], [`limits`], [`error`] | what may be said at all, and how it is refused |
//!
//! Three things hold for every decoder. No input panics. No memory is taken because of a number
//! that a peer declared. What decodes has exactly one encoding, so it encodes to the same bytes.
//! The layout, byte by byte, with golden bytes, is in `docs/protocol.md`.
//!
//! # Example
//!
//! A batch on its way from a producer to a consumer:
//!
//! ```
//! use bytes::BytesMut;
//! use posthaste_protocol::{
//!     BatchBuilder, CutOf, Name, Record, Records, Request, destination_seed, verify_batch,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // The producer packs it for its destination, and sends it.
//! let seed = destination_seed(&Name::try_from("orders")?);
//! let mut builder = BatchBuilder::new();
//! builder.push(&Record { value: b"hello", key: Some("customer-7"), ..Record::default() })?;
//! let batch = builder.finish(seed, 0, 0, 0);
//! let mut wire = BytesMut::new();
//! Request::Publish { target: 2, durability: 0, expects: None, batch }.encode(0, 1, &mut wire);
//!
//! // The broker cuts the frame and checks the batch.
//! let CutOf::Frame { header, said } = Request::cut(&mut wire, 1 << 20)? else { panic!() };
//! let Request::Publish { batch, .. } = said? else { panic!() };
//! assert_eq!(header.corr, 1);
//! assert_eq!(verify_batch(&batch, seed)?.count, 1);
//!
//! // The consumer reads slices of what the producer packed.
//! for record in Records::new(batch)? {
//!     let record = record?;
//!     assert_eq!((&record.value[..], record.key()), (&b"hello"[..], Some("customer-7")));
//! }
//! # Ok(())
//! # }
//! ```
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
pub mod cron;
pub mod error;
pub mod frame;
pub mod limits;
mod mutant;
pub mod names;
pub mod request;
pub mod response;
pub mod schedule;
pub mod service;
mod wire;

pub use batch::{
    BatchBuilder, BatchHeader, PieceRecords, Record, RecordError, RecordLimits, RecordView,
    Records, Seed, SliceCursor, check_records, delayed_records, destination_seed, slice_batch,
    verify_batch,
};
pub use error::{DecodeError, ErrorCode, ErrorReply};
pub use frame::{Cut, CutOf, CutPreface, Frame, FrameHeader, PREFACE, cut_frame, cut_preface};
#[doc(hidden)]
pub use mutant::mutant;
pub use names::{GroupName, Name, NameError};
pub use request::{Request, encode_atomic_head, encode_publish_head};
pub use response::{PieceHead, Response, encode_deliver_head};
