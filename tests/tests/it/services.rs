//! Request and reply over TCP: who hears what when the other side is slow, dies, or is not there.

use posthaste_protocol::service::{Answer, ServiceCall, ServiceReply};
use posthaste_protocol::{ErrorCode, Request, Response};
use posthaste_tests::raw::services::{answer, ask, body, replied, serve};
use posthaste_tests::raw::{batch, name};
use posthaste_tests::{Raw, TestBroker, eventually};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// Longer than any test waits.
const LONG_MS: u32 = 600_000;

fn pair(broker: &TestBroker) -> (Raw, Raw) {
    (Raw::greet(broker.address()), Raw::greet(broker.address()))
}

/// A command line that answers requests, in a process of its own.
struct Responder(Child);

impl Responder {
    fn start(broker: &TestBroker, service: &str, command: &str) -> Responder {
        let mut responder = broker.command(&["reply", service, "--exec", command]);
        let child = responder.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Responder(child)
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn wait_for_instances(broker: &TestBroker, service: &str, count: &str) {
    eventually("the instances are there", || {
        let lines = broker.ok(&["service", "ls"]);
        let found = lines.lines().find(|line| line.starts_with(&format!("{service}\t")));
        let instances = found.and_then(|line| line.split('\t').nth(1)).unwrap_or("0").to_owned();
        (instances == count).then_some(())
    });
}

#[test]
fn a_request_and_its_reply_go_through_untouched_and_nothing_is_stored() {
    let broker = TestBroker::start("services");
    let (mut asker, mut responder) = pair(&broker);
    responder.serve("quote", 4);
    let corr = asker.request(0, &ask("quote", LONG_MS, b"seven"));
    let requested = responder.requested();
    assert_eq!(&body(&requested.batch)[..], b"seven");
    assert!(requested.left_ms <= LONG_MS && requested.left_ms > LONG_MS - 60_000);
    responder.request(0, &answer("quote", requested.ticket, b"990"));
    assert_eq!(replied(asker.answer(corr)).unwrap(), "990");
    assert_eq!(broker.ok(&["ls"]), "");
}

#[test]
fn without_an_instance_the_answer_is_an_error_at_once() {
    let broker = TestBroker::start("services");
    let mut asker = Raw::greet(broker.address());
    let begun = Instant::now();
    asker.refused(0, &ask("quote", LONG_MS, b"x"), ErrorCode::NoResponder);
    let ran = broker.run(&["req", "quote", "x", "--timeout", "10m"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(
        ran.stderr.contains("PH-0421") && ran.stderr.contains("posthaste reply quote"),
        "{ran:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_responder_that_is_killed_while_it_works_is_told_at_once() {
    let broker = TestBroker::start("services");
    let responder = Responder::start(&broker, "quote", "sleep 600");
    wait_for_instances(&broker, "quote", "1");
    let mut asker = Raw::greet(broker.address());
    let corr = asker.request(0, &ask("quote", LONG_MS, b"x"));
    eventually("it has the request", || {
        broker.ok(&["service", "ls"]).starts_with("quote\t1\t1\t0\t1").then_some(())
    });
    let killed = Instant::now();
    drop(responder);
    assert_eq!(replied(asker.answer(corr)), Err(ErrorCode::ReplyLost));
    assert!(killed.elapsed() < Duration::from_secs(30), "not a silent wait");
    asker.refused(0, &ask("quote", LONG_MS, b"x"), ErrorCode::NoResponder);
}

#[test]
fn a_request_whose_time_is_over_reaches_nobody() {
    let broker = TestBroker::start("services");
    let (mut asker, mut responder) = pair(&broker);
    responder.serve("quote", 1);
    asker.request(0, &ask("quote", LONG_MS, b"first"));
    let first = responder.requested();
    let late = asker.request(0, &ask("quote", 50, b"late"));
    assert_eq!(replied(asker.answer(late)), Err(ErrorCode::ReplyTimeout));
    asker.request(0, &ask("quote", LONG_MS, b"third"));
    responder.request(0, &answer("quote", first.ticket, b"done"));
    assert_eq!(&body(&responder.requested().batch)[..], b"third", "the late one is skipped");
}

#[test]
fn a_slow_responder_is_a_timeout_and_its_late_answer_is_dropped() {
    let broker = TestBroker::start("services");
    let (mut asker, mut responder) = pair(&broker);
    responder.serve("quote", 2);
    let corr = asker.request(0, &ask("quote", 50, b"x"));
    let requested = responder.requested();
    assert!(requested.left_ms <= 50);
    assert_eq!(replied(asker.answer(corr)), Err(ErrorCode::ReplyTimeout));
    responder.request(0, &answer("quote", requested.ticket, b"late"));
    let corr = asker.request(0, &ask("quote", LONG_MS, b"y"));
    let requested = responder.requested();
    responder.request(0, &answer("quote", requested.ticket, b"in time"));
    assert_eq!(replied(asker.answer(corr)).unwrap(), "in time", "and nothing of the late one");
}

#[test]
fn who_sends_no_more_answers_nothing_and_waits_for_nothing() {
    let broker = TestBroker::start("services");
    let (mut asker, mut responder) = pair(&broker);
    responder.serve("quote", 1);
    let lost = asker.request(0, &ask("quote", LONG_MS, b"a"));
    responder.requested();
    responder.half_close();
    assert_eq!(replied(asker.answer(lost)), Err(ErrorCode::ReplyLost));
    let mut second = Raw::greet(broker.address());
    second.serve("quote", 1);
    let over = asker.request(0, &ask("quote", LONG_MS, b"b"));
    let requested = second.requested();
    let waits = asker.request(0, &ask("quote", LONG_MS, b"c"));
    asker.half_close();
    assert_eq!(replied(asker.answer(over)), Err(ErrorCode::ReplyLost));
    assert_eq!(replied(asker.answer(waits)), Err(ErrorCode::ReplyLost));
    assert!(asker.heard().is_none(), "then it is closed");
    second.request(0, &answer("quote", requested.ticket, b"for nobody"));
    let mut third = Raw::greet(broker.address());
    let corr = third.request(0, &ask("quote", LONG_MS, b"d"));
    let requested = second.requested();
    assert_eq!(&body(&requested.batch)[..], b"d", "what waited is forgotten");
    second.request(0, &answer("quote", requested.ticket, b"done"));
    assert_eq!(replied(third.answer(corr)).unwrap(), "done");
}

#[test]
fn who_leaves_gets_no_more_and_may_answer_what_it_has() {
    let broker = TestBroker::start("services");
    let (mut asker, mut responder) = pair(&broker);
    responder.serve("quote", 8);
    let corr = asker.request(0, &ask("quote", LONG_MS, b"x"));
    let requested = responder.requested();
    let leave = Request::Service(ServiceCall::Leave { name: name("quote") });
    assert_eq!(responder.ask(0, &leave), Response::Service(ServiceReply::Left));
    responder.refused(0, &leave, ErrorCode::NotFound);
    asker.refused(0, &ask("quote", LONG_MS, b"y"), ErrorCode::NoResponder);
    responder.request(0, &answer("quote", requested.ticket, b"done"));
    assert_eq!(replied(asker.answer(corr)).unwrap(), "done");
}

#[test]
fn instances_take_turns_and_a_second_registration_is_a_conflict() {
    let broker = TestBroker::start("services");
    let (mut asker, mut one) = pair(&broker);
    let mut two = Raw::greet(broker.address());
    one.serve("quote", 100);
    two.serve("quote", 100);
    one.refused(0, &serve("quote", 1), ErrorCode::Conflict);
    for _ in 0..5 {
        asker.request(0, &ask("quote", LONG_MS, b"x"));
        one.requested();
        asker.request(0, &ask("quote", LONG_MS, b"x"));
        two.requested();
    }
}

#[test]
fn a_request_of_no_message_or_of_two_is_refused_and_a_bad_answer_is_told_to_who_waits() {
    let broker = TestBroker::start("services");
    let (mut asker, mut responder) = pair(&broker);
    responder.serve("quote", 8);
    let two = batch("quote", &[b"a", b"b"]);
    let two = ServiceCall::Ask { name: name("quote"), timeout_ms: 1, batch: two };
    asker.refused(0, &Request::Service(two), ErrorCode::InvalidArgument);
    let other = ServiceCall::Ask { name: name("quote"), timeout_ms: 1, batch: batch("x", &[b"a"]) };
    asker.refused(0, &Request::Service(other), ErrorCode::ChecksumMismatch);
    let corr = asker.request(0, &ask("quote", LONG_MS, b"x"));
    let ticket = responder.requested().ticket;
    let forged = Answer::Done(batch("x", &[b"a"]));
    let forged = ServiceCall::Answer { name: name("quote"), ticket, answer: forged };
    responder.refused(0, &Request::Service(forged), ErrorCode::ChecksumMismatch);
    match asker.answer(corr) {
        Response::Service(ServiceReply::Replied(Answer::Failed { reason })) => {
            assert!(reason.contains("refused the reply"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_asks_answers_and_lists() {
    let broker = TestBroker::start("services");
    let _responder =
        Responder::start(&broker, "double", "read n; test $n -gt 0 && echo $((n * 2))");
    wait_for_instances(&broker, "double", "1");
    assert_eq!(broker.ok(&["req", "double", "21"]), "42\n");
    let json = broker.ok(&["req", "double", "4", "-o", "json"]);
    assert!(json.contains("\"reply\": \"8\\n\"") || json.contains("\"reply\":\"8\\n\""), "{json}");
    let failed = broker.run(&["req", "double", "0"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(
        failed.stderr.contains("PH-0425") && failed.stderr.contains("exit status"),
        "{failed:?}"
    );
    assert_eq!(broker.ok(&["service", "ls"]), "double\t1\t0\t0\t3\n");
}

#[test]
fn an_instance_comes_back_by_itself_after_the_broker_was_killed() {
    let mut broker = TestBroker::start("services");
    let _responder = Responder::start(&broker, "echo", "cat");
    wait_for_instances(&broker, "echo", "1");
    broker.kill();
    broker.restart();
    wait_for_instances(&broker, "echo", "1");
    assert_eq!(broker.ok(&["req", "echo", "still here"]), "still here");
}

#[test]
fn what_became_of_requests_is_counted() {
    let broker = TestBroker::start("services");
    let (mut asker, mut responder) = pair(&broker);
    asker.refused(0, &ask("quote", LONG_MS, b"x"), ErrorCode::NoResponder);
    responder.serve("quote", 8);
    let corr = asker.request(0, &ask("quote", LONG_MS, b"x"));
    let ticket = responder.requested().ticket;
    responder.request(0, &answer("quote", ticket, b"y"));
    responder.request(0, &answer("quote", ticket, b"twice"));
    replied(asker.answer(corr)).unwrap();
    let wanted = [
        "posthaste_service_requests_total{outcome=\"replied\"} 1",
        "posthaste_service_requests_total{outcome=\"no_responder\"} 1",
        "posthaste_service_answers_dropped_total 1",
        "posthaste_services 1",
        "posthaste_service_requests_under_way 0",
    ];
    eventually("the metrics say so", || {
        let (_, page) = posthaste_tests::http::get(broker.http(), "/metrics");
        wanted.iter().all(|line| page.contains(line)).then_some(())
    });
}
