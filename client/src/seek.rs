//! Moving a group.

use std::future::IntoFuture;

use posthaste_protocol::{Request, Response};

use crate::declare::BoxFuture;
use crate::error::{Failed, RequestError};
use crate::info::Sought;
use crate::options::Start;
use crate::place::{GroupPlace, unexpected};

/// A move of a group; see [`Group::seek`](crate::Group::seek).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.topic("orders.events").declare().await?;
/// # client.topic("orders.events").group("billing").declare().await?;
/// use posthaste::Start;
/// let moved = client.topic("orders.events").group("billing").seek(Start::Latest).await?;
/// println!("from {} to {}", moved.from, moved.to);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is moved until this is awaited"]
pub struct Seek {
    place: GroupPlace,
    to: Start,
    dry_run: bool,
}

impl Seek {
    pub(crate) fn new(place: GroupPlace, to: Start) -> Self {
        Self { place, to, dry_run: false }
    }

    /// Only tell what would happen.
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    fn request(&self) -> Result<Request, Failed> {
        Ok(Request::Seek {
            topic: self.place.topic().checked()?.clone(),
            group: self.place.checked()?.clone(),
            to: self.to.to_wire(),
            dry_run: self.dry_run,
        })
    }
}

impl IntoFuture for Seek {
    type Output = Result<Sought, RequestError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match self.place.topic().call(self.request()?).await? {
                Response::Sought { from, to, messages } => Ok(Sought { from, to, messages }),
                other => Err(unexpected("seek", &other).into()),
            }
        })
    }
}
