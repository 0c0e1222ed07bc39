//! Admission: what may go into the open block. It sees what is appended but not committed.
//!
//! ORDER: every command and batch admitted here has to be appended, and in this order per stream,
//! group and name; the next admission counts on it. Applying then never meets a surprise.

mod atomic;
mod ids;
mod names;
mod work;

use super::Shard;
use super::command::Command;
use super::dedup::Known;
use super::effects::{Admit, Admitted, Offer, OpenedProducer, Refusal, StreamId};
use super::stream::Stream;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::mutant;

const GONE: &str = "the queue or topic does not exist (any more)";

/// Where a publish was stored, if that is still known.
type Stored = Option<(StreamId, u64)>;

impl Shard {
    /// May this batch be appended? Its offsets are taken from now on.
    pub fn admit_publish(&mut self, offer: &Offer) -> Admit {
        let Offer { stream, producer, sequence, records, expects } = *offer;
        let Some(target) = self.streams.get(&stream).filter(|stream| !stream.is_leaving) else {
            return refused(ErrorCode::NotFound, GONE);
        };
        let is_tracked = producer != 0;
        if is_tracked {
            match self.stored_before(producer, sequence) {
                Ok(None) => {}
                Ok(Some(place)) => {
                    return Admit::Duplicate {
                        stream: place.map_or(stream, |(stream, _)| stream),
                        base_offset: place.map(|(_, base_offset)| base_offset),
                    };
                }
                Err(refusal) => return Admit::Refused(refusal),
            }
        }
        let base_offset = target.appended;
        let Some(end) = base_offset.checked_add(u64::from(records)).filter(|_| records > 0) else {
            return refused(ErrorCode::InvalidArgument, "a batch has at least one record");
        };
        if let Err(refusal) = check_expected(target, expects) {
            return Admit::Refused(refusal);
        }
        let room = self.check_room(target, end);
        if mutant("quota-after-allocation")
            && let Some(target) = self.streams.get_mut(&stream)
        {
            target.appended = end;
        }
        if let Err(refusal) = room {
            return Admit::Refused(refusal);
        }
        if let Some(target) = self.streams.get_mut(&stream) {
            target.appended = end;
        }
        if is_tracked {
            self.producers.append(producer, sequence, (stream, base_offset));
        }
        Admit::Ok { base_offset }
    }

    /// Opens or resumes a producer session.
    pub fn admit_open_producer(&mut self, session: [u8; 16]) -> Admitted<OpenedProducer> {
        let known = self.producers.of_session(&session);
        if let Some(producer) = known.or_else(|| self.overlay.sessions.get(&session).copied()) {
            let answer = OpenedProducer { producer, resumed: true };
            return Admitted { answer, command: None };
        }
        let mut ids = self.given_ids();
        // LIMIT: four thousand million sessions; the last number is then shared and not tracked.
        ids.producer = ids.producer.saturating_add(1);
        self.overlay.ids.cover(ids);
        self.overlay.sessions.insert(session, ids.producer);
        Admitted {
            answer: OpenedProducer { producer: ids.producer, resumed: false },
            command: Some(Command::OpenProducer { session, producer: ids.producer }),
        }
    }

    /// `None`: this publish of a session is new. Else it is stored, or appended; and where, if still known.
    fn stored_before(&self, producer: u32, sequence: u64) -> Result<Option<Stored>, Refusal> {
        if sequence == 0 || sequence == u64::MAX {
            let what = "a publish of a producer session has a sequence from 1";
            return Err(Refusal::new(ErrorCode::InvalidArgument, what));
        }
        match self.producers.known(producer, sequence) {
            Known::New => Ok(None),
            Known::Stored(place) => Ok(Some(place)),
            Known::TooOld => {
                let what = "too old a publish of this session to tell whether it was stored";
                Err(Refusal::new(ErrorCode::Indeterminate, what))
            }
            Known::NoProducer => {
                let what = "the producer session is not known (any more); open it again";
                Err(Refusal::new(ErrorCode::ProducerFenced, what))
            }
        }
    }

    /// Whether a queue with a limit has room for records up to `end`.
    fn check_room(&self, stream: &Stream, end: u64) -> Result<(), Refusal> {
        let limit = stream.settings.max_messages.filter(|limit| *limit > 0);
        let Some(limit) = limit else { return Ok(()) };
        let group = stream.built_in.and_then(|id| self.groups.get(&id));
        let Some(group) = group else { return Ok(()) };
        let open = group.progress.open() + (end - stream.next_offset);
        if open <= limit {
            return Ok(());
        }
        let what = format!("queue {} holds its limit of {limit} messages", stream.name);
        Err(Refusal::new(ErrorCode::QueueFull, what))
    }
}

/// Whether a stream ends where a publish expects it to, with all that is appended.
fn check_expected(stream: &Stream, expects: Option<u64>) -> Result<(), Refusal> {
    let Some(expected) = expects.filter(|expected| *expected != stream.appended) else {
        return Ok(());
    };
    let last = |next: u64| match next.checked_sub(1) {
        Some(last) => format!("position {last}"),
        None => "nothing".to_owned(),
    };
    let (name, is, was) = (&stream.name, last(stream.appended), last(expected));
    let what = format!("the last of {name} is {is}, and {was} was expected");
    Err(Refusal::new(ErrorCode::OffsetMismatch, what))
}

fn refused(code: ErrorCode, message: &str) -> Admit {
    Admit::Refused(Refusal::new(code, message))
}
