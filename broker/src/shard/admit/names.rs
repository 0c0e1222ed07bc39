//! Admission of changes to the catalog: queues, topics, groups.

use crate::shard::Shard;
use crate::shard::catalog::{
    check_group_settings, check_rules, check_stream_settings, merged, no_such_group,
};
use crate::shard::command::Command;
use crate::shard::effects::{Admitted, DeclaredGroup, GroupId, Place, Refusal, StreamId};
use crate::shard::group::Rules;
use crate::shard::overlay::View;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Kind, Settings};
use posthaste_protocol::response::Declared;
use std::collections::BTreeMap;

/// LIMIT: queues and topics of a broker.
const STREAMS_MAX: usize = 100_000;
/// LIMIT: groups of a topic, so that with the longest names its description fits into one frame.
const GROUPS_MAX: usize = 750;
/// LIMIT: groups of a broker, those of queues included.
const GROUPS_IN_ALL_MAX: usize = 200_000;

impl Shard {
    /// Creates or changes a queue or topic.
    ///
    /// # Errors
    /// `Conflict`, `InvalidArgument`, `QuotaExceeded`.
    pub fn admit_declare(
        &mut self,
        kind: Kind,
        name: &Name,
        settings: &Settings,
    ) -> Result<Admitted<(Declared, StreamId)>, Refusal> {
        check_stream_settings(kind, settings)?;
        let known = self.view(name);
        if let Some(view) = &known {
            check_kind(name, view, kind)?;
        }
        let old = known.as_ref().map(|view| view.settings.clone()).unwrap_or_default();
        let settings = merged(&old, settings);
        check_rules(Rules::of(&Settings::default(), &settings))?;
        let (declared, view) = match known {
            Some(view) if view.settings == settings => {
                let answer = (Declared::Unchanged, view.stream);
                return Ok(Admitted { answer, command: None });
            }
            Some(view) => (Declared::Updated, View { settings, ..view }),
            None => (Declared::Created, self.new_view(kind, settings)?),
        };
        let command = Command::Declare {
            stream: view.stream,
            kind,
            name: name.clone(),
            settings: view.settings.clone(),
            group: view.built_in,
        };
        let answer = (declared, view.stream);
        self.overlay(name, Some(view));
        Ok(Admitted { answer, command: Some(command) })
    }

    fn new_view(&mut self, kind: Kind, settings: Settings) -> Result<View, Refusal> {
        if self.names_at_most() >= STREAMS_MAX {
            let what = format!("a broker has at most {STREAMS_MAX} queues and topics");
            return Err(Refusal::new(ErrorCode::QuotaExceeded, what));
        }
        let mut ids = self.given_ids();
        ids.stream = next_id(ids.stream)?;
        let built_in = match kind {
            Kind::Queue => {
                ids.group = next_id(ids.group)?;
                Some(GroupId(ids.group))
            }
            Kind::Topic => None,
        };
        self.overlay.ids.cover(ids);
        Ok(View { stream: ids.stream, kind, settings, built_in, groups: BTreeMap::new() })
    }

    /// Creates or changes a group of a topic.
    ///
    /// # Errors
    /// `NotFound`, `Conflict`, `InvalidArgument`, `QuotaExceeded`.
    pub fn admit_declare_group(
        &mut self,
        topic: &Name,
        group: &GroupName,
        start: Place,
        settings: &Settings,
    ) -> Result<Admitted<DeclaredGroup>, Refusal> {
        check_group_settings(settings)?;
        let mut view = self.view(topic).ok_or_else(|| self.no_such_name(topic))?;
        check_kind(topic, &view, Kind::Topic)?;
        let known = view.groups.get(group).cloned();
        let old = known.as_ref().map(|(_, settings)| settings.clone()).unwrap_or_default();
        let settings = merged(&old, settings);
        check_rules(Rules::of(&settings, &view.settings))?;
        let answer = |declared, group| DeclaredGroup { declared, stream: view.stream, group };
        let answer = match known {
            Some((id, old)) if old == settings => {
                return Ok(Admitted { answer: answer(Declared::Unchanged, id), command: None });
            }
            Some((id, _)) => answer(Declared::Updated, id),
            None if view.groups.len() >= GROUPS_MAX => {
                let what = format!("a topic has at most {GROUPS_MAX} groups");
                return Err(Refusal::new(ErrorCode::QuotaExceeded, what));
            }
            None if self.groups.len() >= GROUPS_IN_ALL_MAX => {
                let what = format!("a broker has at most {GROUPS_IN_ALL_MAX} groups");
                return Err(Refusal::new(ErrorCode::QuotaExceeded, what));
            }
            None => {
                let mut ids = self.given_ids();
                ids.group = next_id(ids.group)?;
                self.overlay.ids.cover(ids);
                answer(Declared::Created, GroupId(ids.group))
            }
        };
        let command = Command::DeclareGroup {
            group: answer.group,
            stream: answer.stream,
            name: group.clone(),
            start: self.place(answer.stream, start),
            settings: settings.clone(),
        };
        view.groups.insert(group.clone(), (answer.group, settings));
        self.overlay(topic, Some(view));
        Ok(Admitted { answer, command: Some(command) })
    }

    /// Removes a queue or topic. Publishes to it are refused from now on.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn admit_delete(&mut self, name: &Name) -> Result<Admitted<()>, Refusal> {
        let view = self.view(name).ok_or_else(|| self.no_such_name(name))?;
        if let Some(stream) = self.streams.get_mut(&view.stream) {
            stream.is_leaving = true;
        }
        self.overlay(name, None);
        let command = Some(Command::Delete { stream: view.stream });
        Ok(Admitted { answer: (), command })
    }

    /// Removes a group of a topic.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` for a queue.
    pub fn admit_delete_group(
        &mut self,
        topic: &Name,
        group: &GroupName,
    ) -> Result<Admitted<()>, Refusal> {
        let mut view = self.view(topic).ok_or_else(|| self.no_such_name(topic))?;
        check_kind(topic, &view, Kind::Topic)?;
        let Some((id, _)) = view.groups.remove(group) else {
            return Err(no_such_group(topic, group, view.groups.keys()));
        };
        self.overlay(topic, Some(view));
        Ok(Admitted { answer: (), command: Some(Command::DeleteGroup { group: id }) })
    }

    /// The committed offset that a place means now.
    pub(super) fn place(&self, stream: StreamId, place: Place) -> u64 {
        let Some(stream) = self.streams.get(&stream) else { return 0 };
        match place {
            Place::Earliest => stream.first_offset,
            Place::Latest => stream.next_offset,
            Place::Offset(offset) => offset.clamp(stream.first_offset, stream.next_offset),
        }
    }
}

fn check_kind(name: &Name, view: &View, kind: Kind) -> Result<(), Refusal> {
    if view.kind == kind {
        return Ok(());
    }
    let what = match view.kind {
        Kind::Queue => format!("{name} is a queue, not a topic"),
        Kind::Topic => format!("{name} is a topic, not a queue"),
    };
    Err(Refusal::new(ErrorCode::Conflict, what))
}

fn next_id(last: u32) -> Result<u32, Refusal> {
    last.checked_add(1)
        .ok_or_else(|| Refusal::new(ErrorCode::QuotaExceeded, "all numbers have been given out"))
}
