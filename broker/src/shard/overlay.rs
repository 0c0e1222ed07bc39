//! What is appended but not committed, as far as admission has to know it.
//!
//! Names with changes on the way have a shadow: the view of them once all is applied. A shadow goes
//! with its last command. Ids and sessions that were given out but not committed are here too;
//! offsets and sequences are with their stream and producer.

use super::effects::{GroupId, StreamId};
use super::{Ids, Shard};
use posthaste_protocol::names::{GroupName, Name};
use posthaste_protocol::request::{Kind, Settings};
use std::collections::BTreeMap;

/// The uncommitted part of the catalog.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    pub(crate) ids: Ids,
    pub(crate) sessions: BTreeMap<[u8; 16], u32>,
    names: BTreeMap<Name, Shadow>,
}

#[derive(Debug)]
struct Shadow {
    /// Commands about this name that are not applied yet.
    commands: u32,
    /// The name when they are; `None`: deleted.
    view: Option<View>,
}

/// A name as admission sees it.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) stream: StreamId,
    pub(crate) kind: Kind,
    pub(crate) settings: Settings,
    pub(crate) built_in: Option<GroupId>,
    pub(crate) groups: BTreeMap<GroupName, (GroupId, Settings)>,
}

impl Shard {
    /// The name as it will be when everything appended is applied.
    pub(super) fn view(&self, name: &Name) -> Option<View> {
        if let Some(shadow) = self.overlay.names.get(name) {
            return shadow.view.clone();
        }
        let stream = self.streams.get(self.names.get(name)?)?;
        let groups = stream.groups.iter().filter_map(|(name, id)| {
            let settings = self.groups.get(id)?.settings.clone();
            Some((name.clone(), (*id, settings)))
        });
        Some(View {
            stream: stream.id,
            kind: stream.kind,
            settings: stream.settings.clone(),
            built_in: stream.built_in,
            groups: groups.collect(),
        })
    }

    /// A command about this name is going to be appended.
    pub(super) fn overlay(&mut self, name: &Name, view: Option<View>) {
        let new = || Shadow { commands: 0, view: None };
        let shadow = self.overlay.names.entry(name.clone()).or_insert_with(new);
        shadow.commands += 1;
        shadow.view = view;
    }

    /// A command about this name is applied, by this process or by an earlier one.
    pub(super) fn uncover(&mut self, name: &Name) {
        if let Some(shadow) = self.overlay.names.get_mut(name) {
            shadow.commands -= 1;
            if shadow.commands == 0 {
                self.overlay.names.remove(name);
            }
        }
    }

    /// Whether the deletion of a stream of this name is appended, perhaps before its declaration was committed.
    pub(super) fn is_leaving(&self, name: &Name, stream: StreamId) -> bool {
        let shadow = self.overlay.names.get(name);
        let stays = |view: &Option<View>| view.as_ref().is_some_and(|view| view.stream == stream);
        shadow.is_some_and(|shadow| !stays(&shadow.view))
    }

    /// Names that may be about to exist, for the quota: never too few.
    pub(super) fn names_at_most(&self) -> usize {
        self.names.len() + self.overlay.names.len()
    }

    /// The highest numbers given, committed or not.
    pub(super) fn given_ids(&self) -> Ids {
        let mut ids = self.ids;
        ids.cover(self.overlay.ids);
        ids
    }
}
