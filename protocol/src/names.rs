//! Names, checked once and then trusted: 1 to 200 of `A-Z a-z 0-9 . _ -`, not starting with a dot.
//!
//! Because a name is plain ASCII without separators, it can be logged, shown and compared as it is.
//! File names never derive from it.

use crate::limits::NAME_BYTES_MAX;
use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Name of a queue or topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Name of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName(Arc<str>);

/// Why a text is not a name. Its message repeats nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No bytes at all.
    #[error("a name has at least one character")]
    Empty,
    /// More than 200 bytes.
    #[error("a name has at most 200 characters, this has {bytes} bytes")]
    TooLong {
        /// How many it has.
        bytes: usize,
    },
    /// Names that start with a dot are kept for the broker.
    #[error("a name does not start with a dot")]
    StartsWithDot,
    /// A byte outside of the allow list.
    #[error("a name consists of A-Z a-z 0-9 . _ - only; byte {at} is something else")]
    Character {
        /// Where the first such byte is.
        at: usize,
    },
}

impl NameError {
    /// The same without figures, for errors that carry none.
    pub const fn rule(self) -> &'static str {
        match self {
            NameError::Empty => "the name is empty",
            NameError::TooLong { .. } => "the name is longer than 200 bytes",
            NameError::StartsWithDot => "the name starts with a dot",
            NameError::Character { .. } => "the name has a byte outside of A-Z a-z 0-9 . _ -",
        }
    }
}

/// Whether `text` may be a name.
pub fn check(text: &[u8]) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > NAME_BYTES_MAX as usize {
        return Err(NameError::TooLong { bytes: text.len() });
    }
    if text.first() == Some(&b'.') {
        return Err(NameError::StartsWithDot);
    }
    let is_foreign = |byte: &u8| !(byte.is_ascii_alphanumeric() || b"._-".contains(byte));
    match text.iter().position(is_foreign) {
        Some(at) => Err(NameError::Character { at }),
        None => Ok(()),
    }
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl GroupName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Name {
    type Error = NameError;

    fn try_from(text: &str) -> Result<Name, NameError> {
        check(text.as_bytes())?;
        Ok(Name(text.into()))
    }
}

impl TryFrom<&str> for GroupName {
    type Error = NameError;

    fn try_from(text: &str) -> Result<GroupName, NameError> {
        check(text.as_bytes())?;
        Ok(GroupName(text.into()))
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::try_from(text)
    }
}

impl FromStr for GroupName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<GroupName, NameError> {
        GroupName::try_from(text)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for GroupName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for GroupName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The names that were perhaps meant: at most 3, nearest first, upper and lower case alike.
///
/// A name is near if a quarter of it and one more byte, at most, has to be changed.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Vec<String> {
    const NEAREST_MAX: usize = 3;
    // LIMIT: of comparing letters, so that a search among long names costs less than a millisecond.
    const STEPS_MAX: usize = 100_000;
    if wanted.len() > NAME_BYTES_MAX as usize {
        return Vec::new();
    }
    let wanted = wanted.to_ascii_lowercase();
    let within = 1 + wanted.len() / 4;
    let mut row = Vec::new();
    let mut found: Vec<(usize, &str)> = Vec::new();
    let mut steps = STEPS_MAX;
    for name in names {
        let away = edits(wanted.as_bytes(), name.as_bytes(), within, &mut row, &mut steps);
        let Some(away) = away.filter(|away| *away < wanted.len().max(name.len())) else {
            continue;
        };
        let place = found.partition_point(|near| *near <= (away, name));
        if place < NEAREST_MAX {
            found.insert(place, (away, name));
            found.truncate(NEAREST_MAX);
        }
    }
    found.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// How many bytes to insert, remove or replace, if that is at most `within` and `steps` suffice.
/// `row` is scratch.
fn edits(
    wanted: &[u8],
    name: &[u8],
    within: usize,
    row: &mut Vec<usize>,
    steps: &mut usize,
) -> Option<usize> {
    if wanted.len().abs_diff(name.len()) > within {
        return None;
    }
    // One row of the table of distances between the prefixes of both.
    row.clear();
    row.extend(0..=name.len());
    for (index, byte) in wanted.iter().enumerate() {
        *steps = steps.checked_sub(name.len())?;
        let mut diagonal = index;
        let mut left = index + 1;
        let mut least = left;
        let mut columns = row.iter_mut();
        if let Some(first) = columns.next() {
            *first = left;
        }
        for (cell, other) in columns.zip(name) {
            let replaced = diagonal + usize::from(*byte != other.to_ascii_lowercase());
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
            least = least.min(left);
        }
        if least > within {
            return None;
        }
    }
    row.last().copied().filter(|away| *away <= within)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_allow_list() {
        for good in ["a", "orders", "A.b_c-9", "-", "_", "a.", &"x".repeat(200)] {
            assert_eq!(Name::try_from(good).map(|name| name.to_string()), Ok(good.to_owned()));
            assert!(GroupName::try_from(good).is_ok());
        }
        let bad = [
            "",
            ".",
            "..",
            ".hidden",
            "a b",
            "a/b",
            "..\\x",
            "C:\\",
            "a\0",
            "a\r\nb",
            "naïve",
            "\u{202e}x",
            "<script>",
            "a*",
            "a{1}",
            &"x".repeat(201),
            &"x".repeat(1 << 20),
        ];
        for bad in bad {
            assert!(Name::try_from(bad).is_err(), "{bad:?}");
            assert!(GroupName::try_from(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn errors_of_names_say_where_but_not_what() {
        let error = Name::try_from("ab\u{1b}[31m").unwrap_err();
        assert_eq!(error, NameError::Character { at: 2 });
        assert!(error.to_string().is_ascii());
        assert!(!error.to_string().contains('\u{1b}'));
    }

    #[test]
    fn nearest_names_come_first_and_strangers_do_not_come() {
        let names = ["payments", "orders", "order", "orders.eu", "Orders2", "borders"];
        assert_eq!(nearest("ordrs", names.into_iter()), ["orders", "Orders2", "borders"]);
        assert_eq!(nearest("ORDERS", names.into_iter()).first().unwrap(), "orders");
        assert!(nearest("zebra", names.into_iter()).is_empty());
        assert!(nearest("x", ["y"].into_iter()).is_empty());
        assert!(nearest("", names.into_iter()).is_empty());
        assert!(nearest(&"o".repeat(10_000), names.into_iter()).is_empty());
        // Among very many long names that are all alike the search gives up, with what it has.
        let alike = vec!["o".repeat(199); 100_000];
        let near = nearest(&"o".repeat(200), alike.iter().map(String::as_str));
        assert!((1..=3).contains(&near.len()), "{}", near.len());
    }
}
