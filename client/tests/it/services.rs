//! Request and reply against the real broker, inside this process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use posthaste::{Bytes, Client, ConsumeError, ErrorKind, ServiceError, ServiceOf};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

const SECOND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

async fn memory() -> Client {
    Client::connect("memory:").await.expect("a broker")
}

/// Another client of the same broker.
async fn two(name: &str) -> (Client, Client) {
    let url = format!("memory:{name}");
    let first = Client::connect(&url).await.expect("a broker");
    (first, Client::connect(&url).await.expect("the same broker"))
}

/// Waits until a service has so many instances.
async fn instances(client: &Client, name: &str, count: u32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = client.services().await.expect("a list");
        let found = found.into_iter().find(|one| one.name == name);
        if found.map_or(0, |one| one.instances) == count {
            return;
        }
        assert!(Instant::now() < deadline, "not {count} instances of {name}");
        tokio::task::yield_now().await;
    }
}

/// A service that doubles; stopped by the sender.
async fn double(client: &Client) -> (oneshot::Sender<()>, JoinHandle<Result<(), ConsumeError>>) {
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = client.service("double").serve(async { drop(stopped.await) }, double_it);
    let serving = tokio::spawn(serving);
    instances(client, "double", 1).await;
    (stop, serving)
}

async fn double_it(number: u64, _: posthaste::RequestContext) -> Result<u64, ServiceError> {
    number.checked_mul(2).ok_or_else(|| ServiceError::new("too large to double"))
}

#[tokio::test]
async fn a_request_gets_its_reply_and_nothing_is_declared() {
    let client = memory().await;
    let (stop, serving) = double(&client).await;
    let doubled: u64 = client.request("double", &21_u64).timeout(2 * SECOND).await.unwrap();
    assert_eq!(doubled, 42);
    assert!(client.list().await.unwrap().is_empty(), "no queue and no topic");
    let info = client.services().await.unwrap().remove(0);
    assert_eq!((info.requests, info.in_flight, info.waiting), (1, 0, 0));
    drop(stop);
    serving.await.unwrap().unwrap();
    assert!(client.services().await.unwrap().is_empty());
}

#[tokio::test]
async fn without_a_responder_a_request_fails_at_once_and_says_what_to_do() {
    let client = memory().await;
    let (_stop, _serving) = double(&client).await;
    let begun = Instant::now();
    let asked = client.request::<_, u64, u64>("duoble", &1).timeout(600 * SECOND).await;
    let error = asked.unwrap_err();
    assert!(begun.elapsed() < PATIENCE);
    assert_eq!((error.kind(), error.code()), (ErrorKind::NoResponder, "PH-0421"));
    assert_eq!(error.similar(), ["double"]);
    assert!(error.help().unwrap().contains("posthaste reply"), "{:?}", error.help());
}

#[tokio::test]
async fn what_a_handler_says_of_its_failure_reaches_the_requester() {
    let client = memory().await;
    let (_stop, _serving) = double(&client).await;
    let asked = client.request::<_, u64, u64>("double", &u64::MAX).await;
    let error = asked.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Failed, "too large to double"));
    let asked = client.request::<_, String, u64>("double", &"seven".to_owned()).await;
    let error = asked.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    assert!(error.message().contains("cannot be read"), "{error}");
}

#[tokio::test]
async fn a_handler_that_panics_fails_its_request_only() {
    let client = memory().await;
    let serving = client.service("fragile").serve(std::future::pending(), |n: u64, _| async move {
        assert!(n > 0, "zero");
        Ok(n)
    });
    let _serving = tokio::spawn(serving);
    instances(&client, "fragile", 1).await;
    let error = client.request::<_, u64, u64>("fragile", &0).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed);
    let fine: u64 = client.request("fragile", &1_u64).await.unwrap();
    assert_eq!(fine, 1);
}

#[tokio::test]
async fn instances_share_the_load_in_turn() {
    const WHO: ServiceOf<(), usize> = ServiceOf::new("who");
    let client = memory().await;
    let mut clients = Vec::new();
    let (asker, first) = two("turns").await;
    clients.push(first);
    clients.push(Client::connect("memory:turns").await.unwrap());
    clients.push(Client::connect("memory:turns").await.unwrap());
    for (index, one) in clients.iter().enumerate() {
        let serve = move |(), _| async move { Ok::<_, ServiceError>(index) };
        tokio::spawn(one.service(WHO).serve(std::future::pending(), serve));
        instances(&asker, "who", index as u32 + 1).await;
    }
    let mut counts = [0; 3];
    for _ in 0..30 {
        let who = asker.request(WHO, &()).await.unwrap();
        counts[who] += 1;
    }
    assert_eq!(counts, [10; 3]);
    drop(client);
}

#[tokio::test]
async fn a_slow_responder_is_a_timeout_and_sees_how_much_time_is_left() {
    let client = memory().await;
    let (seen, left) = oneshot::channel();
    let seen = Arc::new(std::sync::Mutex::new(Some(seen)));
    let serve = move |(): (), context: posthaste::RequestContext| {
        let seen = seen.lock().unwrap().take();
        async move {
            if let Some(seen) = seen {
                seen.send((context.time_left(), context.header("trace").map(str::to_owned)))
                    .unwrap();
            }
            std::future::pending::<Result<u64, ServiceError>>().await
        }
    };
    let _serving = tokio::spawn(client.service("slow").serve(std::future::pending(), serve));
    instances(&client, "slow", 1).await;
    let begun = Instant::now();
    let asked = client.request::<_, (), u64>("slow", &()).header("trace", "00-ab");
    let error = asked.timeout(SECOND / 4).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(begun.elapsed() >= SECOND / 4, "not before its time");
    let (left, trace) = left.await.unwrap();
    assert!(left <= SECOND / 4 && left > Duration::ZERO, "{left:?}");
    assert_eq!(trace.as_deref(), Some("00-ab"));
    // The handler was dropped at its deadline, so its place is free again.
    let deadline = Instant::now() + PATIENCE;
    while client.services().await.unwrap()[0].in_flight > 0 {
        assert!(Instant::now() < deadline, "the place is never given back");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn no_more_requests_are_worked_on_at_once_than_the_instance_takes() {
    let client = memory().await;
    let (now, most, go) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (at_work, peak, gate) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&go));
    let serve = move |n: u64, _| {
        let (at_work, peak, gate) = (Arc::clone(&at_work), Arc::clone(&peak), Arc::clone(&gate));
        async move {
            peak.fetch_max(at_work.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            gate.notified().await;
            at_work.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, ServiceError>(n)
        }
    };
    let service = client.service("narrow").concurrency(2);
    let _serving = tokio::spawn(service.serve(std::future::pending(), serve));
    instances(&client, "narrow", 1).await;
    let mut asking = tokio::task::JoinSet::new();
    for n in 0..10_u64 {
        let client = client.clone();
        asking.spawn(async move { client.request::<_, u64, u64>("narrow", &n).await.unwrap() });
    }
    let deadline = Instant::now() + PATIENCE;
    while client.services().await.unwrap()[0].waiting < 8 {
        assert!(Instant::now() < deadline, "eight wait at the broker");
        tokio::task::yield_now().await;
    }
    while !asking.is_empty() {
        go.notify_one();
        if let Ok(Some(done)) = tokio::time::timeout(SECOND / 100, asking.join_next()).await {
            done.unwrap();
        }
    }
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_shutdown_takes_no_more_and_finishes_what_is_at_work() {
    let client = memory().await;
    let (begun, at_work) = oneshot::channel();
    let begun = Arc::new(std::sync::Mutex::new(Some(begun)));
    let go = Arc::new(Notify::new());
    let gate = Arc::clone(&go);
    let serve = move |n: u64, _| {
        let (begun, gate) = (begun.lock().unwrap().take(), Arc::clone(&gate));
        async move {
            if let Some(begun) = begun {
                begun.send(()).unwrap();
            }
            gate.notified().await;
            Ok::<_, ServiceError>(n)
        }
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = client.service("last").serve(async { drop(stopped.await) }, serve);
    let serving = tokio::spawn(serving);
    instances(&client, "last", 1).await;
    let asker = client.clone();
    let asked = tokio::spawn(async move { asker.request::<_, u64, u64>("last", &7).await });
    at_work.await.unwrap();
    drop(stop);
    instances(&client, "last", 0).await;
    let refused = client.request::<_, u64, u64>("last", &8).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NoResponder);
    go.notify_one();
    assert_eq!(asked.await.unwrap().unwrap(), 7);
    serving.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_responder_that_is_gone_is_told_at_once_to_who_waits() {
    let (asker, server) = two("gone").await;
    let (begun, at_work) = oneshot::channel();
    let begun = Arc::new(std::sync::Mutex::new(Some(begun)));
    let serve = move |(): (), _| {
        begun.lock().unwrap().take().unwrap().send(()).unwrap();
        std::future::pending::<Result<u64, ServiceError>>()
    };
    let serving = tokio::spawn(server.service("gone").serve(std::future::pending(), serve));
    instances(&asker, "gone", 1).await;
    let begun = Instant::now();
    let asked = asker.request::<_, (), u64>("gone", &()).timeout(600 * SECOND);
    let dying = async {
        at_work.await.unwrap();
        serving.abort();
    };
    let (answer, ()) = tokio::join!(asked.into_future(), dying);
    let error = answer.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Failed, "its handler was stopped, and says so: {error}");
    assert!(begun.elapsed() < PATIENCE, "not a silent wait");
}

#[tokio::test]
async fn one_client_serves_a_name_once_and_may_serve_it_again() {
    let client = memory().await;
    let (stop, serving) = double(&client).await;
    let second = client.service("double").serve(std::future::pending(), double_it).await;
    assert_eq!(second.unwrap_err().kind(), ErrorKind::Conflict);
    let doubled: u64 = client.request("double", &1_u64).await.unwrap();
    assert_eq!(doubled, 2, "the first is not disturbed");
    drop(stop);
    serving.await.unwrap().unwrap();
    let (_stop, _serving) = double(&client).await;
    let doubled: u64 = client.request("double", &2_u64).await.unwrap();
    assert_eq!(doubled, 4);
}

#[tokio::test]
async fn bodies_may_be_plain_bytes_and_as_large_as_a_message() {
    let client = memory().await;
    let echo = |body: Bytes, _| async move { Ok::<_, ServiceError>(body) };
    let raw = ServiceOf::raw("echo");
    let _serving = tokio::spawn(client.service(raw.clone()).serve(std::future::pending(), echo));
    instances(&client, "echo", 1).await;
    let body = Bytes::from(vec![7; 1_000_000]);
    assert_eq!(client.request(raw.clone(), &body).await.unwrap(), body);
    let error = client.request(raw, &Bytes::from(vec![7; 2 << 20])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let error = client.request(ServiceOf::raw("no/name"), &body).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
}

#[tokio::test]
async fn a_closed_client_ends_its_services_with_an_error() {
    let client = memory().await;
    let (_stop, serving) = double(&client).await;
    client.close().await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, serving).await.expect("it ends").unwrap();
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed);
}
