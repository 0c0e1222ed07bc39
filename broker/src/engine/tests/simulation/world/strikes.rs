//! What strikes the world, turn by turn.

use super::World;
use crate::engine::tests::simulation::broker::Life;
use crate::engine::tests::simulation::faults::{failing, strikes, unreadable};
use std::time::Duration;
use tokio::time::Instant;

/// Simulated time in which an orderly stop has to end.
const STOP: Duration = Duration::from_secs(30);
const YEAR_MS: u64 = 365 * 86_400_000;

impl World {
    /// `false`: the broker is dead now.
    pub(super) async fn strike(&mut self, life: &Life, now_ms: u64) -> bool {
        let plan = self.plan.clone();
        let dice = &mut self.dice;
        if strikes(dice, plan.power) {
            let changes = self.disk.changes() + 1 + dice.below(40);
            self.disk.crash_at(changes);
        }
        if strikes(dice, plan.kill) {
            self.fault(now_ms, "the process is killed");
            return false;
        }
        if strikes(dice, plan.failing) {
            let (fault, what) = failing(dice);
            self.disk.fail(fault);
            self.fault(now_ms, what);
        }
        self.strike_disk(life, now_ms);
        self.strike_wires(now_ms);
        self.strike_time(now_ms).await;
        if self.is_stopping.is_none() && strikes(&mut self.dice, plan.stop) {
            self.fault(now_ms, "an orderly stop");
            self.is_stopping = Some(Instant::now());
            life.pace.stall(Instant::now());
            life.stop();
        }
        if self.is_stopping.is_some_and(|since| since.elapsed() > STOP) {
            self.history.broken("unseen", "an orderly stop does not end".into());
        }
        true
    }

    fn strike_disk(&mut self, life: &Life, now_ms: u64) {
        let plan = self.plan.clone();
        if strikes(&mut self.dice, plan.unreadable) {
            let fault = unreadable(&mut self.dice);
            self.disk.fail(fault);
            self.fault(now_ms, "reads fail");
        }
        if self.full_until_ms > 0 && now_ms >= self.full_until_ms {
            self.full_until_ms = 0;
            self.disk.set_capacity(None);
            self.fault(now_ms, "there is space again");
        }
        if self.full_until_ms == 0 && strikes(&mut self.dice, plan.full) {
            self.full_until_ms = now_ms + 1 + self.dice.below(3_000);
            let bytes = self.dice.below(128 << 10);
            self.disk.set_capacity(Some(bytes));
            self.fault(now_ms, "the disk is full");
        }
        if strikes(&mut self.dice, plan.stall) && self.is_stopping.is_none() {
            let ms = if self.dice.one_in(4) { 20_000 } else { self.dice.below(2_000) };
            life.pace.stall(Instant::now() + Duration::from_millis(ms));
            self.fault(now_ms, format!("the disk stalls for {ms} ms"));
        }
    }

    fn strike_wires(&mut self, now_ms: u64) {
        let plan = self.plan.clone();
        let index = self.dice.index(self.clients.len());
        if strikes(&mut self.dice, plan.cut)
            && let Some(line) = &self.clients[index].line
        {
            // Some of what is under way arrives before; in order, the client may leave politely.
            let (there, back) = (self.dice.index(4_000), self.dice.index(4_000));
            line.wire.carry(there, back);
            if self.dice.one_in(3) {
                line.wire.close();
            } else {
                line.wire.cut();
            }
            let what = format!("wire {} is cut", line.number());
            let rest_ms = self.dice.below(200);
            self.with(index, now_ms, |client, stage| client.hang_up(rest_ms, stage));
            self.fault(now_ms, what);
        }
        let index = self.dice.index(self.clients.len());
        if strikes(&mut self.dice, plan.silence)
            && let Some(line) = &self.clients[index].line
        {
            line.wire.silence();
            let what = format!("wire {} is silent", line.number());
            self.fault(now_ms, what);
        }
        if strikes(&mut self.dice, plan.slow) {
            self.slow_until_ms = now_ms + self.dice.below(300);
        }
    }

    async fn strike_time(&mut self, now_ms: u64) {
        let plan = self.plan.clone();
        if strikes(&mut self.dice, plan.jump) {
            let most = if self.dice.one_in(2) { 10 * YEAR_MS } else { 100_000 };
            let size = 1 + self.dice.below(most);
            self.wall_base_ms = match self.dice.one_in(2) {
                true => self.wall_base_ms + size,
                false => self.wall_base_ms.saturating_sub(size),
            };
            self.fault(now_ms, format!("the wall clock jumps by up to {size} ms"));
        }
        if strikes(&mut self.dice, plan.pause) && self.is_stopping.is_none() {
            let most = if self.dice.one_in(2) { 3_000 } else { 60_000 };
            let ms = 1 + self.dice.below(most);
            self.fault(now_ms, format!("a pause of {ms} ms"));
            tokio::time::advance(Duration::from_millis(ms)).await;
        }
    }
}
