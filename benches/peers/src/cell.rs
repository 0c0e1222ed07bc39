//! The cells of the comparison: which workloads run with which bodies, and for how long.

use crate::peer::Mode;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Workload {
    /// Start to accepting, and memory when idle.
    Start,
    /// One producer.
    Publish,
    /// One producer that waits for each confirm before it goes on.
    Alone,
    /// One producer, one consumer, each message acked.
    EndToEnd,
    /// One producer, five groups that each get everything.
    FanOut,
    /// One producer, eight consumers of one queue.
    WorkQueue,
    /// 2,000 messages a second, by the clock.
    Latency,
    /// Half of what end-to-end has just reached, by the clock.
    LatencyHalf,
    /// A thousand queues, one after the other.
    Queues,
    /// Fill, kill, restart, stop, restart, drain.
    Backlog,
}

impl Workload {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Start => "Start, and memory when idle",
            Self::Publish => "Publish, one producer",
            Self::Alone => "One producer that waits for each confirm",
            Self::EndToEnd => "Publish and consume, each message acked",
            Self::FanOut => "Fan-out to 5 groups, messages delivered",
            Self::WorkQueue => "Work queue, 8 consumers",
            Self::Latency => "Latency at 2,000 messages a second, intended send to receive",
            Self::LatencyHalf => "Latency at half of the end-to-end rate just measured",
            Self::Queues => "1,000 queues, round-robin",
            Self::Backlog => "Backlog: restart to first delivery, and drain with acks",
        }
    }

    /// Consumers, groups, queues.
    pub(crate) fn shape(self) -> (usize, usize, usize) {
        match self {
            Self::Start | Self::Publish | Self::Alone => (0, 0, 1),
            Self::EndToEnd | Self::Latency | Self::LatencyHalf | Self::Backlog => (1, 0, 1),
            Self::FanOut => (5, 5, 1),
            Self::WorkQueue => (8, 0, 1),
            Self::Queues => (0, 0, 1_000),
        }
    }

    /// Whether nothing may wait for company.
    pub(crate) fn goes_at_once(self) -> bool {
        self == Self::Alone || self.is_open_loop()
    }

    pub(crate) fn is_open_loop(self) -> bool {
        matches!(self, Self::Latency | Self::LatencyHalf)
    }
}

/// One cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) workload: Workload,
    pub(crate) size: usize,
    pub(crate) mode: Mode,
}

const SIZES: [usize; 3] = [100, 1_024, 16_384];

/// The cells of one visit that runs on a fresh broker, in their order; the backlog has a visit of
/// its own. A thousand queues come last: a broker that is slow to delete them is simply thrown away.
pub(crate) fn plan(wanted: &[Workload], has_batches: bool, usual: Mode, many: Mode) -> Vec<Cell> {
    let mut cells = Vec::new();
    let is_wanted = |workload: Workload| wanted.is_empty() || wanted.contains(&workload);
    if is_wanted(Workload::Publish) {
        for size in SIZES {
            cells.push(Cell { workload: Workload::Publish, size, mode: Mode::Single });
            if has_batches {
                cells.push(Cell { workload: Workload::Publish, size, mode: Mode::Batched });
            }
        }
    }
    if is_wanted(Workload::Alone) {
        cells.push(Cell { workload: Workload::Alone, size: 100, mode: Mode::Single });
    }
    // Half of the peak needs a peak.
    if is_wanted(Workload::EndToEnd) || is_wanted(Workload::LatencyHalf) {
        for size in SIZES {
            cells.push(Cell { workload: Workload::EndToEnd, size, mode: usual });
        }
    }
    let others = [
        (Workload::FanOut, usual),
        (Workload::WorkQueue, usual),
        (Workload::Latency, Mode::Single),
        (Workload::LatencyHalf, usual),
        (Workload::Queues, many),
    ];
    for (workload, mode) in others {
        if is_wanted(workload) {
            cells.push(Cell { workload, size: 1_024, mode });
        }
    }
    cells
}

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    /// A backlog is filled for so long at most.
    pub(crate) fill: Duration,
}

/// What a visit spends beside its cells: start, declare, flush, stop.
const VISIT_SECONDS: f64 = 6.0;
/// What a cell spends beside its warm-up and its window.
const CELL_SECONDS: f64 = 0.25;
/// What a backlog visit spends: two restarts, and a drain about as long as the fill.
const BACKLOG_SECONDS: f64 = 8.0;

/// Times that fit a budget: `visits` of `cells` cells each, and `backlogs` backlog visits.
pub(crate) fn fit(budget: Duration, visits: usize, cells: usize, backlogs: usize) -> Times {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let (visits, cells, backlogs) = (visits as f64, cells.max(1) as f64, backlogs as f64);
    let fill = if backlogs > 0.0 {
        (budget.as_secs_f64() * 0.25 / backlogs - BACKLOG_SECONDS) / 2.0
    } else {
        0.0
    };
    let fill = fill.clamp(1.0, 10.0);
    let for_cells = budget.as_secs_f64()
        - backlogs * (BACKLOG_SECONDS + 2.0 * fill)
        - visits * (VISIT_SECONDS + cells * CELL_SECONDS);
    let cell = (for_cells / (visits.max(1.0) * cells)).clamp(0.6, 12.0);
    Times {
        warm_up: Duration::from_secs_f64(cell * 0.25),
        window: Duration::from_secs_f64(cell * 0.75),
        fill: Duration::from_secs_f64(fill),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_without_batches_has_no_batched_cells() {
        let all = plan(&[], false, Mode::Single, Mode::Single);
        assert!(all.iter().all(|cell| cell.mode == Mode::Single));
        assert_eq!(all.iter().filter(|cell| cell.workload == Workload::Publish).count(), 3);
        let batched = plan(&[Workload::Publish], true, Mode::Batched, Mode::Batched);
        assert_eq!(batched.len(), 6);
    }

    #[test]
    fn half_of_the_peak_brings_the_cell_that_finds_the_peak() {
        let cells = plan(&[Workload::LatencyHalf], true, Mode::Batched, Mode::Single);
        assert!(cells.iter().any(|c| c.workload == Workload::EndToEnd && c.size == 1_024));
        assert_eq!(cells.last().map(|cell| cell.workload), Some(Workload::LatencyHalf));
    }

    #[test]
    fn times_grow_with_the_budget_and_never_vanish() {
        let short = fit(Duration::from_secs(60), 45, 14, 9);
        let long = fit(Duration::from_secs(3_600), 45, 14, 9);
        assert!(short.window >= Duration::from_millis(400));
        assert!(long.window > short.window && long.fill >= short.fill);
        assert!(long.window > long.warm_up);
        assert!(fit(Duration::from_secs(1_500), 45, 14, 0).window > Duration::from_millis(800));
    }
}
