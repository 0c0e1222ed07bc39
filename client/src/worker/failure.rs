//! Why a handler failed, and what is to become of the message.

use std::error::Error as StdError;
use std::fmt;
use std::fmt::Display;
use std::time::Duration;

use posthaste_protocol::limits::DELAY_MS_MAX;
use posthaste_protocol::request::Outcome;

use crate::core::bounded_reason;
use crate::options::whole_ms;

/// How a [`Worker`](crate::Worker)'s handler says that it failed.
///
/// Every error converts into it, so `?` means: retry with the queue's backoff, and keep the error's
/// text as the reason, until the queue's attempts are used up and the message is dead.
///
/// ```
/// use posthaste::Failure;
/// use std::time::Duration;
///
/// fn charge(amount: &str) -> Result<(), Failure> {
///     if amount == "0" {
///         return Err(Failure::permanent("nothing to charge")); // straight to the dead letters
///     }
///     if amount == "later" {
///         return Err(Failure::retry_in(Duration::from_secs(60), "the bank is closed"));
///     }
///     let _cents: u64 = amount.parse()?; // any other error: retry with backoff
///     Ok(())
/// }
/// assert!(charge("0").is_err() && charge("later").is_err() && charge("?").is_err());
/// assert!(charge("7").is_ok());
/// ```
pub struct Failure {
    outcome: Outcome,
}

impl Failure {
    /// Deliver it again after the queue's backoff, one attempt later.
    ///
    /// ```
    /// let failure = posthaste::Failure::retry("the shop does not answer");
    /// assert_eq!(failure.reason(), "the shop does not answer");
    /// ```
    pub fn retry(why: impl Display) -> Self {
        let reason = bounded_reason(why.to_string());
        Self { outcome: Outcome::Retry { delay_ms: None, reason } }
    }

    /// Deliver it again after this time (at most a year), one attempt later.
    ///
    /// ```
    /// use std::time::Duration;
    /// let failure = posthaste::Failure::retry_in(Duration::from_secs(5), "the shop is busy");
    /// ```
    pub fn retry_in(delay: Duration, why: impl Display) -> Self {
        let reason = bounded_reason(why.to_string());
        let delay_ms = Some(whole_ms(delay).min(DELAY_MS_MAX));
        Self { outcome: Outcome::Retry { delay_ms, reason } }
    }

    /// Hopeless: keep it among the dead letters, whatever attempts are left.
    ///
    /// ```
    /// let failure = posthaste::Failure::permanent("order 0 does not exist");
    /// ```
    pub fn permanent(why: impl Display) -> Self {
        Self { outcome: Outcome::DeadLetter { reason: bounded_reason(why.to_string()) } }
    }

    /// Not this process's work after all, as when it is [shutting down](crate::Ctx::shutdown):
    /// deliver it again at once; no attempt is counted.
    ///
    /// ```
    /// let failure = posthaste::Failure::release();
    /// assert_eq!(failure.reason(), "");
    /// ```
    pub fn release() -> Self {
        Self { outcome: Outcome::Release }
    }

    /// Why, as the dead letters and the log tell it: at most 1,000 bytes.
    #[must_use]
    pub fn reason(&self) -> &str {
        match &self.outcome {
            Outcome::Retry { reason, .. } | Outcome::DeadLetter { reason } => reason,
            Outcome::Ack | Outcome::Release => "",
        }
    }

    pub(super) fn into_outcome(self) -> Outcome {
        self.outcome
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    /// A retry, with the texts of the error and its causes as the reason.
    fn from(error: E) -> Self {
        let mut why = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Many errors repeat what lies under them.
            if !why.ends_with(&text) {
                why = format!("{why}: {text}");
            }
            cause = error.source();
        }
        Self::retry(why)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Failure").field(&self.outcome).finish()
    }
}
