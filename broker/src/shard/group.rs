//! A group: a named position on a topic, or the one built into a queue.
//!
//! It joins the durable half ([`Progress`]), the live half ([`Live`]) and the rules in force.

use super::effects::{GroupId, StreamId};
use super::progress::Progress;
use super::ready::Live;
use posthaste_protocol::names::GroupName;
use posthaste_protocol::request::Settings;
use posthaste_protocol::response::GroupInfo;

/// One group.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    pub(crate) stream: StreamId,
    /// `None` for a queue's own.
    pub(crate) name: Option<GroupName>,
    /// What was set for this group itself.
    pub(crate) settings: Settings,
    /// What follows from the settings of group and stream.
    pub(crate) rules: Rules,
    pub(crate) progress: Progress,
    pub(crate) live: Live,
}

impl Group {
    pub(crate) fn ready(&self) -> u64 {
        self.live.ready(&self.progress)
    }

    /// What a person or program may know; only committed state.
    pub(crate) fn info(&self, oldest_ms: u64, unaccounted: u64) -> GroupInfo {
        GroupInfo {
            name: self.name.clone(),
            settings: self.rules.settings(),
            floor: self.progress.floor,
            ready: self.ready(),
            leased: self.live.leased(),
            delayed: self.live.delays.count(),
            dead: self.progress.dead.count(),
            settled: self.progress.ledger.settled,
            consumers: u32::try_from(self.live.consumers.len()).unwrap_or(u32::MAX),
            oldest_ms,
            published: self.progress.ledger.published,
            unaccounted,
        }
    }
}

/// The settings in force for deliveries of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) max_attempts: u32,
    pub(crate) lease_ms: u32,
    pub(crate) retry_min_ms: u32,
    pub(crate) retry_max_ms: u32,
    pub(crate) retry_factor_percent: u32,
    pub(crate) retry_jitter_percent: u32,
    /// `None`: a delivery may be held for ever.
    pub(crate) max_hold_ms: Option<u32>,
}

impl Rules {
    /// What nobody has set.
    pub(crate) const DEFAULT: Rules = Rules {
        max_attempts: 8,
        lease_ms: 30_000,
        retry_min_ms: 1_000,
        retry_max_ms: 600_000,
        retry_factor_percent: 200,
        retry_jitter_percent: 0,
        max_hold_ms: Some(3_600_000),
    };

    /// The group's own settings, else the stream's, else the defaults.
    pub(crate) fn of(group: &Settings, stream: &Settings) -> Rules {
        let pick = |get: fn(&Settings) -> Option<u32>, default: u32| {
            get(group).or_else(|| get(stream)).unwrap_or(default)
        };
        let default = Rules::DEFAULT;
        let lease_ms = pick(|s| s.lease_ms, default.lease_ms);
        let max_hold_ms = match group.max_hold_ms.or(stream.max_hold_ms) {
            // A lease that is longer than the default limit means to be.
            None => default.max_hold_ms.map(|hold_ms| hold_ms.max(lease_ms)),
            Some(hold_ms) => Some(hold_ms).filter(|hold_ms| *hold_ms > 0),
        };
        Rules {
            max_attempts: pick(|s| s.max_attempts, default.max_attempts),
            lease_ms,
            retry_min_ms: pick(|s| s.retry_min_ms, default.retry_min_ms),
            retry_max_ms: pick(|s| s.retry_max_ms, default.retry_max_ms),
            retry_factor_percent: pick(|s| s.retry_factor_percent, default.retry_factor_percent),
            retry_jitter_percent: pick(|s| s.retry_jitter_percent, default.retry_jitter_percent),
            max_hold_ms,
        }
    }

    /// The same as settings.
    pub(crate) fn settings(self) -> Settings {
        Settings {
            max_attempts: Some(self.max_attempts),
            lease_ms: Some(self.lease_ms),
            retry_min_ms: Some(self.retry_min_ms),
            retry_max_ms: Some(self.retry_max_ms),
            retry_factor_percent: Some(self.retry_factor_percent),
            retry_jitter_percent: Some(self.retry_jitter_percent),
            max_hold_ms: Some(self.max_hold_ms.unwrap_or(0)),
            ..Settings::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_overrules_its_topic() {
        let topic = Settings { max_attempts: Some(3), lease_ms: Some(500), ..Settings::default() };
        let group = Settings { max_attempts: Some(5), ..Settings::default() };
        let rules = Rules::of(&group, &topic);
        assert_eq!((rules.max_attempts, rules.lease_ms, rules.retry_min_ms), (5, 500, 1_000));
    }

    #[test]
    fn the_longest_hold_is_an_hour_or_the_lease_or_what_was_set() {
        let hold = |max_hold_ms, lease_ms| {
            let set = Settings { max_hold_ms, lease_ms, ..Settings::default() };
            Rules::of(&Settings::default(), &set).max_hold_ms
        };
        assert_eq!(hold(None, None), Some(3_600_000));
        assert_eq!(hold(None, Some(7_200_000)), Some(7_200_000));
        assert_eq!(hold(Some(500), Some(200)), Some(500));
        assert_eq!(hold(Some(0), None), None);
    }
}
