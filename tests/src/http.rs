//! A plain GET, for health and metrics.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Status and body of a GET.
///
/// # Panics
/// When nobody answers as HTTP wants it.
pub fn get(address: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .expect("a request can be sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("an answer of text");
    let status = text.split(' ').nth(1).and_then(|word| word.parse().ok());
    let body = text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    (status.expect("a status"), body)
}
