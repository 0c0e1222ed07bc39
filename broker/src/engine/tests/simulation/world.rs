//! The world around the broker: takes turns with it, moves bytes and time, strikes, and asks in
//! the end that everything comes to rest.

use super::actor::{Client, Role, Stage};
use super::admin::Admin;
use super::broker::{Life, count_panics, runtime, take_panic};
use super::consumer::Consumer;
use super::faults::{Plan, failing, survivor};
use super::history::{Event, History};
use super::network::{Tap, Wire};
use super::observer::Observer;
use super::publisher::Publisher;
use super::scene::{PLACES, options};
use crate::engine::start::OpenError;
use crate::engine::tests::rig::EPOCH_MS;
use posthaste_storage::StorageError;
use posthaste_storage::disk::SimDisk;
use posthaste_storage::disk::sim::Dice;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

mod strikes;

/// Simulated time in which everything has to come to rest once the faults have ended.
const REST_MS: u64 = 60_000;
/// Deaths one after the other, before anything else may happen.
const NESTED_MAX: u32 = 3;

/// What a run is to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Everything goes wrong, restarts included; at the end as well.
    Safety,
    /// The last life goes on without a restart when the faults end.
    Liveness,
}

/// Why a life of the broker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Dead,
    /// Everything is at rest, or a rule is broken.
    Done,
}

/// See the module.
pub(super) struct World {
    pub(super) history: History,
    pub(super) operations: u64,
    pub(super) lives: u32,
    pub(super) simulated_ms: u64,
    dice: Dice,
    plan: Plan,
    mode: Mode,
    operations_max: u64,
    disk: SimDisk,
    wall_us: Arc<AtomicU64>,
    /// Added to the simulated time; jumps change it.
    wall_base_ms: u64,
    base_ms: u64,
    tap: Tap,
    observer: Observer,
    clients: Vec<Client>,
    ghosts: Vec<Wire>,
    wires: u32,
    healed_ms: Option<u64>,
    full_until_ms: u64,
    slow_until_ms: u64,
    nested: u32,
    is_full_at_start: bool,
    has_died_late: bool,
    is_stopping: Option<Instant>,
    ended_well: bool,
}

/// Publishers, consumers of every place, and an operator.
fn clients() -> Vec<Client> {
    let mut clients = vec![Client::new(Role::Admin(Admin::default()))];
    for index in 0..3 {
        clients.push(Client::new(Role::Publisher(Publisher::new(index, index < 2))));
    }
    for place in (0..PLACES.len()).chain([0, 1, 3]) {
        clients.push(Client::new(Role::Consumer(Consumer::new(place))));
    }
    clients
}

/// Runs one history to its end.
pub(super) fn run(seed: u64, operations_max: u64, mode: Mode) -> World {
    let mut dice = Dice::new(seed);
    let plan = Plan::of(&mut dice);
    let mut world = World {
        history: History::default(),
        operations: 0,
        lives: 0,
        simulated_ms: 0,
        disk: SimDisk::new(dice.roll()),
        dice,
        plan,
        mode,
        operations_max,
        wall_us: Arc::new(AtomicU64::new(EPOCH_MS * 1_000)),
        wall_base_ms: EPOCH_MS,
        base_ms: 0,
        tap: Tap::default(),
        observer: Observer::default(),
        clients: clients(),
        ghosts: Vec::new(),
        wires: 0,
        healed_ms: None,
        full_until_ms: 0,
        slow_until_ms: 0,
        nested: 0,
        is_full_at_start: false,
        has_died_late: false,
        is_stopping: None,
        ended_well: false,
    };
    loop {
        let runtime = runtime();
        let end = runtime.block_on(world.live());
        world.tap.close();
        drop(runtime);
        if end == End::Done {
            break;
        }
        world.bury();
    }
    if world.history.violations.is_empty() {
        world.history.conclude();
    }
    world
}

impl World {
    fn fault(&mut self, at_ms: u64, what: impl Into<String>) {
        self.history.note(Event::Fault { at_ms, what: what.into() });
    }

    /// One life of the broker.
    async fn live(&mut self) -> End {
        let born = Instant::now();
        self.tap.set_born(self.base_ms, born);
        let seed = self.dice.roll();
        self.lives += 1;
        self.is_full_at_start = self.full_until_ms > 0;
        count_panics();
        let started = Life::start(&self.disk, options(), &self.wall_us, &self.tap, seed);
        let life = match started {
            Ok(life) => life,
            Err(error) => return self.on_still_born(&error),
        };
        if !life.report.damaged.is_empty() {
            self.history.broken("lost", format!("a crash is not damage: {}", life.report));
        }
        if self.ended_well && !life.report.clean {
            self.history
                .broken("lost", format!("not clean after an orderly stop: {}", life.report));
        }
        self.ended_well = false;
        self.nested = 0;
        loop {
            let now_ms = self.base_ms + since(born);
            self.simulated_ms = now_ms;
            self.wall_us.store((self.wall_base_ms + now_ms) * 1_000, Ordering::Relaxed);
            if self.disk.is_off() {
                self.fault(now_ms, "the power goes");
                return End::Dead;
            }
            if let Some(what) = take_panic() {
                self.history.broken("panic", what);
                return End::Done;
            }
            if let Some(ended) = life.ended() {
                return self.on_ended(&ended, now_ms);
            }
            if !self.turn(&life, now_ms).await {
                return End::Dead;
            }
            if !self.history.violations.is_empty() || self.is_at_rest(now_ms) {
                return End::Done;
            }
        }
    }

    fn on_still_born(&mut self, error: &OpenError) -> End {
        self.fault(self.simulated_ms, format!("no start: {error}"));
        self.ended_well = false;
        if self.disk.is_off() {
            return End::Dead;
        }
        let is_io = matches!(error, OpenError::Storage(StorageError::Io { .. }));
        let is_io = is_io && self.disk.faults_struck() > 0;
        // Each start takes a segment that was kept ready, and so does a log that grew; on a full disk they come to an end.
        let is_no_space = matches!(error, OpenError::Storage(StorageError::NoSpace { .. }));
        let is_known = is_io || (is_no_space && self.is_full_at_start);
        if !is_known || self.healed_ms.is_some() {
            self.history.broken("lost", format!("the start is refused: {error}"));
            return End::Done;
        }
        // The operator mends the disk.
        self.full_until_ms = 0;
        self.disk.set_capacity(None);
        self.disk.heal();
        End::Dead
    }

    fn on_ended(&mut self, ended: &Result<(), String>, now_ms: u64) -> End {
        self.fault(now_ms, format!("the broker ends: {ended:?}"));
        self.ended_well = ended.is_ok();
        if ended.as_ref().is_err_and(|error| error.contains("no space")) {
            self.history.broken("unseen", "a full disk ended the broker".into());
        }
        // What had failed before the faults ended may show a little later, but only once.
        let has_failed = self.mode == Mode::Safety || self.disk.faults_struck() > 0;
        let is_late = has_failed && !std::mem::replace(&mut self.has_died_late, true);
        if ended.is_err() && self.healed_ms.is_some() && !is_late {
            self.history.broken("lost", "the broker ended although nothing is wrong".into());
            return End::Done;
        }
        End::Dead
    }

    /// The process is gone: clients notice, the disk is what is left of it.
    fn bury(&mut self) {
        let now_ms = self.simulated_ms;
        self.base_ms = now_ms + 1 + self.dice.below(50);
        self.is_stopping = None;
        // What the kernel had taken from the process may still arrive.
        let arrives = self.dice.one_in(2);
        self.observer.look(&self.tap, &mut self.history);
        for index in 0..self.clients.len() {
            if let Some(line) = &self.clients[index].line {
                if arrives {
                    line.wire.carry(0, usize::MAX);
                }
                self.with(index, now_ms, Client::tend);
            }
            if let Some(line) = &self.clients[index].line {
                line.wire.cut();
                let rest_ms = self.dice.below(30);
                self.with(index, now_ms, |client, stage| client.hang_up(rest_ms, stage));
            }
        }
        self.history.note(Event::Ended { at_ms: now_ms });
        self.observer = Observer::default();
        for ghost in self.ghosts.drain(..) {
            ghost.cut();
        }
        let full = self.full_until_ms;
        self.disk = survivor(&self.disk, &mut self.dice);
        if full > 0 {
            // It may still be full when the broker starts again.
            let is_full = self.healed_ms.is_none() && self.dice.one_in(2);
            self.full_until_ms = if is_full { full } else { 0 };
            self.disk.set_capacity(is_full.then_some(0));
        }
        // Some starts do not come to their end either.
        if self.healed_ms.is_none()
            && self.nested < NESTED_MAX
            && self.plan.power > 0
            && self.dice.one_in(3)
        {
            self.nested += 1;
            let changes = self.disk.changes() + 1 + self.dice.below(30);
            self.disk.crash_at(changes);
        }
        if self.healed_ms.is_none() && self.plan.failing > 0 && self.dice.one_in(8) {
            let (fault, what) = failing(&mut self.dice);
            self.disk.fail(fault);
            self.fault(now_ms, what);
        }
    }

    fn with<T>(
        &mut self,
        index: usize,
        now_ms: u64,
        act: impl FnOnce(&mut Client, &mut Stage<'_>) -> T,
    ) -> T {
        let is_answered = self.is_answered();
        let mut stage = Stage {
            history: &mut self.history,
            dice: &mut self.dice,
            now_ms,
            wall_ms: EPOCH_MS + now_ms,
            operations: &mut self.operations,
            ghosts: &mut self.ghosts,
            is_healing: self.healed_ms.is_some(),
            is_answered,
        };
        act(&mut self.clients[index], &mut stage)
    }

    /// One turn of the world, and one of the broker. `false`: the broker was killed.
    async fn turn(&mut self, life: &Life, now_ms: u64) -> bool {
        self.carry(now_ms);
        self.observer.look(&self.tap, &mut self.history);
        for index in 0..self.clients.len() {
            if self.clients[index].wants_line(now_ms) && self.is_stopping.is_none() {
                self.wires += 1;
                let wire = Wire::new(self.wires);
                life.connect(&wire);
                self.clients[index].connect(wire, now_ms);
            }
            self.with(index, now_ms, Client::tend);
        }
        if self.healed_ms.is_none() && self.has_set_up() && !self.strike(life, now_ms).await {
            return false;
        }
        if self.has_set_up() {
            for _ in 0..=self.dice.below(3) {
                let index = self.dice.index(self.clients.len());
                self.with(index, now_ms, Client::act);
            }
        } else {
            self.with(0, now_ms, Client::act);
        }
        if self.operations >= self.operations_max && self.healed_ms.is_none() {
            return self.heal(now_ms);
        }
        if self.operations >= self.operations_max / 2 && self.mode == Mode::Liveness {
            // What is armed would kill later.
            if self.plan.power + self.plan.kill + self.plan.failing > 0 {
                self.disk.heal();
                self.disk.crash_at(u64::MAX);
            }
            self.plan = self.plan.clone().without_deaths();
        }
        match self.dice.below(8) {
            0..3 => tokio::task::yield_now().await,
            3..6 => tokio::time::sleep(Duration::from_millis(self.dice.below(4))).await,
            _ => tokio::time::sleep(Duration::from_millis(self.dice.below(20))).await,
        }
        true
    }

    fn has_set_up(&self) -> bool {
        matches!(&self.clients[0].role, Role::Admin(admin) if admin.has_set_up())
            || self.operations > 20
    }

    /// Bytes go on their way, in pieces.
    fn carry(&mut self, now_ms: u64) {
        let is_slow = now_ms < self.slow_until_ms;
        for client in &self.clients {
            let Some(line) = &client.line else { continue };
            let mut some = || match self.dice.below(8) {
                _ if is_slow => self.dice.index(40),
                0 => 0,
                1 => self.dice.index(100),
                2 => self.dice.index(2_000),
                _ => usize::MAX,
            };
            let (there, back) = (some(), some());
            line.wire.carry(there, back);
        }
        if !self.ghosts.is_empty() {
            let index = self.dice.index(self.ghosts.len());
            let ghost = &self.ghosts[index];
            ghost.haunt();
            ghost.carry(self.dice.index(400), usize::MAX);
            if self.dice.one_in(8) {
                ghost.cut();
                self.ghosts.swap_remove(index);
            }
        }
    }

    /// The faults end. `false`: with a last death.
    fn heal(&mut self, now_ms: u64) -> bool {
        self.fault(now_ms, "the faults end");
        self.has_died_late = false;
        self.healed_ms = Some(now_ms);
        self.disk.heal();
        self.disk.set_capacity(None);
        self.disk.crash_at(u64::MAX);
        self.slow_until_ms = 0;
        self.wall_base_ms = EPOCH_MS;
        self.mode == Mode::Liveness || self.dice.one_in(2)
    }

    /// Whether every publish has its answer.
    fn is_answered(&self) -> bool {
        self.healed_ms.is_some()
            && self.clients.iter().all(|client| match &client.role {
                Role::Publisher(publisher) => publisher.is_done(),
                _ => true,
            })
    }

    /// Whether all is told; or it is broken that it takes so long.
    fn is_at_rest(&mut self, now_ms: u64) -> bool {
        let Some(healed_ms) = self.healed_ms else { return false };
        let is_done = matches!(&self.clients[0].role, Role::Admin(admin) if admin.is_done);
        if !is_done && now_ms > healed_ms + REST_MS {
            self.history.conclude();
            self.history
                .broken("unseen", format!("not at rest {REST_MS} ms after the faults ended"));
        }
        is_done
    }
}

fn since(born: Instant) -> u64 {
    u64::try_from(born.elapsed().as_millis()).unwrap_or(u64::MAX)
}
