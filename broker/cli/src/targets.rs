//! Queues and topics as the broker describes them, made fit for tables and programs.

use crate::output::Cell;
use crate::settings::{fact, json_settings, millis, shown_settings};
use posthaste::{Description, GroupInfo, Kind};
use serde_json::{Value, json};

pub(crate) fn kind(of: Kind) -> &'static str {
    match of {
        Kind::Queue => "queue",
        Kind::Topic => "topic",
    }
}

/// The counts of a group as fields of an object.
pub(crate) fn group_json(group: &GroupInfo) -> Value {
    let mut all = json!({
        "floor": group.floor,
        "ready": group.ready,
        "leased": group.leased,
        "delayed": group.delayed,
        "dead": group.dead,
        "settled": group.settled,
        "published": group.published,
        "unaccounted": group.unaccounted,
        "consumers": group.consumers,
        "oldest_ms": millis(group.oldest_age),
        "settings": json_settings(&group.settings),
    });
    if let Some(name) = &group.name {
        all["group"] = name.as_str().into();
    }
    all
}

/// A queue or topic with everything the broker says about it.
pub(crate) fn json(target: &Description) -> Value {
    json!({
        "kind": kind(target.kind),
        "name": target.name,
        "first_position": target.first_position,
        "next_position": target.next_position,
        "bytes": target.bytes,
        "settings": json_settings(&target.settings),
        "groups": target.groups.iter().map(group_json).collect::<Vec<_>>(),
    })
}

/// The same as facts, one a row.
pub(crate) fn facts(target: &Description) -> Vec<Vec<Cell>> {
    let mut rows = vec![
        fact(kind(target.kind), Cell::text(&target.name)),
        fact("first_position", Cell::count(target.first_position)),
        fact("next_position", Cell::count(target.next_position)),
        fact("bytes", Cell::bytes(target.bytes)),
    ];
    if let (Kind::Queue, Some(group)) = (target.kind, target.groups.first()) {
        rows.push(fact("ready", Cell::count(group.ready)));
        rows.push(fact("leased", Cell::count(group.leased)));
        rows.push(fact("delayed", Cell::count(group.delayed)));
        rows.push(fact("dead", Cell::count(group.dead)));
        rows.push(fact("settled", Cell::count(group.settled)));
        rows.push(fact("published", Cell::count(group.published)));
        rows.push(fact("unaccounted", Cell::count(group.unaccounted)));
        rows.push(fact("consumers", Cell::count(u64::from(group.consumers))));
        rows.push(fact("oldest", Cell::duration(group.oldest_age)));
    } else {
        rows.push(fact("groups", Cell::count(target.groups.len() as u64)));
    }
    let settings = shown_settings(&target.settings);
    rows.extend(settings.iter().map(|(name, value)| fact(name, Cell::text(value))));
    rows
}
