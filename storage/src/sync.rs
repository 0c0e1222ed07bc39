//! Locks, channels and threads: those of the standard library, or of a checker of schedules, so that the code that runs is the
//! code that is checked.
//!
//! With the feature `schedules`, which only `tests/schedules` turns on, every lock, channel and thread of the log belongs to
//! `shuttle`, which runs one thread at a time and chooses at each of their calls which goes on.

#[cfg(not(feature = "schedules"))]
pub(crate) use std::{
    sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic, mpsc},
    thread,
};

#[cfg(feature = "schedules")]
pub(crate) use shuttle::{
    sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic, mpsc},
    thread,
};

use mpsc::{Receiver, RecvTimeoutError};

/// Waits so long.
#[cfg(not(feature = "schedules"))]
pub(crate) fn sleep(time: std::time::Duration) {
    thread::sleep(time);
}

/// Lets the others go first.
#[cfg(feature = "schedules")]
pub(crate) fn sleep(_time: std::time::Duration) {
    thread::yield_now();
}

/// Waits for a message, at most so long.
#[cfg(not(feature = "schedules"))]
pub(crate) fn receive<T>(
    from: &Receiver<T>,
    timeout: std::time::Duration,
) -> Result<T, RecvTimeoutError> {
    from.recv_timeout(timeout)
}

/// Waits for a message; whether the time is over first is left to chance.
#[cfg(feature = "schedules")]
pub(crate) fn receive<T>(
    from: &Receiver<T>,
    _timeout: std::time::Duration,
) -> Result<T, RecvTimeoutError> {
    use shuttle::rand::Rng;
    if shuttle::rand::thread_rng().gen_bool(0.25) {
        thread::yield_now();
        return match from.try_recv() {
            Ok(message) => Ok(message),
            Err(mpsc::TryRecvError::Empty) => Err(RecvTimeoutError::Timeout),
            Err(mpsc::TryRecvError::Disconnected) => Err(RecvTimeoutError::Disconnected),
        };
    }
    from.recv().map_err(|_| RecvTimeoutError::Disconnected)
}
