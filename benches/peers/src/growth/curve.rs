//! The curves: what grows along each, at which points, and which loads are run there.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Curve {
    /// Publishing connections.
    Connections,
    /// Queues that are published to in turn.
    Queues,
    /// Groups on a topic.
    Groups,
    /// Bytes of a body.
    Size,
    /// Messages that are stored already.
    Backlog,
}

/// What is done at a point, on a fresh broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Load {
    /// So many connections that do nothing: memory.
    Idle,
    /// So many empty queues: memory, stop, restart.
    Declared,
    Publish,
    EndToEnd,
    FanOut,
    /// Publish and consume on another queue than the one with the backlog.
    OtherQueue,
    /// Publish and consume on the queue with the backlog.
    SameQueue,
}

impl Load {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle connections",
            Self::Declared => "empty queues",
            Self::Publish => "publish",
            Self::EndToEnd => "publish and consume",
            Self::FanOut => "delivered, all groups together",
            Self::OtherQueue => "another queue",
            Self::SameQueue => "the same queue",
        }
    }
}

/// One point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) curve: Curve,
    pub(crate) load: Load,
    pub(crate) x: u64,
}

pub(crate) const CURVES: [Curve; 5] =
    [Curve::Connections, Curve::Queues, Curve::Groups, Curve::Size, Curve::Backlog];

/// A message that is received carries its number and time, so that end to end begins here.
const STAMP_BYTES: u64 = 24;
/// A smoke run stores no more than that.
const QUICK_BACKLOG_MAX: u64 = 1_000_000;

impl Curve {
    /// Where it is measured; a smoke run takes a few.
    pub(crate) fn points(self, is_quick: bool) -> Vec<u64> {
        let all: &[u64] = match (self, is_quick) {
            (Self::Connections, false) => &[1, 3, 10, 30, 100, 300, 1_000],
            (Self::Connections, true) => &[1, 30, 1_000],
            (Self::Queues, false) => &[1, 10, 100, 1_000, 10_000, 100_000],
            (Self::Queues, true) => &[1, 100, 10_000],
            // A topic takes 900 groups; the last point shows what happens beyond.
            (Self::Groups, false) => &[1, 3, 10, 30, 100, 300, 900, 1_000],
            (Self::Groups, true) => &[1, 30, 1_000],
            (Self::Size, false) => &[10, 100, 1 << 10, 10 << 10, 100 << 10, 1 << 20],
            (Self::Size, true) => &[10, 1 << 10, 1 << 20],
            (Self::Backlog, _) => &[0, 100_000, 1_000_000, 10_000_000, 50_000_000],
        };
        let limit = if is_quick && self == Self::Backlog { QUICK_BACKLOG_MAX } else { u64::MAX };
        all.iter().copied().filter(|x| *x <= limit).collect()
    }

    /// What is done at each of its points. A backlog serves both of its loads, so that it is stored once.
    fn loads(self) -> &'static [Load] {
        match self {
            Self::Connections => &[Load::Idle, Load::Publish],
            Self::Queues => &[Load::Declared, Load::Publish],
            Self::Groups => &[Load::FanOut],
            Self::Size => &[Load::Publish, Load::EndToEnd],
            Self::Backlog => &[Load::OtherQueue],
        }
    }

    /// Bytes of a body.
    pub(crate) fn size(self, x: u64) -> usize {
        match self {
            Self::Connections | Self::Backlog => 100,
            Self::Queues | Self::Groups => 1_024,
            Self::Size => usize::try_from(x).unwrap_or(usize::MAX),
        }
    }
}

/// One round: every point of every wanted curve.
pub(crate) fn plan(wanted: &[Curve], is_quick: bool) -> Vec<Spot> {
    let is_wanted = |curve: &Curve| wanted.is_empty() || wanted.contains(curve);
    let mut spots = Vec::new();
    for curve in CURVES.into_iter().filter(is_wanted) {
        for load in curve.loads() {
            let points = curve.points(is_quick).into_iter().map(|x| match (curve, load) {
                (Curve::Size, Load::EndToEnd) => x.max(STAMP_BYTES),
                _ => x,
            });
            spots.extend(points.map(|x| Spot { curve, load: *load, x }));
        }
    }
    spots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_round_has_every_curve_from_end_to_end() {
        let plan = plan(&[], false);
        let ends = |curve| {
            let of = plan.iter().filter(|spot| spot.curve == curve).map(|spot| spot.x);
            (of.clone().min(), of.max())
        };
        assert_eq!(ends(Curve::Connections), (Some(1), Some(1_000)));
        assert_eq!(ends(Curve::Queues), (Some(1), Some(100_000)));
        assert_eq!(ends(Curve::Groups), (Some(1), Some(1_000)));
        assert_eq!(ends(Curve::Size), (Some(10), Some(1 << 20)));
        assert_eq!(ends(Curve::Backlog), (Some(0), Some(50_000_000)));
    }

    #[test]
    fn a_message_that_is_received_has_room_for_its_stamp() {
        let plan = plan(&[Curve::Size], false);
        let least = |load| plan.iter().filter(|spot| spot.load == load).map(|spot| spot.x).min();
        assert_eq!((least(Load::Publish), least(Load::EndToEnd)), (Some(10), Some(24)));
    }

    #[test]
    fn a_smoke_run_stores_little_and_only_what_is_wanted_is_run() {
        let plan = plan(&[Curve::Backlog], true);
        assert!(plan.iter().all(|spot| spot.curve == Curve::Backlog && spot.x <= 1_000_000));
        assert_eq!(plan.len(), 3);
    }
}
