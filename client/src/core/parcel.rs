//! A batch on its way through the connection task, from the lane until it is decided.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use posthaste_protocol::{BatchBuilder, Record, Records};

use super::batch::{Batch, Stored};
use super::destination::Destination;
use super::lane::Filled;
use crate::error::Failed;

/// A batch and who waits for it. Once sealed, its bytes never change, so that the broker knows a
/// resend for what it is.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub(crate) batch: Arc<Batch>,
    body: Body,
    pub(crate) bytes: usize,
    pub(crate) messages: u32,
    /// It was on a connection that broke: the broker may have it.
    pub(crate) maybe_stored: bool,
    /// The broker did not know the target's number, and it was looked up again.
    pub(crate) is_resolved_anew: bool,
}

#[derive(Debug)]
enum Body {
    Open(BatchBuilder),
    Sealed(Bytes),
}

impl Parcel {
    pub(crate) fn new(filled: Filled) -> Self {
        let Filled { builder, batch } = filled;
        let (bytes, messages) = (builder.len_bytes(), builder.count());
        let body = Body::Open(builder);
        Self { batch, body, bytes, messages, maybe_stored: false, is_resolved_anew: false }
    }

    pub(crate) fn destination(&self) -> &Arc<Destination> {
        &self.batch.lane.destination
    }

    pub(crate) fn is_sealed(&self) -> bool {
        matches!(self.body, Body::Sealed(_))
    }

    /// The bytes to send, sealed now if they were not. The builder comes back for reuse.
    pub(crate) fn seal(
        &mut self,
        producer: u32,
        next_sequence: &mut u64,
    ) -> (Bytes, Option<BatchBuilder>) {
        let sealed = match &mut self.body {
            Body::Sealed(bytes) => return (bytes.clone(), None),
            Body::Open(builder) => {
                let seed = self.batch.lane.destination.seed;
                let sequence = *next_sequence;
                *next_sequence += 1;
                builder.finish(seed, producer, sequence, now_us())
            }
        };
        let spare = match std::mem::replace(&mut self.body, Body::Sealed(sealed.clone())) {
            Body::Open(builder) => Some(builder),
            Body::Sealed(_) => None,
        };
        (sealed, spare)
    }

    /// Takes the seal off, because the producer session it was made under is gone. Only right for
    /// a batch that is certainly not stored. `false` if the bytes cannot be read.
    pub(crate) fn unseal(&mut self) -> bool {
        let Body::Sealed(bytes) = &self.body else { return true };
        let Some(builder) = rebuild(bytes.clone()) else { return false };
        self.body = Body::Open(builder);
        true
    }

    pub(crate) fn store(self, stored: Stored) {
        self.batch.store(self.bytes, self.messages, stored);
    }

    pub(crate) fn fail(self, failure: &Failed) {
        self.batch.fail(self.bytes, failure);
    }
}

/// Packs the records of a batch anew.
fn rebuild(batch: Bytes) -> Option<BatchBuilder> {
    let mut builder = BatchBuilder::new();
    for record in Records::new(batch).ok()? {
        let record = record.ok()?;
        let headers: Vec<_> = record.headers().collect();
        let packed = builder.push(&Record {
            value: &record.value,
            key: record.key(),
            headers: &headers,
            not_before_ms: record.not_before_ms,
            expires_ms: record.expires_ms,
            priority: record.priority,
            id: record.id(),
        });
        packed.ok()?;
    }
    Some(builder)
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}
