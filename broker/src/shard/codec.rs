//! The bytes of logged commands. Encode and decode stand side by side; golden bytes below.
//!
//! Decoding trusts nothing: no panic, no allocation beyond the bytes that are there.

use super::command::{Cause, Command, CommandError, End, Settlement};
use super::effects::{GroupId, Range};
use super::wire::{Input, Malformed, Output};

impl Command {
    /// Appends the payload (without the kind) to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Command::Started { clean } => out.put_bool(*clean),
            Command::Declare { stream, kind, name, settings, group } => {
                out.put_varint(u64::from(*stream));
                out.put_kind(*kind);
                out.put_text(name.as_str());
                out.put_settings(settings);
                out.put_option(group.map(|group| u64::from(group.0)));
            }
            Command::DeclareGroup { group, stream, name, start, settings } => {
                out.put_varint(u64::from(group.0));
                out.put_varint(u64::from(*stream));
                out.put_text(name.as_str());
                out.put_varint(*start);
                out.put_settings(settings);
            }
            Command::Delete { stream } => out.put_varint(u64::from(*stream)),
            Command::DeleteGroup { group } => out.put_varint(u64::from(group.0)),
            Command::OpenProducer { session, producer } => {
                out.put(session);
                out.put_varint(u64::from(*producer));
            }
            Command::Settle(settlement) => encode_settlement(settlement, out),
            Command::Seek { group, to } => {
                out.put_varint(u64::from(group.0));
                out.put_varint(*to);
            }
            Command::Purge { group, ranges } => {
                out.put_varint(u64::from(group.0));
                put_ranges(ranges, out);
            }
            Command::Trim { stream, before } => {
                out.put_varint(u64::from(*stream));
                out.put_varint(*before);
            }
            Command::DeadReplay { group, offset } | Command::DeadDrop { group, offset } => {
                out.put_varint(u64::from(group.0));
                out.put_option(*offset);
            }
            Command::IdKey { key } => out.put(key),
            Command::Atomic { producer, sequence } => {
                out.put_varint(u64::from(*producer));
                out.put_varint(*sequence);
            }
            Command::SetSchedule { id, schedule } => {
                out.put_varint(u64::from(*id));
                out.put_schedule(schedule);
            }
            Command::CancelSchedule { name } => out.put_text(name.as_str()),
            Command::SchedulePublished { id, at_ms, next_ms } => {
                out.put_varint(u64::from(*id));
                out.put_varint(*at_ms);
                out.put_varint(*next_ms);
            }
        }
    }

    /// Reads a payload of the given kind.
    ///
    /// # Errors
    /// An unknown kind, or bytes that no version wrote.
    pub fn decode(kind: u8, payload: &[u8]) -> Result<Command, CommandError> {
        let malformed = |Malformed { at, what }| CommandError::Malformed { kind, at, what };
        let mut input = Input::new(payload);
        let command = decode(kind, &mut input).map_err(malformed)?;
        let command = command.ok_or(CommandError::UnknownKind { kind })?;
        input.end().map_err(malformed)?;
        Ok(command)
    }
}

fn decode(kind: u8, input: &mut Input<'_>) -> Result<Option<Command>, Malformed> {
    Ok(Some(match kind {
        1 => Command::Started { clean: input.bool()? },
        2 => Command::Declare {
            stream: input.varint32()?,
            kind: input.kind()?,
            name: input.name()?,
            settings: input.settings()?,
            group: input.option(group)?,
        },
        3 => Command::DeclareGroup {
            group: group(input)?,
            stream: input.varint32()?,
            name: input.group_name()?,
            start: input.varint()?,
            settings: input.settings()?,
        },
        4 => Command::Delete { stream: input.varint32()? },
        5 => Command::DeleteGroup { group: group(input)? },
        6 => Command::OpenProducer { session: input.array()?, producer: input.varint32()? },
        7 => Command::Settle(decode_settlement(input)?),
        8 => Command::Seek { group: group(input)?, to: input.varint()? },
        9 => Command::Purge { group: group(input)?, ranges: input.ranges()? },
        10 => Command::Trim { stream: input.varint32()?, before: input.varint()? },
        11 => Command::DeadReplay { group: group(input)?, offset: input.option(Input::varint)? },
        12 => Command::DeadDrop { group: group(input)?, offset: input.option(Input::varint)? },
        13 => Command::IdKey { key: input.array()? },
        14 => Command::Atomic { producer: input.varint32()?, sequence: input.varint()? },
        40 => Command::SetSchedule { id: input.varint32()?, schedule: Box::new(input.schedule()?) },
        41 => Command::CancelSchedule { name: input.name()? },
        42 => Command::SchedulePublished {
            id: input.varint32()?,
            at_ms: input.varint()?,
            next_ms: input.varint()?,
        },
        _ => return Ok(None),
    }))
}

fn group(input: &mut Input<'_>) -> Result<GroupId, Malformed> {
    input.varint32().map(GroupId)
}

fn encode_settlement(settlement: &Settlement, out: &mut Vec<u8>) {
    let Settlement { group, end, cause, ranges } = settlement;
    out.put_varint(u64::from(group.0));
    out.put(&[*cause as u8]);
    match end {
        End::Ack => out.put(&[1]),
        End::Retry { due_ms, reason } => {
            out.put(&[2]);
            out.put_varint(*due_ms);
            out.put_reason(reason);
        }
        End::Dead { reason } => {
            out.put(&[3]);
            out.put_reason(reason);
        }
    }
    put_ranges(ranges, out);
}

fn decode_settlement(input: &mut Input<'_>) -> Result<Settlement, Malformed> {
    let group = group(input)?;
    let cause = match input.u8()? {
        1 => Cause::Consumer,
        2 => Cause::Expired,
        3 => Cause::Disconnected,
        4 => Cause::MaxAttempts,
        5 => Cause::DataLoss,
        6 => Cause::HeldTooLong,
        _ => return Err(input.error("unknown cause")),
    };
    let end = match input.u8()? {
        1 => End::Ack,
        2 => End::Retry { due_ms: input.varint()?, reason: input.reason()?.to_owned() },
        3 => End::Dead { reason: input.reason()?.to_owned() },
        _ => return Err(input.error("unknown outcome")),
    };
    Ok(Settlement { group, end, cause, ranges: input.ranges()? })
}

/// What is written can be read again: empty ranges are left out.
fn put_ranges(ranges: &[Range], out: &mut Vec<u8>) {
    out.put_ranges(ranges.iter().copied().filter(|range| range.first < range.end));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::schedules::Schedule;
    use posthaste_protocol::request::{Kind, Settings};

    fn range(first: u64, end: u64) -> Range {
        Range { first, end }
    }

    /// One of each kind and its payload in hexadecimal, as `docs/storage-format.md` quotes them.
    fn golden() -> Vec<(Command, &'static str)> {
        [golden_of_queues(), golden_schedules()].concat()
    }

    fn golden_of_queues() -> Vec<(Command, &'static str)> {
        let settings =
            Settings { max_attempts: Some(8), retain_ms: Some(86_400_000), ..Settings::default() };
        let settle = |end, cause, ranges| {
            Command::Settle(Settlement { group: GroupId(3), end, cause, ranges })
        };
        vec![
            (Command::Started { clean: true }, "01"),
            (
                Command::Declare {
                    stream: 300,
                    kind: Kind::Topic,
                    name: "orders".try_into().unwrap(),
                    settings,
                    group: None,
                },
                "ac02 02 06 6f7264657273 0108 00 00 00 0180b89929 00 00 00",
            ),
            (
                Command::Declare {
                    stream: 1,
                    kind: Kind::Queue,
                    name: "q".try_into().unwrap(),
                    settings: Settings { max_messages: Some(5), ..Settings::default() },
                    group: Some(GroupId(2)),
                },
                "01 01 01 71 00 00 00 00 00 00 0105 0102",
            ),
            (
                Command::Declare {
                    stream: 1,
                    kind: Kind::Queue,
                    name: "q".try_into().unwrap(),
                    settings: Settings {
                        max_attempts: Some(8),
                        retry_factor_percent: Some(150),
                        retry_jitter_percent: Some(20),
                        ..Settings::default()
                    },
                    group: Some(GroupId(2)),
                },
                "01 01 01 71 02 8103 08 9601 14 0102",
            ),
            (
                Command::DeclareGroup {
                    group: GroupId(3),
                    stream: 300,
                    name: "billing".try_into().unwrap(),
                    start: 1_000,
                    settings: Settings { lease_ms: Some(100), ..Settings::default() },
                },
                "03 ac02 07 62696c6c696e67 e807 00 0164 00 00 00 00 00",
            ),
            (Command::Delete { stream: 300 }, "ac02"),
            (Command::DeleteGroup { group: GroupId(3) }, "03"),
            (
                Command::OpenProducer { session: *b"0123456789abcdef", producer: 7 },
                "30313233343536373839616263646566 07",
            ),
            (
                settle(End::Ack, Cause::Consumer, vec![range(10, 15), range(16, 17)]),
                "03 01 01 02 1405 0201",
            ),
            (
                settle(
                    End::Retry { due_ms: 1_700_000_000_000, reason: "busy".into() },
                    Cause::Consumer,
                    vec![range(4, 5), range(2, 3)],
                ),
                "03 01 02 80d095ffbc31 04 62757379 02 0801 0501",
            ),
            (
                settle(
                    End::Retry { due_ms: 0, reason: String::new() },
                    Cause::HeldTooLong,
                    vec![range(0, 1)],
                ),
                "03 06 02 00 00 01 0001",
            ),
            (
                settle(End::Dead { reason: "no".into() }, Cause::MaxAttempts, vec![range(0, 1)]),
                "03 04 03 02 6e6f 01 0001",
            ),
            (Command::Seek { group: GroupId(3), to: 128 }, "03 8001"),
            (Command::Purge { group: GroupId(3), ranges: vec![range(1, 3)] }, "03 01 0202"),
            (Command::Trim { stream: 300, before: 9 }, "ac02 09"),
            (Command::DeadReplay { group: GroupId(3), offset: None }, "03 00"),
            (Command::DeadDrop { group: GroupId(3), offset: Some(5) }, "03 0105"),
            (Command::IdKey { key: *b"0123456789abcdef" }, "30313233343536373839616263646566"),
            (Command::Atomic { producer: 7, sequence: 300 }, "07 ac02"),
        ]
    }

    fn golden_schedules() -> Vec<(Command, &'static str)> {
        vec![
            (
                Command::SetSchedule {
                    id: 5,
                    schedule: Box::new(Schedule {
                        name: "tick".try_into().unwrap(),
                        to: "jobs".try_into().unwrap(),
                        when: "@daily".into(),
                        zone: "UTC".into(),
                        batch: vec![1, 2, 3].into(),
                        next_ms: 128,
                    }),
                },
                "05 04 7469636b 04 6a6f6273 06 406461696c79 03 555443 03 010203 8001",
            ),
            (Command::CancelSchedule { name: "tick".try_into().unwrap() }, "04 7469636b"),
            (Command::SchedulePublished { id: 5, at_ms: 128, next_ms: 256 }, "05 8001 8002"),
        ]
    }

    fn bytes(hex: &str) -> Vec<u8> {
        let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
        digits.chunks(2).map(|pair| (pair[0] * 16 + pair[1]) as u8).collect()
    }

    #[test]
    fn commands_have_their_golden_bytes() {
        for (command, hex) in golden() {
            let mut out = Vec::new();
            command.encode(&mut out);
            assert_eq!(out, bytes(hex), "{command:?}");
            assert_eq!(Command::decode(command.kind(), &out), Ok(command));
        }
    }

    #[test]
    fn each_kind_has_a_golden_command() {
        let mut kinds: Vec<u8> = golden().iter().map(|(command, _)| command.kind()).collect();
        kinds.dedup();
        assert_eq!(kinds, (1..=14).chain(40..=42).collect::<Vec<u8>>());
    }

    #[test]
    fn every_cut_and_every_addition_is_noticed() {
        for (command, hex) in golden() {
            let mut bytes = bytes(hex);
            for len in 0..bytes.len() {
                assert!(Command::decode(command.kind(), &bytes[..len]).is_err(), "{command:?}");
            }
            bytes.push(0);
            assert!(Command::decode(command.kind(), &bytes).is_err(), "{command:?}");
        }
    }

    #[test]
    fn unknown_kinds_are_refused_by_name() {
        for kind in [0, 15, 255] {
            assert_eq!(Command::decode(kind, &[]), Err(CommandError::UnknownKind { kind }));
        }
    }

    /// Goal: no bytes make the decoder panic, and what it accepts it writes back the same.
    #[test]
    fn damaged_bytes_are_refused_or_read_as_something_else() {
        let mut random = crate::shard::tests::random::Random::new();
        for (command, hex) in golden() {
            for _ in 0..2_000 {
                let mut bytes = bytes(hex);
                for _ in 0..=random.below(3) {
                    let at = random.below(bytes.len() as u64) as usize;
                    bytes[at] = random.below(256) as u8;
                }
                if let Ok(read) = Command::decode(command.kind(), &bytes) {
                    let mut again = Vec::new();
                    read.encode(&mut again);
                    assert_eq!(again, bytes);
                }
            }
        }
    }

    #[test]
    fn a_reason_that_is_too_long_is_cut_at_a_character() {
        let reason = "\u{e4}".repeat(3_000) + "x";
        let end = End::Dead { reason };
        let ranges = vec![range(0, 1), range(3, 3)];
        let settlement = Settlement { group: GroupId(1), end, cause: Cause::Consumer, ranges };
        let mut bytes = Vec::new();
        Command::Settle(settlement).encode(&mut bytes);
        let Ok(Command::Settle(read)) = Command::decode(7, &bytes) else { panic!("not read") };
        assert_eq!(read.end, End::Dead { reason: "\u{e4}".repeat(2_048) });
        assert_eq!(read.ranges, [range(0, 1)]);
    }
}
