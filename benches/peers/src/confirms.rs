//! The window of unconfirmed messages: places are taken before publishing and given back when the
//! confirm came, in the order of publishing.

use crate::counters::Counters;
use anyhow::{Result, anyhow};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Watches confirms of type `F`.
pub(crate) struct Confirms<F> {
    places: Arc<Semaphore>,
    window: u32,
    watched: mpsc::UnboundedSender<Watched<F>>,
    counters: Arc<Counters>,
    _task: JoinHandle<()>,
}

impl<F> Confirms<F>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    pub(crate) fn new(window: usize, counters: Arc<Counters>) -> Self {
        let window = u32::try_from(window.max(1)).unwrap_or(u32::MAX);
        let places = Arc::new(Semaphore::new(window as usize));
        let (watched, rx) = mpsc::unbounded_channel();
        let task = tokio::spawn(watch(rx, Arc::clone(&places), Arc::clone(&counters)));
        Self { places, window, watched, counters, _task: task }
    }

    /// Places for one batch of `batches`, however small it is, so that no more are under way.
    pub(crate) fn places_of(&self, batches: usize) -> usize {
        (self.window as usize / batches.max(1)).max(1)
    }

    /// Waits until so many more messages may be unconfirmed.
    pub(crate) async fn room(&self, messages: usize) -> Result<()> {
        self.places.acquire_many(self.count(messages)).await?.forget();
        self.check()
    }

    /// Watches the confirm of messages for which there is room.
    pub(crate) fn watch(&self, messages: usize, confirm: F) {
        self.watch_batch(messages, messages, confirm);
    }

    /// Watches the confirm of a batch that has taken so many places.
    pub(crate) fn watch_batch(&self, places: usize, messages: usize, confirm: F) {
        let watched = Watched { places: self.count(places), messages: messages as u64, confirm };
        // The watcher ends only after a failure, which `check` tells.
        drop(self.watched.send(watched));
    }

    pub(crate) async fn flush(&self) -> Result<()> {
        self.places.acquire_many(self.window).await?.forget();
        self.places.add_permits(self.window as usize);
        self.check()
    }

    fn count(&self, messages: usize) -> u32 {
        u32::try_from(messages).unwrap_or(u32::MAX).min(self.window)
    }

    fn check(&self) -> Result<()> {
        self.counters.failure().map_or(Ok(()), |failure| Err(anyhow!(failure)))
    }
}

struct Watched<F> {
    places: u32,
    messages: u64,
    confirm: F,
}

async fn watch<F: Future<Output = Result<()>>>(
    mut rx: mpsc::UnboundedReceiver<Watched<F>>,
    places: Arc<Semaphore>,
    counters: Arc<Counters>,
) {
    while let Some(watched) = rx.recv().await {
        if let Err(error) = watched.confirm.await {
            counters.fail(&error);
            // Whoever waits for a place learns of the failure.
            places.close();
            return;
        }
        counters.confirmed.fetch_add(watched.messages, Relaxed);
        places.add_permits(watched.places as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    async fn told(rx: oneshot::Receiver<bool>) -> Result<()> {
        if rx.await? { Ok(()) } else { Err(anyhow!("refused")) }
    }

    #[tokio::test]
    async fn the_window_is_full_until_a_confirm_comes() {
        let counters = Arc::new(Counters::new());
        let confirms = Confirms::new(2, Arc::clone(&counters));
        let (tx, rx) = oneshot::channel();
        confirms.room(2).await.expect("there is room for two");
        confirms.watch(2, told(rx));
        assert!(futures_util::FutureExt::now_or_never(confirms.room(1)).is_none());
        tx.send(true).expect("it is watched");
        confirms.flush().await.expect("all are confirmed");
        assert_eq!(counters.confirmed.load(Relaxed), 2);
    }

    #[tokio::test]
    async fn small_batches_are_as_few_as_large_ones() {
        let counters = Arc::new(Counters::new());
        let confirms = Confirms::new(20, Arc::clone(&counters));
        let places = confirms.places_of(2);
        let (tx, rx) = oneshot::channel();
        confirms.room(places).await.expect("there is room for two batches");
        confirms.watch_batch(places, 1, told(rx));
        confirms.room(places).await.expect("there is room for another");
        assert!(futures_util::FutureExt::now_or_never(confirms.room(places)).is_none());
        tx.send(true).expect("it is watched");
        confirms.room(places).await.expect("the first gave its places back");
        assert_eq!(counters.confirmed.load(Relaxed), 1);
    }

    #[tokio::test]
    async fn a_refused_message_is_a_failure_and_never_counted() {
        let counters = Arc::new(Counters::new());
        let confirms = Confirms::new(1, Arc::clone(&counters));
        let (tx, rx) = oneshot::channel();
        confirms.room(1).await.expect("there is room");
        confirms.watch(1, told(rx));
        tx.send(false).expect("it is watched");
        assert!(confirms.flush().await.is_err());
        assert_eq!(counters.confirmed.load(Relaxed), 0);
        assert_eq!(counters.failure().as_deref(), Some("refused"));
    }
}
