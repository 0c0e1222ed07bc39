//! From a payload to a place in an open batch: the path every published message takes.

use std::cell::RefCell;
use std::sync::Arc;

use posthaste_protocol::Record;

use crate::codec::{Codec, CodecError};
use crate::core::{Core, Lane, Push, too_late};
use crate::error::{Failed, Failure, Local};
use crate::producer::Confirm;
use crate::publish::Properties;

/// A scratch buffer larger than this is not kept.
const SCRATCH_BYTES_MAX: usize = 256 << 10;

thread_local! {
    /// Where payloads are written before they are copied into the batch.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Puts a message into the open batch; `None` if too much is in flight.
pub(crate) fn try_send<T>(
    lane: &Arc<Lane>,
    codec: Codec<T>,
    message: &T,
    properties: Option<&Properties>,
) -> Result<Option<Confirm>, Failed> {
    if let Some(borrow) = codec.borrow {
        return push(lane, borrow(message), properties);
    }
    let mut whole;
    let properties = match codec.attributes {
        None => properties,
        Some(attributes) => {
            whole = properties.cloned().unwrap_or_default();
            (attributes.write)(message, &lane.source(), &mut whole).map_err(unencodable)?;
            Some(&whole)
        }
    };
    // Taken out while the application's code runs, which may publish in turn.
    let mut scratch = SCRATCH.take();
    scratch.clear();
    let encoded = (codec.encode)(message, &mut scratch);
    let sent = match encoded {
        Ok(()) => push(lane, &scratch, properties),
        Err(error) => Err(unencodable(error)),
    };
    if scratch.capacity() <= SCRATCH_BYTES_MAX {
        SCRATCH.replace(scratch);
    }
    sent
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn unencodable(error: CodecError) -> Failed {
    Failure::local(Local::Encode, format!("the payload cannot be encoded: {error}"))
}

/// The same, and waits for room within the publish timeout.
///
/// *Cancel safety*: a dropped future has sent nothing.
pub(crate) async fn send<T>(
    lane: &Arc<Lane>,
    codec: Codec<T>,
    message: &T,
    properties: Option<&Properties>,
) -> Result<Confirm, Failed> {
    let sending = async {
        loop {
            let room = lane.room().notified();
            tokio::pin!(room);
            // ORDER: listen before looking, or a place that becomes free in between is missed.
            room.as_mut().enable();
            if let Some(confirm) = try_send(lane, codec, message, properties)? {
                return Ok(confirm);
            }
            room.await;
        }
    };
    let timeout = lane.publish_timeout();
    tokio::time::timeout(timeout, sending).await.unwrap_or_else(|_elapsed| Err(too_late()))
}

fn push(
    lane: &Arc<Lane>,
    value: &[u8],
    properties: Option<&Properties>,
) -> Result<Option<Confirm>, Failed> {
    let pushed = match properties {
        None => lane.push(&Record { value, ..Record::default() }, None)?,
        Some(properties) => {
            let core = lane.core();
            with_record(core, value, properties, |record| lane.push(record, properties.expects))?
        }
    };
    Ok(match pushed {
        Push::Pushed(batch, index) => {
            let id = properties.and_then(|properties| properties.id.clone());
            Some(Confirm::new(batch, index, id))
        }
        Push::Full => None,
    })
}

/// The message as it is packed.
pub(crate) fn with_record<R>(
    core: &Core,
    value: &[u8],
    properties: &Properties,
    pack: impl FnOnce(&Record<'_>) -> R,
) -> R {
    let pairs = properties.headers.iter();
    let headers: Vec<_> = pairs.map(|(name, value)| (&**name, &**value)).collect();
    pack(&Record {
        value,
        key: properties.key.as_deref(),
        headers: &headers,
        not_before_ms: core.ahead(properties.not_before_ms, properties.is_delay),
        expires_ms: core.ahead(properties.expires_ms, properties.is_ttl),
        priority: properties.priority,
        id: properties.id.as_deref(),
    })
}
