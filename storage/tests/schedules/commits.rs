//! The hand-off of group commit: bodies to the log thread, answers from it, and the end.

use std::sync::Arc;

use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::{Effect, Fault, Keep, Op};
use posthaste_storage::writer::{CommitHandle, Refused, spawn};
use posthaste_storage::{Block, Body, StorageError};
use shuttle::sync::Mutex;
use shuttle::thread;

use crate::check_schedules;
use crate::store::{body, open_on, options};

type Answers = Arc<Mutex<Vec<Result<Arc<Block>, StorageError>>>>;

/// A log thread that keeps its answers.
fn start(disk: &SimDisk) -> (CommitHandle, Answers) {
    let opened = open_on(disk, options());
    let answers = Answers::default();
    let sink = Arc::clone(&answers);
    let handle = spawn(opened.writer, move |answer| sink.lock().unwrap().push(answer)).unwrap();
    (handle, answers)
}

/// Hands a body over as often as it takes. `false`: the thread is gone.
fn submit(handle: &CommitHandle, time_ms: u64, mut body: Body) -> bool {
    loop {
        match handle.submit(time_ms, body) {
            Ok(()) => return true,
            Err(Refused::Busy(back)) => body = back,
            Err(Refused::Stopped(_)) => return false,
        }
        thread::yield_now();
    }
}

/// The blocks of all answers, which must be good, in order and without a gap.
fn check_in_order(answers: &Answers, count: u64) {
    let answers = answers.lock().unwrap();
    let indexes: Vec<u64> = answers.iter().map(|answer| answer.as_ref().unwrap().index).collect();
    assert_eq!(indexes, (1..=count).collect::<Vec<_>>());
}

/// How many blocks a restart after a power cut finds.
fn found_after_power_cut(disk: &SimDisk) -> u64 {
    let disk = disk.power_cut(Keep::Nothing);
    let opened = open_on(&disk, options());
    disk.on_call(|_| {});
    opened.report.blocks_replayed
}

#[test]
fn every_body_taken_is_answered_once_in_order_and_sealed() {
    check_schedules("commits and a shutdown", 3_000, || {
        let disk = SimDisk::new(1);
        let (handle, answers) = start(&disk);
        for offset in 0..4 {
            assert!(submit(&handle, offset, body(offset)));
        }
        handle.shutdown().unwrap();
        check_in_order(&answers, 4);
        assert_eq!(found_after_power_cut(&disk), 4);
    });
}

#[test]
fn an_answer_means_durable_whenever_it_is_seen() {
    check_schedules("a power cut beside commits", 2_000, || {
        let disk = SimDisk::new(1);
        let (handle, answers) = start(&disk);
        let (watched, seen) = (disk.clone(), Arc::clone(&answers));
        let watcher = thread::spawn(move || {
            // Whoever has seen the answer finds the block, also if the power goes right then.
            let confirmed = seen.lock().unwrap().len() as u64;
            assert!(found_after_power_cut(&watched) >= confirmed);
        });
        for offset in 0..3 {
            assert!(submit(&handle, offset, body(offset)));
        }
        watcher.join().unwrap();
        handle.shutdown().unwrap();
    });
}

#[test]
fn p07_after_a_failed_sync_no_schedule_confirms_anything() {
    check_schedules("a failed sync", 2_000, || {
        let disk = SimDisk::new(1);
        let (handle, answers) = start(&disk);
        assert!(submit(&handle, 0, body(0)));
        disk.fail(Fault::new(Op::Sync, Effect::ForgetWrites(std::io::ErrorKind::Other)).after(1));
        for offset in 1..4 {
            assert!(submit(&handle, offset, body(offset)));
        }
        assert!(handle.shutdown().is_err());
        let answers = answers.lock().unwrap();
        assert_eq!(answers.len(), 4, "every body taken is answered");
        let good = answers.iter().take_while(|answer| answer.is_ok()).count();
        assert!(answers[good..].iter().all(Result::is_err), "confirmed after an error");
        assert!(found_after_power_cut(&disk) >= good as u64);
    });
}

#[test]
fn a_handle_that_is_dropped_ends_the_thread_and_loses_nothing_confirmed() {
    check_schedules("a handle dropped", 1_000, || {
        let disk = SimDisk::new(1);
        let (handle, answers) = start(&disk);
        assert!(submit(&handle, 0, body(0)));
        assert!(submit(&handle, 1, body(1)));
        drop(handle);
        let confirmed = answers.lock().unwrap().len() as u64;
        assert!(found_after_power_cut(&disk) >= confirmed);
    });
}

#[test]
fn p28_a_log_thread_that_waits_for_room_can_be_stopped_in_every_schedule() {
    check_schedules("a stop on a full disk", 2_000, || {
        let disk = SimDisk::new(1);
        let (handle, answers) = start(&disk);
        let full = Effect::Error(std::io::ErrorKind::StorageFull);
        disk.fail(Fault::new(Op::Allocate, full).forever());
        let mut taken = 0;
        for offset in 0..6 {
            taken += usize::from(handle.submit(offset, body(offset)).is_ok());
            thread::yield_now();
        }
        handle.shutdown().unwrap();
        let answers = answers.lock().unwrap();
        assert_eq!(answers.len(), taken, "every body taken is answered");
        let good = answers.iter().filter(|answer| answer.is_ok()).count();
        assert_eq!(found_after_power_cut(&disk), good as u64);
    });
}
