//! Text and numbers made fit for a person's screen.
//!
//! Names, keys, headers and bodies come from strangers. What is printed to a terminal, and every
//! cell of a table, passes through here, so that no control character of theirs acts on it.

use std::borrow::Cow;
use std::time::Duration;

/// Characters that act on a terminal, or turn the direction of the text around them.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// One line of text: every control character is written as an escape.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        push_escaped(&mut out, c);
    }
    Cow::Owned(out)
}

fn push_escaped(out: &mut String, c: char) {
    if acts(c) {
        out.extend(c.escape_default());
    } else {
        out.push(c);
    }
}

/// A body for a terminal: line ends and tabs stay, other control characters and bytes that are
/// not UTF-8 are written as escapes.
pub(crate) fn body(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        let valid = chunk.valid();
        if valid.chars().any(|c| acts(c) && c != '\n' && c != '\t') {
            let mut text = String::with_capacity(valid.len() + 8);
            for c in valid.chars() {
                if c == '\n' || c == '\t' {
                    text.push(c);
                } else {
                    push_escaped(&mut text, c);
                }
            }
            out.extend_from_slice(text.as_bytes());
        } else {
            out.extend_from_slice(valid.as_bytes());
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
}

/// The beginning of a body as one line for a table cell.
pub(crate) fn preview(bytes: &[u8], chars_max: usize) -> String {
    let cut = &bytes[..bytes.len().min(chars_max.saturating_mul(4))];
    let mut whole = Vec::new();
    for chunk in cut.utf8_chunks() {
        whole.extend_from_slice(line(chunk.valid()).as_bytes());
        // A character that the cut above split is not the body's fault.
        if cut.len() == bytes.len() || !chunk.invalid().is_empty() && !chunk.valid().is_empty() {
            for byte in chunk.invalid() {
                whole.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
            }
        }
    }
    let text = String::from_utf8_lossy(&whole);
    let mut out: String = text.chars().take(chars_max).collect();
    if out.len() < text.len() || cut.len() < bytes.len() {
        out.push('…');
    }
    out
}

/// `88 310`: groups of three, parted by a space that does not break a line.
pub(crate) fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push('\u{a0}');
        }
        out.push(digit);
    }
    out
}

/// `1.9 GiB`.
pub(crate) fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut whole = value;
    let mut rest = 0;
    while whole >= 1_024 && unit + 1 < UNITS.len() {
        rest = whole % 1_024;
        whole /= 1_024;
        unit += 1;
    }
    if unit == 0 {
        format!("{value} B")
    } else {
        format!("{whole}.{} {}", rest * 10 / 1_024, UNITS[unit])
    }
}

/// `2.1s`, `14m 02s`, `3h 10m`, `7d 02h`: two units at most.
pub(crate) fn duration(value: Duration) -> String {
    let s = value.as_secs();
    match s {
        0..60 => format!("{s}.{}s", value.subsec_millis() / 100),
        60..3_600 => format!("{}m {:02}s", s / 60, s % 60),
        3_600..86_400 => format!("{}h {:02}m", s / 3_600, s % 3_600 / 60),
        _ => format!("{}d {:02}h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// A setting of so many milliseconds, in the notation that the command line reads: `30s`, `1h30m`.
pub(crate) fn setting_ms(value: u64) -> String {
    const UNITS: [(&str, u64); 5] =
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
    if value == 0 {
        return "0".into();
    }
    let mut out = String::new();
    let mut rest = value;
    for (name, factor) in UNITS {
        if rest >= factor {
            out.push_str(&format!("{}{name}", rest / factor));
            rest %= factor;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_control_character_reaches_a_terminal() {
        assert_eq!(line("orders"), "orders");
        assert_eq!(line("a\x1b[2Jb\tc\nd"), "a\\u{1b}[2Jb\\tc\\nd");
        assert_eq!(line("\u{9b}x\u{202e}y"), "\\u{9b}x\\u{202e}y");
        let mut out = Vec::new();
        body(b"ok\n\ttab \x1b]0;x\x07 \xff \xc3\xa9", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "ok\n\ttab \\u{1b}]0;x\\u{7} \\xff é");
    }

    #[test]
    fn every_single_byte_is_harmless_on_a_terminal() {
        for byte in 0..=255u8 {
            let mut out = Vec::new();
            body(&[byte], &mut out);
            assert!(out.iter().all(|b| (0x20..0x7f).contains(b) || matches!(b, b'\n' | b'\t')));
            assert!(preview(&[byte], 10).bytes().all(|b| (0x20..0x7f).contains(&b)), "{byte}");
        }
    }

    #[test]
    fn a_preview_is_one_short_line() {
        assert_eq!(preview(b"{\"id\":7}", 40), "{\"id\":7}");
        assert_eq!(preview(b"a\nb", 40), "a\\nb");
        assert_eq!(preview(&[b'x'; 100], 5), "xxxxx…");
        assert_eq!(preview("ééééé".as_bytes(), 3), "ééé…");
        assert_eq!(preview(b"", 3), "");
    }

    #[test]
    fn numbers_and_times_are_short() {
        assert_eq!(number(7), "7");
        assert_eq!(number(88_310), "88\u{a0}310");
        assert_eq!(number(1_234_567), "1\u{a0}234\u{a0}567");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(2_050_000_000), "1.9 GiB");
        assert_eq!(duration(Duration::from_millis(2_140)), "2.1s");
        assert_eq!(duration(Duration::from_secs(842)), "14m 02s");
        assert_eq!(setting_ms(5_400_000), "1h30m");
        assert_eq!(setting_ms(30_000), "30s");
        assert_eq!(setting_ms(0), "0");
    }
}
