//! Cuts a file or the standard input into lines, a bounded piece at a time.
//!
//! A thread reads; whole lines travel in pieces of about 256 KiB, so that neither the size of the
//! input nor the speed of the broker changes how much memory is used. A line is what stands before
//! a `\n`, byte for byte: `\r`, empty lines and bytes that are not UTF-8 are kept. A last line
//! without `\n` counts; nothing after the last `\n` is no line.

use crate::errors::{Exit, Failure};
use bytes::{Bytes, BytesMut};
use std::io::{self, Read};
use tokio::sync::mpsc;

const PIECE_BYTES: usize = 256 * 1024;
/// Pieces read ahead.
const PIECES_AHEAD: usize = 4;
/// LIMIT: a longer line is refused here, before it fills the memory. No broker accepts as much.
const LINE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Why reading ended early.
#[derive(Debug)]
pub(crate) enum ReadError {
    Io(io::Error),
    LineTooLong,
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io(error) => {
                Self::new(Exit::Failed, Some("PH-0704"), format!("cannot read the input: {error}"))
            }
            ReadError::LineTooLong => Self::new(
                Exit::Failed,
                Some("PH-0301"),
                format!("a line of the input is longer than {LINE_BYTES_MAX} bytes"),
            ),
        }
    }
}

/// Some whole lines.
#[derive(Debug)]
pub(crate) struct Piece {
    bytes: Bytes,
    /// Bytes of the input that this piece covers.
    pub(crate) input_bytes: u64,
}

impl Piece {
    /// The lines, without their `\n`, as slices of the piece.
    pub(crate) fn lines(self) -> impl Iterator<Item = Bytes> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            match memchr::memchr(b'\n', &rest) {
                Some(end) => {
                    let line = rest.split_to(end);
                    bytes::Buf::advance(&mut rest, 1);
                    Some(line)
                }
                None => Some(std::mem::take(&mut rest)),
            }
        })
    }
}

/// Starts reading; the receiver ends after the last piece or an error.
pub(crate) fn read(input: Box<dyn Read + Send>) -> mpsc::Receiver<Result<Piece, ReadError>> {
    let (tx, rx) = mpsc::channel(PIECES_AHEAD);
    std::thread::spawn(move || {
        let mut cutter = Cutter { input, held: BytesMut::new() };
        // A receiver that has gone needs no more input.
        while let Some(piece) = cutter.next() {
            let last = piece.is_err();
            if tx.blocking_send(piece).is_err() || last {
                return;
            }
        }
    });
    rx
}

struct Cutter {
    input: Box<dyn Read + Send>,
    /// Read, but not yet a whole line.
    held: BytesMut,
}

impl Cutter {
    fn next(&mut self) -> Option<Result<Piece, ReadError>> {
        loop {
            let filled = self.held.len();
            self.held.resize(filled + PIECE_BYTES, 0);
            let read = match self.input.read(&mut self.held[filled..]) {
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    self.held.truncate(filled);
                    continue;
                }
                Err(error) => return Some(Err(ReadError::Io(error))),
            };
            self.held.truncate(filled + read);
            if read == 0 {
                let rest = std::mem::take(&mut self.held);
                return (!rest.is_empty()).then(|| Ok(piece(rest)));
            }
            if let Some(end) = memchr::memrchr(b'\n', &self.held[filled..]) {
                let whole = self.held.split_to(filled + end + 1);
                return Some(Ok(piece(whole)));
            }
            if self.held.len() > LINE_BYTES_MAX {
                return Some(Err(ReadError::LineTooLong));
            }
        }
    }
}

fn piece(bytes: BytesMut) -> Piece {
    Piece { input_bytes: bytes.len() as u64, bytes: bytes.freeze() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the input in reads of at most `step` bytes.
    struct Slow(Vec<u8>, usize);

    impl Read for Slow {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(to.len()).min(self.0.len());
            to[..n].copy_from_slice(&self.0[..n]);
            self.0.drain(..n);
            Ok(n)
        }
    }

    fn lines(input: &[u8], step: usize) -> Vec<Vec<u8>> {
        let mut pieces = read(Box::new(Slow(input.to_vec(), step)));
        let mut out = Vec::new();
        while let Some(piece) = pieces.blocking_recv() {
            out.extend(piece.unwrap().lines().map(|line| line.to_vec()));
        }
        out
    }

    fn check(input: &[u8], expected: &[&[u8]]) {
        for step in [1, 2, 3, 1_000_000] {
            assert_eq!(lines(input, step), expected, "{input:?} in steps of {step}");
        }
    }

    #[test]
    fn lines_are_kept_byte_for_byte() {
        check(b"", &[]);
        check(b"\n", &[b""]);
        check(b"a\nb\n", &[b"a", b"b"]);
        check(b"a\nb", &[b"a", b"b"]);
        check(b"a\r\n\n\xff\xfe\0\nb\n\n", &[b"a\r", b"", b"\xff\xfe\0", b"b", b""]);
    }

    #[test]
    fn a_line_longer_than_a_piece_stays_whole() {
        let mut input = vec![b'x'; 3 * PIECE_BYTES];
        input.extend_from_slice(b"\nshort\n");
        let all = lines(&input, usize::MAX);
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [3 * PIECE_BYTES, 5]);
    }

    #[test]
    fn an_endless_line_is_refused_before_it_fills_the_memory() {
        let mut pieces = read(Box::new(io::repeat(b'x')));
        assert!(matches!(pieces.blocking_recv(), Some(Err(ReadError::LineTooLong))));
        assert!(pieces.blocking_recv().is_none());
    }
}
