//! Workers: what becomes of a message is what its handler says, and nothing that a handler does ends
//! the worker or loses a message.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use posthaste::{Bytes, Client, Consumer, DeadLetter, Delivery, ErrorKind, Failure, Queue};
use tokio::sync::{Semaphore, mpsc, oneshot};

const PATIENCE: Duration = Duration::from_secs(20);

/// A queue of a broker of its own, with messages in it.
async fn queue(bodies: &[&str]) -> (Client, Queue) {
    let client = Client::connect("memory:").await.expect("a broker");
    let queue = client.queue("q");
    let backoff = posthaste::Backoff::fixed(Duration::ZERO);
    queue.declare().max_attempts(3).retry(backoff).await.expect("declared");
    for body in bodies {
        let body = Bytes::copy_from_slice(body.as_bytes());
        queue.publish(&body).key(body[..1].escape_ascii().to_string()).await.expect("stored");
    }
    (client, queue)
}

/// A shutdown that happens when the sender is dropped or used.
fn switch() -> (oneshot::Sender<()>, impl Future<Output = ()>) {
    let (sender, receiver) = oneshot::channel::<()>();
    (sender, async move { drop(receiver.await) })
}

/// Waits until so many messages are settled, and so many of them dead.
async fn until(queue: &Queue, settled: u64, dead: u64) {
    let waiting = async {
        loop {
            let stats = queue.stats().await.expect("stats");
            if (stats.settled, stats.dead) == (settled, dead) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        panic!("not {settled} settled and {dead} dead: {:?}", queue.stats().await);
    }
}

/// The next delivery.
async fn take(consumer: &mut Consumer) -> Delivery {
    let next = tokio::time::timeout(PATIENCE, consumer.next()).await;
    next.expect("a delivery in time").expect("a stream that goes on").expect("no error")
}

async fn dead(queue: &Queue) -> Vec<DeadLetter> {
    queue.dead_letters().list(0, 100).await.expect("dead letters").letters
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_message_is_handled_and_acked_with_bounded_concurrency() {
    let bodies: Vec<String> = (0..200).map(|number| format!("{number}")).collect();
    let (_client, queue) = queue(&bodies.iter().map(|body| &**body).collect::<Vec<_>>()).await;
    let (stop, stopped) = switch();
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (seen_by, most_of) = (Arc::clone(&seen), Arc::clone(&most));
    let work = queue.worker().concurrency(8).run(stopped, move |body: Bytes, ctx| {
        let (running, most) = (Arc::clone(&running), Arc::clone(&most_of));
        let seen = Arc::clone(&seen_by);
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            assert_eq!((ctx.attempt(), ctx.bytes()), (1, &body));
            tokio::task::yield_now().await;
            seen.lock().unwrap().push(String::from_utf8(body.to_vec()).unwrap());
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    });
    let ((), worked) = tokio::join!(
        async {
            until(&queue, 200, 0).await;
            drop(stop);
        },
        work
    );
    worked.unwrap();
    let most = most.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most} at once");
    let mut seen = seen.lock().unwrap().clone();
    let mut all = bodies.clone();
    seen.sort();
    all.sort();
    assert_eq!(seen, all, "each once");
}

#[tokio::test]
async fn workers_of_two_groups_handle_every_message_each() {
    let client = Client::connect("memory:").await.expect("a broker");
    let topic = client.topic("t");
    topic.declare().await.unwrap();
    for number in 0..20 {
        topic.publish(&Bytes::from(number.to_string())).await.unwrap();
    }
    let work = |name: &str| {
        let (handled, mut seen) = mpsc::channel(20);
        let shutdown = async move {
            for _ in 0..20 {
                let next = tokio::time::timeout(PATIENCE, seen.recv()).await;
                next.expect("a message in time").expect("the worker goes on");
            }
        };
        topic.group(name).worker().run(shutdown, move |_: Bytes, _| {
            let handled = handled.clone();
            async move { Ok(handled.send(()).await?) }
        })
    };
    let (billing, search) = tokio::join!(work("billing"), work("search"));
    billing.unwrap();
    search.unwrap();
    for name in ["billing", "search"] {
        assert_eq!(topic.group(name).lag().await.unwrap().messages, 0, "all of them are acked");
    }
}

#[tokio::test]
async fn what_the_handler_says_becomes_of_the_message() {
    let (_client, queue) = queue(&["fine", "error", "later", "hopeless", "released"]).await;
    let (stop, stopped) = switch();
    let released = AtomicU32::new(0);
    let work = queue.worker().run(stopped, move |body: Bytes, ctx| {
        let again = &*body == b"released" && released.fetch_add(1, Ordering::SeqCst) == 0;
        async move {
            match &*body {
                b"error" => Err(std::io::Error::other("the disk is on fire").into()),
                b"later" if ctx.attempt() < 3 => Err(Failure::retry_in(Duration::ZERO, "busy")),
                b"hopeless" => Err(Failure::permanent("no such order")),
                b"released" if again => Err(Failure::release()),
                b"released" => {
                    assert_eq!(ctx.attempt(), 1, "a release counts no attempt");
                    Ok(())
                }
                _ => Ok(()),
            }
        }
    });
    let ((), worked) = tokio::join!(
        async {
            until(&queue, 3, 2).await;
            drop(stop);
        },
        work
    );
    worked.unwrap();
    let dead: BTreeMap<_, _> = dead(&queue)
        .await
        .iter()
        .map(|one| (one.bytes().clone(), (one.attempts(), one.reason().to_owned())))
        .collect();
    let (attempts, reason) = &dead[&Bytes::from("error")];
    assert!(*attempts == 3 && reason.contains("the disk is on fire"), "{dead:?}");
    let (attempts, reason) = &dead[&Bytes::from("hopeless")];
    assert!(*attempts == 1 && reason.contains("no such order"), "{dead:?}");
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_with_its_text_and_the_worker_goes_on() {
    let (_client, queue) = queue(&["call", "await", "fine"]).await;
    let (stop, stopped) = switch();
    let work = queue.worker().concurrency(1).run(stopped, |body: Bytes, _ctx| {
        // Before the future exists, and inside of it.
        assert!(&*body != b"call", "no such thing as {body:?}");
        async move {
            if &*body == b"await" {
                std::panic::panic_any("too hot");
            }
            Ok(())
        }
    });
    let ((), worked) = tokio::join!(
        async {
            until(&queue, 1, 2).await;
            drop(stop);
        },
        work
    );
    worked.unwrap();
    let reasons: Vec<_> = dead(&queue).await.iter().map(|one| one.reason().to_owned()).collect();
    let said = |text: &str| reasons.iter().any(|reason| reason.contains(text));
    assert!(
        said("the handler panicked: no such thing") && said("panicked: too hot"),
        "{reasons:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_one_key_run_one_after_the_other_and_keys_beside_each_other() {
    let mut bodies = Vec::new();
    for number in 0..40 {
        bodies.extend(["a", "b", "c"].map(|key| format!("{key}{number:03}")));
    }
    let (_client, queue) = queue(&bodies.iter().map(|body| &**body).collect::<Vec<_>>()).await;
    let (stop, stopped) = switch();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let by_key: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
    let together = Arc::new(AtomicUsize::new(0));
    let (seen_by, together_by) = (Arc::clone(&seen), Arc::clone(&together));
    let work = queue.worker().concurrency(8).prefetch(16).ordered_by_key().run(
        stopped,
        move |body: Bytes, ctx| {
            let (seen, together) = (Arc::clone(&seen_by), Arc::clone(&together_by));
            let by_key = Arc::clone(&by_key);
            async move {
                let key = ctx.key().expect("a key").to_owned();
                {
                    let mut by_key = by_key.lock().unwrap();
                    let running = by_key.entry(key.clone()).or_default();
                    *running += 1;
                    assert_eq!(*running, 1, "two of {key} at once");
                    let keys = by_key.values().filter(|running| **running > 0).count();
                    together.fetch_max(keys, Ordering::SeqCst);
                }
                tokio::task::yield_now().await;
                seen.lock().unwrap().push(String::from_utf8(body.to_vec()).unwrap());
                *by_key.lock().unwrap().get_mut(&key).expect("running") -= 1;
                Ok(())
            }
        },
    );
    let ((), worked) = tokio::join!(
        async {
            until(&queue, 120, 0).await;
            drop(stop);
        },
        work
    );
    worked.unwrap();
    let seen = seen.lock().unwrap();
    for key in ["a", "b", "c"] {
        let mine: Vec<_> = seen.iter().filter(|one| one.starts_with(key)).collect();
        assert!(mine.len() == 40 && mine.is_sorted(), "{mine:?}");
    }
    assert!(together.load(Ordering::SeqCst) > 1, "keys do not wait for each other");
}

#[tokio::test]
async fn a_shutdown_ends_what_is_begun_and_gives_back_the_rest() {
    let (_client, queue) = queue(&["a1", "a2", "b1", "c1"]).await;
    let (stop, stopped) = switch();
    let gate = Arc::new(Semaphore::new(0));
    let (begun, mut beginning) = mpsc::channel(10);
    let gate_of = Arc::clone(&gate);
    let working = tokio::spawn(queue.worker().concurrency(2).ordered_by_key().run(
        stopped,
        move |body: Bytes, ctx| {
            let (gate, begun) = (Arc::clone(&gate_of), begun.clone());
            async move {
                begun.send(body).await.expect("the test listens");
                ctx.shutdown().await;
                assert!(ctx.is_shutting_down());
                gate.acquire().await.expect("open").forget();
                Ok(())
            }
        },
    ));
    // a2 waits behind a1; c1 for a free hand.
    assert_eq!(beginning.recv().await.unwrap(), "a1");
    assert_eq!(beginning.recv().await.unwrap(), "b1");
    stop.send(()).unwrap();
    let mut other = queue.consume().await.unwrap();
    let mut rest = Vec::new();
    for _ in 0..2 {
        let job = take(&mut other).await;
        assert_eq!(job.attempt(), 1, "nobody had begun it");
        rest.push(job.payload().clone());
        job.ack().await.unwrap();
    }
    rest.sort();
    assert_eq!(rest, ["a2", "c1"]);
    assert!(!working.is_finished(), "it waits for what has begun");
    gate.add_permits(2);
    working.await.unwrap().unwrap();
    until(&queue, 4, 0).await;
}

#[tokio::test]
async fn a_handler_that_outlives_the_drain_is_dropped_and_its_message_comes_again() {
    let (_client, queue) = queue(&["slow"]).await;
    let (stop, stopped) = switch();
    let (begun, mut beginning) = mpsc::channel(1);
    let working = tokio::spawn(queue.worker().drain_for(Duration::ZERO).run(
        stopped,
        move |_body: Bytes, _ctx| {
            let begun = begun.clone();
            async move {
                begun.send(()).await.expect("the test listens");
                std::future::pending().await
            }
        },
    ));
    beginning.recv().await.unwrap();
    stop.send(()).unwrap();
    let error = working.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.message().starts_with("1 handlers did not end"), "{error}");
    let again = take(&mut queue.consume().await.unwrap()).await;
    assert_eq!((again.attempt(), again.redelivered()), (2, true));
    again.ack().await.unwrap();
}

#[tokio::test]
async fn a_dropped_worker_gives_everything_back() {
    let (_client, queue) = queue(&["a1", "a2", "b1"]).await;
    let (begun, mut beginning) = mpsc::channel(10);
    let work =
        queue.worker().ordered_by_key().run(std::future::pending(), move |body: Bytes, _| {
            let begun = begun.clone();
            async move {
                begun.send(body).await.expect("the test listens");
                std::future::pending().await
            }
        });
    tokio::select! {
        ended = work => panic!("{ended:?}"),
        () = async {
            beginning.recv().await.unwrap();
            beginning.recv().await.unwrap();
        } => {}
    }
    let mut other = queue.consume().await.unwrap();
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let job = take(&mut other).await;
        bodies.push(job.payload().clone());
        job.ack().await.unwrap();
    }
    bodies.sort();
    assert_eq!(bodies, ["a1", "a2", "b1"]);
}

#[tokio::test]
async fn a_handler_over_its_time_limit_has_failed_that_attempt() {
    let (_client, queue) = queue(&["slow"]).await;
    let (stop, stopped) = switch();
    let limit = Duration::from_millis(1);
    let work = queue
        .worker()
        .time_limit(limit)
        .run(stopped, |_body: Bytes, _ctx| async { std::future::pending().await });
    let ((), worked) = tokio::join!(
        async {
            until(&queue, 0, 1).await;
            drop(stop);
        },
        work
    );
    worked.unwrap();
    let letter = &dead(&queue).await[0];
    assert_eq!(letter.attempts(), 3);
    assert!(letter.reason().contains("did not end within 1ms"), "{}", letter.reason());
}

#[tokio::test]
async fn a_worker_whose_queue_goes_away_says_so() {
    let (client, queue) = queue(&[]).await;
    let missing = client.queue("missing").worker();
    let error = missing.run(std::future::pending(), |_, _| async { Ok(()) }).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    let working =
        tokio::spawn(queue.worker().run(std::future::pending(), |_: Bytes, _| async { Ok(()) }));
    while queue.stats().await.unwrap().consumers == 0 {
        tokio::task::yield_now().await;
    }
    queue.delete().await.unwrap();
    assert_eq!(working.await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_blocks_its_thread_does_not_hold_up_the_shutdown() {
    let (_client, queue) = queue(&["slow"]).await;
    let (stop, stopped) = switch();
    let (release, blocked) = std::sync::mpsc::sync_channel::<()>(0);
    let blocked = Mutex::new(blocked);
    let (begun, mut beginning) = mpsc::channel(1);
    let worker = queue.worker().drain_for(Duration::ZERO);
    let working = tokio::spawn(worker.run(stopped, move |_: Bytes, _| {
        begun.try_send(()).expect("the test listens");
        blocked.lock().unwrap().recv().unwrap_err();
        async { Ok(()) }
    }));
    beginning.recv().await.unwrap();
    stop.send(()).unwrap();
    assert_eq!(working.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
    let again = take(&mut queue.consume().await.unwrap()).await;
    assert_eq!(again.attempt(), 2, "the one that is blocked has no say any more");
    again.ack().await.unwrap();
    drop(release);
}
