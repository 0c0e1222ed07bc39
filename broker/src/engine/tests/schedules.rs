//! Recurring messages: each time that comes publishes once, whatever happens.

use super::rig::{Rig, batch, name};
use crate::engine::Now;
use crate::engine::input::ConnectionId;
use bytes::Bytes;
use posthaste_protocol::error::{ErrorCode, ErrorReply};
use posthaste_protocol::request::{Kind, Settings, Start};
use posthaste_protocol::response::Declared;
use posthaste_protocol::schedule::{ScheduleCall, ScheduleInfo, ScheduleReply};
use posthaste_protocol::{Request, Response};
use posthaste_storage::disk::SimDisk;

const MINUTE: u64 = 60_000;

fn rig(disk: &SimDisk, now: Now) -> (Rig, ConnectionId) {
    let mut rig = Rig::open(disk, now).expect("the disk opens");
    let connection = rig.connect();
    (rig, connection)
}

fn started(disk: &SimDisk, settings: Settings) -> (Rig, ConnectionId) {
    let (mut rig, connection) = rig(disk, Now { wall_ms: 1_000 * MINUTE, mono_ms: 0 });
    let declare = Request::Declare { kind: Kind::Queue, name: name("jobs"), settings };
    rig.ask(connection, declare).expect("no faults");
    (rig, connection)
}

fn call(
    rig: &mut Rig,
    connection: ConnectionId,
    call: ScheduleCall,
) -> Result<ScheduleReply, ErrorReply> {
    match rig.ask(connection, Request::Schedule(call)).expect("no faults") {
        Response::Schedule(reply) => Ok(reply),
        Response::Error(error) => Err(error),
        other => panic!("{other:?}"),
    }
}

fn set_of(schedule: &str, to: &str, when: &str, zone: &str) -> ScheduleCall {
    ScheduleCall::Set {
        name: name(schedule),
        to: name(to),
        when: when.into(),
        zone: zone.into(),
        batch: batch(to, 0, 0, &[schedule.as_bytes()]),
    }
}

fn set(rig: &mut Rig, connection: ConnectionId, when: &str) -> (Declared, u64) {
    match call(rig, connection, set_of("tick", "jobs", when, "UTC")) {
        Ok(ScheduleReply::Set { declared, next_ms }) => (declared, next_ms),
        other => panic!("{other:?}"),
    }
}

fn listed(rig: &mut Rig, connection: ConnectionId) -> Vec<ScheduleInfo> {
    match call(rig, connection, ScheduleCall::List { after: None, limit: 1_000 }) {
        Ok(ScheduleReply::Listed { items, more: false }) => items,
        other => panic!("{other:?}"),
    }
}

fn stored(rig: &mut Rig, connection: ConnectionId) -> u64 {
    let read = Request::Read {
        name: name("jobs"),
        from: Start::Earliest,
        messages_max: 10_000,
        bytes_max: 1 << 20,
    };
    match rig.ask(connection, read).expect("no faults") {
        Response::Records { end_offset, .. } => end_offset,
        other => panic!("{other:?}"),
    }
}

/// Time goes on by `minutes`, one after the other.
fn minutes(rig: &mut Rig, minutes: u64) {
    for _ in 0..minutes {
        rig.advance(MINUTE);
        rig.settle().expect("no faults");
    }
}

#[test]
fn a_schedule_publishes_at_its_times_also_after_a_restart() {
    let disk = SimDisk::memory();
    let (mut rig, connection) = started(&disk, Settings::default());
    assert_eq!(set(&mut rig, connection, "*/10 * * * *"), (Declared::Created, 1_010 * MINUTE));
    assert_eq!(set(&mut rig, connection, "*/10 * * * *"), (Declared::Unchanged, 1_010 * MINUTE));
    minutes(&mut rig, 9);
    assert_eq!(stored(&mut rig, connection), 0);
    minutes(&mut rig, 1);
    assert_eq!(stored(&mut rig, connection), 1);
    minutes(&mut rig, 25);
    assert_eq!(stored(&mut rig, connection), 3);
    let info = listed(&mut rig, connection).remove(0);
    assert_eq!((info.published, info.last_ms, info.next_ms), (3, 1_030 * MINUTE, 1_040 * MINUTE));
    for with_checkpoint in [true, false] {
        let now = rig.now;
        if with_checkpoint {
            rig.stop().expect("no faults");
        } else {
            drop(rig);
        }
        (rig, _) = self::rig(&disk, now);
        let connection = rig.connect();
        let info = listed(&mut rig, connection).remove(0);
        let before = info.published;
        assert_eq!((&*info.when, &*info.zone, info.to.as_str()), ("*/10 * * * *", "UTC", "jobs"));
        minutes(&mut rig, 10);
        assert_eq!(stored(&mut rig, connection), before + 1);
    }
}

#[test]
fn times_that_passed_while_the_broker_was_away_publish_once() {
    let disk = SimDisk::memory();
    let (mut rig, connection) = started(&disk, Settings::default());
    set(&mut rig, connection, "@every 10m");
    drop(rig);
    let (mut rig, connection) = self::rig(&disk, Now { wall_ms: 1_055 * MINUTE, mono_ms: 0 });
    rig.settle().expect("no faults");
    assert_eq!(stored(&mut rig, connection), 1);
    let info = listed(&mut rig, connection).remove(0);
    assert_eq!((info.last_ms, info.next_ms), (1_055 * MINUTE, 1_060 * MINUTE), "it keeps its beat");
    minutes(&mut rig, 10);
    assert_eq!(stored(&mut rig, connection), 2);
}

#[test]
fn a_time_publishes_once_whether_its_block_survives_or_not() {
    for survives in [false, true] {
        let disk = SimDisk::memory();
        let (mut rig, connection) = started(&disk, Settings::default());
        set(&mut rig, connection, "@every 10m");
        rig.advance(10 * MINUTE);
        rig.core.on_time(rig.now);
        let block = rig.core.next_block(rig.now).expect("the message is due");
        rig.core.on_time(rig.now);
        assert!(rig.core.is_quiet() || !survives || rig.core.is_committing(), "only once");
        if survives {
            rig.commit(block).expect("no faults");
        }
        let now = rig.now;
        drop(rig);
        let (mut rig, connection) = self::rig(&disk, now);
        rig.settle().expect("no faults");
        assert_eq!(stored(&mut rig, connection), 1, "survives: {survives}");
        assert_eq!(listed(&mut rig, connection)[0].published, 1);
    }
}

#[test]
fn a_message_that_finds_no_room_says_so_and_comes_as_soon_as_it_can_once() {
    let disk = SimDisk::memory();
    let settings = Settings { max_messages: Some(1), ..Settings::default() };
    let (mut rig, connection) = started(&disk, settings);
    set(&mut rig, connection, "@every 1m");
    minutes(&mut rig, 5);
    assert_eq!(stored(&mut rig, connection), 1);
    let info = listed(&mut rig, connection).remove(0);
    assert_eq!(info.waits_for, "queue jobs holds its limit of 1 messages");
    assert_eq!((info.published, info.next_ms), (1, 1_002 * MINUTE));
    let purge = Request::Purge { name: name("jobs"), dry_run: false };
    rig.ask(connection, purge).expect("no faults");
    rig.advance(1_000);
    rig.settle().expect("no faults");
    let info = listed(&mut rig, connection).remove(0);
    assert_eq!((info.published, &*info.waits_for), (2, ""));
    let delete = Request::Delete { name: name("jobs"), group: None };
    rig.ask(connection, delete).expect("no faults");
    minutes(&mut rig, 1);
    assert_eq!(listed(&mut rig, connection)[0].waits_for, "there is no queue or topic jobs");
}

#[test]
fn a_schedule_is_changed_and_canceled_at_once() {
    let disk = SimDisk::memory();
    let (mut rig, connection) = started(&disk, Settings::default());
    set(&mut rig, connection, "@every 1m");
    assert_eq!(set(&mut rig, connection, "@every 1h"), (Declared::Updated, 1_060 * MINUTE));
    minutes(&mut rig, 59);
    assert_eq!(stored(&mut rig, connection), 0);
    let cancel = |schedule| ScheduleCall::Cancel { name: name(schedule) };
    let unknown = call(&mut rig, connection, cancel("tock")).unwrap_err();
    assert_eq!((unknown.code, unknown.similar), (ErrorCode::NotFound, vec!["tick".to_owned()]));
    assert_eq!(call(&mut rig, connection, cancel("tick")), Ok(ScheduleReply::Canceled));
    assert!(call(&mut rig, connection, cancel("tick")).is_err());
    minutes(&mut rig, 2);
    assert_eq!((stored(&mut rig, connection), listed(&mut rig, connection)), (0, vec![]));
    let now = rig.now;
    drop(rig);
    let (mut rig, connection) = self::rig(&disk, now);
    assert_eq!(listed(&mut rig, connection), []);
}

#[test]
fn what_cannot_recur_is_refused_by_name() {
    let disk = SimDisk::memory();
    let (mut rig, connection) = started(&disk, Settings::default());
    let mut refused = |to, when, zone| {
        let error = call(&mut rig, connection, set_of("x", to, when, zone)).unwrap_err();
        (error.code, error.message)
    };
    let invalid = ErrorCode::InvalidArgument;
    let (code, message) = refused("jobs", "0 25 * * *", "UTC");
    assert_eq!(code, invalid);
    assert!(message.ends_with("an hour lies within 0 and 23, at byte 2"), "{message}");
    let (code, message) = refused("jobs", "@daily", "Europe/Atlantis");
    assert_eq!(code, invalid);
    assert!(message.contains("\"Europe/Atlantis\""), "{message}");
    assert_eq!(refused("job", "@daily", "UTC").0, ErrorCode::NotFound);
    assert_eq!(listed(&mut rig, connection), []);
}

#[test]
fn thousands_that_are_due_together_publish_in_several_blocks_each_once() {
    const SCHEDULES: u64 = 2_000;
    let disk = SimDisk::memory();
    let (mut rig, connection) = started(&disk, Settings::default());
    for n in 0..SCHEDULES {
        let schedule = format!("s{n:04}");
        call(&mut rig, connection, set_of(&schedule, "jobs", "@every 1h", "UTC"))
            .expect("no limit");
    }
    rig.advance(60 * MINUTE);
    rig.core.on_time(rig.now);
    assert!(!rig.core.has_room(), "the first block is full");
    let now = rig.now;
    let block = rig.core.next_block(now).expect("it is due");
    rig.commit(block).expect("no faults");
    drop(rig);
    let (mut rig, connection) = self::rig(&disk, now);
    rig.settle().expect("no faults");
    assert_eq!(stored(&mut rig, connection), SCHEDULES);
    let mut seen = 0;
    let mut after = None;
    loop {
        let list = ScheduleCall::List { after: after.take(), limit: 1_000 };
        let Ok(ScheduleReply::Listed { items, more }) = call(&mut rig, connection, list) else {
            panic!("a list");
        };
        assert!(items.iter().all(|item| item.published == 1));
        seen += items.len() as u64;
        after = items.last().map(|item| item.name.clone());
        if !more {
            break;
        }
    }
    assert_eq!(seen, SCHEDULES);
}

#[test]
fn the_message_is_the_one_that_was_given() {
    let disk = SimDisk::memory();
    let (mut rig, connection) = started(&disk, Settings::default());
    set(&mut rig, connection, "@every 1m");
    minutes(&mut rig, 1);
    let read = Request::Read {
        name: name("jobs"),
        from: Start::Earliest,
        messages_max: 10,
        bytes_max: 1 << 20,
    };
    let Response::Records { pieces, .. } = rig.ask(connection, read).expect("no faults") else {
        panic!("records");
    };
    let batches: Vec<Bytes> = pieces.into_iter().map(|piece| piece.batches).collect();
    assert_eq!(batches, [batch("jobs", 0, 0, &[b"tick"])]);
}
