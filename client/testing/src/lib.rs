//! A Posthaste broker inside a test: no port, no container, ready in milliseconds.
//!
//! ```
//! use posthaste::{Bytes, Client};
//! use posthaste_testing::TestBroker;
//! use std::time::Duration;
//!
//! const HOUR: Duration = Duration::from_secs(3_600);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), posthaste::Error> {
//! // In a test: #[tokio::test] async fn reminds_after_an_hour() { ...
//! let broker = TestBroker::start().await;
//! let reminders = broker.client().queue("reminders");
//! reminders.declare().await?;
//! reminders.publish(&Bytes::from("order 7")).delay(HOUR).await?;
//!
//! broker.advance(HOUR).await; // takes no time
//!
//! let mut due = reminders.consume().await?;
//! let reminder = due.next().await.unwrap()?;
//! broker.crash_and_restart().await; // what was confirmed is still there
//! drop(reminder);
//! due.next().await.unwrap()?.ack_confirmed().await?;
//! broker.drained("reminders").await;
//! # Ok(()) }
//! ```
//!
//! The broker is the real one, the client is the real one; only the disk is simulated and the clock
//! can be advanced. Each [`TestBroker`] is a broker of its own, so tests run in parallel. The guide
//! is `docs/testing.md`.
//!
//! Time runs on by itself as it always does; [`TestBroker::advance`] lets the broker jump ahead, and
//! with it the clients made by it, as far as they reckon with time (`delay`, `ttl`). What clients
//! wait for stays real: timeouts, reconnects, renewals of leases.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod pipe;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use posthaste::{Backoff, Bytes, Client, ClientBuilder, Peeked, QueueStats, Start, Transport};
use posthaste_broker::testing::{Controls, Keep, SimDisk, TestEmbedded, linger};

use pipe::Pipes;

/// What is waited for may take so long on a busy machine before it is called never.
const PATIENCE: Duration = Duration::from_secs(20);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(2);
/// A client of a test does not wait long before it connects again.
const RECONNECT: Duration = Duration::from_millis(2);

/// A broker in this process, for one test. Dropping it ends it.
///
/// Must be used inside the tokio runtime that started it; any kind of runtime will do.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// use posthaste_testing::TestBroker;
/// let broker = TestBroker::start().await;
/// broker.client().queue("orders").declare().await?;
/// broker.drained("orders").await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct TestBroker {
    inner: Arc<Inner>,
    observer: Client,
}

/// What the connectors of clients hold as well.
#[derive(Debug)]
struct Inner {
    controls: Controls,
    /// `None` while it crashes.
    running: Mutex<Option<Running>>,
    pipes: Pipes,
    sync_delay_ms: Arc<AtomicU64>,
}

#[derive(Debug)]
struct Running {
    broker: TestEmbedded,
    disk: SimDisk,
    /// The disk is waited for no longer.
    is_over: Arc<AtomicBool>,
}

impl Running {
    fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        self.broker.abort();
    }
}

impl Inner {
    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> io::Result<Box<dyn Transport>> {
        let running = self.running();
        let broker = running.as_ref().ok_or(io::ErrorKind::ConnectionRefused)?;
        Ok(Box::new(self.pipes.wrap(broker.broker.connect())))
    }
}

impl Drop for TestBroker {
    fn drop(&mut self) {
        self.inner.pipes.cut_all();
        if let Some(running) = self.inner.running().take() {
            running.end();
        }
    }
}

impl TestBroker {
    /// Starts an empty broker.
    ///
    /// # Panics
    /// When it does not start, or outside of a tokio runtime.
    pub async fn start() -> TestBroker {
        let controls = Controls::default();
        let sync_delay_ms = Arc::new(AtomicU64::new(0));
        let disk = SimDisk::new(1);
        let running = start(disk, &controls, &sync_delay_ms).await;
        let running = Mutex::new(Some(running));
        let inner = Arc::new(Inner { controls, running, pipes: Pipes::default(), sync_delay_ms });
        let observer = connect(builder(&inner).name("test"));
        TestBroker { inner, observer }
    }

    /// A client of this broker, as the code under test uses it. Connects by itself, and again after
    /// each fault. A failing test ends soon: what is not confirmed or answered fails after 10 s.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # use posthaste_testing::TestBroker;
    /// let broker = TestBroker::start().await;
    /// let (shop, warehouse) = (broker.client(), broker.client());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn client(&self) -> Client {
        connect(self.client_builder())
    }

    /// The options of [`TestBroker::client`], to be changed before `connect()`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # use posthaste_testing::TestBroker;
    /// use std::time::Duration;
    /// let broker = TestBroker::start().await;
    /// let second = Duration::from_secs(1);
    /// let client = broker.client_builder().publish_timeout(second).connect().await?;
    /// # Ok(()) }
    /// ```
    pub fn client_builder(&self) -> ClientBuilder {
        builder(&self.inner)
    }

    /// The time of the broker.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # use posthaste_testing::TestBroker;
    /// use std::time::{Duration, SystemTime};
    /// let broker = TestBroker::start().await;
    /// let week = Duration::from_secs(7 * 86_400);
    /// broker.advance(week).await;
    /// assert!(broker.now() >= SystemTime::now() + week - Duration::from_secs(60));
    /// # }
    /// ```
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.inner.controls.now()
    }

    /// Lets the broker jump ahead, and waits until what has become due has happened: delays, leases,
    /// backoff, deadlines of requests. Retention comes as well, but removes whole files of the log, so
    /// a few small messages stay, as they would in production.
    ///
    /// It jumps at once: a client cannot renew a lease in between, so a lease that ends within the
    /// jump has run out, and its message goes to another consumer. This is how to test it.
    ///
    /// # Panics
    /// When the broker does not come to rest, or has stopped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # use posthaste::{Bytes, Client};
    /// # use posthaste_testing::TestBroker;
    /// use std::time::Duration;
    /// let broker = TestBroker::start().await;
    /// let jobs = broker.client().queue("jobs");
    /// jobs.declare().await?;
    /// jobs.publish(&Bytes::from("slow")).await?;
    /// let mut stuck = jobs.consume().limit(1).await?;
    /// let _held = stuck.next().await.unwrap()?;
    /// broker.advance(Duration::from_secs(60)).await; // the lease is 30 s
    /// let mut other = broker.client().queue("jobs").consume().await?;
    /// assert!(other.next().await.unwrap()?.redelivered());
    /// # Ok(()) }
    /// ```
    pub async fn advance(&self, duration: Duration) {
        // ORDER: what was handed to the broker before is in before its time goes on.
        self.settle().await;
        self.inner.controls.advance(duration);
        self.settle().await;
    }

    /// Cuts every connection, as a broken network would. Leases of consumers go back, requests under
    /// way fail, clients connect again by themselves. Returns when the broker has noticed.
    ///
    /// # Panics
    /// When the broker does not notice, or has stopped.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # use posthaste::Bytes;
    /// # use posthaste_testing::TestBroker;
    /// let broker = TestBroker::start().await;
    /// let jobs = broker.client().queue("jobs");
    /// jobs.declare().await?;
    /// broker.drop_connections().await;
    /// jobs.publish(&Bytes::from("stored once")).await?;
    /// assert_eq!(broker.published("jobs").await.len(), 1);
    /// # Ok(()) }
    /// ```
    pub async fn drop_connections(&self) {
        let cut = self.settle().await;
        self.inner.pipes.cut_all();
        let deadline = Instant::now() + PATIENCE;
        while self.settle().await.iter().any(|connection| cut.contains(connection)) {
            assert!(Instant::now() < deadline, "the broker does not notice cut connections");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Takes the power away and starts the broker again on what its disk has left: everything that
    /// was synced, and nothing else. What was confirmed is there; what was under way is not. The disk
    /// is fast again.
    ///
    /// # Panics
    /// When the broker does not start again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # use posthaste::Bytes;
    /// # use posthaste_testing::TestBroker;
    /// let broker = TestBroker::start().await;
    /// let jobs = broker.client().queue("jobs");
    /// jobs.declare().await?;
    /// jobs.publish(&Bytes::from("stored")).await?;
    /// broker.crash_and_restart().await;
    /// assert_eq!(broker.published("jobs").await.len(), 1);
    /// # Ok(()) }
    /// ```
    pub async fn crash_and_restart(&self) {
        let crashed = self.inner.running().take();
        let Some(crashed) = crashed else { panic!("the broker crashes already") };
        // ORDER: nobody hears anything more, then the disk is what it is, then the process is gone.
        self.inner.pipes.cut_all();
        let left = crashed.disk.power_cut(Keep::Nothing);
        crashed.end();
        self.inner.sync_delay_ms.store(0, Ordering::SeqCst);
        let running = start(left, &self.inner.controls, &self.inner.sync_delay_ms).await;
        *self.inner.running() = Some(running);
        if let Err(error) = self.observer.ready().await {
            panic!("the broker cannot be reached after its start: {error}");
        }
    }

    /// The disk has no room: publishes are refused with
    /// [`ErrorKind::NoSpace`](posthaste::ErrorKind::NoSpace), or wait until their timeout; consuming,
    /// settling and reading go on. Until [`TestBroker::free_disk`].
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # use posthaste::Bytes;
    /// # use posthaste_testing::TestBroker;
    /// # use std::time::Duration;
    /// let broker = TestBroker::start().await;
    /// let hasty = broker.client_builder().publish_timeout(Duration::from_millis(100)).connect().await?;
    /// hasty.queue("jobs").declare().await?;
    /// broker.full_disk().await;
    /// assert!(hasty.queue("jobs").publish(&Bytes::from("x")).await.is_err());
    /// broker.free_disk().await;
    /// hasty.queue("jobs").publish(&Bytes::from("x")).await?;
    /// # Ok(()) }
    /// ```
    pub async fn full_disk(&self) {
        self.set_full(true).await;
    }

    /// The disk has room again.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # use posthaste_testing::TestBroker;
    /// let broker = TestBroker::start().await;
    /// broker.full_disk().await;
    /// broker.free_disk().await;
    /// # }
    /// ```
    pub async fn free_disk(&self) {
        self.set_full(false).await;
    }

    async fn set_full(&self, is_full: bool) {
        self.inner.controls.set_full(is_full);
        self.settle().await;
    }

    /// Every sync of the disk takes this long from now on, of real time; zero is as fast as memory.
    /// Confirms wait for it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # use posthaste::Bytes;
    /// # use posthaste_testing::TestBroker;
    /// use std::time::{Duration, Instant};
    /// let broker = TestBroker::start().await;
    /// let jobs = broker.client().queue("jobs");
    /// jobs.declare().await?;
    /// broker.slow_disk(Duration::from_millis(50));
    /// let begun = Instant::now();
    /// jobs.publish(&Bytes::from("x")).await?;
    /// assert!(begun.elapsed() >= Duration::from_millis(50));
    /// # Ok(()) }
    /// ```
    pub fn slow_disk(&self, sync: Duration) {
        let sync_ms = u64::try_from(sync.as_millis()).unwrap_or(u64::MAX);
        self.inner.sync_delay_ms.store(sync_ms, Ordering::SeqCst);
    }

    /// Waits until a queue has nothing ready, leased or delayed: everything is acked, or a dead
    /// letter.
    ///
    /// # Panics
    /// When it is not so within 20 s (the message says what is left), or the queue does not exist.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # use posthaste::Bytes;
    /// # use posthaste_testing::TestBroker;
    /// let broker = TestBroker::start().await;
    /// let jobs = broker.client().queue("jobs");
    /// jobs.declare().await?;
    /// jobs.publish(&Bytes::from("x")).await?;
    /// let mut consumer = jobs.consume().await?;
    /// consumer.next().await.unwrap()?.ack().await?;
    /// broker.drained("jobs").await;
    /// # Ok(()) }
    /// ```
    pub async fn drained(&self, queue: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let stats = self.observer.queue(queue).stats().await;
            let QueueStats { ready, leased, delayed, .. } = match stats {
                Ok(stats) => stats,
                Err(error) => panic!("the queue {queue} cannot be looked at: {error}"),
            };
            if ready + leased + delayed == 0 {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the queue {queue} is not drained: {ready} ready, {leased} leased, {delayed} delayed"
            );
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The messages of a queue that are not settled, or those that a topic keeps, oldest first.
    /// Nothing is taken.
    ///
    /// # Panics
    /// When there is no such queue or topic.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # use posthaste::Bytes;
    /// # use posthaste_testing::TestBroker;
    /// let broker = TestBroker::start().await;
    /// let orders = broker.client().queue("orders");
    /// orders.declare().await?;
    /// orders.publish(&Bytes::from("7")).key("customer-42").await?;
    /// let published = broker.published("orders").await;
    /// assert_eq!(published[0].key(), Some("customer-42"));
    /// # Ok(()) }
    /// ```
    pub async fn published(&self, destination: &str) -> Vec<Peeked<Bytes>> {
        let mut reader = self.observer.queue(destination).read(Start::Earliest);
        let mut all = Vec::new();
        while let Some(message) = reader.next().await {
            match message {
                Ok(message) => all.push(message),
                Err(error) => panic!("{destination} cannot be read: {error}"),
            }
        }
        all
    }

    /// Waits until nothing is due and nothing is under way in the broker; gives its connections.
    async fn settle(&self) -> Vec<u64> {
        let settled = match &*self.inner.running() {
            Some(running) => running.broker.settle(),
            None => panic!("the broker has stopped"),
        };
        match tokio::time::timeout(PATIENCE, settled).await {
            Ok(Some(connections)) => connections,
            Ok(None) => panic!("the broker has stopped"),
            Err(_elapsed) => panic!("the broker does not come to rest"),
        }
    }
}

async fn start(disk: SimDisk, controls: &Controls, sync_delay_ms: &Arc<AtomicU64>) -> Running {
    let is_over = Arc::new(AtomicBool::new(false));
    let (delay_ms, over) = (Arc::clone(sync_delay_ms), Arc::clone(&is_over));
    disk.on_call(move |call| linger(call, &delay_ms, &over));
    let started = TestEmbedded::start(disk.clone(), controls.clone()).await;
    match started {
        Ok(broker) => Running { broker, disk, is_over },
        Err(error) => panic!("the broker does not start: {error}"),
    }
}

fn builder(inner: &Arc<Inner>) -> ClientBuilder {
    let controls = inner.controls.clone();
    let inner = Arc::clone(inner);
    let timeout = PATIENCE / 2;
    Client::builder()
        .reconnect(Backoff::fixed(RECONNECT))
        .publish_timeout(timeout)
        .request_timeout(timeout)
        .time_ahead(move || controls.ahead())
        .connector(move || {
            let connected = inner.connect();
            Box::pin(async move { connected })
        })
}

fn connect(builder: ClientBuilder) -> Client {
    match builder.connect_lazy() {
        Ok(client) => client,
        Err(error) => panic!("a client needs a tokio runtime: {error}"),
    }
}
