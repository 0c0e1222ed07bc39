//! Who gets a request and who hears of it, step by step and in random histories.

use super::*;
use posthaste_protocol::limits::SERVICE_IN_FLIGHT_MAX;

fn name(text: &str) -> Name {
    Name::try_from(text).unwrap()
}

/// Services and what was said, with every instance reading.
#[derive(Default)]
struct Desk {
    services: Services,
    told: Vec<Said>,
    now_ms: u64,
}

impl Desk {
    fn serve(&mut self, connection: ConnectionId, max: u32) {
        self.services.serve(connection, &name("q"), max).unwrap();
    }

    fn ask(&mut self, connection: ConnectionId, corr: u64, timeout_ms: u64) -> Result<(), Refusal> {
        let deadline_ms = self.now_ms + timeout_ms;
        self.services.ask((connection, corr), &name("q"), deadline_ms, b"body")
    }

    /// Everything that can be handed out, as (instance, ticket, time left).
    fn hand_out(&mut self) -> Vec<(ConnectionId, Ticket, u32)> {
        let mut out = Vec::new();
        while let Some(name) = self.services.next_pending() {
            while let Some((to, requested)) =
                self.services.hand_out(&name, self.now_ms, |_| Takes::Now)
            {
                out.push((to, requested.ticket, requested.left_ms));
            }
        }
        out
    }

    fn answer(&mut self, connection: ConnectionId, ticket: Ticket) -> Option<Said> {
        self.services.answer(connection, &name("q"), ticket, Answer::Done(Bytes::new()))
    }

    fn pass(&mut self, ms: u64) -> Vec<Said> {
        self.now_ms += ms;
        self.services.expire(self.now_ms, &mut self.told);
        std::mem::take(&mut self.told)
    }

    fn gone(&mut self, connection: ConnectionId) -> Vec<Said> {
        self.services.finished(connection, &mut self.told);
        // What it is told itself it does not hear.
        self.told.retain(|said| said.to != connection);
        std::mem::take(&mut self.told)
    }

    /// Nothing is kept of what is over.
    fn check_empty(&self) {
        let services = &self.services;
        assert!(services.by_name.is_empty() && services.requests.is_empty());
        assert!(services.by_deadline.is_empty() && services.pending.is_empty());
        assert!(services.shares.is_empty(), "{:?}", services.shares);
        assert_eq!(services.waiting_bytes, 0);
    }
}

fn code(said: &Said) -> Option<ErrorCode> {
    said.what.as_ref().err().map(|refusal| refusal.code)
}

#[test]
fn instances_get_requests_in_turn_and_no_more_than_they_take() {
    let mut desk = Desk::default();
    desk.serve(1, 2);
    desk.serve(2, 1);
    desk.serve(3, 1);
    for corr in 0..5 {
        desk.ask(9, corr, 100).unwrap();
    }
    let out = desk.hand_out();
    assert_eq!(out.iter().map(|one| one.0).collect::<Vec<_>>(), [1, 2, 3, 1]);
    assert!(desk.answer(2, out[1].1).is_some());
    assert_eq!(desk.hand_out().iter().map(|one| one.0).collect::<Vec<_>>(), [2]);
    let (info, more) = desk.services.list(None, 10);
    assert_eq!((info[0].instances, info[0].in_flight, info[0].waiting, more), (3, 4, 0, false));
}

#[test]
fn without_an_instance_a_request_is_refused_at_once_and_near_names_are_told() {
    let mut desk = Desk::default();
    desk.serve(1, 1);
    let refused = desk.services.ask((9, 0), &name("p"), 100, b"body").unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoResponder);
    desk.services.serve(1, &name("pricing"), 1).unwrap();
    let refused = desk.services.ask((9, 0), &name("pricng"), 100, b"body").unwrap_err();
    assert_eq!(refused.similar, ["pricing"]);
    desk.ask(9, 1, 100).unwrap();
    let told = desk.gone(1);
    assert_eq!((told.len(), told[0].to, told[0].corr), (1, 9, 1));
    assert_eq!(code(&told[0]), Some(ErrorCode::NoResponder), "it waited for the last one");
    desk.check_empty();
}

#[test]
fn a_request_whose_time_is_over_is_handed_to_nobody_and_its_requester_is_told_once() {
    let mut desk = Desk::default();
    desk.serve(1, 1);
    desk.ask(9, 1, 100).unwrap();
    desk.ask(9, 2, 50).unwrap();
    let first = desk.hand_out();
    assert_eq!(first[0].2, 100, "the responder sees what is left");
    desk.now_ms = 60;
    assert!(desk.answer(1, first[0].1).is_some());
    assert!(desk.hand_out().is_empty(), "too late for the second");
    let told = desk.pass(0);
    assert_eq!((told.len(), told[0].corr), (1, 2));
    assert_eq!(code(&told[0]), Some(ErrorCode::ReplyTimeout));
    assert!(desk.pass(1_000).is_empty());
    assert!(desk.gone(1).is_empty());
    desk.check_empty();
}

#[test]
fn a_responder_that_goes_is_told_at_once_to_who_waits_for_it_and_to_nobody_else() {
    let mut desk = Desk::default();
    desk.serve(1, 1);
    desk.serve(2, 1);
    desk.ask(8, 1, 100).unwrap();
    desk.ask(9, 2, 100).unwrap();
    desk.ask(9, 3, 100).unwrap();
    assert_eq!(desk.hand_out().len(), 2);
    let told = desk.gone(1);
    assert_eq!((told.len(), told[0].to, told[0].corr), (1, 8, 1));
    assert_eq!(code(&told[0]), Some(ErrorCode::ReplyLost));
    let again = desk.hand_out();
    assert!(again.is_empty(), "the other instance is busy, and what one had goes to no second");
}

#[test]
fn a_requester_that_goes_takes_its_requests_along() {
    let mut desk = Desk::default();
    desk.serve(1, 1);
    desk.ask(9, 1, 100).unwrap();
    desk.ask(9, 2, 100).unwrap();
    let ticket = desk.hand_out()[0].1;
    desk.services.finished(9, &mut desk.told);
    let told: Vec<_> = desk.told.drain(..).map(|said| (said.to, said.corr, code(&said))).collect();
    assert_eq!(told, [(9, 1, Some(ErrorCode::ReplyLost)), (9, 2, Some(ErrorCode::ReplyLost))]);
    assert!(desk.pass(1_000).is_empty());
    assert!(desk.answer(1, ticket).is_none(), "for nobody");
    assert!(desk.hand_out().is_empty(), "and what nobody had is forgotten");
    desk.gone(1);
    desk.check_empty();
}

#[test]
fn an_instance_that_does_not_answer_keeps_its_place_taken() {
    let mut desk = Desk::default();
    desk.serve(1, 1);
    desk.ask(9, 1, 10).unwrap();
    let ticket = desk.hand_out()[0].1;
    assert_eq!(desk.pass(10).len(), 1);
    desk.ask(9, 2, 10).unwrap();
    assert!(desk.hand_out().is_empty());
    assert!(desk.answer(1, ticket).is_none(), "nobody waits any more");
    assert_eq!(desk.services.tally.answers_dropped, 1);
    assert_eq!(desk.hand_out().len(), 1);
}

#[test]
fn answers_to_what_was_not_asked_change_nothing() {
    let mut desk = Desk::default();
    desk.serve(1, 1);
    desk.serve(2, 1);
    desk.ask(9, 1, 100).unwrap();
    let (to, ticket, _) = desk.hand_out()[0];
    let other = 3 - to;
    assert!(desk.answer(other, ticket).is_none(), "another instance had it");
    assert!(desk.answer(to, ticket + 1).is_none(), "there is no such request");
    let wrong = desk.services.answer(to, &name("x"), ticket, Answer::Done(Bytes::new()));
    assert!(wrong.is_none(), "another service was asked");
    assert!(desk.answer(to, ticket).is_some());
    assert!(desk.answer(to, ticket).is_none(), "twice");
    assert_eq!(desk.services.tally.answers_dropped, 4);
    desk.gone(1);
    desk.gone(2);
    desk.check_empty();
}

#[test]
fn who_left_and_came_back_has_its_places_but_no_more() {
    let mut desk = Desk::default();
    desk.serve(1, 1);
    desk.ask(9, 1, 100).unwrap();
    let old = desk.hand_out()[0].1;
    desk.services.leave(1, &name("q"), &mut desk.told).unwrap();
    desk.serve(1, 1);
    desk.ask(9, 2, 100).unwrap();
    assert_eq!(desk.hand_out().len(), 1);
    assert!(desk.answer(1, old).is_some(), "what it had it may still answer");
    desk.ask(9, 3, 100).unwrap();
    assert!(desk.hand_out().is_empty(), "which gives no place of the new stay back");
}

#[test]
fn requests_of_a_connection_and_of_all_are_bounded_in_number_and_bytes() {
    let mut desk = Desk::default();
    desk.serve(1, 1);
    for corr in 0..u64::from(REQUESTS_PER_CONNECTION_MAX) {
        desk.ask(9, corr, 100).unwrap();
    }
    assert_eq!(desk.ask(9, 0, 100).unwrap_err().code, ErrorCode::TooManyRequests);
    desk.ask(8, 0, 100).unwrap();
    desk.gone(9);
    let big = vec![0; 1 << 20];
    let ask = |desk: &mut Desk, connection| {
        desk.services.ask((connection, 0), &name("q"), 100, &big).map_err(|refusal| refusal.code)
    };
    for connection in 10..18 {
        for _ in 0..7 {
            ask(&mut desk, connection).unwrap();
        }
    }
    ask(&mut desk, 10).unwrap();
    assert_eq!(ask(&mut desk, 10), Err(ErrorCode::TooManyRequests), "8 MiB for each");
    for _ in 0..6 {
        ask(&mut desk, 20).unwrap();
    }
    assert_eq!(ask(&mut desk, 20), Err(ErrorCode::TooManyRequests), "64 MiB for all");
    for connection in [1, 8].into_iter().chain(10..21) {
        desk.gone(connection);
    }
    desk.check_empty();
}

#[test]
fn an_instance_that_does_not_read_is_passed_over_until_it_reads_again() {
    let mut desk = Desk::default();
    desk.serve(1, 4);
    desk.serve(2, 1);
    for corr in 0..3 {
        desk.ask(9, corr, 100).unwrap();
    }
    let takes = |to| if to == 1 { Takes::Nothing } else { Takes::Now };
    let first = desk.services.hand_out(&name("q"), 0, takes).unwrap();
    assert_eq!(first.0, 2);
    assert!(desk.services.hand_out(&name("q"), 0, takes).is_none());
    assert!(
        desk.services.hand_out(&name("q"), 0, |_| Takes::Now).is_none(),
        "it is out of the row"
    );
    desk.services.unblock(1);
    let out: Vec<_> = desk.hand_out().into_iter().map(|one| one.0).collect();
    assert_eq!(out, [1, 1]);
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Each request that was taken is told about exactly once, unless its requester went; nothing is
/// handed out late or twice; and in the end nothing is left.
#[test]
fn random_histories_tell_every_requester_once_and_leave_nothing_behind() {
    let otherwise = 1;
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(otherwise);
    println!("SEED={seed}");
    let mut state = seed;
    for _ in 0..200 {
        random_history(&mut state);
    }
}

fn random_history(state: &mut u64) {
    let mut desk = Desk::default();
    let mut owed: BTreeMap<u64, (ConnectionId, u64)> = BTreeMap::new();
    let mut handed: Vec<(ConnectionId, Ticket)> = Vec::new();
    let mut seen = BTreeSet::new();
    for corr in 0..400 {
        let connection = next(state) % 6;
        let mut told = Vec::new();
        match next(state) % 10 {
            0 => {
                let max = 1 + (next(state) as u32) % SERVICE_IN_FLIGHT_MAX.min(3);
                drop(desk.services.serve(connection, &name("q"), max));
            }
            1 => drop(desk.services.leave(connection, &name("q"), &mut told)),
            2..=5 => {
                let timeout_ms = 1 + next(state) % 50;
                if desk.ask(connection, corr, timeout_ms).is_ok() {
                    owed.insert(corr, (connection, desk.now_ms + timeout_ms));
                }
            }
            6 | 7 if !handed.is_empty() => {
                let (to, ticket) = handed.swap_remove(next(state) as usize % handed.len());
                told.extend(desk.answer(to, ticket));
            }
            8 => {
                told = desk.gone(connection);
                owed.retain(|_, (requester, _)| *requester != connection);
                handed.retain(|(to, _)| *to != connection);
            }
            _ => told = desk.pass(next(state) % 20),
        }
        for (to, ticket, left_ms) in desk.hand_out() {
            assert!(left_ms > 0 && seen.insert(ticket), "once, and in time");
            handed.push((to, ticket));
        }
        for said in told {
            let (requester, _) = owed.remove(&said.corr).expect("told once, and only who waits");
            assert_eq!(requester, said.to);
        }
        assert!(
            owed.values().all(|(_, deadline_ms)| *deadline_ms > desk.now_ms),
            "nobody waits on"
        );
    }
    for connection in 0..6 {
        desk.gone(connection);
    }
    desk.check_empty();
}
