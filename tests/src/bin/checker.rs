//! Publishes, consumes and writes down what it saw, while somebody else kills the broker.
//!
//! `checker URL HISTORY`. It prints `progress CONFIRMED ACKED` again and again. `drain` on its standard
//! input ends the publishing; when every group is empty it prints `drained` and ends.
//!
//! One thread does all of it, so that the order of lines is an order of events.
#![forbid(unsafe_code)]

use bytes::Bytes;
use posthaste::{Backoff, Client, Consumer, Delivery, PublishError};
use posthaste_tests::Random;
use posthaste_tests::history::{Event, Id};
use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::Semaphore;
use tokio::task::{LocalSet, spawn_local};

type Failure = Box<dyn std::error::Error>;

const QUEUE: &str = "work";
const TOPIC: &str = "news";
const GROUPS: [&str; 2] = ["one", "two"];
/// Published and not yet seen, before publishers wait.
const BACKLOG_MAX: u64 = 2_000;
/// Settles under way per consumer.
const SETTLES_MAX: usize = 64;
const DRAIN_LIMIT: Duration = Duration::from_secs(90);

struct Notes {
    file: BufWriter<File>,
    attempted: u64,
    /// Refused, or without an answer: nobody knows whether they will be seen.
    given_up: u64,
    confirmed: u64,
    acked: u64,
    /// Messages of the queue, and of the topic's first group, that have been seen.
    seen: HashSet<Id>,
    is_draining: bool,
    publishers: u32,
}

#[derive(Clone)]
struct Checker(Rc<RefCell<Notes>>);

impl Checker {
    fn note(&self, event: Event<'_>) {
        let mut notes = self.0.borrow_mut();
        match event {
            Event::Publish(..) => notes.attempted += 1,
            Event::Confirmed(..) => notes.confirmed += 1,
            Event::Acked(..) => notes.acked += 1,
            Event::Delivered(group, id, ..) if group != "news/two" => {
                notes.seen.insert(id);
            }
            Event::Delivered(..) => {}
        }
        writeln!(notes.file, "{event}").expect("the history can be written");
    }

    fn is_draining(&self) -> bool {
        self.0.borrow().is_draining
    }

    /// Are consumers behind, so that publishing faster proves nothing more?
    fn is_full(&self) -> bool {
        let notes = self.0.borrow();
        let done = notes.seen.len() as u64 + notes.given_up;
        notes.attempted.saturating_sub(done) >= BACKLOG_MAX && !notes.is_draining
    }

    /// A publish failed; the next one is not tried at once.
    async fn give_up(&self, id: Id, error: &PublishError) {
        eprintln!("{id:?}: {error}");
        self.0.borrow_mut().given_up += 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }

    async fn room(&self) {
        while self.is_full() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("checker URL HISTORY")?;
    let path = arguments.next().ok_or("checker URL HISTORY")?;
    let notes = Notes {
        file: BufWriter::new(File::create(path)?),
        attempted: 0,
        given_up: 0,
        confirmed: 0,
        acked: 0,
        seen: HashSet::new(),
        is_draining: false,
        publishers: 0,
    };
    let checker = Checker(Rc::new(RefCell::new(notes)));
    LocalSet::new().run_until(check(checker, url)).await
}

async fn connect(url: &str, name: &str) -> Result<Client, Failure> {
    let soon = Backoff::fixed(Duration::from_millis(20));
    let builder = Client::builder().url(url).name(name).reconnect(soon);
    Ok(builder.publish_timeout(Duration::from_secs(120)).connect().await?)
}

async fn check(checker: Checker, url: String) -> Result<(), Failure> {
    let admin = connect(&url, "admin").await?;
    let retry = Backoff::fixed(Duration::from_millis(1));
    admin.queue(QUEUE).declare().max_attempts(1_000_000).retry(retry.clone()).await?;
    admin.topic(TOPIC).declare().await?;
    for group in GROUPS {
        let group = admin.topic(TOPIC).group(group);
        group.declare().max_attempts(1_000_000).retry(retry.clone()).await?;
    }

    let consumers = connect(&url, "consumers").await?;
    for seed in 0..2 {
        let consumer = consumers.queue(QUEUE).consume().await?;
        spawn_local(consume(checker.clone(), consumer, QUEUE.to_owned(), seed));
    }
    let alone = connect(&url, "a consumer alone").await?;
    spawn_local(consume(checker.clone(), alone.queue(QUEUE).consume().await?, QUEUE.to_owned(), 2));
    for group in GROUPS {
        let consumer = alone.topic(TOPIC).group(group).consume().await?;
        spawn_local(consume(checker.clone(), consumer, format!("{TOPIC}/{group}"), 3));
    }

    let publishers = connect(&url, "publishers").await?;
    for producer in 1..=3 {
        checker.0.borrow_mut().publishers += 1;
        spawn_local(publish_one_by_one(checker.clone(), publishers.clone(), producer));
    }
    checker.0.borrow_mut().publishers += 1;
    spawn_local(publish_many(checker.clone(), publishers, 4));

    spawn_local(tell(checker.clone()));
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = commands.next_line().await? {
        if line == "drain" {
            checker.0.borrow_mut().is_draining = true;
            drain(&checker, &admin).await?;
            checker.0.borrow_mut().file.flush()?;
            println!("drained");
            return Ok(());
        }
    }
    Err("the standard input ended before drain was said".into())
}

async fn tell(checker: Checker) {
    loop {
        let (confirmed, acked) = {
            let notes = checker.0.borrow();
            (notes.confirmed, notes.acked)
        };
        println!("progress {confirmed} {acked}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Publishers one to three: one message at a time, awaited; the third one to the topic.
async fn publish_one_by_one(checker: Checker, client: Client, producer: u32) {
    let to = if producer == 3 { TOPIC } else { QUEUE };
    let (queue, topic) = (client.queue(QUEUE), client.topic(TOPIC));
    let mut n = 0;
    while !checker.is_draining() {
        checker.room().await;
        n += 1;
        let id = Id { producer, n };
        checker.note(Event::Publish(to, id));
        let body = body(id);
        let publish = if to == TOPIC { topic.publish(&body) } else { queue.publish(&body) };
        match publish.await {
            Ok(receipt) => checker.note(Event::Confirmed(to, id, receipt.position)),
            Err(error) => checker.give_up(id, &error).await,
        }
    }
    checker.0.borrow_mut().publishers -= 1;
}

/// The fourth publisher: batches, many under way.
async fn publish_many(checker: Checker, client: Client, producer: u32) {
    let pipeline = client.queue(QUEUE).producer().max_batch(20, 64 << 10).build();
    let mut n = 0;
    while !checker.is_draining() {
        checker.room().await;
        let mut confirms = Vec::new();
        for _ in 0..200 {
            n += 1;
            let id = Id { producer, n };
            checker.note(Event::Publish(QUEUE, id));
            match pipeline.send(&body(id)).await {
                Ok(confirm) => confirms.push((id, confirm)),
                Err(error) => checker.give_up(id, &error).await,
            }
        }
        for (id, confirm) in confirms {
            match confirm.await {
                Ok(receipt) => checker.note(Event::Confirmed(QUEUE, id, receipt.position)),
                Err(error) => checker.give_up(id, &error).await,
            }
        }
    }
    checker.0.borrow_mut().publishers -= 1;
}

async fn consume(checker: Checker, mut consumer: Consumer, group: String, seed: u64) {
    let mut random = Random::new(seed);
    let room = Arc::new(Semaphore::new(SETTLES_MAX));
    while let Some(next) = consumer.next().await {
        let delivery = match next {
            Ok(delivery) => delivery,
            Err(error) => {
                eprintln!("{group}: {error}");
                continue;
            }
        };
        let id = id_of(delivery.payload());
        let (at, attempt) = (delivery.position(), delivery.attempt());
        checker.note(Event::Delivered(&group, id, at, attempt, delivery.redelivered()));
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let kind = random.within(0..20);
        let (checker, group) = (checker.clone(), group.clone());
        spawn_local(async move {
            settle(&checker, delivery, id, &group, kind).await;
            drop(permit);
        });
    }
    panic!("a consumer's stream ended, and nobody closed it");
}

async fn settle(checker: &Checker, delivery: Delivery, id: Id, group: &str, kind: u64) {
    let settled = match kind {
        0 => return drop(delivery),
        1 => delivery.retry().await,
        2 => delivery.release().await,
        3 => delivery.ack().await,
        _ => match delivery.ack_confirmed().await {
            Ok(()) => return checker.note(Event::Acked(group, id)),
            Err(error) => Err(error),
        },
    };
    if let Err(error) = settled {
        // The lease went with the broker that was killed: it will come again.
        eprintln!("{group} {id:?}: {error}");
    }
}

/// Waits until nobody publishes and every group is empty.
async fn drain(checker: &Checker, admin: &Client) -> Result<(), Failure> {
    let deadline = Instant::now() + DRAIN_LIMIT;
    let mut left = String::new();
    while Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
        if checker.0.borrow().publishers > 0 {
            "publishers".clone_into(&mut left);
            continue;
        }
        let mut open = 0;
        for name in [QUEUE, TOPIC] {
            for group in admin.describe(name).await?.groups {
                open += group.ready + group.leased + group.delayed;
                assert_eq!(group.dead, 0, "a dead letter in {name}");
            }
        }
        if open == 0 {
            return Ok(());
        }
        left = format!("{open} messages");
    }
    Err(format!("not drained within {DRAIN_LIMIT:?}: {left} left").into())
}

/// Producer, number, and a filling that depends on both.
fn body(id: Id) -> Bytes {
    let filling = filling(id);
    Bytes::from(format!("{} {} {filling}", id.producer, id.n))
}

fn filling(id: Id) -> String {
    let mut random = Random::new(id.n.wrapping_mul(31).wrapping_add(u64::from(id.producer)));
    let count = random.within(0..if id.n.is_multiple_of(50) { 4_000 } else { 30 });
    (0..count).map(|_| format!("{:x}", random.number() % 16)).collect()
}

/// # Panics
/// When the body is not one that [`body`] makes: then the broker delivered something else.
fn id_of(bytes: &[u8]) -> Id {
    let text = std::str::from_utf8(bytes).expect("a body is text");
    let mut words = text.splitn(3, ' ');
    let mut word = || words.next().expect("three words");
    let id =
        Id { producer: word().parse().expect("a producer"), n: word().parse().expect("a number") };
    assert_eq!(word(), filling(id), "the body of {id:?} was changed");
    id
}
