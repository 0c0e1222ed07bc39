//! Requests without end, replies that nobody takes, answers to what was not asked.

use super::Arena;
use posthaste_protocol::service::{Answer, ServiceCall, ServiceReply};
use posthaste_protocol::{ErrorCode, Request, Response};
use posthaste_tests::raw::name;
use posthaste_tests::raw::services::{answer, ask, body as body_of, replied, serve};
use posthaste_tests::{Raw, eventually};

const LONG_MS: u32 = 600_000;

#[test]
pub(super) fn answers_to_what_was_not_asked_or_twice_disturb_nobody() {
    let arena = Arena::new();
    let (mut asker, mut honest, mut liar) = (arena.greet(), arena.greet(), arena.greet());
    honest.serve("quote", 8);
    let corr = asker.request(0, &ask("quote", LONG_MS, b"x"));
    let ticket = honest.requested().ticket;
    // The liar is an instance too, and guesses what others have; then it is none any more.
    liar.serve("quote", 8);
    for guess in 0..1_000 {
        liar.request(0, &answer("quote", guess, b"forged"));
    }
    let failed = Answer::Failed { reason: "forged".into() };
    let failed = ServiceCall::Answer { name: name("quote"), ticket, answer: failed };
    liar.request(0, &Request::Service(failed));
    let leave = ServiceCall::Leave { name: name("quote") };
    assert_eq!(liar.ask(0, &Request::Service(leave)), Response::Service(ServiceReply::Left));
    for body in [&b"true"[..], b"twice", b"and again"] {
        honest.request(0, &answer("quote", ticket, body));
    }
    assert_eq!(replied(asker.answer(corr)).unwrap(), "true");
    let corr = asker.request(0, &ask("quote", LONG_MS, b"y"));
    let ticket = honest.requested().ticket;
    honest.request(0, &answer("quote", ticket, b"next"));
    assert_eq!(replied(asker.answer(corr)).unwrap(), "next");
    arena.finish();
}

#[test]
pub(super) fn requests_without_end_are_refused_by_name_and_cost_bounded_memory() {
    let arena = Arena::new();
    let mut responder = arena.greet();
    responder.serve("quote", 1);
    let mut asker = arena.greet();
    let mut last = 0;
    for _ in 0..1_030 {
        last = asker.request(0, &ask("quote", LONG_MS, b"x"));
    }
    assert_eq!(replied(asker.answer(last)), Err(ErrorCode::TooManyRequests), "1,024 in flight");
    let mut large = arena.greet();
    let body = vec![b'x'; 1_000_000];
    for _ in 0..20 {
        last = large.request(0, &ask("quote", LONG_MS, &body));
    }
    assert_eq!(replied(large.answer(last)), Err(ErrorCode::TooManyRequests), "8 MiB wait");
    // Who goes takes its requests along: there is room for others.
    drop((asker, large));
    eventually("what waited is forgotten", || {
        let lines = arena.broker.ok(&["service", "ls"]);
        lines.starts_with("quote\t1\t1\t0\t").then_some(())
    });
    arena.finish();
}

#[test]
pub(super) fn a_requester_that_never_reads_loses_its_replies_and_costs_bounded_memory() {
    let arena = Arena::new();
    let (mut deaf, mut responder) = (arena.greet(), arena.greet());
    responder.serve("big", 8);
    let body = vec![b'x'; 1_000_000];
    for _ in 0..100 {
        deaf.request(0, &ask("big", LONG_MS, b"x"));
    }
    for _ in 0..100 {
        let ticket = responder.requested().ticket;
        responder.request(0, &answer("big", ticket, &body));
    }
    let replies = (0..100).map(|_| deaf.heard().expect("every request is answered").1);
    let lost = replies.filter(|reply| replied(reply.clone()) == Err(ErrorCode::ReplyLost)).count();
    assert!((1..100).contains(&lost), "{lost} replies did not fit");
    arena.finish();
}

#[test]
pub(super) fn a_responder_that_never_reads_delays_only_what_it_has() {
    let arena = Arena::new();
    let mut deaf = arena.greet();
    deaf.request(0, &serve("quote", 1_024));
    let mut asker = arena.greet();
    eventually("it is an instance", || {
        arena.broker.ok(&["service", "ls"]).starts_with("quote\t1").then_some(())
    });
    let body = vec![b'x'; 500_000];
    let mut asked = Vec::new();
    for _ in 0..30 {
        asked.push(asker.request(0, &ask("quote", 2_000, &body)));
    }
    let mut honest = Raw::greet(arena.address());
    honest.serve("quote", 1_024);
    // In turn: one of two comes to the honest one.
    let long = [&b"a"[..], b"b"].map(|body| (body, asker.request(0, &ask("quote", LONG_MS, body))));
    let requested = loop {
        let requested = honest.requested();
        if requested.left_ms > 10_000 {
            break requested;
        }
    };
    honest.request(0, &answer("quote", requested.ticket, b"here"));
    let came = body_of(&requested.batch);
    let (_, corr) = long.into_iter().find(|(body, _)| came == *body).unwrap();
    assert_eq!(replied(asker.answer(corr)).unwrap(), "here");
    drop((deaf, asked));
    arena.finish();
}

#[test]
pub(super) fn instances_have_a_limit_and_what_is_no_name_is_refused() {
    let arena = Arena::new();
    let mut raw = arena.greet();
    for n in 0..100 {
        raw.serve(&format!("s{n}"), 1);
    }
    raw.refused(0, &serve("one-more", 1), ErrorCode::QuotaExceeded);
    raw.refused(0, &serve("s1", 0), ErrorCode::InvalidArgument);
    raw.refused(0, &ask("s1", 0, b"x"), ErrorCode::InvalidArgument);
    raw.refused(0, &ask("s1", u32::MAX, b"x"), ErrorCode::InvalidArgument);
    raw.refused(1, &ask("s1", 1, b"x"), ErrorCode::InvalidArgument);
    arena.finish();
}
