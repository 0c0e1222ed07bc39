//! The bytes of checkpoints: golden, and damaged in every way.

use super::desk::*;
use super::random::Random;
use crate::shard::Shard;
use crate::shard::effects::*;
use posthaste_protocol::request::{Outcome, Settings};

/// A bit of everything.
fn rich() -> Desk {
    let mut desk = Desk::new();
    let (stream, group) =
        desk.queue("q", &Settings { max_attempts: Some(3), ..Settings::default() });
    let topic = desk.topic("t", &Settings { retain_ms: Some(5), ..Settings::default() });
    desk.group("t", "g", Place::Earliest);
    let opened = desk.shard.admit_open_producer([7; 16]);
    desk.apply(opened.command);
    let batch =
        AppliedBatch { count: 9, producer: 1, sequence: 4, delayed: &[(7, NOON + 99)], ids: &[] };
    desk.run(stream, 0, &[batch]).unwrap();
    desk.publish_delayed(topic, 3, &[(1, NOON + 99)]);
    let consumer = desk.consumer(group, 5);
    let retry = Outcome::Retry { delay_ms: None, reason: "busy".to_owned() };
    let dead = Outcome::DeadLetter { reason: "no".to_owned() };
    for outcome in [dead, Outcome::Release, retry, Outcome::Ack] {
        let delivery = desk.deliver(1).unwrap();
        desk.settle(delivery, outcome);
    }
    desk.detach(consumer);
    desk
}

#[test]
fn an_empty_shard_has_its_golden_bytes() {
    let hex: String = Shard::new().checkpoint().iter().map(|byte| format!("{byte:02x}")).collect();
    let golden = [
        "5048535441544532",
        "0100 0100 01 000000 06000000 0c7930b6 000000000000",
        "0200 0100 01 000000 01000000 fa11bd84 00",
        "0300 0100 01 000000 01000000 7fc82b59 00",
        "0400 0100 01 000000 01000000 27ce5824 00",
        "0500 0100 02 000000 02000000 b21b9b9e 0100",
        "ffff 0100 01 000000 00000000 004f9f74",
    ];
    assert_eq!(hex, golden.concat().replace(' ', ""));
    // As before there were other sections.
    let mut before = Shard::new().checkpoint();
    before.truncate(before.len() - 16);
    before[7] = b'1';
    assert_eq!(
        Shard::restore(&before).map(|shard| shard.checkpoint()),
        Ok(Shard::new().checkpoint())
    );
}

#[test]
fn equal_state_has_equal_bytes() {
    let bytes = rich().shard.checkpoint();
    assert_eq!(bytes, rich().shard.checkpoint());
    let started = rich().restart(true);
    let bytes = started.shard.checkpoint();
    assert_eq!(started.restart(true).shard.checkpoint(), bytes, "also after a clean stop");
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let bytes = rich().shard.checkpoint();
    for len in 0..bytes.len() {
        assert!(Shard::restore(&bytes[..len]).is_err(), "cut at {len}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Shard::restore(&damaged).is_err(), "bit {bit}");
    }
    assert!(Shard::restore(&[bytes.as_slice(), &[0]].concat()).is_err());
}

/// Goal: even bytes with right checksums cannot make the shard panic or contradict itself.
#[test]
fn a_forged_checkpoint_is_refused_or_consistent() {
    let mut random = Random::new();
    let bytes = rich().shard.checkpoint();
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut forged = bytes.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(forged.len() as u64) as usize;
            let value = random.below(256) as u8;
            forged[at] = [value, forged[at].wrapping_add(1), 0xff][random.below(3) as usize];
        }
        seal(&mut forged);
        if let Ok(shard) = Shard::restore(&forged) {
            accepted += 1;
            let mut desk = Desk::of(shard);
            desk.apply([crate::shard::command::Command::Started { clean: true }]);
            for (stream, group) in [(1, 1), (2, 2)] {
                let batch = AppliedBatch {
                    count: 2,
                    producer: 1,
                    sequence: 5,
                    delayed: &[(0, NOON + 5)],
                    ids: &[],
                };
                if let Some(found) = desk.shard.readable(stream, 0) {
                    let _outcome = desk.run(stream, found.end, &[batch]);
                }
                desk.shard.attach(ConsumerId(99 + u64::from(group)), GroupId(group), None);
                desk.shard.add_credit(ConsumerId(99 + u64::from(group)), 9, 9, 0);
            }
            while let Some(delivery) = desk.deliver(3) {
                desk.settle(delivery, Outcome::Ack);
            }
        }
    }
    assert!(accepted > 100, "only {accepted} of the forged checkpoints get past the decoder");
}

/// Makes the checksums of the sections right again.
fn seal(bytes: &mut [u8]) {
    let mut at = 8;
    while let Some(header) = bytes.get(at..at + 12) {
        let len = u32::from_le_bytes(header[8..12].try_into().unwrap()) as usize;
        let body = at + 16..(at + 16).saturating_add(len);
        let Some(body) = bytes.get(body) else { return };
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(header);
        hasher.update(body);
        let crc = hasher.finalize();
        bytes[at + 12..at + 16].copy_from_slice(&crc.to_le_bytes());
        at += 16 + len;
    }
}
