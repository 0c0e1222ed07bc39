//! What is said of the curves: headings, names of points, and why each curve looks as it does.

use super::curve::Curve;

pub(crate) fn title(curve: Curve) -> &'static str {
    match curve {
        Curve::Connections => "Connections",
        Curve::Queues => "Queues",
        Curve::Groups => "Groups",
        Curve::Size => "Size",
        Curve::Backlog => "Backlog",
    }
}

pub(crate) fn heading(curve: Curve) -> &'static str {
    match curve {
        Curve::Connections => "Publishing connections, 100 B",
        Curve::Queues => "Queues published to in turn by one connection, 1 KiB",
        Curve::Groups => "Groups on a topic, 1 KiB, deliveries",
        Curve::Size => "Size of a message",
        Curve::Backlog => "Messages stored already, 100 B",
    }
}

/// What grows from left to right.
pub(crate) fn axis(curve: Curve) -> &'static str {
    match curve {
        Curve::Connections => "connections",
        Curve::Queues => "queues",
        Curve::Groups => "groups",
        Curve::Size => "bytes of a body",
        Curve::Backlog => "messages stored",
    }
}

/// A point, as the axis names it.
pub(crate) fn point(curve: Curve, x: u64) -> String {
    let is_even = |unit: u64| x >= unit && x.is_multiple_of(unit);
    match curve {
        Curve::Size if is_even(1 << 20) => format!("{} MiB", x >> 20),
        Curve::Size if is_even(1 << 10) => format!("{} KiB", x >> 10),
        Curve::Size => format!("{x} B"),
        _ if is_even(1_000_000) => format!("{} M", x / 1_000_000),
        _ if is_even(1_000) => format!("{},000", x / 1_000),
        _ => x.to_string(),
    }
}

/// Why the curve looks as it does.
pub(crate) fn explanation(curve: Curve) -> &'static str {
    match curve {
        Curve::Connections => CONNECTIONS,
        Curve::Queues => QUEUES,
        Curve::Groups => GROUPS,
        Curve::Size => SIZE,
        Curve::Backlog => BACKLOG,
    }
}

const CONNECTIONS: &str = "Flat to a hundred, a third less at a thousand. All connections share one group commit: a block takes what \
    has arrived since the last one, whoever sent it, so more connections fill the same blocks instead \
    of asking for more syncs. What each adds is a task, a socket and a confirm for each block that \
    has something of it; with many connections a block holds little of each, and reads, writes and \
    confirms cost more per message. Messages that may be unconfirmed are at most a million in all, so \
    that from 100 connections on each has fewer of them. Memory: a connection that does nothing costs its task and its \
    buffers, and the line of idle connections is straight.";

const QUEUES: &str = "Flat to a hundred, half at a thousand, a third at a hundred thousand. A queue costs no file and \
    no thread: all are in one log, and a block takes batches of any queue. But a batch is of one queue, \
    and a producer that goes through N queues in turn has a batch for each: with the 1,000 messages of \
    a batch spread over N queues, batches shrink until each holds a single message, and what the \
    broker does per batch it then does per message. From there on it falls only by what looking up one \
    of many costs. A point is measured for at least \
    a second for each 10,000 queues. An empty queue costs 1.5 kB; one that is \
    published to more, since its newest block and its place in the index are in memory. A restart reads all \
    from the checkpoint.";

const GROUPS: &str = "Rising to thirty, then level, and a third of that at nine hundred. A \
    message is stored once, however many groups there are; a group is a position and its acked ranges. \
    So publishing costs the same, and each delivery costs a slice of the bytes that are in memory, a \
    write to the socket and an ack. Deliveries a second of all groups together stay at what the machine \
    can send and what the consumers, which share its cores, can take; each group gets its share of \
    that. Published is by the clock, four million deliveries a second in all: more than the groups can \
    get, but not so much more that the rest could not be drained; latencies contain that waiting. \
    Groups that fall behind by more than the cache of recent blocks (64 MiB) are served from the \
    files. A topic takes 900 groups.";

const SIZE: &str = "Messages a second fall and megabytes a second rise with the size, until \
    the disk is the limit. Small messages cost their handling in the client, since broker and log work \
    with whole batches and copy bodies once; large ones cost a checksum, a copy and the write of their \
    bytes, so that above some KiB megabytes a second are level and messages a second fall in \
    proportion. End to end the bytes go over the socket twice and each message is acked; a message \
    carries 24 bytes of number and time there, so that its first point is of 24 bytes.";

const BACKLOG: &str = "Flat to fifty million. Ready messages are ranges of offsets, not entries in memory, and \
    a publish appends to the end of the log wherever that is; what is stored in another queue is not \
    touched. In the same queue the consumer works through the old messages first, which come from the \
    files instead of the cache of recent blocks: the figure is then the lower of what is published and \
    what is consumed while the backlog shrinks, with messages of this run left behind it, and latency \
    is of those only that were reached; behind ten million and more none is reached in so short a time, and the \
    point fails. Memory grows by what describes the segments, not by messages. A restart \
    after a clean stop reads the checkpoint and the end of the log, so its time does not grow with what \
    is stored.";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::growth::curve::CURVES;

    #[test]
    fn points_are_named_as_people_say_them() {
        let named = [10, 1 << 10, 100 << 10, 1 << 20].map(|x| point(Curve::Size, x));
        assert_eq!(named, ["10 B", "1 KiB", "100 KiB", "1 MiB"]);
        let named = [0, 300, 1_000, 100_000, 50_000_000].map(|x| point(Curve::Backlog, x));
        assert_eq!(named, ["0", "300", "1,000", "100,000", "50 M"]);
    }

    #[test]
    fn every_curve_is_explained_in_sentences() {
        for curve in CURVES {
            let text = explanation(curve);
            assert!(text.ends_with('.') && !text.contains("  "), "{text}");
        }
    }
}
