//! Faults on command: which call fails, how, and how often; the count of calls; the moment the power goes.
//!
//! The plain in-memory disk has none of this and never looks here.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::Dice;

/// The calls of [`Disk`](crate::disk::Disk) and [`DiskFile`](crate::disk::DiskFile).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after its method")]
pub enum Op {
    CreateDir,
    List,
    Exists,
    Open,
    /// An open that makes a file.
    Create,
    Rename,
    Remove,
    SyncDir,
    FreeBytes,
    Lock,
    Read,
    Write,
    Sync,
    Allocate,
    SetLen,
    Len,
    Map,
}

impl Op {
    /// Whether the call can change what a crash leaves. Only such calls count as places for a crash.
    #[must_use]
    pub fn changes(self) -> bool {
        matches!(
            self,
            Self::CreateDir
                | Self::Create
                | Self::Rename
                | Self::Remove
                | Self::SyncDir
                | Self::Write
                | Self::Sync
                | Self::Allocate
                | Self::SetLen
        )
    }
}

/// One call, as a hook sees it before it is carried out.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// What is called.
    pub op: Op,
    /// On which path.
    pub path: &'a Path,
    /// The first byte of a read or write.
    pub from: u64,
    /// How many bytes a read or write asks for.
    pub len: usize,
}

/// What a failing call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Nothing but return this error. A sync that fails so leaves its writes pending, for a later sync to succeed.
    Error(io::ErrorKind),
    /// A write puts this many bytes down and then returns the error.
    ErrorAfter(io::ErrorKind, usize),
    /// A sync returns the error and forgets its writes: reads still show them until [`evict`](super::SimDisk::evict), and
    /// later syncs succeed without writing them.
    ForgetWrites(io::ErrorKind),
    /// A read returns at most this many bytes.
    ReadAtMost(usize),
}

/// A rule that makes calls fail.
#[derive(Debug, Clone)]
pub struct Fault {
    /// None: of any kind.
    op: Option<Op>,
    path_part: String,
    skip: u64,
    times: u64,
    effect: Effect,
}

impl Fault {
    /// The next call of that kind, once.
    #[must_use]
    pub fn new(op: Op, effect: Effect) -> Self {
        Self { op: Some(op), ..Self::any(effect) }
    }

    /// The next call, whatever it is, once. What an effect does not concern is not changed by it.
    #[must_use]
    pub fn any(effect: Effect) -> Self {
        Self { op: None, path_part: String::new(), skip: 0, times: 1, effect }
    }

    /// Lets `count` matching calls pass first.
    #[must_use]
    pub fn after(mut self, count: u64) -> Self {
        self.skip = count;
        self
    }

    /// Goes on for `count` matching calls.
    #[must_use]
    pub fn times(mut self, count: u64) -> Self {
        self.times = count;
        self
    }

    /// Never ends.
    #[must_use]
    pub fn forever(self) -> Self {
        self.times(u64::MAX)
    }

    /// Only on paths that contain this text.
    #[must_use]
    pub fn on(mut self, path_part: &str) -> Self {
        path_part.clone_into(&mut self.path_part);
        self
    }

    fn strikes(&mut self, call: Call<'_>) -> bool {
        if self.op.is_some_and(|op| op != call.op)
            || !call.path.to_string_lossy().contains(&self.path_part)
        {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return false;
        }
        self.times > 0 && {
            self.times -= 1;
            true
        }
    }
}

/// The error of every call after the power went.
#[derive(Debug, thiserror::Error)]
#[error("the simulated power is off")]
struct PowerIsOff;

/// Whether the error says that the simulated power is off.
#[must_use]
pub fn is_power_off(error: &io::Error) -> bool {
    error.get_ref().and_then(|inner| inner.downcast_ref::<PowerIsOff>()).is_some()
}

/// Something to be told of each call before it is carried out; may block it.
pub(super) type Hook = Arc<dyn Fn(Call<'_>) + Send + Sync>;

/// The counters and scripts of one disk.
pub(super) struct Machine {
    pub(super) calls: u64,
    pub(super) changes: u64,
    pub(super) crash_at: Option<u64>,
    pub(super) power_is_off: bool,
    pub(super) is_lying: bool,
    pub(super) faults: Vec<Fault>,
    pub(super) struck: u64,
    pub(super) hook: Option<Hook>,
    pub(super) dice: Dice,
}

impl Machine {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            calls: 0,
            changes: 0,
            crash_at: None,
            power_is_off: false,
            is_lying: false,
            faults: Vec::new(),
            struck: 0,
            hook: None,
            dice: Dice::new(seed),
        }
    }

    /// Counts a call, and says whether it goes on, and how.
    pub(super) fn enter(&mut self, call: Call<'_>) -> io::Result<Option<Effect>> {
        self.calls += 1;
        if call.op.changes() {
            self.changes += 1;
            self.power_is_off |= self.crash_at.is_some_and(|at| self.changes >= at);
        }
        if self.power_is_off {
            return Err(io::Error::other(PowerIsOff));
        }
        let mut effect = None;
        for fault in &mut self.faults {
            if fault.strikes(call) {
                effect = Some(fault.effect);
                self.struck += 1;
            }
        }
        match effect {
            Some(Effect::Error(kind)) => Err(kind.into()),
            other => Ok(other),
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("calls", &self.calls)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}
