//! The client of the Posthaste message broker: one `await` means stored.
//!
//! ```
//! use posthaste::{Client, QueueOf};
//! use std::time::Duration;
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Order {
//!     id: u64,
//! }
//! const ORDERS: QueueOf<Order> = QueueOf::new("orders");
//!
//! # async fn ship(_: &Order) -> Result<(), std::io::Error> { Ok(()) }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), posthaste::Error> {
//! let client = Client::connect("memory:").await?; // or "posthaste://localhost"
//! let orders = client.queue(ORDERS);
//! orders.declare().max_attempts(8).await?;
//! orders.publish(&Order { id: 7 }).key("customer-42").await?; // stored, on disk
//!
//! let mut jobs = orders.consume().prefetch(64).await?;
//! while let Some(job) = jobs.next().await {
//!     let job = job?;
//!     match ship(job.payload()).await {
//!         Ok(()) => job.ack().await?,
//!         Err(_) if job.attempt() < 3 => job.retry_in(Duration::from_secs(5)).await?,
//!         Err(error) => job.dead_letter(error).await?,
//!     }
//! # break;
//! }
//! # Ok(()) }
//! ```
//!
//! A broken connection is repaired by the client: publishes that were under way are sent again and
//! stored once, consumers go on. What the client cannot know it says: see [`ErrorKind::Indeterminate`].
//!
//! # Features
//!
//! - `json` (default): payloads of contracts travel as JSON through serde.
//! - `events` (default): [`Event`] with CloudEvents on the wire, claim checks with SHA-256.
//! - `http`: `HttpResolver`, which loads references over HTTP; no TLS.
//! - `embedded`: the URLs `memory:` and `embedded:./folder`, a broker inside the process.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod atomic;
mod builder;
mod client;
mod codec;
mod consume;
mod consumer;
mod contract;
mod core;
mod cursor;
mod dead;
mod declare;
mod deliveries;
mod delivery;
mod envelope;
mod error;
#[cfg(feature = "events")]
mod event;
mod group;
mod info;
mod lease;
mod message;
mod options;
mod place;
mod producer;
mod publish;
mod queue;
mod reader;
mod request;
mod schedule;
mod seek;
mod send;
mod service;
mod sweep;
mod topic;
mod trace_context;
mod transport;
mod worker;

pub use bytes::Bytes;
pub use futures_core::Stream;

pub use crate::atomic::{Atomic, PublishTo};
pub use crate::builder::ClientBuilder;
pub use crate::client::Client;
pub use crate::codec::{Codec, CodecError};
pub use crate::consume::Consume;
pub use crate::consumer::Consumer;
pub use crate::contract::{Payload, QueueName, QueueOf, TopicName, TopicOf};
pub use crate::dead::{DeadLetter, DeadLetters, DeadPage};
pub use crate::declare::{BoxFuture, DeclareGroup, DeclareQueue, DeclareTopic};
pub use crate::deliveries::Batch;
pub use crate::delivery::Delivery;
pub use crate::error::{
    CloseError, ConnectError, ConsumeError, DeclareError, Error, ErrorKind, LoadError,
    PublishError, RequestError, SettleError,
};
#[cfg(feature = "http")]
pub use crate::event::HttpResolver;
#[cfg(feature = "events")]
pub use crate::event::{Body, Event, Fetch, FolderStore, Load, Loading, Reference, Resolve, Store};
pub use crate::group::Group;
pub use crate::info::{
    BrokerInfo, BrokerStats, Description, GroupInfo, Kind, Lag, QueueStats, ServiceInfo, Settings,
    Sought,
};
pub use crate::lease::LeaseGuard;
pub use crate::message::Peeked;
pub use crate::options::{Backoff, ConnState, Declared, Start, Undecodable};
pub use crate::producer::{Confirm, Flushed, Producer, ProducerBuilder};
pub use crate::publish::{Properties, Publish, Publishing, Receipt};
pub use crate::queue::Queue;
pub use crate::reader::Reader;
pub use crate::request::{Request, RequestContext};
pub use crate::schedule::{Recurring, ScheduleInfo, ScheduleSet};
pub use crate::seek::Seek;
pub use crate::service::{Service, ServiceError, ServiceName, ServiceOf};
pub use crate::sweep::Sweep;
pub use crate::topic::Topic;
pub use crate::trace_context::TraceContext;
pub use crate::transport::Transport;
pub use crate::worker::{Ctx, Failure, Worker};
