//! Every error code with what it means and what to do: those of the wire from the protocol's own table, and those of
//! `serve`, the command line and the client here. `explain` prints them, and the errors of all commands point to them.

use posthaste_protocol::error::ErrorCode;

/// One code, explained.
#[derive(Clone, Copy, Debug)]
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

/// All codes, in order: 01xx-05xx travel on the wire.
pub(crate) fn all() -> impl Iterator<Item = Explanation> {
    let wire = ErrorCode::ALL.iter().map(|code| {
        let explained = code.explained();
        e(*code as u16, explained.title, explained.explanation, explained.advice)
    });
    wire.chain(OWN.iter().copied())
}

/// 06xx are of `serve`, 07xx of the command line, 09xx of the client.
const OWN: &[Explanation] = &[
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

    #[test]
    fn codes_are_listed_once_and_in_order() {
        let numbers: Vec<u16> = all().map(|one| one.number).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    }
}
