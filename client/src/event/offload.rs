//! The automatic claim check: large data goes to a store, and the event carries a reference.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::{Body, Event, Store};
use crate::declare::BoxFuture;
use crate::error::{Failed, Failure, Local};
use crate::producer::ProducerBuilder;

type Check<T> = dyn for<'a> Fn(&'a T) -> BoxFuture<'a, Result<Option<T>, Failed>> + Send + Sync;

/// What a producer does with messages that are too large.
pub(crate) struct Offload<T> {
    check: Arc<Check<T>>,
}

impl<T> Offload<T> {
    /// What is to be published in place of a message, if that is too large.
    pub(crate) async fn replaced(&self, message: &T) -> Result<Option<T>, Failed> {
        (self.check)(message).await
    }
}

impl<T> Clone for Offload<T> {
    fn clone(&self) -> Self {
        Self { check: Arc::clone(&self.check) }
    }
}

impl<T> fmt::Debug for Offload<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Offload")
    }
}

impl<D: Send + Sync + 'static> ProducerBuilder<Event<D>> {
    /// Puts data of more than `above` bytes into a store and publishes a reference to it, with size
    /// and digest: readers [`load`](Event::load) it without knowing which way it went.
    ///
    /// The data is kept before the event is published, so no event refers to nothing. A publish that
    /// fails may leave data that nobody refers to.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), posthaste::Error> {
    /// # let client = posthaste::Client::connect("memory:").await?;
    /// use posthaste::{Event, FolderStore, TopicOf};
    /// const SCANS: TopicOf<Event<Vec<u8>>> = TopicOf::new("scans");
    /// # client.topic(SCANS).declare().await?;
    /// # let folder = std::env::temp_dir().join(format!("posthaste-offload-{}", std::process::id()));
    /// let store = FolderStore::new(&folder);
    /// let producer = client.topic(SCANS).producer().offload(256 << 10, store.clone()).build();
    /// let scan = Event::full("scan.taken", vec![7_u8; 1 << 20]);
    /// let _confirm = producer.send(&scan).await?;
    /// producer.flush().await?;
    ///
    /// # let mut feed = client.topic(SCANS).group("archive").consume().await?;
    /// # let Some(Ok(delivery)) = feed.next().await else { panic!("an event") };
    /// let scan = delivery.payload().load(&store).await?;
    /// assert_eq!(scan.len(), 1 << 20);
    /// # delivery.ack().await?;
    /// # std::fs::remove_dir_all(folder).ok();
    /// # Ok(()) }
    /// ```
    pub fn offload(mut self, above: usize, store: impl Store + 'static) -> Self {
        let codec = self.codec;
        let content_type = codec.attributes.and_then(|attributes| attributes.content_type);
        let store = Arc::new(store);
        let check: Arc<Check<Event<D>>> = Arc::new(move |event: &Event<D>| {
            let store = Arc::clone(&store);
            Box::pin(async move {
                if !matches!(event.body, Body::Full(_)) {
                    return Ok(None);
                }
                let mut data = Vec::new();
                (codec.encode)(event, &mut data).map_err(|error| {
                    Failure::local(Local::Encode, format!("the data cannot be encoded: {error}"))
                })?;
                if data.len() <= above {
                    return Ok(None);
                }
                let mut reference = store.put(Bytes::from(data)).await.map_err(|error| error.0)?;
                if reference.media_type.is_none() {
                    let given = event.content_type.clone();
                    reference.media_type = given.or_else(|| content_type.map(str::to_owned));
                }
                Ok(Some(event.with_body(Body::Reference(reference))))
            })
        });
        self.offload = Some(Offload { check });
        self
    }
}
