//! Every error code with what it means and what to do. One table, which `explain` prints, which
//! the errors of all commands point to, and which a test compares with the codes of the wire.

/// One code, explained.
#[derive(Debug)]
pub(crate) struct Explanation {
    /// The number behind `PH-`.
    pub(crate) number: u16,
    /// Title, a few words.
    pub(crate) title: &'static str,
    /// What it means.
    pub(crate) meaning: &'static str,
    /// What to do.
    pub(crate) remedy: &'static str,
}

const fn e(
    number: u16,
    title: &'static str,
    meaning: &'static str,
    remedy: &'static str,
) -> Explanation {
    Explanation { number, title, meaning, remedy }
}

/// All codes, in order. 01xx-05xx travel on the wire; 06xx are of `serve`, 07xx of
/// the command line, 09xx of the client.
pub(crate) const ALL: &[Explanation] = &[
    e(
        101,
        "malformed frame",
        "The broker received bytes that are no frame of its protocol, and closed the connection.",
        "Check that the client speaks the posthaste protocol on this port; with the official client, report it.",
    ),
    e(
        102,
        "frame too large",
        "A frame was larger than both sides agreed on when the connection opened.",
        "Publish in smaller batches; the limit is told in the welcome.",
    ),
    e(
        103,
        "checksum mismatch",
        "Bytes changed on their way, or a batch was sent to another destination than it was made for. It was refused.",
        "Send it again. If it happens again, test the memory and the network of the machines involved.",
    ),
    e(
        104,
        "unsupported",
        "The broker does not know this command, protocol version, flag or durability.",
        "Use a client of the broker's version, or update the broker.",
    ),
    e(
        105,
        "protocol error",
        "A command came in an order that the protocol does not allow; the connection was closed.",
        "With the official client, report it.",
    ),
    e(
        106,
        "timeout",
        "The handshake, a frame or a heartbeat took too long, and the connection was closed. Unsettled deliveries went back at once.",
        "Check the network and the load of the client's machine. The official client reconnects by itself.",
    ),
    e(
        107,
        "too many connections",
        "The broker has as many connections as it may have.",
        "Close idle clients, or share one client per process: it multiplexes any number of queues.",
    ),
    e(
        201,
        "not found",
        "There is no queue, topic or group of that name. Nothing was stored and nothing was changed.",
        "Check the spelling (posthaste ls), or create it: posthaste queue set NAME, posthaste topic set NAME.",
    ),
    e(
        202,
        "invalid name",
        "Names are 1 to 200 letters, digits, '.', '_' or '-', and do not start with a dot.",
        "Choose a name within these rules.",
    ),
    e(
        203,
        "conflict",
        "The name exists as something else (a queue where a topic was meant, or the reverse), or the settings cannot be combined.",
        "Look at it with posthaste queue show NAME or posthaste topic show NAME, and choose another name or other settings.",
    ),
    e(
        204,
        "invalid argument",
        "A value is outside of the range that is allowed for it.",
        "The message names the value and the range.",
    ),
    e(
        301,
        "message too large",
        "The message, its key or its headers are larger than the broker accepts. Nothing was stored.",
        "Store the large part elsewhere and publish a reference to it, or split it.",
    ),
    e(
        302,
        "queue full",
        "The queue holds as many unsettled messages as its --max-messages allows. Nothing was stored.",
        "Add consumers, raise the limit (posthaste queue set NAME --max-messages N), or try later.",
    ),
    e(
        303,
        "no space",
        "The disk of the broker is nearly full. Publishes are refused; consuming, settling, deleting and reading go on.",
        "Consume or purge what is stored, delete topics that nobody needs, or give the disk more room.",
    ),
    e(
        304,
        "busy",
        "The broker has more work than it may hold at once. Nothing was stored.",
        "Try later; the official client waits and tries again by itself until its deadline.",
    ),
    e(
        305,
        "producer fenced",
        "Another connection has taken over this producer's session.",
        "Use one producer session per process; do not copy a session into a second one.",
    ),
    e(
        306,
        "quota exceeded",
        "There are too many consumers, producers, queues or groups.",
        "Delete what is not used; share consumers.",
    ),
    e(
        401,
        "lease expired",
        "The delivery was not held any more when it was settled: its lease had expired, or the connection was lost. The message goes to another consumer.",
        "Make handlers idempotent; give long work a longer lease (posthaste queue set NAME --lease 5m).",
    ),
    e(
        501,
        "data loss",
        "Stored data is damaged. The damaged messages are not delivered; all others are.",
        "The broker's log names the file and place. Keep a copy of the data directory and check the disk.",
    ),
    e(
        502,
        "indeterminate",
        "The broker stopped while the message was being stored: it may or may not be there.",
        "Publish it again through the same producer: it is stored once. Otherwise expect a possible duplicate.",
    ),
    e(
        503,
        "shutting down",
        "The broker is being stopped in order. What it confirmed is stored.",
        "Start it again; the official client reconnects by itself.",
    ),
    e(599, "internal error", "A defect of the broker.", "Report it with the broker's log."),
    e(
        601,
        "address in use",
        "Another process listens on the address that serve was to listen on.",
        "Stop that process, or choose another address: posthaste serve --listen 127.0.0.1:7430.",
    ),
    e(
        602,
        "data directory in use",
        "Another broker has this data directory open. Two brokers on one directory would destroy it, so the second refuses to start.",
        "Stop the other broker, or choose another directory: posthaste serve --data DIR.",
    ),
    e(
        603,
        "newer format",
        "The data directory was written by a newer version of posthaste, which this version cannot read. Nothing was changed.",
        "Start the newer version again; going back needs a backup made by the older version.",
    ),
    e(
        604,
        "damaged data",
        "The data directory is damaged at a place that had been stored safely. The broker does not start, so that the evidence is not overwritten.",
        "Copy the data directory away, check the disk, and restore a backup or report it with the copy.",
    ),
    e(
        605,
        "refused: reachable from outside",
        "The address is not a loopback address, and there is no login and no encryption yet: everybody who can reach the port could read and delete everything.",
        "Listen on 127.0.0.1, use an encrypted tunnel, or accept it with --listen-insecure-no-auth-no-tls.",
    ),
    e(
        606,
        "disk failed",
        "Writing or syncing the log failed, so the broker stopped at once. What it had confirmed is stored; what it had not confirmed may be missing.",
        "Check the disk and its free space, then start again: recovery says what it found.",
    ),
    e(
        607,
        "data directory unusable",
        "The data directory cannot be created, read or written.",
        "Check its path, its permissions and the disk.",
    ),
    e(
        608,
        "cannot listen",
        "The address cannot be listened on.",
        "Check that the address belongs to this machine and that the port is allowed for this user.",
    ),
    e(
        703,
        "output failed",
        "The result could not be written. Messages that were not written were not acknowledged.",
        "Check the disk or the program that reads the output.",
    ),
    e(
        704,
        "input failed",
        "The file or the standard input could not be read. What had been read before is stored.",
        "Check the path and the permissions.",
    ),
    e(
        901,
        "disconnected",
        "There is no connection to the broker, or it broke before the answer came.",
        "The client reconnects by itself. If it lasts, look at the broker's log and the network.",
    ),
    e(
        902,
        "timed out",
        "The broker did not answer in time. A publish that timed out may or may not be stored.",
        "Check the broker and the network, or allow more time with --timeout.",
    ),
    e(903, "closed", "The client had been closed.", "Connect again."),
    e(
        904,
        "not encoded",
        "A payload could not be written as bytes. Nothing was stored.",
        "The message names the cause.",
    ),
    e(
        905,
        "not decoded",
        "A payload is not of the type that the consumer expects.",
        "Consume it as raw bytes, or look at it with posthaste peek or posthaste dead show.",
    ),
    e(
        906,
        "bad address",
        "The broker's URL cannot be read.",
        "Write it as posthaste://HOST:PORT, for example posthaste://127.0.0.1:7420.",
    ),
    e(
        907,
        "unreachable",
        "Nothing answers at the broker's address.",
        "Start a broker (posthaste serve), or name the right one with --url or POSTHASTE_URL.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;
    use posthaste_protocol::error::ErrorCode;

    #[test]
    fn every_code_of_the_wire_is_explained_and_no_other_below_0600() {
        let wire: Vec<u16> = ErrorCode::ALL.iter().map(|code| *code as u16).collect();
        let mine: Vec<u16> = ALL.iter().map(|one| one.number).filter(|n| *n < 600).collect();
        assert_eq!(mine, wire);
    }

    #[test]
    fn codes_are_listed_once_and_in_order() {
        assert!(ALL.windows(2).all(|pair| pair[0].number < pair[1].number));
    }
}
