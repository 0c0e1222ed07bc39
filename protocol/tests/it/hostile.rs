//! Frames that a damaged line or a hostile peer may send: refused or harmless, never a panic.

use crate::random::{REQUESTS, RESPONSES, Random};
use crate::wire::{Said, check_refused_or_exact, cut, frame, meta_len, reseal};
use bytes::{Buf, BytesMut};
use posthaste_protocol::frame::{Cut, cut_frame};
use posthaste_protocol::{ErrorCode, Request};

/// One frame of every kind.
fn one_of_each(random: &mut Random) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for turn in 0..REQUESTS {
        let request = random.request(turn);
        let channel = random.channel(&request);
        frames.push(Said::Request(request).encode(channel, random.number()));
    }
    for turn in 0..RESPONSES {
        frames.push(Said::Response(random.response(turn)).encode(1, random.number()));
    }
    frames
}

#[test]
fn every_flipped_bit_of_header_and_meta_is_detected() {
    let mut random = Random::from_env(6);
    for bytes in one_of_each(&mut random) {
        for bit in 0..(24 + meta_len(&bytes)) * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let cut = cut(&flipped);
            assert!(!matches!(cut, Ok(Cut::Frame(_))), "bit {bit} of {bytes:02x?}");
        }
    }
}

#[test]
fn fields_cut_at_every_length_are_refused() {
    let mut random = Random::from_env(7);
    for bytes in one_of_each(&mut random) {
        let whole = meta_len(&bytes);
        for cut_to in 0..whole {
            // The fields end early; the payload is as it was.
            let mut short = bytes[..24 + cut_to].to_vec();
            short.extend_from_slice(&bytes[24 + whole..]);
            reseal(&mut short, cut_to);
            let error = Said::decode(&frame(&short)).unwrap_err();
            assert!(error.offset() <= short.len(), "{error}");
        }
    }
}

#[test]
fn payloads_cut_at_every_length_are_refused() {
    let mut random = Random::from_env(8);
    // Deliveries, records and dead letters; a cut publish, request or answer is for its checksum to find.
    let is_table = |kind: u8| kind & 0x80 != 0 && kind < 0xb0;
    for bytes in one_of_each(&mut random).into_iter().filter(|bytes| is_table(bytes[4])) {
        let meta_len = meta_len(&bytes);
        for cut_to in 24 + meta_len..bytes.len() {
            let mut short = bytes[..cut_to].to_vec();
            reseal(&mut short, meta_len);
            assert!(Said::decode(&frame(&short)).is_err());
        }
        let mut long = bytes.clone();
        long.push(0);
        reseal(&mut long, meta_len);
        assert_eq!(Said::decode(&frame(&long)).unwrap_err().code(), ErrorCode::MalformedFrame);
    }
}

#[test]
fn flipped_fields_with_a_right_checksum_are_refused_or_exact() {
    let mut random = Random::from_env(9);
    for _ in 0..4 {
        for bytes in one_of_each(&mut random) {
            let meta_len = meta_len(&bytes);
            for bit in (4 * 8..16 * 8).chain(24 * 8..(24 + meta_len) * 8) {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                reseal(&mut flipped, meta_len);
                check_refused_or_exact(&flipped);
            }
        }
    }
}

#[test]
fn any_count_in_any_place_is_refused_or_exact() {
    let mut random = Random::from_env(10);
    let counts = [u32::MAX, u32::MAX - 1, 1 << 31, 1 << 16, 4_096, 4_097, 0];
    for bytes in one_of_each(&mut random) {
        let meta_len = meta_len(&bytes);
        for place in 24..(24 + meta_len).saturating_sub(3) {
            for count in counts {
                let mut huge = bytes.clone();
                huge[place..place + 4].copy_from_slice(&count.to_le_bytes());
                reseal(&mut huge, meta_len);
                check_refused_or_exact(&huge);
            }
        }
    }
}

#[test]
fn declared_counts_are_refused_before_memory_is_taken() {
    // kind, channel, fields before the count
    let lists: [(u8, u16, usize); 10] = [
        (14, 1, 1),    // settle
        (15, 1, 4),    // extend
        (22, 0, 16),   // atomic, settles
        (0x88, 0, 1),  // listed
        (0x8b, 0, 0),  // confirms
        (0x8d, 1, 12), // deliver
        (0x8e, 1, 0),  // settled
        (0x91, 0, 16), // records
        (0x94, 0, 8),  // dead letters
        (0x96, 0, 0),  // receipts
    ];
    for (kind, channel, before) in lists {
        let mut bytes = vec![0; 24 + before + 4];
        bytes[4] = kind;
        bytes[6..8].copy_from_slice(&channel.to_le_bytes());
        if kind == 15 {
            bytes[24..28].copy_from_slice(&1_000_u32.to_le_bytes());
        }
        let meta_len = before + 4;
        reseal(&mut bytes, meta_len);
        assert!(Said::decode(&frame(&bytes)).is_ok(), "an empty list of kind {kind:#x}");
        for count in [1, 1_000, u32::MAX] {
            bytes[24 + before..].copy_from_slice(&u32::to_le_bytes(count));
            reseal(&mut bytes, meta_len);
            let error = Said::decode(&frame(&bytes)).unwrap_err();
            assert_eq!(error.offset(), 24 + before, "{error}");
        }
    }
}

#[test]
fn names_that_are_none_are_refused_and_the_connection_goes_on() {
    let bad: [&[u8]; 6] = [b"", b".x", b"a/b", b"a b", &[0xff, 0xfe], &[b'x'; 201]];
    for name in bad {
        let mut bytes = vec![0; 24];
        bytes[4] = 7;
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name);
        let meta_len = bytes.len() - 24;
        reseal(&mut bytes, meta_len);
        let error = Request::decode(&frame(&bytes)).unwrap_err();
        assert_eq!((error.code(), error.offset()), (ErrorCode::InvalidName, 24));
        assert!(!error.closes_connection());
        assert!(error.to_reply().message.is_ascii());
    }
}

#[test]
fn values_out_of_their_range_are_refused_and_the_connection_goes_on() {
    use posthaste_protocol::request::{DeadAction, Held, Hello, Outcome, Settings, Settle, Start};
    use posthaste_protocol::schedule::ScheduleCall;
    use posthaste_protocol::service::ServiceCall;
    use posthaste_protocol::{GroupName, Name};
    let name = Name::try_from("n").unwrap();
    let declare = |settings| Request::Declare {
        kind: posthaste_protocol::request::Kind::Queue,
        name: name.clone(),
        settings,
    };
    let settings = Settings::default();
    let held = Held { first: 0, count: 1, epoch: 0 };
    let settle =
        |held, outcome| Request::Settle { confirm: true, items: vec![Settle { held, outcome }] };
    let read = |messages_max| Request::Read {
        name: name.clone(),
        from: Start::Earliest,
        messages_max,
        bytes_max: 0,
    };
    let late = Outcome::Retry { delay_ms: Some(u64::MAX), reason: String::new() };
    let group = Some(GroupName::try_from("g").unwrap());
    let action = DeadAction::List { from: 0, limit: 1_001 };
    let service = name.clone();
    let serve = |in_flight_max| {
        Request::Service(ServiceCall::Serve { name: service.clone(), in_flight_max })
    };
    let ask = |timeout_ms| {
        let batch = bytes::Bytes::from_static(b"batch");
        Request::Service(ServiceCall::Ask { name: service.clone(), timeout_ms, batch })
    };
    let list_schedules = |limit| Request::Schedule(ScheduleCall::List { after: None, limit });
    let wrong = [
        list_schedules(0),
        list_schedules(1_001),
        declare(Settings { max_attempts: Some(0), ..settings.clone() }),
        declare(Settings { max_attempts: Some(1_000_001), ..settings.clone() }),
        declare(Settings { lease_ms: Some(99), ..settings.clone() }),
        declare(Settings { lease_ms: Some(u32::MAX), ..settings.clone() }),
        declare(Settings { retry_min_ms: Some(2), retry_max_ms: Some(1), ..settings.clone() }),
        declare(Settings { retry_max_ms: Some(u32::MAX), ..settings.clone() }),
        declare(Settings { retry_factor_percent: Some(99), ..settings.clone() }),
        declare(Settings { retry_factor_percent: Some(1_001), ..settings.clone() }),
        declare(Settings { retry_jitter_percent: Some(101), ..settings.clone() }),
        declare(Settings { max_hold_ms: Some(99), ..settings.clone() }),
        declare(Settings { max_hold_ms: Some(604_800_001), ..settings }),
        settle(Held { count: 0, ..held }, Outcome::Ack),
        settle(Held { first: u64::MAX, ..held }, Outcome::Ack),
        settle(held, late),
        Request::Settle {
            confirm: false,
            items: vec![Settle { held, outcome: Outcome::Ack }; 4_097],
        },
        Request::Extend { lease_ms: 0, items: vec![held] },
        Request::List { after: None, limit: 0 },
        Request::List { after: None, limit: 1_001 },
        read(0),
        read(10_001),
        Request::Dead { name, group, action },
        Request::Hello(Hello {
            features: 0,
            client: String::new(),
            frame_bytes_max: 1_000,
            idle_ms: 0,
        }),
        serve(0),
        serve(1_025),
        ask(0),
        ask(3_600_001),
    ];
    for request in wrong {
        let channel = u16::from(request.is_for_a_consumer());
        let bytes = Said::Request(request.clone()).encode(channel, 1);
        let error = Request::decode(&frame(&bytes)).expect_err(&format!("{request:?}"));
        assert_eq!(error.code(), ErrorCode::InvalidArgument, "{request:?}");
        assert!(!error.closes_connection());
    }
}

#[test]
fn mutated_frames_do_no_harm() {
    // A million takes long in a debug build on a busy machine.
    let mutations = if cfg!(debug_assertions) { 100_000 } else { 1_000_000 };
    let mut random = Random::from_env(11);
    let mut frames = Vec::new();
    for _ in 0..10 {
        frames.extend(one_of_each(&mut random));
    }
    let mut mutated = Vec::new();
    for _ in 0..mutations {
        let original = &frames[random.below(frames.len())];
        mutated.clear();
        mutated.extend_from_slice(original);
        let choice = random.u64();
        for change in 0..1 + choice % 3 {
            let place = (choice >> (8 + change * 16)) as usize % mutated.len();
            mutated[place] = match choice >> 60 & 3 {
                0 => (choice >> 40) as u8,
                1 => mutated[place] ^ 1 << (choice >> 56 & 7),
                2 => 0xff,
                _ => 0,
            };
        }
        if choice >> 63 == 0 {
            let meta_len = meta_len(original);
            reseal(&mut mutated, meta_len);
        }
        check_refused_or_exact(&mutated);
    }
}

#[test]
fn random_bytes_are_consumed_or_refused() {
    let mut random = Random::from_env(12);
    for _ in 0..100_000 {
        let mut buf = BytesMut::from(&random.bytes_up_to(64)[..]);
        while let Ok(Cut::Frame(frame)) = cut_frame(&mut buf, 4 << 10) {
            // A checksum that fits by chance is possible, a panic is not.
            drop(Said::decode(&frame));
        }
        buf.advance(buf.len());
    }
}
