//! The places of errors, byte by byte, and the limits on their exact edge.

use crate::batches::{reseal, seed};
use bytes::{Bytes, BytesMut};
use posthaste_protocol::batch::{
    BatchBuilder, Record, RecordError, RecordLimits, Records, check_records, verify_batch,
};
use posthaste_protocol::frame::{Cut, cut_frame};
use posthaste_protocol::limits::{
    BATCH_BYTES_MAX, DELAY_MS_MAX, FRAME_BYTES_MIN, META_BYTES_MAX, NAME_BYTES_MAX, TIME_MS_MAX,
};
use posthaste_protocol::names::nearest;
use posthaste_protocol::request::{Held, Outcome, Settle};
use posthaste_protocol::response::{Confirmed, Deliver, Fate, Outcomes, Piece};
use posthaste_protocol::{ErrorCode, GroupName, Name, Request, Response};
use std::collections::BTreeMap;

const HEADER: usize = 40;
const KEY: u8 = 1;
const HEADERS: u8 = 2;
const NOT_BEFORE: u8 = 4;
const EXPIRES: u8 = 8;
const PRIORITY: u8 = 16;
const ID: u8 = 32;

/// A batch for "q" with these bytes in place of its records.
fn batch_with(records: &[u8], count: u32) -> Bytes {
    let mut builder = BatchBuilder::new();
    builder.push(&Record { value: b"x", ..Record::default() }).unwrap();
    let mut batch = builder.finish(seed("q"), 0, 0, 0)[..HEADER].to_vec();
    batch.extend_from_slice(records);
    batch[12..16].copy_from_slice(&count.to_le_bytes());
    reseal(&mut batch);
    Bytes::from(batch)
}

/// One record with these fields behind its flags; its first field is at byte 42, or 43 if it is a long one.
fn record(flags: u8, fields: &[u8]) -> Vec<u8> {
    let len = fields.len() + 1;
    let mut bytes = match u8::try_from(len) {
        Ok(short @ 0..=0x7f) => vec![short],
        _ => vec![(len & 0x7f) as u8 | 0x80, u8::try_from(len >> 7).unwrap()],
    };
    bytes.push(flags);
    bytes.extend_from_slice(fields);
    bytes
}

/// Fields of `len` bytes behind a length of two bytes.
fn long(len: usize) -> Vec<u8> {
    let mut bytes = vec![(len & 0x7f) as u8 | 0x80, u8::try_from(len >> 7).unwrap()];
    bytes.resize(2 + len, b'a');
    bytes
}

/// Goal: an error names the byte at which the peer has to look, and nothing follows it.
#[test]
fn errors_of_records_name_the_byte() {
    use ErrorCode::{InvalidArgument, MalformedFrame, MessageTooLarge, Unsupported};
    let late = u64::MAX.to_le_bytes();
    let key_and_late: Vec<u8> = [&[1, b'k'][..], &late].concat();
    let two_alike = [2, 1, b'a', 1, b'b', 1, b'a', 0];
    let cases: Vec<(Vec<u8>, ErrorCode, usize)> = vec![
        (vec![0, 0], MalformedFrame, 40),
        (vec![5, 0], MalformedFrame, 40),
        (vec![0x80, 0x00], MalformedFrame, 40),
        (vec![0xff, 0xff, 0xff, 0xff, 0x10], MalformedFrame, 40),
        (vec![0xff; 6], MalformedFrame, 40),
        (record(64, b"abc"), Unsupported, 42),
        (record(KEY, &[3, b'a', 0xff, b'c']), MalformedFrame, 44),
        (record(KEY, &[1, 0xff, b'v', b'w']), MalformedFrame, 43),
        (record(KEY, &[9, b'a']), MalformedFrame, 42),
        (record(KEY, &[0x81]), MalformedFrame, 42),
        (record(KEY, &[0x81, 0x00]), MalformedFrame, 42),
        (record(KEY, &long(1_025)), MessageTooLarge, 43),
        (record(HEADERS, &[0]), MalformedFrame, 42),
        (record(HEADERS, &[65, 1, b'a', 0]), MessageTooLarge, 42),
        (record(HEADERS, &[1, 0, 1, b'b']), MalformedFrame, 43),
        (record(HEADERS, &two_alike), MalformedFrame, 47),
        (record(HEADERS, &[1, 1, b'a', 2, b'b', 0xff]), MalformedFrame, 47),
        (record(NOT_BEFORE, &late[1..]), MalformedFrame, 42),
        (record(NOT_BEFORE, &late), InvalidArgument, 42),
        (record(EXPIRES | KEY, &key_and_late), InvalidArgument, 44),
        (record(EXPIRES | KEY, &key_and_late[..9]), MalformedFrame, 44),
        (record(PRIORITY, &[]), MalformedFrame, 42),
        (record(PRIORITY | KEY, &[1, b'k']), MalformedFrame, 44),
        (record(ID, &long(257)), MessageTooLarge, 43),
        (record(ID | PRIORITY, &[7, 2, b'i']), MalformedFrame, 43),
    ];
    for (bytes, code, offset) in cases {
        let sound = record(0, b"sound");
        // Behind a record that is right the place is as much later, and a third record is never read.
        for (before, behind, count) in [(&[][..], &[][..], 1), (&sound, &[], 2)] {
            let batch = batch_with(&[before, &bytes, behind].concat(), count);
            let wanted = (code, offset + before.len());
            let checked = check_records(&batch, &RecordLimits::default()).unwrap_err();
            assert_eq!((checked.code(), checked.offset()), wanted, "{bytes:?}: {checked:?}");
            let mut records = Records::new(batch.clone()).unwrap();
            let error = records.by_ref().find_map(Result::err).unwrap();
            assert_eq!((error.code(), error.offset()), wanted, "{bytes:?}: {error:?}");
            assert!(records.next().is_none(), "something follows the error of {bytes:?}");
            let passed_over = Records::new(batch).unwrap().nth(count as usize);
            assert!(!matches!(passed_over, Some(Ok(_))), "{bytes:?} was passed over");
        }
    }
}

#[test]
fn after_an_error_no_record_comes_although_there_are_more() {
    let bad = record(64, b"abc");
    let batch = batch_with(&[bad, record(0, b"sound")].concat(), 2);
    let mut records = Records::new(batch).unwrap();
    assert!(records.next().unwrap().is_err());
    assert!(records.next().is_none());
    let mut records = Records::new(batch_with(&[9, 0, 1, 2, 3, 4], 3)).unwrap();
    assert!(records.nth(1).unwrap().is_err());
    assert!(records.next().is_none());
}

#[test]
fn bytes_behind_the_last_record_are_named() {
    let batch = batch_with(&[record(0, b"one"), record(0, b"two")].concat(), 1);
    let wanted = (ErrorCode::MalformedFrame, 45);
    let error = check_records(&batch, &RecordLimits::default()).unwrap_err();
    assert_eq!((error.code(), error.offset()), wanted);
    let records = Records::new(batch).unwrap();
    let (least, most) = records.size_hint();
    let all: Vec<_> = records.collect();
    assert!(
        (least..=most.unwrap()).contains(&all.len()),
        "{} items, {least} to {most:?}",
        all.len()
    );
    let error = all.into_iter().find_map(Result::err).unwrap();
    assert_eq!((error.code(), error.offset()), wanted);
}

#[test]
fn confirms_of_nothing_or_of_more_than_there_can_be_are_refused() {
    let confirmed =
        |first, count| Confirmed { first, count, target: 1, base_offset: 0, duplicate: false };
    for (first, count, is_good) in [(1, 1, true), (1, 0, false), (u64::MAX, 1, false)] {
        let mut bytes = BytesMut::new();
        Response::Confirms(vec![confirmed(first, count)]).encode(0, 0, &mut bytes);
        let Ok(Cut::Frame(frame)) = cut_frame(&mut bytes, FRAME_BYTES_MIN) else { panic!("whole") };
        assert_eq!(Response::decode(&frame).is_ok(), is_good, "{first} {count}");
    }
}

#[test]
fn receipts_of_no_records_or_of_an_unknown_fate_are_refused() {
    let one = Outcomes { target: 1, count: 1, base_offset: 0, fate: Fate::Conflict };
    for (at, byte, is_good) in [(0, 4, true), (4, 0, false), (16, 2, true), (16, 3, false)] {
        let mut bytes = BytesMut::new();
        Response::Receipts(vec![one]).encode(0, 1, &mut bytes);
        let mut frame = bytes.to_vec();
        frame[28 + at] = byte;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&frame[..20]);
        hasher.update(&frame[24..]);
        frame[20..24].copy_from_slice(&hasher.finalize().to_le_bytes());
        let mut bytes = BytesMut::from(&frame[..]);
        let Ok(Cut::Frame(frame)) = cut_frame(&mut bytes, FRAME_BYTES_MIN) else { panic!("whole") };
        assert_eq!(Response::decode(&frame).is_ok(), is_good, "{at}: {byte}");
    }
}

#[test]
fn a_message_of_exactly_the_limit_is_accepted() {
    let batch = batch_with(&record(0, b"12345"), 1);
    let limits = |message_bytes_max| RecordLimits { message_bytes_max };
    assert_eq!(check_records(&batch, &limits(5)), Ok(()));
    let error = check_records(&batch, &limits(4)).unwrap_err();
    assert_eq!((error.code(), error.offset()), (ErrorCode::MessageTooLarge, 40));
}

/// A frame with a meta section of this size, under a right checksum.
fn frame_with_meta(meta_len: u32) -> BytesMut {
    let mut frame = BytesMut::zeroed(24 + meta_len as usize);
    let len = frame.len() as u32;
    frame[0..4].copy_from_slice(&len.to_le_bytes());
    frame[16..20].copy_from_slice(&meta_len.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..20]);
    hasher.update(&frame[24..]);
    let crc = hasher.finalize().to_le_bytes();
    frame[20..24].copy_from_slice(&crc);
    frame
}

#[test]
fn the_limit_of_a_meta_section_is_exact() {
    let frame_bytes_max = FRAME_BYTES_MIN * 2;
    let cut = cut_frame(&mut frame_with_meta(META_BYTES_MAX), frame_bytes_max);
    assert!(matches!(cut, Ok(Cut::Frame(_))), "{cut:?}");
    let error = cut_frame(&mut frame_with_meta(META_BYTES_MAX + 1), frame_bytes_max).unwrap_err();
    assert_eq!((error.code(), error.offset()), (ErrorCode::MalformedFrame, 16));
}

#[test]
fn names_are_found_by_their_text() {
    let orders = Name::try_from("orders").unwrap();
    let names = BTreeMap::from([(orders, 1)]);
    assert_eq!((names.get("orders"), names.get("")), (Some(&1), None));
    let billing = GroupName::try_from("billing").unwrap();
    let groups = BTreeMap::from([(billing, 2)]);
    assert_eq!((groups.get("billing"), groups.get("")), (Some(&2), None));
}

#[test]
fn the_longest_name_still_has_near_ones_and_a_longer_text_has_none() {
    let longest = "n".repeat(NAME_BYTES_MAX as usize);
    let near = format!("{}m", &longest[1..]);
    let names = || [near.as_str()].into_iter();
    assert_eq!(nearest(&longest, names()), [near.as_str()]);
    assert_eq!(nearest(&format!("{longest}n"), names()), Vec::<String>::new());
    assert_eq!(nearest(&longest[1..], names()), [near.as_str()]);
}

#[test]
fn a_name_that_is_one_change_too_far_is_not_near() {
    let near = |wanted, name| !nearest(wanted, [name].into_iter()).is_empty();
    assert!(near("xxabcd", "abcd") && !near("xxabcd", "abce"));
    assert!(near("abcd", "xxabcd") && !near("abcd", "xxabce"));
    assert!(near("abcdxx", "abcd") && !near("abcdxx", "abed"));
}

#[test]
fn a_piece_without_messages_or_too_short_for_a_batch_is_refused() {
    for (count, len, is_good) in [(1, 40, true), (0, 40, false), (1, 39, false), (0, 39, false)] {
        let batches = Bytes::from(vec![0; len]);
        let (base_offset, from, attempt, redelivered, time_ms) = (0, 0, 1, false, 0);
        let piece = Piece { base_offset, from, count, attempt, redelivered, time_ms, batches };
        let mut bytes = BytesMut::new();
        let deliver = Deliver { epoch: 1, lease_ms: 1, pieces: vec![piece] };
        Response::Deliver(deliver).encode(1, 0, &mut bytes);
        let Ok(Cut::Frame(frame)) = cut_frame(&mut bytes, FRAME_BYTES_MIN) else { panic!("whole") };
        assert_eq!(Response::decode(&frame).is_ok(), is_good, "{count} messages in {len} bytes");
    }
}

#[test]
fn a_retry_may_wait_for_a_year_and_not_a_millisecond_longer() {
    for (delay_ms, is_good) in [(DELAY_MS_MAX, true), (DELAY_MS_MAX + 1, false)] {
        let outcome = Outcome::Retry { delay_ms: Some(delay_ms), reason: String::new() };
        let held = Held { first: 0, count: 1, epoch: 1 };
        let mut bytes = BytesMut::new();
        let items = vec![Settle { held, outcome }];
        Request::Settle { confirm: false, items }.encode(1, 0, &mut bytes);
        let Ok(Cut::Frame(frame)) = cut_frame(&mut bytes, FRAME_BYTES_MIN) else { panic!("whole") };
        assert_eq!(Request::decode(&frame).is_ok(), is_good, "{delay_ms}");
    }
}

#[test]
fn a_batch_of_exactly_the_largest_size_can_be_made() {
    let message_bytes_max = BATCH_BYTES_MAX;
    let value = vec![0; BATCH_BYTES_MAX as usize / 2];
    let first = Record { value: &value, ..Record::default() };
    let mut builder = BatchBuilder::with_limits(RecordLimits { message_bytes_max });
    builder.push(&first).unwrap();
    // Behind what is there: the length, in as many bytes as the first has, the flags, the value.
    let around = builder.len_bytes() - HEADER - value.len();
    let room = BATCH_BYTES_MAX as usize - builder.len_bytes() - around;
    let value = vec![0; room + 1];
    let too_long = Record { value: &value, ..Record::default() };
    assert_eq!(builder.push(&too_long), Err(RecordError::BatchFull));
    let longest = Record { value: &value[1..], ..Record::default() };
    builder.push(&longest).unwrap();
    let batch = builder.finish(seed("q"), 0, 0, 0);
    assert_eq!(batch.len(), BATCH_BYTES_MAX as usize);
    assert!(verify_batch(&batch, seed("q")).is_ok());
}

#[test]
fn the_last_time_that_can_be_said_is_exact() {
    let push = |not_before_ms, expires_ms| {
        BatchBuilder::new().push(&Record { not_before_ms, expires_ms, ..Record::default() })
    };
    let (last, late) = (Some(TIME_MS_MAX), Some(TIME_MS_MAX + 1));
    assert_eq!(push(last, last), Ok(()));
    assert_eq!(push(late, None), Err(RecordError::TimeOutOfRange));
    assert_eq!(push(None, late), Err(RecordError::TimeOutOfRange));
}
