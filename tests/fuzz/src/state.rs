//! The state machine's own bytes: the state of a checkpoint, and commands as the log has them.

use crate::feed::Feed;
use posthaste_broker::shard::Shard;
use posthaste_broker::shard::command::Command;
use posthaste_broker::shard::effects::{AppliedBatch, AppliedRun, Effects, Identified};

/// Feeds `data`.
pub fn run(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mut shard = Shard::new();
    if feed.byte() & 1 == 1 {
        let len = usize::from(feed.byte()) * 256 + usize::from(feed.byte());
        if let Ok(restored) = Shard::restore(feed.take(len)) {
            shard = restored;
        }
    }
    for step in 0..64 {
        if feed.is_empty() {
            break;
        }
        apply(&mut shard, &mut feed, step, &mut Effects::default());
        assert_eq!(shard.check(), Ok(()), "after step {step}");
    }
    // What only lives as long as the process is left behind by the first restart, and nothing by the second.
    let written = restarted(&shard.checkpoint());
    assert_eq!(restarted(&written), written, "the same state has the same bytes");
}

fn apply(shard: &mut Shard, feed: &mut Feed<'_>, now_ms: u64, effects: &mut Effects) {
    match feed.byte() {
        kind @ 0..=31 => {
            let len = usize::from(feed.byte());
            let payload = feed.take(len);
            let Ok(command) = Command::decode(kind, payload) else { return };
            let mut again = Vec::new();
            command.encode(&mut again);
            assert_eq!(Command::decode(kind, &again).as_ref(), Ok(&command));
            shard.apply_command(now_ms, &command, effects);
        }
        _ => {
            let (stream, base_offset) = (1 + u32::from(feed.below(4)), feed.number());
            let (count, producer) = (1 + u32::from(feed.below(9)), u32::from(feed.below(4)));
            let sequence = feed.number();
            let delayed = [(u32::from(feed.below(9)), feed.number())];
            let (index, hash) = (u32::from(feed.below(9)), u128::from(feed.number()));
            let ids = [Identified { index, hash, print: u32::from(feed.byte()) }];
            let ids = &ids[..usize::from(feed.below(2))];
            let batches = [AppliedBatch { count, producer, sequence, delayed: &delayed, ids }];
            let run = AppliedRun { stream, base_offset, records: count, batches };
            drop(shard.apply_run(now_ms, run, effects));
        }
    }
}

fn restarted(checkpoint: &[u8]) -> Vec<u8> {
    Shard::restore(checkpoint).expect("what is written is read").checkpoint()
}
