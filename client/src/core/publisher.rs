//! Batches between their lanes and the broker: in order, within the window, until confirmed.
//!
//! Owned by the connection task. A batch is in exactly one place: waiting, parked until its
//! target's number is known, or sent. Invariants: publish numbers of a connection have no gaps; what
//! was sent and not confirmed goes first on the next connection, byte for byte the same; a batch
//! whose outcome nobody can know fails as indeterminate, and never resolves as stored.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use posthaste_protocol::Request;
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::limits::FRAME_OVERHEAD_BYTES_MAX;
use posthaste_protocol::names::Name;
use posthaste_protocol::request::{REQUEST_ID_FIRST, TargetId};
use posthaste_protocol::response::{Confirmed, Outcomes};
use tokio::time::Instant;

use super::Core;
use super::batch::{Stored, too_late};
use super::calls::{Calls, Expected};
use super::destination::Destination;
use super::lane::Filled;
use super::outbox::Outbox;
use super::parcel::Parcel;
use crate::error::{Failed, Failure, Local};

/// More is not encoded until the writer has taken this much.
const OUTBOX_BYTES: usize = 512 << 10;
/// LIMIT: names asked for at a time; a broker refuses who asks faster than it can answer.
const ASKED_MAX: usize = 256;
/// Expired batches are looked for no more often than this.
const EXPIRY_STEP: Duration = Duration::from_millis(20);

/// What a publish answer asks the connection to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    /// The outcome will be known on another connection.
    Reconnect,
}

/// All batches of one client that left their lanes.
#[derive(Debug)]
pub(crate) struct Publisher {
    core: Arc<Core>,
    waiting: VecDeque<Parcel>,
    parked: HashMap<Name, Vec<Parcel>>,
    /// By publish number, from `first_sent` on. Decided ones leave a gap until the front is.
    sent: VecDeque<Sent>,
    first_sent: u64,
    sent_bytes: u64,
    window_bytes: u64,
    batch_bytes_max: usize,
    session: [u8; 16],
    producer: Option<u32>,
    is_opening: bool,
    /// The producer number in the seals so far.
    sealed_under: Option<u32>,
    next_sequence: u64,
    look_for_expired: Option<Instant>,
    expired: u64,
}

#[derive(Debug)]
struct Sent {
    parcel: Option<Parcel>,
    /// What it takes of the window, until it is confirmed.
    bytes: u64,
    messages: u32,
    /// What is told of its records so far, if each has a fate of its own.
    outcomes: Vec<Outcomes>,
}

impl Publisher {
    pub(crate) fn new(core: Arc<Core>, session: [u8; 16]) -> Self {
        Self {
            core,
            waiting: VecDeque::new(),
            parked: HashMap::new(),
            sent: VecDeque::new(),
            first_sent: 1,
            sent_bytes: 0,
            window_bytes: 0,
            batch_bytes_max: 0,
            session,
            producer: None,
            is_opening: false,
            sealed_under: None,
            next_sequence: 1,
            look_for_expired: None,
            expired: 0,
        }
    }

    /// Takes batches over from a lane.
    pub(crate) fn accept(&mut self, batches: VecDeque<Filled>) {
        for filled in batches {
            self.look_for_expired.get_or_insert(filled.batch.deadline);
            self.waiting.push_back(Parcel::new(filled));
        }
    }

    /// Takes an atomic group over.
    pub(crate) fn accept_group(&mut self, group: Parcel) {
        self.look_for_expired.get_or_insert(group.deadline);
        self.waiting.push_back(group);
    }

    /// Everything is decided.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
            && self.parked.is_empty()
            && self.sent.iter().all(|sent| sent.parcel.is_none())
    }

    pub(crate) fn connected(&mut self, window_bytes: u64, frame_bytes_max: u32) {
        self.window_bytes = window_bytes;
        self.batch_bytes_max = frame_bytes_max.saturating_sub(FRAME_OVERHEAD_BYTES_MAX) as usize;
    }

    /// Encodes as much as the window and the outbox take.
    pub(crate) fn fill(&mut self, out: &mut Outbox, calls: &mut Calls) {
        let mut is_throttled = false;
        while out.len() < OUTBOX_BYTES {
            let Some(front) = self.waiting.front() else { break };
            if let Some(destination) = front.unresolved() {
                let name = &destination.name;
                if self.parked.len() >= ASKED_MAX && !self.parked.contains_key(name) {
                    break;
                }
                self.park_front(out, calls);
                continue;
            }
            let Some(producer) = self.producer else {
                self.open_producer(out, calls);
                break;
            };
            let is_alone = self.sent_bytes == 0;
            if self.sent_bytes + front.bytes as u64 > self.window_bytes && !is_alone {
                is_throttled = true;
                break;
            }
            let Some(parcel) = self.waiting.pop_front() else { break };
            if parcel.bytes > self.batch_bytes_max {
                let text = format!("{} bytes do not fit into one frame", parcel.bytes);
                parcel.fail(&Failure::coded(ErrorCode::MessageTooLarge, text));
                continue;
            }
            self.send(parcel, producer, out);
        }
        self.core.set_throttled(is_throttled);
    }

    fn send(&mut self, mut parcel: Parcel, producer: u32, out: &mut Outbox) {
        let number = self.first_sent + self.sent.len() as u64;
        if let Some(builder) = parcel.encode(number, producer, &mut self.next_sequence, out) {
            self.core.keep_builder(builder);
        }
        let sent = Sent {
            bytes: parcel.bytes as u64,
            messages: parcel.messages,
            parcel: Some(parcel),
            outcomes: Vec::new(),
        };
        self.sent_bytes += sent.bytes;
        self.sent.push_back(sent);
    }

    /// The front batch's target is not known: put it aside, and ask once.
    fn park_front(&mut self, out: &mut Outbox, calls: &mut Calls) {
        let Some(parcel) = self.waiting.pop_front() else { return };
        let Some(destination) = parcel.unresolved().map(Arc::clone) else {
            return self.waiting.push_front(parcel);
        };
        let parked = self.parked.entry(destination.name.clone()).or_default();
        if parked.is_empty() {
            let request = Request::Describe { name: destination.name.clone() };
            calls.send(out, 0, &request, Expected::Describe(destination));
        }
        parked.push(parcel);
    }

    fn open_producer(&mut self, out: &mut Outbox, calls: &mut Calls) {
        if !self.is_opening {
            self.is_opening = true;
            let request = Request::OpenProducer { session: self.session };
            calls.send(out, 0, &request, Expected::OpenProducer);
        }
    }

    /// The number of a name is known, or why it is not.
    pub(crate) fn described(&mut self, of: &Destination, target: Result<TargetId, Failed>) {
        let parked = self.parked.remove(&of.name).unwrap_or_default();
        match target {
            Ok(target) => {
                of.set_target(Some(target));
                // They come from the front of the queue, and go back there in the same order.
                for parcel in parked.into_iter().rev() {
                    self.waiting.push_front(parcel);
                }
            }
            Err(failure) => parked.into_iter().for_each(|parcel| parcel.fail(&failure)),
        }
    }

    /// The session is open. If the broker does not know it any more, what may be stored is
    /// indeterminate, and what is certainly not is sealed anew.
    pub(crate) fn opened(&mut self, producer: u32, is_resumed: bool) {
        self.is_opening = false;
        self.producer = Some(producer);
        let before = self.sealed_under.replace(producer);
        if before.is_none_or(|before| before == producer && is_resumed) {
            return;
        }
        let text = "the broker does not know the producer session any more: nobody can tell whether \
                    the message was stored before the connection broke";
        let unknown = Failure::coded(ErrorCode::Indeterminate, text);
        let all = std::mem::take(&mut self.waiting);
        self.waiting = all.into_iter().filter_map(|parcel| renew(parcel, &unknown)).collect();
        for parcels in self.parked.values_mut() {
            let all = std::mem::take(parcels);
            *parcels = all.into_iter().filter_map(|parcel| renew(parcel, &unknown)).collect();
        }
        self.parked.retain(|_, parcels| !parcels.is_empty());
    }

    /// The session could not be opened.
    pub(crate) fn not_opened(&mut self, failure: &Failed) {
        self.is_opening = false;
        self.waiting.drain(..).for_each(|parcel| parcel.fail(failure));
    }

    /// Publishes that are durable.
    pub(crate) fn confirmed(&mut self, confirmed: &Confirmed) -> Result<(), Failed> {
        let mut offset = confirmed.base_offset;
        for number in confirmed.first..confirmed.first.saturating_add(u64::from(confirmed.count)) {
            let sent = self.sent_mut(number).ok_or_else(|| foreign(number))?;
            let (parcel, bytes, messages) = (sent.parcel.take(), sent.bytes, sent.messages);
            sent.bytes = 0;
            self.sent_bytes -= bytes;
            if let Some(parcel) = parcel {
                let duplicate = confirmed.duplicate;
                parcel.store(Stored::Together { base_offset: offset, duplicate });
            }
            // u64::MAX stands for unknown, and stays so.
            offset = offset.saturating_add(u64::from(messages));
        }
        self.drop_decided();
        Ok(())
    }

    /// Some records of a publish, or all, met fates of their own. It is decided when all are told.
    pub(crate) fn receipts(&mut self, number: u64, outcomes: &[Outcomes]) -> Result<(), Failed> {
        let sent = self.sent_mut(number).ok_or_else(|| foreign(number))?;
        sent.outcomes.extend_from_slice(outcomes);
        let told: u64 = sent.outcomes.iter().map(|one| u64::from(one.count)).sum();
        if told < u64::from(sent.messages) {
            return Ok(());
        }
        let (parcel, outcomes) = (sent.parcel.take(), std::mem::take(&mut sent.outcomes));
        self.sent_bytes -= std::mem::take(&mut sent.bytes);
        if let Some(parcel) = parcel {
            parcel.store(Stored::Apart(outcomes.into()));
        }
        self.drop_decided();
        Ok(())
    }

    /// A publish was refused.
    pub(crate) fn refused(&mut self, number: u64, reply: ErrorReply) -> Result<Verdict, Failed> {
        let sent = self.sent_mut(number).ok_or_else(|| foreign(number))?;
        // Left where they are, these go first on the next connection.
        match reply.code {
            ErrorCode::ShuttingDown => return Ok(Verdict::GoOn),
            ErrorCode::Indeterminate => return Ok(Verdict::Reconnect),
            _ => {}
        }
        let (parcel, bytes) = (sent.parcel.take(), std::mem::take(&mut sent.bytes));
        self.sent_bytes -= bytes;
        self.drop_decided();
        let Some(mut parcel) = parcel else { return Ok(Verdict::GoOn) };
        if reply.code == ErrorCode::ProducerFenced && self.producer.is_some() {
            // Whoever has it: this client goes on under a session of its own.
            self.session = super::random::session();
            self.producer = None;
        }
        if reply.code == ErrorCode::NotFound && !parcel.is_resolved_anew {
            // It may have been deleted and created again: look the name up once more.
            parcel.forget_targets();
            parcel.is_resolved_anew = true;
            let later = self.waiting.iter().position(|one| !one.is_resolved_anew);
            self.waiting.insert(later.unwrap_or(self.waiting.len()), parcel);
            return Ok(Verdict::GoOn);
        }
        parcel.fail(&Failure::reply(reply));
        Ok(Verdict::GoOn)
    }

    /// The connection broke: everything sent waits again, in front.
    pub(crate) fn disconnected(&mut self) {
        for parcels in std::mem::take(&mut self.parked).into_values() {
            for parcel in parcels.into_iter().rev() {
                self.waiting.push_front(parcel);
            }
        }
        for mut parcel in self.sent.drain(..).rev().filter_map(|sent| sent.parcel) {
            parcel.maybe_stored = true;
            self.waiting.push_front(parcel);
        }
        self.first_sent = 1;
        self.sent_bytes = 0;
        self.producer = None;
        self.is_opening = false;
        self.core.set_throttled(false);
    }

    /// When [`Publisher::expire`] has something to do.
    pub(crate) fn next_expiry(&self) -> Option<Instant> {
        self.look_for_expired
    }

    /// Fails what is not confirmed in time. On the wire it keeps its place in the window.
    pub(crate) fn expire(&mut self, now: Instant) {
        if self.look_for_expired.is_none_or(|look| look > now) {
            return;
        }
        let mut next: Option<Instant> = None;
        let mut keeps = |parcel: &Parcel| {
            let deadline = parcel.deadline;
            let keeps = deadline > now;
            if keeps {
                next = Some(next.map_or(deadline, |next| next.min(deadline)));
            }
            keeps
        };
        let mut late = Vec::new();
        let mut sift = |parcels: Vec<Parcel>| -> Vec<Parcel> {
            let (kept, expired): (Vec<_>, Vec<_>) = parcels.into_iter().partition(&mut keeps);
            late.extend(expired);
            kept
        };
        self.waiting = sift(std::mem::take(&mut self.waiting).into()).into();
        for parcels in self.parked.values_mut() {
            *parcels = sift(std::mem::take(parcels));
        }
        self.parked.retain(|_, parcels| !parcels.is_empty());
        for sent in &mut self.sent {
            sent.parcel = sift(sent.parcel.take().into_iter().collect()).pop();
        }
        self.look_for_expired = next.map(|next| next.max(now + EXPIRY_STEP));
        self.expired += late.len() as u64;
        late.into_iter().for_each(|parcel| parcel.fail(&too_late()));
    }

    /// Batches that expired, ever.
    pub(crate) fn expired(&self) -> u64 {
        self.expired
    }

    /// The client ends. Gives the number of batches that were not decided.
    pub(crate) fn fail_all(&mut self, failure: &Failed) -> u64 {
        self.disconnected();
        let count = self.waiting.len() as u64;
        self.waiting.drain(..).for_each(|parcel| parcel.fail(failure));
        count
    }

    fn sent_mut(&mut self, number: u64) -> Option<&mut Sent> {
        let at = usize::try_from(number.checked_sub(self.first_sent)?).ok()?;
        self.sent.get_mut(at)
    }

    fn drop_decided(&mut self) {
        while self.sent.front().is_some_and(|sent| sent.bytes == 0) {
            self.sent.pop_front();
            self.first_sent += 1;
        }
    }
}

/// After the session was lost: `None` if the batch had to be failed.
fn renew(mut parcel: Parcel, unknown: &Failed) -> Option<Parcel> {
    if !parcel.is_sealed() {
        return Some(parcel);
    }
    if parcel.maybe_stored || !parcel.unseal() {
        parcel.fail(unknown);
        return None;
    }
    Some(parcel)
}

fn foreign(number: u64) -> Failed {
    debug_assert!(number < REQUEST_ID_FIRST, "a request id among publish numbers");
    Failure::local(
        Local::Disconnected,
        format!("the broker answered publish {number}, unknown here"),
    )
}
