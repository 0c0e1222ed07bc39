//! What a handler may know of its message, and ask for, besides the payload.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::watch;

use crate::delivery::Delivery;

/// A handler's view of its delivery: everything that [`Delivery`] tells and does, except settling,
/// which is the worker's part. Cheap to clone.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// # client.queue("invoices").declare().await?;
/// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
/// # let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
/// # let stop = std::sync::Mutex::new(Some(stop));
/// # let shutdown = async { stopped.await.ok(); };
/// client
///     .queue("orders")
///     .worker()
///     .run(shutdown, move |order, ctx| {
/// #       drop(stop.lock().unwrap().take());
///         async move {
///             println!("attempt {} of {:?}", ctx.attempt(), ctx.id());
///             ctx.client().queue("invoices").publish(&order).await?;
///             Ok(())
///         }
///     })
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Ctx {
    delivery: Arc<Delivery<()>>,
    stopping: watch::Receiver<bool>,
}

impl Ctx {
    pub(super) fn new(delivery: Arc<Delivery<()>>, stopping: watch::Receiver<bool>) -> Self {
        Self { delivery, stopping }
    }

    /// Whether the worker is being shut down: long work may end itself early, with
    /// [`Failure::release`](crate::Failure::release) for example.
    #[must_use]
    pub fn is_shutting_down(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the worker is being shut down.
    ///
    /// *Cancel safety*: it can be dropped and called again.
    ///
    /// ```
    /// use posthaste::{Bytes, Ctx, Failure};
    /// async fn watch(_order: Bytes, ctx: Ctx) -> Result<(), Failure> {
    ///     tokio::select! {
    ///         done = long_work() => done,
    ///         () = ctx.shutdown() => Err(Failure::release()),
    ///     }
    /// }
    /// # async fn long_work() -> Result<(), Failure> { Ok(()) }
    /// ```
    pub async fn shutdown(&self) {
        let mut stopping = self.stopping.clone();
        // A worker that is gone is shut down as well.
        drop(stopping.wait_for(|is_stopping| *is_stopping).await);
    }
}

impl Deref for Ctx {
    type Target = Delivery<()>;

    fn deref(&self) -> &Delivery<()> {
        &self.delivery
    }
}

impl fmt::Debug for Ctx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ctx").field(&self.delivery).finish()
    }
}
