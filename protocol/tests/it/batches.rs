//! Batches: what goes in comes out, what is damaged is found, and nothing can be made to panic.

use crate::random::Random;
use bytes::Bytes;
use posthaste_protocol::batch::{
    BatchBuilder, BatchHeader, Record, RecordError, RecordLimits, RecordView, Records, Seed,
    check_records, delayed_records, destination_seed, slice_batch, verify_batch,
};
use posthaste_protocol::response::Piece;
use posthaste_protocol::{DecodeError, ErrorCode, Name};

pub(crate) fn seed(name: &str) -> Seed {
    destination_seed(&Name::try_from(name).unwrap())
}

/// Makes length and checksum right again after a change, for the destination named "q".
pub(crate) fn reseal(batch: &mut [u8]) {
    let len = batch.len() as u32;
    batch[0..4].copy_from_slice(&len.to_le_bytes());
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(b"q");
    hasher.update(&batch[8..]);
    batch[4..8].copy_from_slice(&hasher.finalize().to_le_bytes());
}

/// A message that owns what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) value: Vec<u8>,
    pub(crate) key: Option<String>,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) not_before_ms: Option<u64>,
    pub(crate) expires_ms: Option<u64>,
    pub(crate) priority: Option<u8>,
    pub(crate) id: Option<String>,
}

impl Message {
    pub(crate) fn random(random: &mut Random) -> Message {
        let lens = [0, 1, 5, 126, 127, 128, 300];
        let len = lens[random.below(lens.len())];
        let value = random.bytes(len);
        if random.chance() {
            return Message { value, ..Message::default() };
        }
        let headers = (0..random.below(4))
            .map(|index| (format!("{index}{}", random.text(5)), random.text(200)))
            .collect();
        Message {
            value,
            key: random.option(|r| r.text(50)),
            headers,
            not_before_ms: random.option(|r| r.within(0..253_402_300_800_000)),
            expires_ms: random.option(|r| r.within(0..253_402_300_800_000)),
            priority: random.option(|r| r.u64() as u8),
            id: random.option(|r| r.text(50)),
        }
    }

    pub(crate) fn push(&self, builder: &mut BatchBuilder) -> Result<(), RecordError> {
        let headers: Vec<(&str, &str)> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        builder.push(&Record {
            value: &self.value,
            key: self.key.as_deref(),
            headers: &headers,
            not_before_ms: self.not_before_ms,
            expires_ms: self.expires_ms,
            priority: self.priority,
            id: self.id.as_deref(),
        })
    }

    pub(crate) fn of(view: &RecordView) -> Message {
        Message {
            value: view.value.to_vec(),
            key: view.key().map(str::to_owned),
            headers: view.headers().map(|(name, value)| (name.into(), value.into())).collect(),
            not_before_ms: view.not_before_ms,
            expires_ms: view.expires_ms,
            priority: view.priority,
            id: view.id().map(str::to_owned),
        }
    }
}

pub(crate) fn batch_of(messages: &[Message]) -> Bytes {
    let mut builder = BatchBuilder::new();
    messages.iter().for_each(|message| message.push(&mut builder).unwrap());
    builder.finish(seed("q"), 7, 9, 11)
}

pub(crate) fn random_messages(random: &mut Random) -> Vec<Message> {
    (0..1 + random.below(8)).map(|_| Message::random(random)).collect()
}

pub(crate) fn messages_of(batch: &Bytes) -> Result<Vec<Message>, DecodeError> {
    Records::new(batch.clone())?.map(|view| view.map(|view| Message::of(&view))).collect()
}

fn check_all(batch: &[u8]) -> Result<(), DecodeError> {
    check_records(batch, &RecordLimits::default())
}

#[test]
fn records_come_out_as_they_went_in() {
    let mut random = Random::from_env(20);
    let mut builder = BatchBuilder::new();
    for _ in 0..2_000 {
        let messages = random_messages(&mut random);
        assert!(builder.is_empty() && builder.len_bytes() == 0);
        messages.iter().for_each(|message| message.push(&mut builder).unwrap());
        assert_eq!(builder.count() as usize, messages.len());
        let len = builder.len_bytes();
        let batch = builder.finish(seed("q"), 7, 9, 11);

        let header = verify_batch(&batch, seed("q")).unwrap();
        assert_eq!((header.len as usize, batch.len()), (len, len));
        assert_eq!(header.count as usize, messages.len());
        assert_eq!((header.producer, header.sequence, header.time_us), (7, 9, 11));
        assert_eq!(check_all(&batch), Ok(()));
        assert_eq!(messages_of(&batch).unwrap(), messages);

        let delayed: Vec<(u32, u64)> = delayed_records(&batch).collect();
        let wanted: Vec<(u32, u64)> = (0..)
            .zip(&messages)
            .filter_map(|(index, message)| Some((index, message.not_before_ms?)))
            .collect();
        assert_eq!(delayed, wanted);
        assert_eq!(header.is_delayed(), !wanted.is_empty());
    }
}

#[test]
fn values_are_slices_of_the_batch() {
    let messages = [
        Message { value: vec![1; 100], ..Message::default() },
        Message { value: vec![2; 100], key: Some("k".into()), ..Message::default() },
    ];
    let batch = batch_of(&messages);
    let range = batch.as_ptr_range();
    for view in Records::new(batch).unwrap() {
        assert!(range.contains(&view.unwrap().value.as_ptr()));
    }
}

#[test]
fn records_are_skipped_without_being_read() {
    let mut random = Random::from_env(21);
    for _ in 0..200 {
        let messages = random_messages(&mut random);
        let batch = batch_of(&messages);
        for skipped in 0..=messages.len() {
            let rest: Result<Vec<_>, _> =
                Records::new(batch.clone()).unwrap().skip(skipped).collect();
            let rest: Vec<Message> = rest.unwrap().iter().map(Message::of).collect();
            assert_eq!(rest, messages[skipped..]);
        }
    }
}

#[test]
fn an_empty_builder_makes_no_batch() {
    let mut builder = BatchBuilder::new();
    assert!(builder.finish(seed("q"), 0, 0, 0).is_empty());
    builder.push(&Record { value: b"x", ..Record::default() }).unwrap();
    assert!(verify_batch(&builder.finish(seed("q"), 0, 0, 0), seed("q")).is_ok());
}

#[test]
fn every_flipped_bit_of_a_batch_is_detected() {
    let mut random = Random::from_env(22);
    for _ in 0..20 {
        let batch = batch_of(&random_messages(&mut random));
        for bit in 0..batch.len() * 8 {
            let mut flipped = batch.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(verify_batch(&flipped, seed("q")).is_err(), "bit {bit} of {batch:02x?}");
        }
    }
}

#[test]
fn bursts_of_damage_are_detected() {
    let mut random = Random::from_env(23);
    let batch = batch_of(&random_messages(&mut random));
    for _ in 0..50_000 {
        let mut damaged = batch.to_vec();
        let first = random.below(batch.len() * 8);
        for bit in first..(first + 1 + random.below(32)).min(batch.len() * 8) {
            if bit == first || random.chance() {
                damaged[bit / 8] ^= 1 << (bit % 8);
            }
        }
        assert!(verify_batch(&damaged, seed("q")).is_err());
    }
}

#[test]
fn a_batch_for_another_destination_is_refused() {
    let batch = batch_of(&[Message { value: b"x".to_vec(), ..Message::default() }]);
    assert!(verify_batch(&batch, seed("q")).is_ok());
    for other in ["p", "Q", "qq", "q.", "orders"] {
        let error = verify_batch(&batch, seed(other)).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ChecksumMismatch);
        assert!(!error.closes_connection(), "the next batch may be right");
    }
}

#[test]
fn a_batch_cut_at_any_length_is_refused() {
    let mut random = Random::from_env(24);
    for _ in 0..50 {
        let batch = batch_of(&random_messages(&mut random));
        for len in 0..batch.len() {
            assert!(verify_batch(&batch[..len], seed("q")).is_err());
            // With length and checksum made right, the records still do not fit.
            let mut short = batch[..len].to_vec();
            if len >= 40 {
                reseal(&mut short);
            }
            assert!(check_all(&short).is_err());
            assert!(messages_of(&Bytes::from(short)).is_err());
        }
        let mut long = batch.to_vec();
        long.push(0);
        assert!(verify_batch(&long, seed("q")).is_err());
        reseal(&mut long);
        assert!(verify_batch(&long, seed("q")).is_ok());
        assert!(check_all(&long).is_err());
        assert!(messages_of(&Bytes::from(long)).is_err());
    }
}

#[test]
fn counts_that_cannot_be_are_refused() {
    let batch = batch_of(&[Message { value: vec![0; 2], ..Message::default() }]);
    for count in [0, 3, 65_536, 65_537, 1 << 31, u32::MAX] {
        let mut wrong = batch.to_vec();
        wrong[12..16].copy_from_slice(&u32::to_le_bytes(count));
        reseal(&mut wrong);
        let error = BatchHeader::peek(&wrong).unwrap_err();
        assert_eq!((error.code(), error.offset()), (ErrorCode::MalformedFrame, 12));
    }
    // Possible by its size, but not what is there.
    let mut wrong = batch.to_vec();
    wrong[12] = 2;
    reseal(&mut wrong);
    assert!(verify_batch(&wrong, seed("q")).is_ok());
    assert!(check_all(&wrong).is_err());
}

#[test]
fn reserved_bits_of_a_batch_are_zero() {
    let batch = batch_of(&[Message::default()]);
    let reserved = [8, 10, 11, 20, 21, 22, 23];
    for (place, bit) in
        reserved.into_iter().map(|place| (place, 2)).chain([(9, 0), (9, 1), (9, 2), (9, 5), (9, 7)])
    {
        let mut wrong = batch.to_vec();
        wrong[place] ^= 1 << bit;
        reseal(&mut wrong);
        assert_eq!(BatchHeader::peek(&wrong).unwrap_err().code(), ErrorCode::Unsupported);
    }
    for sequence in [0, 1] {
        let mut wrong = batch.to_vec();
        wrong[16..20].copy_from_slice(&(1 - sequence as u32).to_le_bytes());
        wrong[24..32].copy_from_slice(&u64::to_le_bytes(sequence));
        assert_eq!(BatchHeader::peek(&wrong).unwrap_err().offset(), 24);
    }
}

/// A batch with one record of these bytes.
fn with_record(record: &[u8]) -> Vec<u8> {
    let mut batch = batch_of(&[Message::default()])[..40].to_vec();
    batch.extend_from_slice(record);
    reseal(&mut batch);
    batch
}

#[test]
fn records_have_one_encoding() {
    let good: [&[u8]; 4] = [&[1, 0], &[2, 0, 9], &[3, 1, 1, b'k'], &[5, 2, 1, 1, b'n', 0]];
    for record in good {
        assert_eq!(check_all(&with_record(record)), Ok(()), "{record:?}");
    }
    let bad: [(&[u8], &str); 18] = [
        (&[0, 0], "no flags"),
        (&[0x81, 0, 0], "a length in two bytes that fits into one"),
        (&[0x80, 0x80, 0x80, 0x80, 0x80, 0], "a length of six bytes"),
        (&[0xff, 0xff, 0xff, 0xff, 0x1f, 0], "a length of 33 bits"),
        (&[0x82, 0x80, 0x80, 0x80, 0x10, 0, 9], "a length of 33 bits, whose lowest 32 fit"),
        (&[0xff, 0xff, 0xff, 0xff, 0x0f, 0], "a length of 4 GiB"),
        (&[3, 0, 1], "a length behind the end"),
        (&[1, 0, 0], "bytes behind the record"),
        (&[2, 64, 0], "an unknown flag"),
        (&[2, 128, 0], "an unknown flag"),
        (&[2, 1, 1], "a key behind the end"),
        (&[3, 1, 1, 0xff], "a key that is not UTF-8"),
        (&[4, 1, 0x81, 0, b'k'], "a key's length in two bytes"),
        (&[2, 2, 0], "no headers"),
        (&[5, 2, 1, 0, 1, b'v'], "a header without a name"),
        (&[8, 2, 2, 1, b'n', 0, 1, b'n', 0], "the same header twice"),
        (&[2, 4, 0], "half a time"),
        (&[2, 32, 9], "an id behind the end"),
    ];
    for (record, why) in bad {
        let batch = with_record(record);
        let error = check_all(&batch).expect_err(why);
        assert!(error.offset() >= 40 && error.offset() <= batch.len(), "{why}: {error}");
        assert!(messages_of(&Bytes::from(batch)).is_err(), "{why}");
    }
}

#[test]
fn the_mark_for_delayed_records_is_exact() {
    let plain = Message { value: vec![0; 9], ..Message::default() };
    let delayed = Message { not_before_ms: Some(1), ..plain.clone() };
    for message in [plain, delayed] {
        let mut wrong = batch_of(&[message]).to_vec();
        wrong[9] ^= 8;
        reseal(&mut wrong);
        assert_eq!(check_all(&wrong).unwrap_err().offset(), 9);
    }
}

#[test]
fn limits_of_records_are_exact_on_both_sides() {
    let limits = RecordLimits { message_bytes_max: 100 };
    let push = |message: &Message| {
        let mut narrow = BatchBuilder::with_limits(limits);
        let mut wide = BatchBuilder::new();
        message.push(&mut wide).unwrap();
        let batch = wide.finish(seed("q"), 0, 0, 0);
        (message.push(&mut narrow).is_ok(), check_records(&batch, &limits))
    };
    let plain = |len| Message { value: vec![0; len], ..Message::default() };
    let keyed = |len| Message { key: Some("k".repeat(9)), ..plain(len) };
    for (message, fits) in
        [(plain(100), true), (plain(101), false), (keyed(90), true), (keyed(91), false)]
    {
        let (built, checked) = push(&message);
        assert_eq!((built, checked.is_ok()), (fits, fits), "{message:?}");
        if let Err(error) = checked {
            assert_eq!(error.code(), ErrorCode::MessageTooLarge);
        }
    }
}

#[test]
fn records_beyond_the_limits_do_not_go_into_a_batch() {
    let mut builder = BatchBuilder::new();
    let message = Message::default();
    let refused = [
        Message { value: vec![0; (1 << 20) + 1], ..message.clone() },
        Message { key: Some("k".repeat(1_025)), ..message.clone() },
        Message { id: Some("i".repeat(257)), ..message.clone() },
        Message { headers: vec![("n".into(), "v".repeat(16 << 10))], ..message.clone() },
        Message { headers: vec![(String::new(), "v".into())], ..message.clone() },
        Message {
            headers: vec![("n".into(), "1".into()), ("n".into(), "2".into())],
            ..message.clone()
        },
        Message {
            headers: (0..65).map(|n| (n.to_string(), String::new())).collect(),
            ..message.clone()
        },
        Message { not_before_ms: Some(u64::MAX), ..message.clone() },
        Message { expires_ms: Some(253_402_300_800_000), ..message.clone() },
    ];
    for refused in refused {
        let error = refused.push(&mut builder).unwrap_err();
        assert!(!matches!(error, RecordError::BatchFull), "{error}");
        assert_eq!((builder.count(), builder.len_bytes()), (0, 0));
    }
    let accepted = [
        Message { value: vec![0; 1 << 20], ..message.clone() },
        Message { key: Some("k".repeat(1_024)), id: Some("i".repeat(256)), ..message.clone() },
        Message { headers: vec![("n".into(), "v".repeat((16 << 10) - 1))], ..message.clone() },
        Message { headers: (0..64).map(|n| (n.to_string(), String::new())).collect(), ..message },
    ];
    accepted.iter().for_each(|message| message.push(&mut builder).unwrap());
    assert_eq!(check_all(&builder.finish(seed("q"), 0, 0, 0)), Ok(()));
}

#[test]
fn what_a_builder_refuses_a_broker_refuses() {
    let headers = |count: u8| {
        let mut record = vec![2, count];
        for index in 0..count {
            record.extend_from_slice(&[1, b'0' + index, 0]);
        }
        record.insert(0, record.len() as u8);
        // Two bytes of length from 128 on.
        if record[0] & 0x80 != 0 {
            record.insert(1, 1);
        }
        with_record(&record)
    };
    assert_eq!(check_all(&headers(64)), Ok(()));
    assert_eq!(check_all(&headers(65)).unwrap_err().code(), ErrorCode::MessageTooLarge);

    let mut late = vec![9, 4];
    late.extend_from_slice(&253_402_300_800_000_u64.to_le_bytes());
    let mut late = with_record(&late);
    late[9] |= 8;
    reseal(&mut late);
    assert_eq!(check_all(&late).unwrap_err().code(), ErrorCode::InvalidArgument);

    let mut key = vec![0x84, 8, 1, 0x81, 8];
    key.extend_from_slice(&[b'k'; 1_025]);
    assert_eq!(check_all(&with_record(&key)).unwrap_err().code(), ErrorCode::MessageTooLarge);
}

#[test]
fn a_full_batch_says_so_and_stays_as_it_was() {
    let mut builder = BatchBuilder::new();
    for _ in 0..65_536 {
        builder.push(&Record::default()).unwrap();
    }
    assert_eq!(builder.push(&Record::default()), Err(RecordError::BatchFull));
    let batch = builder.finish(seed("q"), 0, 0, 0);
    assert_eq!(check_all(&batch), Ok(()));

    let large = vec![0; 1 << 20];
    let large = Record { value: &large, ..Record::default() };
    let pushed = (0..9).take_while(|_| builder.push(&large).is_ok()).count();
    assert_eq!(pushed, 3);
    assert_eq!(check_all(&builder.finish(seed("q"), 0, 0, 0)), Ok(()));
}

#[test]
fn any_bytes_are_read_or_refused() {
    let mut random = Random::from_env(25);
    let batches: Vec<Bytes> = (0..50).map(|_| batch_of(&random_messages(&mut random))).collect();
    let mut read = 0;
    for _ in 0..200_000 {
        let mut batch = batches[random.below(batches.len())].to_vec();
        for _ in 0..1 + random.below(3) {
            let place = random.below(batch.len() - 8) + 8;
            batch[place] = [random.u64() as u8, 0, 0xff, batch[place] ^ 1][random.below(4)];
        }
        if random.below(8) == 0 {
            batch.truncate(40 + random.below(batch.len() - 40));
        }
        reseal(&mut batch);
        let batch = Bytes::from(batch);
        let messages = messages_of(&batch);
        delayed_records(&batch).for_each(drop);
        drop(slice_batch(&batch, seed("q"), random.below(4) as u32, 1 + random.below(3) as u32));
        let count = 1 + random.number32() / 2;
        let piece = Piece {
            base_offset: random.number(),
            from: random.below(4) as u32,
            count,
            attempt: 1,
            redelivered: false,
            time_ms: 0,
            batches: batch.clone(),
        };
        assert!(piece.records(seed("q")).count() <= 65_537);
        if check_all(&batch).is_ok() {
            // What a broker accepts a consumer can read, and a producer could have made.
            let messages = messages.unwrap();
            let header = BatchHeader::peek(&batch).unwrap();
            if header.is_sliced() {
                continue;
            }
            let mut builder = BatchBuilder::new();
            messages.iter().for_each(|message| message.push(&mut builder).unwrap());
            let again = builder.finish(seed("q"), header.producer, header.sequence, header.time_us);
            assert_eq!(again, batch);
            read += 1;
        }
    }
    assert!(read > 1_000, "only {read} mutations were acceptable");
}
