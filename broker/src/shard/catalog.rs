//! Names and settings: how they are found, checked and merged.

use super::Shard;
use super::effects::{Found, GroupId, Refusal};
use super::group::Rules;
use super::stream::Stream;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::limits::{
    ATTEMPTS_MAX, HOLD_MS_MAX, ID_WINDOW_MS_MAX, ID_WINDOW_MS_MIN, LEASE_MS_MAX, LEASE_MS_MIN,
    RETRY_FACTOR_PERCENT_MAX, RETRY_FACTOR_PERCENT_MIN, RETRY_JITTER_PERCENT_MAX, RETRY_MS_MAX,
};
use posthaste_protocol::names::{self, GroupName, Name};
use posthaste_protocol::request::{Kind, Settings};

/// LIMIT: names looked at for "did you mean": all if there are few, else the neighbours in order.
const NEAR_NAMES_MAX: usize = 1_000;

impl Shard {
    /// A queue or topic by name.
    ///
    /// # Errors
    /// `NotFound`, with near names.
    pub fn find(&self, name: &Name) -> Result<Found, Refusal> {
        let stream = self.names.get(name).and_then(|id| self.streams.get(id));
        stream.map(|stream| self.found(stream)).ok_or_else(|| self.no_such_name(name))
    }

    /// A group: the built-in one of a queue, or a named one of a topic.
    ///
    /// # Errors
    /// `NotFound` with near names; `InvalidArgument` if a group is missing or not wanted.
    pub fn find_group(
        &self,
        name: &Name,
        group: Option<&GroupName>,
    ) -> Result<(Found, GroupId), Refusal> {
        let found = self.find(name)?;
        let stream = self.streams.get(&found.stream).ok_or_else(|| self.no_such_name(name))?;
        match (stream.built_in, group) {
            (Some(_), Some(_)) => Err(Refusal::new(
                ErrorCode::InvalidArgument,
                format!("{name} is a queue: it has no groups, leave the group out"),
            )),
            (Some(group), None) => Ok((found, group)),
            (None, None) => Err(Refusal::new(
                ErrorCode::InvalidArgument,
                format!("{name} is a topic: say which group"),
            )),
            (None, Some(group)) => match stream.groups.get(group) {
                Some(id) => Ok((found, *id)),
                None => Err(no_such_group(name, group, stream.groups.keys())),
            },
        }
    }

    pub(super) fn found(&self, stream: &Stream) -> Found {
        Found {
            stream: stream.id,
            kind: stream.kind,
            first_offset: self.first_offset(stream),
            next_offset: stream.next_offset,
        }
    }

    /// Oldest offset kept: what retention left of a topic; of a queue what is open or dead.
    pub(super) fn first_offset(&self, stream: &Stream) -> u64 {
        let built_in = stream.built_in.and_then(|id| self.groups.get(&id));
        built_in.map_or(stream.first_offset, |group| group.progress.needed())
    }

    pub(super) fn no_such_name(&self, name: &Name) -> Refusal {
        let all = self.names.keys();
        let similar = if self.names.len() <= NEAR_NAMES_MAX {
            names::nearest(name.as_str(), all.map(Name::as_str))
        } else {
            let before = self.names.range(..name.clone()).rev().take(NEAR_NAMES_MAX / 2);
            let behind = self.names.range(name.clone()..).take(NEAR_NAMES_MAX / 2);
            names::nearest(name.as_str(), before.chain(behind).map(|(name, _)| name.as_str()))
        };
        let message = format!("there is no queue or topic {name}");
        Refusal { code: ErrorCode::NotFound, message, similar }
    }
}

pub(super) fn no_such_group<'a>(
    topic: &Name,
    group: &GroupName,
    groups: impl Iterator<Item = &'a GroupName>,
) -> Refusal {
    Refusal {
        code: ErrorCode::NotFound,
        message: format!("topic {topic} has no group {group}"),
        similar: names::nearest(group.as_str(), groups.map(GroupName::as_str)),
    }
}

/// The settings after a change: what is set wins, the rest stays.
pub(super) fn merged(old: &Settings, new: &Settings) -> Settings {
    Settings {
        max_attempts: new.max_attempts.or(old.max_attempts),
        lease_ms: new.lease_ms.or(old.lease_ms),
        retry_min_ms: new.retry_min_ms.or(old.retry_min_ms),
        retry_max_ms: new.retry_max_ms.or(old.retry_max_ms),
        retain_ms: new.retain_ms.or(old.retain_ms),
        retain_bytes: new.retain_bytes.or(old.retain_bytes),
        max_messages: new.max_messages.or(old.max_messages),
        retry_factor_percent: new.retry_factor_percent.or(old.retry_factor_percent),
        retry_jitter_percent: new.retry_jitter_percent.or(old.retry_jitter_percent),
        id_window_ms: new.id_window_ms.or(old.id_window_ms),
        max_hold_ms: new.max_hold_ms.or(old.max_hold_ms),
    }
}

/// The settings of a queue or topic with the defaults filled in.
pub(super) fn effective(kind: Kind, settings: &Settings) -> Settings {
    let rules = Rules::of(&Settings::default(), settings).settings();
    match kind {
        Kind::Queue => Settings {
            max_messages: settings.max_messages.or(Some(0)),
            id_window_ms: settings.id_window_ms,
            ..rules
        },
        Kind::Topic => Settings {
            retain_ms: settings.retain_ms.or(Some(0)),
            retain_bytes: settings.retain_bytes.or(Some(0)),
            id_window_ms: settings.id_window_ms,
            ..rules
        },
    }
}

/// Whether these settings can be set on a queue or topic.
pub(super) fn check_stream_settings(kind: Kind, settings: &Settings) -> Result<(), Refusal> {
    check_ranges(settings)?;
    let misplaced = match kind {
        Kind::Queue if settings.retain_ms.is_some() => Some("retain_ms is for topics"),
        Kind::Queue if settings.retain_bytes.is_some() => Some("retain_bytes is for topics"),
        Kind::Topic if settings.max_messages.is_some() => Some("max_messages is for queues"),
        Kind::Queue | Kind::Topic => None,
    };
    misplaced.map_or(Ok(()), |what| Err(Refusal::new(ErrorCode::Conflict, what)))
}

/// Whether these settings can be set on a group.
pub(super) fn check_group_settings(settings: &Settings) -> Result<(), Refusal> {
    check_ranges(settings)?;
    let Settings { retain_ms, retain_bytes, max_messages, id_window_ms, .. } = settings;
    if [retain_ms, retain_bytes, max_messages, id_window_ms].into_iter().any(Option::is_some) {
        return Err(Refusal::new(
            ErrorCode::Conflict,
            "retain_ms, retain_bytes, max_messages and id_window_ms are not for groups",
        ));
    }
    Ok(())
}

/// Whether the rules that come of a change make sense together.
pub(super) fn check_rules(rules: Rules) -> Result<(), Refusal> {
    let Rules { retry_min_ms, retry_max_ms, lease_ms, max_hold_ms, .. } = rules;
    if max_hold_ms.is_some_and(|max_hold_ms| lease_ms > max_hold_ms) {
        return Err(Refusal::new(
            ErrorCode::InvalidArgument,
            format!("lease_ms {lease_ms} is above max_hold_ms {}", max_hold_ms.unwrap_or(0)),
        ));
    }
    if retry_min_ms > retry_max_ms {
        return Err(Refusal::new(
            ErrorCode::InvalidArgument,
            format!("retry_min_ms {retry_min_ms} is above retry_max_ms {retry_max_ms}"),
        ));
    }
    Ok(())
}

fn check_ranges(settings: &Settings) -> Result<(), Refusal> {
    let rules = [
        ("max_attempts", settings.max_attempts, 1, ATTEMPTS_MAX),
        ("lease_ms", settings.lease_ms, LEASE_MS_MIN, LEASE_MS_MAX),
        ("retry_min_ms", settings.retry_min_ms, 0, RETRY_MS_MAX),
        ("retry_max_ms", settings.retry_max_ms, 0, RETRY_MS_MAX),
        (
            "retry_factor_percent",
            settings.retry_factor_percent,
            RETRY_FACTOR_PERCENT_MIN,
            RETRY_FACTOR_PERCENT_MAX,
        ),
        ("max_hold_ms", settings.max_hold_ms.filter(|ms| *ms > 0), LEASE_MS_MIN, HOLD_MS_MAX),
        ("retry_jitter_percent", settings.retry_jitter_percent, 0, RETRY_JITTER_PERCENT_MAX),
    ];
    for (name, value, min, max) in rules {
        if let Some(value) = value
            && !(min..=max).contains(&value)
        {
            return Err(Refusal::new(
                ErrorCode::InvalidArgument,
                format!("{name} {value} is outside of {min} to {max}"),
            ));
        }
    }
    if let Some(window) = settings.id_window_ms.filter(|ms| *ms > 0)
        && !(ID_WINDOW_MS_MIN..=ID_WINDOW_MS_MAX).contains(&window)
    {
        return Err(Refusal::new(
            ErrorCode::InvalidArgument,
            format!(
                "id_window_ms {window} is neither 0 nor within {ID_WINDOW_MS_MIN} to {ID_WINDOW_MS_MAX}"
            ),
        ));
    }
    Ok(())
}
