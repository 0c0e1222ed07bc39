//! Plain requests: each answer finds its question, and a broken connection repeats only what may be
//! repeated.

use std::time::Duration;

use posthaste::{Declared, ErrorKind, Kind, Start};
use posthaste_protocol::request::DeadAction;
use posthaste_protocol::response::{DeadLetter, Declared as WireDeclared, Stats};
use posthaste_protocol::{Request, Response};
use tokio::time::Instant;

use crate::fake::{connected, piece, settle_down};

#[tokio::test(start_paused = true)]
async fn answers_find_their_questions_in_any_order() {
    let (_fake, mut peer, client) = connected().await;
    let one = tokio::spawn({
        let client = client.clone();
        async move { client.queue("one").purge().dry_run().await }
    });
    settle_down().await;
    let two = tokio::spawn({
        let client = client.clone();
        async move { client.queue("two").purge().await }
    });
    let (first, second) = (peer.next().await, peer.next().await);
    assert!(matches!(first.request, Request::Purge { dry_run: true, .. }));
    assert!(matches!(second.request, Request::Purge { dry_run: false, .. }));
    peer.say(0, second.id, Response::Done { messages: 2 }).await;
    peer.say(0, first.id, Response::Done { messages: 1 }).await;
    assert_eq!((one.await.unwrap().unwrap(), two.await.unwrap().unwrap()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_declare_sends_only_what_was_set() {
    let (_fake, mut peer, client) = connected().await;
    let lease = Duration::from_secs(60);
    let declaring =
        tokio::spawn(async move { client.queue("q").declare().max_attempts(3).lease(lease).await });
    let said = peer.next().await;
    let Request::Declare { settings, .. } = said.request else { panic!("{said:?}") };
    assert_eq!((settings.max_attempts, settings.lease_ms), (Some(3), Some(60_000)));
    assert_eq!((settings.retry_min_ms, settings.max_messages), (None, None));
    let declared = WireDeclared::Updated;
    peer.say(0, said.id, Response::Declared { declared, id: 1 }).await;
    assert_eq!(declaring.await.unwrap().unwrap(), Declared::Updated);
}

#[tokio::test(start_paused = true)]
async fn a_list_goes_on_until_there_is_no_more() {
    let (_fake, mut peer, client) = connected().await;
    let listing = tokio::spawn(async move { client.list().await });
    for (expected, name, more) in [(None, "a", true), (Some("a"), "b", false)] {
        let said = peer.next().await;
        let Request::List { after, .. } = said.request else { panic!("{said:?}") };
        assert_eq!(after.as_ref().map(AsRef::as_ref), expected);
        let item = posthaste_protocol::response::Description {
            id: 1,
            kind: posthaste_protocol::request::Kind::Topic,
            name: name.try_into().unwrap(),
            settings: posthaste_protocol::request::Settings::default(),
            first_offset: 0,
            next_offset: 5,
            bytes: 0,
            groups: vec![],
        };
        peer.say(0, said.id, Response::Listed { items: vec![item], more }).await;
    }
    let all = listing.await.unwrap().unwrap();
    let names: Vec<_> = all.iter().map(|one| (one.kind, one.name.as_str())).collect();
    assert_eq!(names, [(Kind::Topic, "a"), (Kind::Topic, "b")]);
}

#[tokio::test(start_paused = true)]
async fn what_may_be_repeated_is_repeated_on_the_next_connection() {
    let (mut fake, mut peer, client) = connected().await;
    let stats = tokio::spawn({
        let client = client.clone();
        async move { client.stats().await }
    });
    peer.next().await;
    let purge = tokio::spawn({
        let client = client.clone();
        async move { client.queue("q").purge().await }
    });
    peer.next().await;
    drop(peer);
    let error = purge.await.unwrap().unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Disconnected, true));
    let mut peer = fake.accept().await;
    let said = peer.next().await;
    assert!(matches!(said.request, Request::Stats), "{said:?}");
    peer.say(0, said.id, Response::Stats(Stats { published: 5, ..Stats::default() })).await;
    assert_eq!(stats.await.unwrap().unwrap().published, 5);
}

#[tokio::test(start_paused = true)]
async fn a_request_without_an_answer_ends_in_time() {
    let (_fake, _peer, client) = connected().await;
    let begun = Instant::now();
    let error = client.ping().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn reading_goes_page_by_page_and_a_tail_waits() {
    let (_fake, mut peer, client) = connected().await;
    let mut tail = client.queue("q").tail(Start::Position(3));
    let reading = tokio::spawn(async move {
        let mut all = Vec::new();
        for _ in 0..3 {
            let message = tail.next().await.unwrap().unwrap();
            all.push((message.position(), message.payload().unwrap()));
        }
        all
    });
    // Offset 3 is the second record of a batch; the next page is empty, the one after is not.
    let pages = [
        (
            3,
            vec![posthaste_protocol::response::Piece {
                from: 1,
                count: 1,
                ..piece("q", 2, &["x", "a"])
            }],
            4,
        ),
        (4, vec![], 4),
        (4, vec![piece("q", 4, &["b", "c"])], 6),
    ];
    for (from, pieces, next_offset) in pages {
        let said = peer.next().await;
        let Request::Read { from: asked, .. } = said.request else { panic!("{said:?}") };
        assert_eq!(asked, posthaste_protocol::request::Start::Offset(from));
        let end_offset = next_offset;
        peer.say(0, said.id, Response::Records { pieces, next_offset, end_offset }).await;
    }
    let all = reading.await.unwrap();
    assert_eq!(all, [(3, "a".into()), (4, "b".into()), (5, "c".into())]);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_come_with_their_reason() {
    let (_fake, mut peer, client) = connected().await;
    let listing = tokio::spawn(async move { client.queue("q").dead_letters().list(0, 10).await });
    let said = peer.next().await;
    let Request::Dead { action: DeadAction::List { from: 0, limit: 10 }, .. } = said.request else {
        panic!("{said:?}")
    };
    let item = DeadLetter {
        offset: 7,
        attempts: 8,
        dead_ms: 5_000,
        reason: "hopeless".to_owned(),
        piece: piece("q", 7, &["body"]),
    };
    peer.say(0, said.id, Response::DeadLetters { items: vec![item], total: 12 }).await;
    let page = listing.await.unwrap().unwrap();
    assert_eq!((page.total, page.letters.len()), (12, 1));
    let letter = &page.letters[0];
    assert_eq!((letter.position(), letter.attempts(), letter.reason()), (7, 8, "hopeless"));
    assert_eq!(letter.payload().unwrap(), "body");
}
