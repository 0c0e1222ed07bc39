//! Goal: whatever a log says, and in whatever order, applying it neither panics nor leaves the shard
//! in contradiction with itself; and the same log gives the same state.

use super::model::{Batch, Entry, Run};
use super::random::Random;
use super::world::apply;
use crate::shard::Shard;
use crate::shard::command::{Cause, Command, End, Settlement};
use crate::shard::effects::*;
use posthaste_protocol::request::{Kind, Settings};

fn number(random: &mut Random) -> u64 {
    match random.below(20) {
        0 => u64::MAX - random.below(3),
        1 => random.below(1 << 40),
        _ => random.below(30),
    }
}

fn ranges(random: &mut Random) -> Vec<Range> {
    let some = 0..random.below(4);
    let ranges = some.map(|_| {
        let first = number(random).min(u64::MAX - 1);
        Range { first, end: first.saturating_add(1 + random.below(8)) }
    });
    ranges.collect()
}

fn id(random: &mut Random, index: u32) -> Identified {
    let hash = u128::from(random.below(9)) << (8 * random.below(15));
    Identified { index, hash, print: random.below(3) as u32 }
}

fn command(random: &mut Random) -> Command {
    let id = 1 + random.below(4) as u32;
    let group = GroupId(1 + random.below(6) as u32);
    let offset = Some(number(random)).filter(|_| random.one_in(2));
    match random.below(15) {
        0 => Command::Started { clean: random.one_in(2) },
        1 => {
            let kind = if random.one_in(2) { Kind::Queue } else { Kind::Topic };
            let name = format!("s{}", random.below(4)).as_str().try_into().unwrap();
            let group = Some(group).filter(|_| random.one_in(2));
            let id_window_ms = Some(20 * random.below(3)).filter(|_| random.one_in(2));
            let settings = Settings { id_window_ms, ..Settings::default() };
            Command::Declare { stream: id, kind, name, settings, group }
        }
        2 => {
            let name = format!("g{}", random.below(4)).as_str().try_into().unwrap();
            let (start, settings) = (number(random), Settings::default());
            Command::DeclareGroup { group, stream: id, name, start, settings }
        }
        3 if random.one_in(4) => Command::Delete { stream: id },
        4 if random.one_in(4) => Command::DeleteGroup { group },
        5 => Command::OpenProducer { session: [random.below(4) as u8; 16], producer: id },
        6 => Command::Seek { group, to: number(random) },
        7 => Command::Purge { group, ranges: ranges(random) },
        8 => Command::Trim { stream: id, before: number(random) },
        9 => Command::DeadReplay { group, offset },
        10 => Command::DeadDrop { group, offset },
        11 => Command::IdKey { key: [random.below(3) as u8; 16] },
        _ => {
            let reason = "so".to_owned();
            let end = match random.below(3) {
                0 => End::Ack,
                1 => End::Retry { due_ms: number(random), reason },
                _ => End::Dead { reason },
            };
            let cause = if random.one_in(3) { Cause::DataLoss } else { Cause::Expired };
            Command::Settle(Settlement { group, end, cause, ranges: ranges(random) })
        }
    }
}

#[test]
fn no_log_makes_the_shard_panic_or_contradict_itself() {
    let mut random = Random::new();
    for _ in 0..150 {
        let mut shard = Shard::new();
        let mut log = Vec::new();
        for _ in 0..200 {
            let now_ms = random.below(60);
            let entry = if random.one_in(3) {
                let stream = 1 + random.below(4) as u32;
                let next = shard.floors().iter().find(|(id, _)| *id == stream).map(|_| ());
                let end = shard.streams.get(&stream).map_or(0, |stream| stream.next_offset);
                let base_offset = next.map_or(0, |()| end + random.below(3) * random.below(3));
                let batch = |random: &mut Random| Batch {
                    count: 1 + random.below(3) as u32,
                    producer: random.below(4) as u32,
                    sequence: number(random),
                    delayed: vec![(random.below(4) as u32, number(random))],
                    ids: (0..random.below(3) as u32).map(|index| id(random, index)).collect(),
                };
                let batches = vec![batch(&mut random), batch(&mut random)];
                Entry::Run(Run { stream, base_offset, batches })
            } else {
                Entry::Command(command(&mut random))
            };
            apply(&mut shard, now_ms, &entry);
            assert_eq!(shard.check(), Ok(()), "after {entry:?}");
            log.push((now_ms, entry));
        }
        let mut replayed = Shard::new();
        log.iter().for_each(|(now_ms, entry)| drop(apply(&mut replayed, *now_ms, entry)));
        let bytes = shard.checkpoint();
        assert_eq!(replayed.checkpoint(), bytes);
        let restored = Shard::restore(&bytes).expect("what is written is read");
        assert_eq!(restored.streams.len(), shard.streams.len());
    }
}
