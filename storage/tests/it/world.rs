//! [`World`]: a log on a simulated disk with its model, moved along by a script.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};

use posthaste_storage::disk::sim::Dice;
use posthaste_storage::disk::{RealDisk, SimDisk};
use posthaste_storage::{Opened, Options, StorageError};

use crate::check;
use crate::model::{Model, Sizes, State};

/// What can happen to a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Commit,
    Beacon,
    Checkpoint,
    Maintain,
    /// The process ends without a word, and another opens the store.
    Reopen,
    /// The log is closed on purpose and opened again.
    SealAndReopen,
}

/// A random walk with mostly commits, long enough to roll, reclaim and recycle.
pub(crate) fn script(seed: u64, steps: usize) -> Vec<Step> {
    let mut dice = Dice::new(seed ^ 0x5C21);
    let one = |dice: &mut Dice| match dice.below(20) {
        0..=12 => Step::Commit,
        13 | 14 => Step::Beacon,
        15 | 16 => Step::Checkpoint,
        17 => Step::Maintain,
        18 => Step::Reopen,
        _ => Step::SealAndReopen,
    };
    (0..steps).map(|_| one(&mut dice)).collect()
}

pub(crate) struct World {
    pub(crate) disk: SimDisk,
    /// A directory of the operating system, in place of the simulated disk.
    pub(crate) real_dir: Option<PathBuf>,
    /// Shared with hooks on the disk, which look at it in the middle of a step.
    pub(crate) model: Arc<Mutex<Model>>,
    pub(crate) options: Options,
    pub(crate) sizes: Sizes,
    pub(crate) log: Option<Opened>,
    pub(crate) dice: Dice,
}

impl World {
    /// A store that is not created yet. Seeds other than the default one vary the sizes as well.
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self::on(SimDisk::new(seed), Model::default(), seed);
        world.options = check::options_of(seed);
        world
    }

    /// The same log after a crash.
    pub(crate) fn on(disk: SimDisk, model: Model, seed: u64) -> Self {
        Self {
            disk,
            real_dir: None,
            model: Arc::new(Mutex::new(model)),
            options: check::options(),
            sizes: Sizes { one_run_in: 2, run_bytes_max: 1_800 },
            log: None,
            dice: Dice::new(seed ^ 0x301D),
        }
    }

    /// A new store that has gone through a script.
    pub(crate) fn after(seed: u64, steps: &[Step]) -> Self {
        let mut world = Self::new(seed);
        world.run(steps).unwrap();
        world
    }

    pub(crate) fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn log(&mut self) -> &mut Opened {
        self.log.as_mut().expect("the log is open")
    }

    /// Opens the store if it is not, and goes through the steps until one fails.
    pub(crate) fn run(&mut self, steps: &[Step]) -> Result<(), StorageError> {
        self.open()?;
        steps.iter().try_for_each(|step| self.step(*step))
    }

    pub(crate) fn open(&mut self) -> Result<(), StorageError> {
        if self.log.is_none() {
            // Works on a copy: a hook must see the model as it was while the recovery is not complete.
            let mut model = self.model().clone();
            let options = self.options.clone();
            let opened = match &self.real_dir {
                None => check::recover(&self.disk, &mut model, options)?,
                Some(dir) => check::recover_at(Arc::new(RealDisk), dir, &mut model, options)?,
            };
            *self.model() = model;
            self.log = Some(opened);
        }
        Ok(())
    }

    pub(crate) fn step(&mut self, step: Step) -> Result<(), StorageError> {
        match step {
            Step::Commit => self.commit(),
            Step::Beacon => self.log().writer.beacon(),
            Step::Checkpoint => self.checkpoint(),
            Step::Maintain => {
                self.log().keeper.maintain();
                Ok(())
            }
            Step::Reopen => {
                self.log = None;
                self.open()
            }
            Step::SealAndReopen => {
                self.seal()?;
                self.open()
            }
        }
    }

    pub(crate) fn commit(&mut self) -> Result<(), StorageError> {
        let mut dice = self.dice.clone();
        let (number, time_ms, body) = self.model().submit(&mut dice, self.sizes);
        self.dice = dice;
        let block = self.log().writer.commit(time_ms, body)?;
        let mut model = self.model();
        model.compare(&block);
        model.confirm(number, &block);
        Ok(())
    }

    pub(crate) fn checkpoint(&mut self) -> Result<(), StorageError> {
        let mut dice = self.dice.clone();
        let (covered, state, floors) = self.model().checkpoint_state(&mut dice);
        self.dice = dice;
        let done = self.log().keeper.checkpoint(covered, &state, &floors)?;
        assert_eq!(done.covered, covered);
        self.model().checkpoint = Some(covered);
        Ok(())
    }

    /// A checkpoint of the whole log after which every record is still needed.
    pub(crate) fn checkpoint_that_frees_nothing(&mut self) {
        let covered = self.model().log.last().unwrap().end;
        let state = covered.0.to_le_bytes().to_vec();
        let floors: Vec<(u32, u64)> = self.model().streams.keys().map(|id| (*id, 0)).collect();
        self.log().keeper.checkpoint(covered, &state, &floors).unwrap();
        let mut model = self.model();
        let blocks = model.log.len();
        model.states.insert(state, State { blocks, covered });
        model.checkpoint = Some(covered);
    }

    pub(crate) fn seal(&mut self) -> Result<(), StorageError> {
        let Opened { writer, .. } = self.log.take().expect("the log is open");
        writer.seal()
    }

    /// Reads everything that is live.
    pub(crate) fn read_all(&mut self) {
        let model = self.model().clone();
        check::read_all(&self.log().reader, &model);
    }

    /// The process dies, and so does the lock.
    pub(crate) fn die(&mut self) {
        self.log = None;
    }
}
