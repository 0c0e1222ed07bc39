//! Requests that concern many messages at once and answer with how many.

use std::future::IntoFuture;

use posthaste_protocol::request::DeadAction;
use posthaste_protocol::{Request, Response};

use crate::declare::BoxFuture;
use crate::error::{Failed, RequestError};
use crate::place::{GroupPlace, Place, unexpected};

/// A purge, or a replay or removal of dead letters. Awaiting it gives the number of messages
/// concerned.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// let orders = client.queue("orders");
/// if orders.purge().dry_run().await? < 1_000 {
///     orders.purge().await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens until this is awaited"]
pub struct Sweep {
    place: Place,
    group: Option<GroupPlace>,
    what: What,
    dry_run: bool,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Purge,
    Replay(Option<u64>),
    Drop(Option<u64>),
}

impl Sweep {
    pub(crate) fn purge(place: Place) -> Self {
        Self { place, group: None, what: What::Purge, dry_run: false }
    }

    pub(crate) fn replay(place: Place, group: Option<GroupPlace>, offset: Option<u64>) -> Self {
        Self { place, group, what: What::Replay(offset), dry_run: false }
    }

    pub(crate) fn drop(place: Place, group: Option<GroupPlace>, offset: Option<u64>) -> Self {
        Self { place, group, what: What::Drop(offset), dry_run: false }
    }

    /// Only count.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    fn request(&self) -> Result<Request, Failed> {
        let name = self.place.checked()?.clone();
        let group = self.group.as_ref().map(GroupPlace::checked).transpose()?.cloned();
        let dry_run = self.dry_run;
        Ok(match self.what {
            What::Purge => Request::Purge { name, dry_run },
            What::Replay(offset) => {
                Request::Dead { name, group, action: DeadAction::Replay { offset, dry_run } }
            }
            What::Drop(offset) => {
                Request::Dead { name, group, action: DeadAction::Drop { offset, dry_run } }
            }
        })
    }
}

impl IntoFuture for Sweep {
    type Output = Result<u64, RequestError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match self.place.call(self.request()?).await? {
                Response::Done { messages } => Ok(messages),
                other => Err(unexpected("purge or dead", &other).into()),
            }
        })
    }
}
