//! How a message is printed by `consume`, `tail` and `peek`.
//!
//! Plain: the body, byte for byte, and `\n`. With `--meta`: position, attempt, redelivered, key and
//! headers in front, parted by tabs, `-` for what does not apply. As JSON: one object a line; a body
//! that is not UTF-8 travels as `body_base64`. On a terminal control characters are escaped.

use crate::output::{Format, versioned};
use crate::shown;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use posthaste::{Delivery, Peeked};
use serde_json::{Map, Value, json};
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// What is printed of each message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Body,
    Meta,
    Json,
}

/// Where and how messages are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub(crate) style: Style,
    pub(crate) terminal: bool,
}

/// What a message tells about itself, besides its body.
#[derive(Debug)]
struct Facts<'a> {
    position: u64,
    attempt: Option<u32>,
    redelivered: Option<bool>,
    key: Option<&'a str>,
    id: Option<&'a str>,
    headers: Vec<(&'a str, &'a str)>,
    published_at: SystemTime,
}

impl Printer {
    pub(crate) fn new(format: Format, meta: bool, terminal: bool) -> Self {
        let style = match (format, meta) {
            (Format::Json | Format::Jsonl, _) => Style::Json,
            (Format::Text, true) => Style::Meta,
            (Format::Text, false) => Style::Body,
        };
        Self { style, terminal }
    }

    pub(crate) fn delivery(self, delivery: &Delivery, out: &mut Vec<u8>) {
        let facts = || Facts {
            position: delivery.position(),
            attempt: Some(delivery.attempt()),
            redelivered: Some(delivery.redelivered()),
            key: delivery.key(),
            id: delivery.id(),
            headers: delivery.headers().collect(),
            published_at: delivery.published_at(),
        };
        self.print(delivery.bytes(), facts, out);
    }

    pub(crate) fn peeked(self, message: &Peeked, out: &mut Vec<u8>) {
        self.print(message.bytes(), || peeked_facts(message), out);
    }

    fn print<'a>(self, body: &[u8], facts: impl FnOnce() -> Facts<'a>, out: &mut Vec<u8>) {
        match self.style {
            Style::Json => {
                out.extend_from_slice(versioned(object(&facts(), body)).to_string().as_bytes());
            }
            Style::Meta => {
                meta(&facts(), out);
                self.body(body, out);
            }
            Style::Body => self.body(body, out),
        }
        out.push(b'\n');
    }

    fn body(self, body: &[u8], out: &mut Vec<u8>) {
        if self.terminal {
            shown::body(body, out);
        } else {
            out.extend_from_slice(body);
        }
    }
}

fn peeked_facts(message: &Peeked) -> Facts<'_> {
    Facts {
        position: message.position(),
        attempt: None,
        redelivered: None,
        key: message.key(),
        id: message.id(),
        headers: message.headers().collect(),
        published_at: message.published_at(),
    }
}

/// A message that was read, as an object.
pub(crate) fn peeked_object(message: &Peeked) -> Value {
    object(&peeked_facts(message), message.bytes())
}

fn meta(facts: &Facts<'_>, out: &mut Vec<u8>) {
    let attempt = facts.attempt.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let redelivered = match facts.redelivered {
        Some(true) => "redelivered",
        Some(false) => "first",
        None => "-",
    };
    let key = facts.key.map_or(std::borrow::Cow::Borrowed("-"), shown::line);
    let headers: Vec<String> = facts
        .headers
        .iter()
        .map(|(name, value)| format!("{}={}", shown::line(name), shown::line(value)))
        .collect();
    let headers = if headers.is_empty() { "-".to_owned() } else { headers.join(",") };
    // Writing into a vector cannot fail.
    let written = write!(out, "{}\t{attempt}\t{redelivered}\t{key}\t{headers}\t", facts.position);
    debug_assert!(written.is_ok());
}

fn object(facts: &Facts<'_>, body: &[u8]) -> Value {
    let mut all = json!({
        "position": facts.position,
        "published_ms": unix_ms(facts.published_at),
    });
    if let Some(attempt) = facts.attempt {
        all["attempt"] = attempt.into();
    }
    if let Some(redelivered) = facts.redelivered {
        all["redelivered"] = redelivered.into();
    }
    if let Some(key) = facts.key {
        all["key"] = key.into();
    }
    if let Some(id) = facts.id {
        all["id"] = id.into();
    }
    if !facts.headers.is_empty() {
        let headers: Map<String, Value> = facts
            .headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).into()))
            .collect();
        all["headers"] = headers.into();
    }
    match std::str::from_utf8(body) {
        Ok(text) => all["body"] = text.into(),
        Err(_not_text) => all["body_base64"] = STANDARD.encode(body).into(),
    }
    all
}

pub(crate) fn unix_ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(style: Style, terminal: bool, body: &[u8]) -> Vec<u8> {
        let facts = || Facts {
            position: 12,
            attempt: Some(2),
            redelivered: Some(true),
            key: Some("c\t42"),
            id: None,
            headers: vec![("k", "v"), ("x", "y")],
            published_at: UNIX_EPOCH,
        };
        let mut out = Vec::new();
        Printer { style, terminal }.print(body, facts, &mut out);
        out
    }

    #[test]
    fn a_piped_body_is_byte_for_byte() {
        assert_eq!(print(Style::Body, false, b"\xff\x1b[2J\r"), b"\xff\x1b[2J\r\n");
        assert_eq!(print(Style::Body, false, b""), b"\n");
    }

    #[test]
    fn a_terminal_gets_no_control_characters() {
        assert_eq!(print(Style::Body, true, b"\x1b[2J\xff"), b"\\u{1b}[2J\\xff\n");
    }

    #[test]
    fn meta_stands_in_front_and_holds_no_tab_of_a_stranger() {
        let line = print(Style::Meta, false, b"a\tb");
        assert_eq!(line, b"12\t2\tredelivered\tc\\t42\tk=v,x=y\ta\tb\n");
    }

    #[test]
    fn json_carries_any_body() {
        let text: Value = serde_json::from_slice(&print(Style::Json, false, b"{}")).unwrap();
        assert_eq!((&text["v"], &text["body"]), (&json!(1), &json!("{}")));
        assert_eq!(text["headers"]["k"], "v");
        let binary: Value = serde_json::from_slice(&print(Style::Json, false, b"\xff")).unwrap();
        assert_eq!(binary["body_base64"], "/w==");
        assert_eq!(binary.get("body"), None);
    }
}
