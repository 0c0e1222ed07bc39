//! What a checker saw, line by line, and the verdict over it.
//!
//! The checker writes a line before a publish is sent, after its confirm, for each delivery, and after a
//! confirmed ack, all from one thread, so the order of lines is an order of events. Whoever judges reads
//! the file in another process. Names of faults follow the ones that Jepsen's checkers use.
//!
//! ```text
//! P <destination> <producer> <n>                                 about to be sent
//! C <destination> <producer> <n> <offset>                        confirmed
//! D <group> <producer> <n> <offset> <attempt> <redelivered 0|1>  delivered
//! A <group> <producer> <n>                                       its ack was confirmed
//! ```
//! A group is written as `<destination>` for a queue, `<destination>/<name>` for a group of a topic.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display};

/// A message of the checker: which producer, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Id {
    /// The producer.
    pub producer: u32,
    /// Its how manyeth message, from 1.
    pub n: u64,
}

/// One line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// About to be sent.
    Publish(&'a str, Id),
    /// Confirmed at an offset.
    Confirmed(&'a str, Id, u64),
    /// Delivered from an offset, as an attempt, flagged or not.
    Delivered(&'a str, Id, u64, u32, bool),
    /// Its ack was confirmed.
    Acked(&'a str, Id),
}

impl Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Event::Publish(to, id) => write!(f, "P {to} {} {}", id.producer, id.n),
            Event::Confirmed(to, id, at) => write!(f, "C {to} {} {} {at}", id.producer, id.n),
            Event::Delivered(group, id, at, attempt, redelivered) => {
                let flag = u8::from(redelivered);
                write!(f, "D {group} {} {} {at} {attempt} {flag}", id.producer, id.n)
            }
            Event::Acked(group, id) => write!(f, "A {group} {} {}", id.producer, id.n),
        }
    }
}

impl<'a> Event<'a> {
    /// Reads a line back; `None` if it is not one.
    pub fn parse(line: &'a str) -> Option<Event<'a>> {
        let mut words = line.split(' ');
        let (kind, place) = (words.next()?, words.next()?);
        let mut number = || words.next()?.parse::<u64>().ok();
        let id = Id { producer: u32::try_from(number()?).ok()?, n: number()? };
        Some(match kind {
            "P" => Event::Publish(place, id),
            "C" => Event::Confirmed(place, id, number()?),
            "D" => {
                let (at, attempt) = (number()?, u32::try_from(number()?).ok()?);
                Event::Delivered(place, id, at, attempt, number()? == 1)
            }
            "A" => Event::Acked(place, id),
            _ => return None,
        })
    }
}

/// What a history amounts to. Everything from `lost` on must be zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Messages that were about to be sent.
    pub attempted: u64,
    /// Messages confirmed.
    pub confirmed: u64,
    /// Deliveries.
    pub delivered: u64,
    /// Acks confirmed.
    pub acked: u64,
    /// Deliveries of a message that its group had seen before. Legal when flagged.
    pub duplicates: u64,
    /// Confirmed, and never delivered to a group.
    pub lost: u64,
    /// Delivered, and never sent.
    pub phantom: u64,
    /// A second delivery without the redelivered flag.
    pub unflagged: u64,
    /// Delivered to a group after its ack was confirmed there.
    pub after_ack: u64,
    /// One message at two offsets: a resend was stored twice.
    pub stored_twice: u64,
    /// One offset with two messages.
    pub inconsistent: u64,
    /// First deliveries of one producer out of publish order, in a group with one consumer.
    pub out_of_order: u64,
    /// An attempt lower than one before.
    pub attempts_decreased: u64,
    /// The first few faults in words.
    pub examples: Vec<String>,
}

impl Verdict {
    /// In one line, numbers first, for [`crate::told::done`].
    pub fn figures(&self) -> String {
        let Self { confirmed, acked, duplicates, lost, phantom, unflagged, after_ack, .. } = self;
        let Self { stored_twice, inconsistent, out_of_order, .. } = self;
        format!(
            "{confirmed} confirmed, {acked} acked, {duplicates} again, {lost} lost, {phantom} phantom, \
             {unflagged} unflagged, {after_ack} after ack, {stored_twice} stored twice, \
             {inconsistent} inconsistent, {out_of_order} out of order"
        )
    }

    /// No promise was broken.
    pub fn is_clean(&self) -> bool {
        let faults = [
            self.lost,
            self.phantom,
            self.unflagged,
            self.after_ack,
            self.stored_twice,
            self.inconsistent,
            self.out_of_order,
            self.attempts_decreased,
        ];
        faults.iter().all(|&count| count == 0)
    }
}

#[derive(Default)]
struct Seen {
    deliveries: u64,
    attempt: u32,
    acked: bool,
}

/// Reads events in order and counts faults.
#[derive(Default)]
pub struct Judge {
    verdict: Verdict,
    /// Destination and message: was it confirmed.
    published: HashMap<(String, Id), bool>,
    seen: HashMap<(String, Id), Seen>,
    place_of: HashMap<(String, Id), u64>,
    message_at: HashMap<(String, u64), Id>,
    /// Group and producer: the highest number that was delivered without a flag.
    highest: BTreeMap<(String, u32), u64>,
    /// Groups whose order is judged: those with one consumer.
    ordered: Vec<String>,
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judge").field("verdict", &self.verdict).finish_non_exhaustive()
    }
}

impl Judge {
    /// Judges order, too, in the groups of this list.
    pub fn new(ordered: &[&str]) -> Judge {
        let ordered = ordered.iter().map(|&group| group.to_owned()).collect();
        Judge { ordered, ..Judge::default() }
    }

    fn fault(&mut self, what: String) {
        if self.verdict.examples.len() < 20 {
            self.verdict.examples.push(what);
        }
    }

    /// Takes the next event.
    pub fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Publish(to, id) => {
                self.verdict.attempted += 1;
                self.published.insert((to.to_owned(), id), false);
            }
            Event::Confirmed(to, id, at) => {
                self.verdict.confirmed += 1;
                self.published.insert((to.to_owned(), id), true);
                self.place(to, id, at);
            }
            Event::Delivered(group, id, at, attempt, redelivered) => {
                self.delivered(group, id, at, attempt, redelivered);
            }
            Event::Acked(group, id) => {
                self.verdict.acked += 1;
                self.seen.entry((group.to_owned(), id)).or_default().acked = true;
            }
        }
    }

    fn delivered(&mut self, group: &str, id: Id, at: u64, attempt: u32, redelivered: bool) {
        self.verdict.delivered += 1;
        let destination = destination(group);
        if !self.published.contains_key(&(destination.to_owned(), id)) {
            self.verdict.phantom += 1;
            self.fault(format!("phantom {id:?} in {group}"));
        }
        self.place(destination, id, at);
        let seen = self.seen.entry((group.to_owned(), id)).or_default();
        let (before, acked, highest_attempt) = (seen.deliveries, seen.acked, seen.attempt);
        seen.deliveries += 1;
        seen.attempt = seen.attempt.max(attempt);
        if before > 0 {
            self.verdict.duplicates += 1;
        }
        if before > 0 && !redelivered {
            self.verdict.unflagged += 1;
            self.fault(format!("unflagged duplicate {id:?} in {group}"));
        }
        if acked {
            self.verdict.after_ack += 1;
            self.fault(format!("{id:?} delivered to {group} after its ack was confirmed"));
        }
        if attempt < highest_attempt {
            self.verdict.attempts_decreased += 1;
            self.fault(format!("{id:?} in {group}: attempt {attempt} after {highest_attempt}"));
        }
        if !redelivered && self.ordered.iter().any(|ordered| ordered == group) {
            let highest = self.highest.entry((group.to_owned(), id.producer)).or_default();
            let behind = id.n < *highest;
            *highest = id.n.max(*highest);
            if behind {
                self.verdict.out_of_order += 1;
                self.fault(format!("{id:?} in {group} after a later one"));
            }
        }
    }

    fn place(&mut self, destination: &str, id: Id, at: u64) {
        let first_place = *self.place_of.entry((destination.to_owned(), id)).or_insert(at);
        if first_place != at {
            self.verdict.stored_twice += 1;
            self.fault(format!("{id:?} in {destination} at {first_place} and at {at}"));
        }
        let first_message = *self.message_at.entry((destination.to_owned(), at)).or_insert(id);
        if first_message != id {
            self.verdict.inconsistent += 1;
            self.fault(format!("{destination} at {at}: {first_message:?} and {id:?}"));
        }
    }

    /// The verdict, when everything has been drained by `groups`.
    pub fn verdict(mut self, groups: &[&str]) -> Verdict {
        let mut confirmed: Vec<(String, Id)> =
            self.published.iter().filter(|(_, ok)| **ok).map(|(key, _)| key.clone()).collect();
        confirmed.sort();
        for (to, id) in confirmed {
            for group in groups.iter().filter(|group| destination(group) == to) {
                let seen = self.seen.get(&((*group).to_owned(), id));
                if seen.is_none_or(|seen| seen.deliveries == 0) {
                    self.verdict.lost += 1;
                    self.fault(format!("{id:?} was confirmed and never delivered to {group}"));
                }
            }
        }
        self.verdict
    }
}

fn destination(group: &str) -> &str {
    group.split('/').next().unwrap_or(group)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lines: &[&str]) -> Verdict {
        let mut judge = Judge::new(&["q", "t/one"]);
        for line in lines {
            let event = Event::parse(line).unwrap();
            assert_eq!(event.to_string(), *line);
            judge.event(event);
        }
        judge.verdict(&["q", "t/one", "t/two"])
    }

    #[test]
    fn a_flagged_duplicate_is_clean() {
        let verdict = judge(&["P q 1 1", "C q 1 1 0", "D q 1 1 0 1 0", "D q 1 1 0 2 1", "A q 1 1"]);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.delivered, verdict.duplicates, verdict.acked), (2, 1, 1));
    }

    #[test]
    fn every_kind_of_fault_is_noticed() {
        assert_eq!(judge(&["P q 1 1", "C q 1 1 0"]).lost, 1);
        assert_eq!(judge(&["P t 1 1", "C t 1 1 0", "D t/one 1 1 0 1 0"]).lost, 1);
        assert_eq!(judge(&["D q 1 1 0 1 0"]).phantom, 1);
        let twice = ["P q 1 1", "D q 1 1 0 1 0", "D q 1 1 0 1 0"];
        assert_eq!(judge(&twice).unflagged, 1);
        let late = ["P q 1 1", "D q 1 1 0 1 0", "A q 1 1", "D q 1 1 0 1 1"];
        assert_eq!(judge(&late).after_ack, 1);
        assert_eq!(judge(&["P q 1 1", "C q 1 1 0", "D q 1 1 4 1 0"]).stored_twice, 1);
        assert_eq!(judge(&["P q 1 1", "P q 1 2", "C q 1 1 0", "C q 1 2 0"]).inconsistent, 1);
        let order = ["P q 1 1", "P q 1 2", "D q 1 2 1 1 0", "D q 1 1 0 1 0"];
        assert_eq!(judge(&order).out_of_order, 1);
        let attempts = ["P q 1 1", "D q 1 1 0 3 0", "D q 1 1 0 2 1"];
        assert_eq!(judge(&attempts).attempts_decreased, 1);
    }

    #[test]
    fn lines_that_are_none_are_refused() {
        for line in ["", "P", "P q", "P q 1", "D q 1 1 0", "X q 1 1", "P q x 1"] {
            assert_eq!(Event::parse(line), None, "{line}");
        }
    }
}
