//! Which message may begin next: in order of arrival, and of one key only one at a time.
//!
//! Pure. Messages without a key, and all of them where the key does not matter, never wait.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A key that is being worked on.
pub(super) type Key = Arc<str>;

/// Messages that were taken and have not begun.
#[derive(Debug)]
pub(super) struct Lines<M> {
    ready: VecDeque<(Option<Key>, M)>,
    /// Per key that is ready or at work: those behind it, in order.
    behind: HashMap<Key, VecDeque<(usize, M)>>,
    waiting: usize,
    waiting_bytes: usize,
}

impl<M> Lines<M> {
    pub(super) fn new() -> Self {
        Self { ready: VecDeque::new(), behind: HashMap::new(), waiting: 0, waiting_bytes: 0 }
    }

    /// Adds a message of so many bytes; with a key it waits for those of that key before it.
    pub(super) fn push(&mut self, key: Option<&str>, bytes: usize, message: M) {
        let Some(key) = key else {
            self.ready.push_back((None, message));
            return;
        };
        if let Some(behind) = self.behind.get_mut(key) {
            behind.push_back((bytes, message));
            self.waiting += 1;
            self.waiting_bytes += bytes;
            return;
        }
        let key = Key::from(key);
        self.behind.insert(Arc::clone(&key), VecDeque::new());
        self.ready.push_back((Some(key), message));
    }

    /// The next message that may begin, with the key to give back when it is [`Lines::done`].
    pub(super) fn begin(&mut self) -> Option<(Option<Key>, M)> {
        self.ready.pop_front()
    }

    /// A message of this key has ended: the next one may begin.
    pub(super) fn done(&mut self, key: &Key) {
        let next = self.behind.get_mut(key).and_then(VecDeque::pop_front);
        let Some((bytes, message)) = next else {
            self.behind.remove(key);
            return;
        };
        self.waiting -= 1;
        self.waiting_bytes -= bytes;
        self.ready.push_back((Some(Arc::clone(key)), message));
    }

    /// Messages, and their bytes, that wait behind others of their key.
    pub(super) fn waiting(&self) -> (usize, usize) {
        (self.waiting, self.waiting_bytes)
    }

    /// Everything that has not begun.
    pub(super) fn drain(&mut self) -> Vec<M> {
        let behind = std::mem::take(&mut self.behind).into_values().flatten();
        let ready = std::mem::take(&mut self.ready).into_iter().map(|(_, message)| message);
        (self.waiting, self.waiting_bytes) = (0, 0);
        ready.chain(behind.map(|(_, message)| message)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(lines: &mut Lines<u32>) -> Option<u32> {
        lines.begin().map(|(_, message)| message)
    }

    #[test]
    fn messages_of_one_key_begin_one_after_the_other() {
        let mut lines = Lines::new();
        lines.push(Some("a"), 10, 1);
        lines.push(Some("a"), 20, 2);
        lines.push(Some("b"), 1, 3);
        lines.push(Some("a"), 40, 4);
        lines.push(None, 1, 5);
        let (key, first) = lines.begin().unwrap();
        assert_eq!((first, begun(&mut lines), begun(&mut lines)), (1, Some(3), Some(5)));
        assert_eq!((begun(&mut lines), lines.waiting()), (None, (2, 60)));
        let key = key.unwrap();
        lines.done(&key);
        assert_eq!((begun(&mut lines), begun(&mut lines)), (Some(2), None));
        lines.done(&key);
        assert_eq!((begun(&mut lines), lines.waiting()), (Some(4), (0, 0)));
        lines.done(&key);
        assert_eq!(lines.behind.len(), 1, "only b is at work");
        lines.push(Some("a"), 1, 6);
        assert_eq!(begun(&mut lines), Some(6), "the key is free again");
    }

    #[test]
    fn what_has_not_begun_can_be_given_back() {
        let mut lines = Lines::new();
        for message in 0..3 {
            lines.push(Some("a"), 1, message);
        }
        lines.push(None, 1, 3);
        assert_eq!(begun(&mut lines), Some(0));
        let mut rest = lines.drain();
        rest.sort_unstable();
        assert_eq!((rest, lines.waiting(), begun(&mut lines)), (vec![1, 2, 3], (0, 0), None));
    }
}
