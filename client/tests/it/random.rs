//! Goal: whatever the connection does, a publish that returned Ok is stored exactly once, and one
//! producer's messages are stored in order.
//! How: a broker that remembers (producer, sequence) and breaks connections at random places, before
//! and after storing; a producer that goes on regardless; then both books are compared.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use posthaste::{Client, Producer};
use posthaste_protocol::response::Confirmed;
use posthaste_protocol::{Request, Response};

use crate::fake::{Fake, Peer, Published, fake};

/// xorshift64*, so that a seed gives the same run everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % sides
    }
}

/// What the broker keeps when its connections break.
#[derive(Default)]
struct Book {
    stored: Vec<Bytes>,
    sessions: HashMap<[u8; 16], u32>,
    /// (producer, sequence) to base offset and bytes.
    accepted: BTreeMap<(u32, u64), (u64, Bytes)>,
    broken: u32,
    resent: u32,
}

impl Book {
    fn store(&mut self, published: &Published) -> (u64, bool) {
        let header = published.header();
        let key = (header.producer, header.sequence);
        if let Some((base, bytes)) = self.accepted.get(&key) {
            assert_eq!(bytes, &published.batch, "a resend is the same bytes");
            self.resent += 1;
            return (*base, true);
        }
        let base = self.stored.len() as u64;
        self.accepted.insert(key, (base, published.batch.clone()));
        self.stored.extend(published.bodies());
        (base, false)
    }
}

/// Serves one connection until the dice break it. `false` when the client said goodbye.
async fn serve(peer: &mut Peer, book: &mut Book, dice: &mut Dice, calm: bool) -> bool {
    loop {
        let Some(said) = peer.next_within(Duration::from_secs(120)).await else { return false };
        if !calm && dice.roll(12) == 0 && !matches!(said.request, Request::Close) {
            return true;
        }
        match said.request {
            Request::Describe { name } => peer.describe(said.id, &name, 1).await,
            Request::OpenProducer { session } => {
                let next = book.sessions.len() as u32 + 1;
                let resumed = book.sessions.contains_key(&session);
                let producer = *book.sessions.entry(session).or_insert(next);
                peer.say(0, said.id, Response::ProducerOpened { producer, resumed }).await;
            }
            Request::Publish { target, batch, .. } => {
                let published = Published { number: said.id, target, batch };
                let (base_offset, duplicate) = book.store(&published);
                if !calm && dice.roll(6) == 0 {
                    return true;
                }
                let first = said.id;
                let confirmed = Confirmed { first, count: 1, target, base_offset, duplicate };
                peer.say(0, 0, Response::Confirms(vec![confirmed])).await;
            }
            Request::Close => return false,
            _ => {}
        }
    }
}

async fn broker(mut fake: Fake, mut dice: Dice) -> Book {
    let mut book = Book::default();
    loop {
        let mut peer = fake.accept().await;
        let calm = book.broken >= 40;
        if !serve(&mut peer, &mut book, &mut dice, calm).await {
            return book;
        }
        book.broken += 1;
    }
}

async fn publish(client: &Client, producer: &Producer, dice: &mut Dice) -> Vec<(Bytes, u64)> {
    let singles = client.queue("q");
    let mut confirms = Vec::new();
    let mut confirmed = Vec::new();
    for number in 0..400u32 {
        let message = Bytes::from(format!("{number}"));
        if dice.roll(10) == 0 {
            let single = Bytes::from(format!("single {number}"));
            let receipt = singles.publish(&single).await.expect("stored");
            confirmed.push((single, receipt.position));
        }
        let confirm = producer.send(&message).await.expect("room");
        confirms.push((message, confirm));
    }
    for (message, confirm) in confirms {
        confirmed.push((message, confirm.await.expect("stored").position));
    }
    confirmed
}

#[tokio::test(start_paused = true)]
async fn broken_connections_neither_lose_nor_double_nor_reorder() {
    let given = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let first = given.unwrap_or_else(|| u64::from(std::process::id()) + 1);
    let seeds = if given.is_some() { first..first + 1 } else { first..first + 20 };
    let (mut broken, mut resent) = (0, 0);
    for seed in seeds {
        println!("SEED={seed}");
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (fake, builder) = fake();
        let serving = tokio::spawn(broker(fake, Dice(dice.roll(u64::MAX) | 1)));
        let client = builder.connect_lazy().expect("a runtime");
        let (messages, linger) = (1 + dice.roll(20) as usize, Duration::from_millis(dice.roll(3)));
        let producer = client.queue("q").producer().max_batch(messages, 1 << 16).linger(linger);
        let producer = producer.build();
        let confirmed = publish(&client, &producer, &mut dice).await;
        client.close().await.expect("an orderly end");
        let book = serving.await.expect("no panic");
        broken += book.broken;
        resent += book.resent;
        assert_eq!(confirmed.len(), book.stored.len(), "stored once each");
        for (message, position) in &confirmed {
            assert_eq!(book.stored[*position as usize], message);
        }
        let numbers =
            book.stored.iter().filter_map(|body| std::str::from_utf8(body).ok()?.parse().ok());
        let numbers: Vec<u32> = numbers.collect();
        assert!(numbers.is_sorted(), "the producer's order");
    }
    assert!(broken > 5 && resent > 0, "{broken} broken, {resent} resent: the test tests nothing");
}
