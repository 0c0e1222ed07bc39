//! W3C trace context: the two headers that say which trace a message belongs to.
//!
//! The client carries them from publish to delivery and starts no spans of its own.

use std::fmt;

use posthaste_protocol::error::ErrorCode;

use crate::error::{Error, Failure};

pub(crate) const TRACEPARENT: &str = "traceparent";
pub(crate) const TRACESTATE: &str = "tracestate";
/// LIMIT: of a trace state, in bytes and in entries, as the standard has it.
const STATE_BYTES_MAX: usize = 512;
const STATE_ENTRIES_MAX: usize = 32;
const STATE_PART_BYTES_MAX: usize = 256;
/// Flags that are defined: sampled, and random trace id.
const FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// Where a message stands in a distributed trace (W3C Trace Context): travels in the headers
/// `traceparent` and `tracestate`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// use posthaste::{Bytes, TraceContext};
/// let incoming = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
/// let trace = TraceContext::parse(incoming, Some("congo=t61rcWkgMzE"))?;
/// let orders = client.queue("orders");
/// orders.publish(&Bytes::from("7")).trace(trace.clone()).await?;
///
/// # let mut jobs = orders.consume().await?;
/// # let Some(Ok(job)) = jobs.next().await else { panic!("a job") };
/// assert_eq!(job.trace(), Some(trace));
/// // What is published for it belongs to the same trace.
/// let span = 0x53ce_929d_0e0e_4736_u64.to_be_bytes();
/// let child = job.trace().map(|trace| trace.child(span));
/// orders.publish(&Bytes::from("8")).trace(child).await?;
/// # job.ack().await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    parent_id: [u8; 8],
    flags: u8,
    state: Option<String>,
}

impl TraceContext {
    /// Of ids, which must not be all zero.
    ///
    /// ```
    /// use posthaste::TraceContext;
    /// let trace = TraceContext::new([7; 16], [9; 8], true)?;
    /// assert_eq!(trace.to_string(), format!("00-{}-{}-01", "07".repeat(16), "09".repeat(8)));
    /// assert!(TraceContext::new([0; 16], [9; 8], true).is_err());
    /// # Ok::<(), posthaste::Error>(())
    /// ```
    pub fn new(trace_id: [u8; 16], parent_id: [u8; 8], sampled: bool) -> Result<Self, Error> {
        let flags = if sampled { SAMPLED } else { 0 };
        let trace = Self { trace_id, parent_id, flags, state: None };
        trace.checked().ok_or_else(|| invalid("its ids must not be all zero"))
    }

    /// Reads the two headers. A `tracestate` that breaks the standard's rules is left out, as the
    /// standard says; a `traceparent` that does is an error of kind `Invalid`.
    pub fn parse(traceparent: &str, tracestate: Option<&str>) -> Result<Self, Error> {
        let mut trace = parse_parent(traceparent).ok_or_else(|| {
            invalid("it must look like 00-(32 hex digits)-(16 hex digits)-(2 hex digits)")
        })?;
        trace.state = tracestate.filter(|state| is_state(state)).map(str::to_owned);
        Ok(trace)
    }

    /// The trace's id.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The id of the span that the message was published in.
    #[must_use]
    pub fn parent_id(&self) -> [u8; 8] {
        self.parent_id
    }

    /// Whether the publisher may have recorded its part of the trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// What tracing systems carry along, as it travels.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }

    /// The same trace with another span as the parent, for what is published on behalf of this one.
    #[must_use]
    pub fn child(&self, span_id: [u8; 8]) -> Self {
        // An id that is no id keeps the one before: a trace is never broken by it.
        let child = Self { parent_id: span_id, ..self.clone() };
        child.checked().unwrap_or_else(|| self.clone())
    }

    /// Out of a message's headers; `None` if there is none, or none that can be read.
    pub(crate) fn of<'a>(mut headers: impl Iterator<Item = (&'a str, &'a str)>) -> Option<Self> {
        let (mut parent, mut state) = (None, None);
        for (name, value) in headers.by_ref() {
            if name == TRACEPARENT {
                parent = Some(value);
            } else if name == TRACESTATE {
                state = Some(value);
            }
        }
        Self::parse(parent?, state).ok()
    }

    fn checked(self) -> Option<Self> {
        let is_good = self.trace_id != [0; 16] && self.parent_id != [0; 8];
        is_good.then_some(self)
    }
}

impl fmt::Display for TraceContext {
    /// As the header `traceparent` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace_id, parent_id) = (hex(&self.trace_id), hex(&self.parent_id));
        write!(f, "00-{trace_id}-{parent_id}-{:02x}", self.flags)
    }
}

fn invalid(why: &str) -> Error {
    Error(Failure::coded(ErrorCode::InvalidArgument, format!("not a trace context: {why}")))
}

fn parse_parent(text: &str) -> Option<TraceContext> {
    let mut fields = text.split('-');
    let [version] = unhex::<1>(fields.next()?)?;
    let trace_id = unhex(fields.next()?)?;
    let parent_id = unhex(fields.next()?)?;
    let [flags] = unhex::<1>(fields.next()?)?;
    // Versions to come may have more behind it, this one has not.
    let is_known = version == 0;
    if version == 0xff || (is_known && fields.next().is_some()) {
        return None;
    }
    let flags = flags & if is_known { FLAGS } else { SAMPLED };
    TraceContext { trace_id, parent_id, flags, state: None }.checked()
}

fn is_state(state: &str) -> bool {
    let entries = || state.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    let is_twice = |key: &str| entries().filter_map(key_of).filter(|one| *one == key).count() > 1;
    !state.is_empty()
        && state.len() <= STATE_BYTES_MAX
        && (1..=STATE_ENTRIES_MAX).contains(&entries().count())
        && entries().all(|entry| key_of(entry).is_some_and(|key| !is_twice(key)))
}

/// The key of a good entry of a trace state.
fn key_of(entry: &str) -> Option<&str> {
    let (key, value) = entry.split_once('=')?;
    let first = key.bytes().next()?;
    let is_key =
        key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-*/@".contains(&b));
    let is_value = value.bytes().all(|b| matches!(b, b' '..=b'~') && !b",=".contains(&b));
    let is_good = (first.is_ascii_lowercase() || first.is_ascii_digit())
        && is_key
        && is_value
        && (1..=STATE_PART_BYTES_MAX).contains(&value.len())
        && key.len() <= STATE_PART_BYTES_MAX;
    is_good.then_some(key)
}

/// Lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// So many bytes out of lower-case hex digits, and nothing else.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let is_hex = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if text.len() != 2 * N || !is_hex {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_parent_is_read_as_the_standard_says() {
        let trace = TraceContext::parse(GOOD, None).unwrap();
        assert_eq!((trace.to_string().as_str(), trace.is_sampled()), (GOOD, true));
        let later = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-09-what-comes";
        assert_eq!(TraceContext::parse(later, None).unwrap().to_string(), GOOD);
        let unsampled = GOOD.replace("-01", "-00");
        assert!(!TraceContext::parse(&unsampled, None).unwrap().is_sampled());
        let zero = "0".repeat(32);
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-more"),
            &format!("{GOOD} "),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00-", "ff-", 1),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &zero),
            &GOOD.replace("00f067aa0ba902b7", &zero[..16]),
            &GOOD.replace("4bf9", "4bg9"),
            "é".repeat(27).as_str(),
        ] {
            assert!(TraceContext::parse(bad, None).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_broken_trace_state_is_left_out_and_the_trace_goes_on() {
        let with = |state: &str| TraceContext::parse(GOOD, Some(state)).unwrap().state;
        for good in
            ["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "a=1, b=2", "fw529a3039@dt=x y", "1a=b,"]
        {
            assert_eq!(with(good).as_deref(), Some(good));
        }
        let many: Vec<_> = (0..33).map(|number| format!("k{number}=v")).collect();
        for bad in
            ["", ",", "a", "=1", "A=1", "a=", "a=1,a=2", "a=b=c", "a=é", "-a=1", &many.join(",")]
        {
            assert_eq!(with(bad), None, "{bad:?}");
        }
        assert_eq!(with(&format!("a={},b={}", "x".repeat(256), "y".repeat(256))), None, "too long");
    }

    #[test]
    fn a_child_belongs_to_the_same_trace() {
        let trace = TraceContext::parse(GOOD, Some("a=1")).unwrap();
        let child = trace.child([3; 8]);
        assert_eq!((child.trace_id(), child.parent_id()), (trace.trace_id(), [3; 8]));
        assert_eq!((child.state(), child.is_sampled()), (Some("a=1"), true));
        assert_eq!(trace.child([0; 8]), trace);
    }
}
