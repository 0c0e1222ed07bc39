use super::*;
use crate::block::{HEADER_BYTES, PAGE, mix};

fn batch(len: usize, fill: u8) -> Bytes {
    Bytes::from(vec![fill; len])
}

fn bytes(body: &Body) -> Bytes {
    Bytes::copy_from_slice(body.buffer.as_ref())
}

fn entries(body: &Body) -> Vec<Entry> {
    let entries = Entries::new(bytes(body), 5, Lsn::ZERO);
    entries.map(|entry| entry.unwrap()).collect()
}

#[test]
fn entries_come_back_in_order_and_aligned() {
    // Sizes on both sides of the place where checksums are joined instead of made twice.
    for len in [1, 7, 8, 100, COMBINE_FROM - 1, COMBINE_FROM, 70_000] {
        let mut builder = BodyBuilder::new();
        builder.command(9, &[1, 2, 3]);
        builder.run(4, 1_000, 3, &[batch(len, 1), batch(len + 3, 2)]);
        builder.command(10, &[]);
        assert_eq!(
            builder.len(),
            BodyBuilder::command_bytes(3)
                + BodyBuilder::run_bytes(2 * len + 3)
                + BodyBuilder::command_bytes(0)
        );
        let body = builder.finish();
        assert_eq!((body.len() % 8, body.entries), (0, 3));
        assert_eq!(crc32fast::hash(&bytes(&body)), body.crc, "len {len}");
        let found = entries(&body);
        assert_eq!(found[0], Entry::Command { kind: 9, payload: Bytes::from_static(&[1, 2, 3]) });
        assert_eq!(found[2], Entry::Command { kind: 10, payload: Bytes::new() });
        let Entry::Run(run) = &found[1] else { panic!("{found:?}") };
        assert_eq!((run.stream, run.base_offset, run.records), (4, 1_000, 3));
        assert_eq!(run.batches[..len], batch(len, 1));
        assert_eq!(run.batches[len..], batch(len + 3, 2));
        assert_eq!((run.end_offset(), run.time_ms), (1_003, 5));
        assert_eq!(run_spans(&bytes(&body)).unwrap(), body.runs);
    }
}

#[test]
fn one_run_can_be_verified_without_the_rest_of_its_block() {
    let mut builder = BodyBuilder::new();
    builder.run(1, 0, 1, &[batch(50, 1)]);
    builder.run(2, 7, 2, &[batch(90, 2)]);
    let body = builder.finish();
    let span = body.runs[1];
    let bytes = bytes(&body).slice(span.at as usize..span.at as usize + RUN_HEADER_BYTES + 90);
    assert_eq!(verify_run(&bytes, 2, 7, 0).unwrap().batches, batch(90, 2));
    assert_eq!(verify_run(&bytes, 1, 7, 0), None);
    assert_eq!(verify_run(&bytes, 2, 8, 0), None);
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verify_run(&Bytes::from(flipped), 2, 7, 0), None, "bit {bit}");
    }
}

#[test]
fn good_runs_of_a_bad_body_are_salvaged() {
    let mut builder = BodyBuilder::new();
    for stream in 1..=3 {
        builder.run(stream, 0, 1, &[batch(64, 3)]);
    }
    let body = builder.finish();
    let mut bytes = bytes(&body).to_vec();
    bytes[body.runs[1].at as usize + 40] ^= 1;
    let salvaged = salvage_runs(&Bytes::from(bytes));
    assert_eq!(salvaged, [body.runs[0], body.runs[2]]);
}

#[test]
fn random_bytes_never_panic() {
    let mut builder = BodyBuilder::new();
    builder.run(1, 0, 1, &[batch(64, 3)]);
    builder.command(1, &[5; 20]);
    let good = bytes(&builder.finish());
    let mut state = 1;
    for _ in 0..20_000 {
        let mut bytes = good.to_vec();
        for _ in 0..4 {
            state = mix(state);
            let at = state as usize % bytes.len();
            bytes[at] = (state >> 32) as u8;
        }
        bytes.truncate(bytes.len() - (state >> 40) as usize % 9);
        let bytes = Bytes::from(bytes);
        let walked = Entries::new(bytes.clone(), 0, Lsn::ZERO).take(1_000).count();
        assert!(walked < 1_000);
        drop((run_spans(&bytes), salvage_runs(&bytes)));
    }
}

#[test]
fn unknown_entries_are_skipped_only_if_they_allow_it() {
    let mut bytes = vec![77, 0, 0, 0, 0, 0, 0, 0];
    let walk = |bytes: &[u8]| {
        Entries::new(Bytes::copy_from_slice(bytes), 0, Lsn::ZERO).collect::<Result<Vec<_>, _>>()
    };
    assert_eq!(walk(&bytes).unwrap(), []);
    bytes[1] = MUST_UNDERSTAND;
    assert!(matches!(walk(&bytes), Err(StorageError::Damaged(_))));
}

#[test]
fn small_bodies_do_not_hold_large_buffers() {
    let mut large = BodyBuilder::new();
    large.run(1, 0, 1, &[batch(1 << 20, 1)]);
    let (large, memory) = large.finish().buffer.freeze();
    assert!(memory >= 1 << 20);
    // Its buffer goes to the pool, and whoever gets it next gives it back for a small body.
    drop(large);
    let mut small = BodyBuilder::new();
    small.run(1, 0, 1, &[batch(100, 1)]);
    let (small, memory) = small.finish().buffer.freeze();
    assert_eq!((memory, small.len()), (136, 136));
}

#[test]
fn a_recycled_buffer_puts_the_header_of_a_block_at_a_page() {
    let mut at_a_page = 0;
    for round in 0..20 {
        let mut builder = BodyBuilder::new();
        builder.run(1, 0, 1, &[batch(900_000, round)]);
        let mut body = builder.finish();
        let before = bytes(&body);
        let header = [7; HEADER_BYTES];
        let padded = round_up((HEADER_BYTES + body.len()) as u64, PAGE) as usize;
        body.buffer.framed(&header, padded, |block| {
            assert_eq!((block.len(), &block[..HEADER_BYTES]), (padded, &header[..]));
            assert_eq!(block[HEADER_BYTES..][..before.len()], before);
            assert!(block[HEADER_BYTES + before.len()..].iter().all(|byte| *byte == 0));
            at_a_page += u32::from(block.as_ptr().align_offset(PAGE as usize) == 0);
        });
        let (after, _) = body.buffer.freeze();
        assert_eq!(after, before);
    }
    // Other tests take from the same pool.
    assert!(at_a_page > 5, "{at_a_page} of 20");
}

#[test]
fn body_says_whether_it_has_entries_and_how_many() {
    let mut builder = BodyBuilder::new();
    assert!(builder.is_empty());
    builder.command(1, &[]);
    assert!(!builder.is_empty());
    builder.run(1, 0, 1, &[batch(4, 1)]);
    let body = builder.finish();
    assert_eq!((body.entries(), body.is_empty()), (2, false));
    assert_eq!([0, 1, 8, 9].map(BodyBuilder::command_bytes), [8, 16, 16, 24]);
    assert_eq!([0, 1, 8, 9].map(BodyBuilder::run_bytes), [32, 40, 40, 48]);
    let body = BodyBuilder::new().finish();
    assert_eq!((body.entries(), body.is_empty(), body.len()), (0, true, 0));
}

#[test]
fn run_without_a_byte_is_a_run() {
    let mut builder = BodyBuilder::new();
    builder.run(3, 9, 1, &[]);
    let body = builder.finish();
    assert_eq!(verify_run(&bytes(&body), 3, 9, 7).unwrap().batches, Bytes::new());
    assert!(matches!(&entries(&body)[..], [Entry::Run(run)] if run.base_offset == 9));
    assert_eq!(verify_run(&bytes(&body).slice(..31), 3, 9, 7), None);
}
