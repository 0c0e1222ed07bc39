//! Small values that options are made of.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

use posthaste_protocol::request::Start as WireStart;
use posthaste_protocol::response::Declared as WireDeclared;

/// Waiting times that grow from try to try.
///
/// ```
/// use posthaste::Backoff;
/// use std::time::Duration;
/// let patient = Backoff::exponential(Duration::from_secs(1)..=Duration::from_secs(600)).jitter();
/// let steady = Backoff::fixed(Duration::from_secs(5));
/// assert_ne!(patient, steady);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    pub(crate) min: Duration,
    pub(crate) max: Duration,
    pub(crate) factor_percent: u32,
    pub(crate) jitter_percent: u32,
}

impl Backoff {
    /// Doubles from the shortest to the longest.
    #[must_use]
    pub fn exponential(range: RangeInclusive<Duration>) -> Self {
        let (min, max) = range.into_inner();
        let (min, max) = (min.min(max), max.max(min));
        Self { min, max, factor_percent: 200, jitter_percent: 0 }
    }

    /// Always the same.
    #[must_use]
    pub fn fixed(delay: Duration) -> Self {
        Self { min: delay, max: delay, factor_percent: 100, jitter_percent: 0 }
    }

    /// Grows by this much from one attempt to the next, in percent, instead of doubling: 150 is half as much again.
    /// A broker takes 100 (always the shortest) to 1,000.
    #[must_use]
    pub fn factor_percent(mut self, percent: u32) -> Self {
        self.factor_percent = percent;
        self
    }

    /// Spreads each wait over its second half, so that many clients do not come back at once.
    /// Reconnects always do.
    #[must_use]
    pub fn jitter(self) -> Self {
        self.jitter_percent(50)
    }

    /// Spreads each wait over its last part, of this many percent; 100 at most.
    #[must_use]
    pub fn jitter_percent(mut self, percent: u32) -> Self {
        self.jitter_percent = percent;
        self
    }

    /// The wait before try `attempt` (from 1); `roll` is a random number.
    pub(crate) fn delay(&self, attempt: u32, roll: u64) -> Duration {
        let mut whole = self.min;
        for _ in 1..attempt {
            let grown = whole.saturating_mul(self.factor_percent) / 100;
            if whole >= self.max || grown == whole {
                break;
            }
            whole = grown;
        }
        let whole = whole.min(self.max);
        let cut = (whole / 100).saturating_mul(self.jitter_percent.min(100));
        let spread = u64::try_from(cut.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        whole - cut + Duration::from_nanos(roll % spread)
    }
}

/// Where a new group or a reader starts.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.topic("orders.events").declare().await?;
/// # client.topic("orders.events").group("billing").declare().await?;
/// use posthaste::Start;
/// use std::time::Duration;
/// let billing = client.topic("orders.events").group("billing");
/// billing.seek(Start::Ago(Duration::from_secs(3600))).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// The oldest message that is kept. The default: a new group misses nothing.
    #[default]
    Earliest,
    /// Behind the newest message.
    Latest,
    /// The first message accepted within this time.
    Ago(Duration),
    /// The first message accepted at or after this time.
    At(SystemTime),
    /// This position, or the oldest kept one if that is later.
    Position(u64),
}

impl Start {
    pub(crate) fn to_wire(self) -> WireStart {
        match self {
            Self::Earliest => WireStart::Earliest,
            Self::Latest => WireStart::Latest,
            Self::Ago(ago) => {
                let now = SystemTime::now();
                WireStart::TimeMs(unix_ms(now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)))
            }
            Self::At(at) => WireStart::TimeMs(unix_ms(at)),
            Self::Position(position) => WireStart::Offset(position),
        }
    }
}

/// What a declare did.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// use posthaste::Declared;
/// assert_eq!(client.queue("orders").declare().await?, Declared::Created);
/// assert_eq!(client.queue("orders").declare().await?, Declared::Unchanged);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Declared {
    /// It is new.
    Created,
    /// It was there, with these settings.
    Unchanged,
    /// It was there, and its settings changed.
    Updated,
}

impl From<WireDeclared> for Declared {
    fn from(declared: WireDeclared) -> Self {
        match declared {
            WireDeclared::Created => Self::Created,
            WireDeclared::Unchanged => Self::Unchanged,
            WireDeclared::Updated => Self::Updated,
        }
    }
}

/// What becomes of a message whose payload cannot be read as the contract's type.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("numbers").declare().await?;
/// use posthaste::{QueueOf, Undecodable};
/// const NUMBERS: QueueOf<u64> = QueueOf::new("numbers");
/// let consumer = client.queue(NUMBERS).consume().undecodable(Undecodable::Surface).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Undecodable {
    /// It goes to the dead letters with the reason, and the stream goes on. The default.
    #[default]
    DeadLetter,
    /// The stream yields an error of kind `Decode`, and the message is retried with the queue's
    /// backoff, in case another consumer can read it.
    Surface,
}

/// How the client stands with the broker.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// use posthaste::ConnState;
/// if client.state() != ConnState::Ready {
///     eprintln!("publishes wait at the moment");
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnState {
    /// The first connection is being made.
    Connecting,
    /// Connected.
    Ready,
    /// Connected, and the publish window is full: the broker stores more slowly than this client
    /// publishes.
    Throttled,
    /// The connection broke; the client is making another one.
    Reconnecting,
    /// The client was closed.
    Closed,
}

/// Milliseconds since 1970; times before that count as 1970.
pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time of so many milliseconds since 1970.
pub(crate) fn time_of(unix_ms: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH
        .checked_add(Duration::from_millis(unix_ms))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A duration as whole milliseconds, rounded up, so that a short one never becomes none.
pub(crate) fn whole_ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// The same for fields of 32 bits.
pub(crate) fn whole_ms_u32(duration: Duration) -> u32 {
    u32::try_from(whole_ms(duration)).unwrap_or(u32::MAX)
}
