//! Names: the rule, said twice, and the search for near ones.

use crate::feed::Feed;
use posthaste_protocol::{GroupName, Name, names};

/// Feeds `data`.
pub fn run(data: &[u8]) {
    let mut feed = Feed::new(data);
    let len = usize::from(feed.byte());
    let wanted = feed.take(len);
    let is_name = (1..=200).contains(&wanted.len())
        && wanted[0] != b'.'
        && wanted.iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte));
    assert_eq!(names::check(wanted).is_ok(), is_name);
    if let Err(error) = names::check(wanted) {
        assert!(error.to_string().is_ascii() && error.rule().is_ascii());
    }
    let Ok(wanted) = std::str::from_utf8(wanted) else { return };
    assert_eq!(Name::try_from(wanted).is_ok(), is_name);
    assert_eq!(GroupName::try_from(wanted).is_ok(), is_name);
    let known = String::from_utf8_lossy(feed.rest());
    let known: Vec<&str> = known.split('\n').take(100).collect();
    let near = names::nearest(wanted, known.iter().copied());
    assert!(near.len() <= 3);
    assert!(near.iter().all(|name| known.contains(&name.as_str())));
}
