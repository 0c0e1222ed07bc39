//! Schedules in the shard alone: numbers, quotas, and commands of settings that are no more.

use super::desk::NOON;
use super::world::World;
use crate::shard::Shard;
use crate::shard::command::Command;
use crate::shard::effects::Effects;
use crate::shard::schedules::Schedule;
use bytes::Bytes;
use posthaste_protocol::error::ErrorCode;
use posthaste_protocol::names::Name;
use posthaste_protocol::response::Declared;

impl World {
    /// Sets, cancels or publishes a schedule.
    pub(crate) fn schedule_any(&mut self) {
        let of = format!("schedule-{}", self.random.below(4));
        match self.random.below(4) {
            0 => {
                let next_ms = self.now_ms + self.random.below(3_000);
                let bytes = 1 + self.random.below(9) as usize;
                let admitted = self.shard.admit_schedule(schedule(&of, bytes, next_ms));
                self.append(admitted.expect("few and small").command);
            }
            1 => {
                let command = self.shard.admit_cancel_schedule(&name(&of)).ok();
                self.append(command);
            }
            _ => {
                let due = self.shard.due_schedule(self.now_ms);
                let Some((id, _)) = due else { return };
                let (at_ms, next_ms) = (self.now_ms, self.now_ms + 1 + self.random.below(2_000));
                if self.random.one_in(3) {
                    self.shard.schedule_is_late(id, "no room".to_owned(), next_ms);
                } else {
                    self.append([Command::SchedulePublished { id, at_ms, next_ms }]);
                }
            }
        }
    }

    pub(crate) fn check_schedules(&self) {
        let (listed, more) = self.shard.list_schedules(None, 100);
        let listed = listed.into_iter().map(|info| (info.name, info.next_ms, info.published));
        let model = self.model.schedules.iter();
        let model =
            model.map(|(name, (_, next_ms, published))| (name.clone(), *next_ms, *published));
        assert_eq!((listed.collect::<Vec<_>>(), more), (model.collect::<Vec<_>>(), false));
    }
}

fn name(name: &str) -> Name {
    name.try_into().unwrap()
}

fn schedule(of: &str, bytes: usize, next_ms: u64) -> Schedule {
    let batch = Bytes::from(vec![7; bytes]);
    let (when, zone) = ("@hourly".to_owned(), "UTC".to_owned());
    Schedule { name: name(of), to: name("jobs"), when, zone, batch, next_ms }
}

fn admit(shard: &mut Shard, schedule: Schedule) -> (Declared, Command) {
    let admitted = shard.admit_schedule(schedule).unwrap();
    (admitted.answer.0, admitted.command.unwrap())
}

fn apply(shard: &mut Shard, command: &Command) {
    shard.apply_command(NOON, command, &mut Effects::default());
}

#[test]
fn a_note_about_an_earlier_setting_does_not_concern_the_present_one() {
    let mut shard = Shard::new();
    let (declared, first) = admit(&mut shard, schedule("s", 10, NOON));
    assert_eq!(declared, Declared::Created);
    apply(&mut shard, &first);
    let (id, _) = shard.due_schedule(NOON).unwrap();
    assert_eq!(shard.due_schedule(NOON), None, "asked for once");
    let (declared, second) = admit(&mut shard, schedule("s", 20, NOON + 5));
    assert_eq!(declared, Declared::Updated);
    apply(&mut shard, &second);
    apply(&mut shard, &Command::SchedulePublished { id, at_ms: NOON, next_ms: NOON + 99 });
    assert_eq!(shard.next_schedule(), Some(NOON + 5));
    let (items, _) = shard.list_schedules(None, 10);
    assert_eq!((items[0].next_ms, items[0].published), (NOON + 5, 0));
}

#[test]
fn what_is_appended_counts_before_it_is_applied() {
    let mut shard = Shard::new();
    let (_, set) = admit(&mut shard, schedule("s", 10, NOON));
    let cancel = shard.admit_cancel_schedule(&name("s")).unwrap();
    assert!(shard.admit_cancel_schedule(&name("s")).is_err(), "it is on its way out");
    let (declared, again) = admit(&mut shard, schedule("s", 10, NOON));
    assert_eq!(declared, Declared::Created);
    for command in [set, cancel, again] {
        apply(&mut shard, &command);
    }
    assert_eq!(shard.list_schedules(None, 10).0.len(), 1);
    let unchanged = shard.admit_schedule(schedule("s", 10, NOON + 1)).unwrap();
    assert_eq!((unchanged.answer, unchanged.command), ((Declared::Unchanged, NOON), None));
}

#[test]
fn there_are_so_many_schedules_with_so_many_bytes() {
    let mut shard = Shard::new();
    for n in 0..255 {
        let (_, command) = admit(&mut shard, schedule(&format!("s{n}"), 64 << 10, NOON));
        apply(&mut shard, &command);
    }
    let (_, last) = admit(&mut shard, schedule("last", 64 << 10, NOON));
    let full = shard.admit_schedule(schedule("more", 1, NOON)).unwrap_err();
    assert_eq!(full.code, ErrorCode::QuotaExceeded);
    apply(&mut shard, &last);
    let cancel = shard.admit_cancel_schedule(&name("last")).unwrap();
    apply(&mut shard, &cancel);
    for n in 0..10_000 - 255 {
        let (_, command) = admit(&mut shard, schedule(&format!("t{n}"), 1, NOON));
        apply(&mut shard, &command);
    }
    let full = shard.admit_schedule(schedule("more", 1, NOON)).unwrap_err();
    assert_eq!(full.message, "a broker has at most 10000 schedules");
    admit(&mut shard, schedule("t5", 2, NOON));
}

#[test]
fn a_checkpoint_brings_all_of_it_back() {
    let mut shard = Shard::new();
    for (n, of) in ["b", "a"].into_iter().enumerate() {
        let (_, command) = admit(&mut shard, schedule(of, 10 + n, NOON + n as u64));
        apply(&mut shard, &command);
    }
    let (id, due) = shard.due_schedule(NOON).unwrap();
    assert_eq!(due.name, name("b"));
    apply(&mut shard, &Command::SchedulePublished { id, at_ms: NOON, next_ms: NOON + 50 });
    let bytes = shard.checkpoint();
    let mut again = Shard::restore(&bytes).unwrap();
    assert_eq!(again.checkpoint(), bytes);
    assert_eq!(again.list_schedules(None, 10), shard.list_schedules(None, 10));
    assert_eq!(again.due_schedule(NOON + 1).unwrap().1.name, name("a"));
    assert_eq!(again.next_schedule(), Some(NOON + 50));
    let after = again.list_schedules(Some(&name("a")), 10);
    assert_eq!((after.0.len(), after.0[0].published, after.1), (1, 1, false));
}
