//! Slices of batches, and pieces of streams: the records meant, all of them, and no others.

use crate::batches::{Message, batch_of, messages_of, random_messages, reseal, seed};
use crate::random::Random;
use bytes::Bytes;
use posthaste_protocol::batch::{
    RecordLimits, SliceCursor, check_records, pick_records, record_ids, slice_batch, verify_batch,
};
use posthaste_protocol::response::Piece;
use posthaste_protocol::{DecodeError, ErrorCode};

#[test]
fn a_slice_has_the_records_that_were_asked_for() {
    let mut random = Random::from_env(30);
    for _ in 0..200 {
        let messages = random_messages(&mut random);
        let batch = batch_of(&messages);
        for from in 0..messages.len() {
            for until in from + 1..=messages.len() {
                let count = (until - from) as u32;
                let slice = slice_batch(&batch, seed("q"), from as u32, count).unwrap();
                let header = verify_batch(&slice, seed("q")).unwrap();
                assert_eq!(check_records(&slice, &RecordLimits::default()), Ok(()));
                assert_eq!(messages_of(&slice).unwrap(), messages[from..until]);
                assert_eq!(header.is_sliced(), count as usize != messages.len());
                assert_eq!((header.producer, header.sequence, header.time_us), (7, 9, 11));
            }
        }
    }
}

#[test]
fn picked_records_are_those_of_all_ranges_in_order() {
    let mut random = Random::from_env(33);
    for _ in 0..300 {
        let messages = random_messages(&mut random);
        let batch = batch_of(&messages);
        let keep: Vec<bool> = messages.iter().map(|_| random.chance()).collect();
        let ranges: Vec<_> =
            (0..).zip(&keep).filter(|(_, keep)| **keep).map(|(at, _)| (at, 1)).collect();
        let Ok(picked) = pick_records(&batch, seed("q"), &ranges) else { panic!("good ranges") };
        let wanted: Vec<_> = messages.iter().zip(&keep).filter(|(_, keep)| **keep).collect();
        if wanted.is_empty() {
            continue;
        }
        let header = verify_batch(&picked, seed("q")).unwrap();
        assert_eq!(check_records(&picked, &RecordLimits::default()), Ok(()));
        assert_eq!((header.producer, header.sequence, header.is_sliced()), (7, 9, true));
        let got = messages_of(&picked).unwrap();
        assert_eq!(
            got.iter().collect::<Vec<_>>(),
            wanted.into_iter().map(|(m, _)| m).collect::<Vec<_>>()
        );
    }
    let batch = batch_of(&vec![Message::default(); 3]);
    assert!(pick_records(&batch, seed("q"), &[(1, 1), (0, 1)]).is_err(), "not in order");
    assert!(pick_records(&batch, seed("q"), &[(1, 9)]).is_err(), "not there");
}

#[test]
fn ids_are_found_with_their_key_and_body() {
    let mut random = Random::from_env(34);
    for _ in 0..200 {
        let messages = random_messages(&mut random);
        let batch = batch_of(&messages);
        let found: Vec<_> = record_ids(&batch).map(|r| (r.index, r.id, r.key, r.value)).collect();
        let wanted = (0..).zip(&messages).filter_map(|(index, message)| {
            let id = message.id.as_deref()?;
            Some((index, id, message.key.as_deref(), &message.value[..]))
        });
        assert_eq!(found, wanted.collect::<Vec<_>>());
    }
    assert_eq!(record_ids(b"no batch").count(), 0);
}

#[test]
fn a_cursor_gives_the_same_slices_in_any_order() {
    let mut random = Random::from_env(31);
    for _ in 0..300 {
        let messages = random_messages(&mut random);
        let batch = batch_of(&messages);
        let mut cursor = SliceCursor::new(batch.clone(), seed("q")).unwrap();
        assert_eq!(cursor.header().count as usize, messages.len());
        for _ in 0..10 {
            let from = random.below(messages.len() + 1) as u32;
            let count = random.below(messages.len() + 1) as u32;
            let wanted = slice_batch(&batch, seed("q"), from, count);
            assert_eq!(cursor.slice(from, count), wanted);
        }
    }
}

#[test]
fn slices_outside_of_a_batch_are_refused() {
    let batch = batch_of(&vec![Message::default(); 3]);
    for (from, count) in [(0, 0), (0, 4), (3, 1), (2, 2), (u32::MAX, 1), (1, u32::MAX)] {
        let error = slice_batch(&batch, seed("q"), from, count).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
    }
}

/// Batches of 1 to 4 messages, one behind the other, and the messages.
fn stream(random: &mut Random) -> (Vec<Bytes>, Vec<Message>) {
    let (mut batches, mut messages) = (Vec::new(), Vec::new());
    for _ in 0..1 + random.below(4) {
        let some = random_messages(random);
        batches.push(batch_of(&some));
        messages.extend(some);
    }
    (batches, messages)
}

fn piece(batches: Vec<u8>, from: usize, count: usize) -> Piece {
    Piece {
        base_offset: 1_000,
        from: from as u32,
        count: count as u32,
        attempt: 1,
        redelivered: false,
        time_ms: 0,
        batches: batches.into(),
    }
}

fn read(piece: &Piece) -> Result<Vec<(u64, Message)>, DecodeError> {
    let records = piece.records(seed("q"));
    records.map(|record| record.map(|(offset, view)| (offset, Message::of(&view)))).collect()
}

#[test]
fn a_piece_gives_the_records_that_it_means() {
    let mut random = Random::from_env(32);
    for _ in 0..300 {
        let (batches, messages) = stream(&mut random);
        let from = random.below(messages.len());
        let count = 1 + random.below(messages.len() - from);
        let wanted: Vec<(u64, Message)> = (1_000..).zip(messages).skip(from).take(count).collect();
        assert_eq!(read(&piece(batches.concat(), from, count)).unwrap(), wanted);
    }
}

#[test]
fn a_piece_that_lies_about_its_records_is_refused() {
    let mut random = Random::from_env(33);
    for _ in 0..100 {
        let (batches, messages) = stream(&mut random);
        let lying = piece(batches.concat(), random.below(messages.len()), messages.len() + 1);
        assert_eq!(read(&lying).unwrap_err().code(), ErrorCode::MalformedFrame);
        let lying = piece(batches.concat(), u32::MAX as usize, 1);
        assert!(read(&lying).is_err() || lying.records(seed("q")).next().is_none());
        let lying = Piece { base_offset: u64::MAX, ..piece(batches.concat(), 0, 1) };
        assert_eq!(read(&lying).unwrap().len(), 1);
    }
}

#[test]
fn damage_is_found_before_a_record_of_the_batch_is_given() {
    let mut random = Random::from_env(34);
    for _ in 0..200 {
        let (batches, messages) = stream(&mut random);
        let damaged = random.below(batches.len());
        let before: usize =
            batches[..damaged].iter().map(|batch| messages_of(batch).unwrap().len()).sum();
        let mut bytes: Vec<Vec<u8>> = batches.iter().map(|batch| batch.to_vec()).collect();
        let last = bytes[damaged].len() - 1;
        bytes[damaged][last] ^= 0x40;
        let piece = piece(bytes.concat(), 0, messages.len());
        let mut records = piece.records(seed("q"));
        let good = records.by_ref().take_while(Result::is_ok).count();
        assert_eq!(good, before);
        assert!(records.next().is_none(), "nothing follows an error");
    }
}

#[test]
fn batches_before_the_records_meant_are_not_read() {
    let other = batch_of(&[Message { value: vec![7; 5], ..Message::default() }]);
    let mut broken = batch_of(&vec![Message::default(); 2]).to_vec();
    let last = broken.len() - 1;
    broken[last] ^= 0xff;
    reseal(&mut broken);
    broken.extend_from_slice(&other);
    assert_eq!(read(&piece(broken, 2, 1)).unwrap().len(), 1);
}
