//! Several deliveries in one hand.

use std::fmt;

use bytes::Bytes;

use crate::delivery::Delivery;
use crate::error::SettleError;

/// Deliveries that were taken together.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), posthaste::Error> {
/// # let client = posthaste::Client::connect("memory:").await?;
/// # client.queue("orders").declare().await?;
/// # client.queue("orders").publish(&posthaste::Bytes::from("7")).await?;
/// # let mut consumer = client.queue("orders").consume().await?;
/// use std::time::Duration;
/// let batch = consumer.next_batch(100, Duration::from_secs(1)).await?;
/// for job in &batch {
///     println!("{:?}", job.payload());
/// }
/// batch.ack_all().await?;
/// # Ok(()) }
/// ```
#[must_use = "a delivery that is dropped without being settled goes back"]
pub struct Batch<T = Bytes> {
    deliveries: Vec<Delivery<T>>,
}

impl<T> Batch<T> {
    pub(crate) fn new(deliveries: Vec<Delivery<T>>) -> Self {
        Self { deliveries }
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.deliveries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deliveries.is_empty()
    }

    /// One after the other.
    pub fn iter(&self) -> std::slice::Iter<'_, Delivery<T>> {
        self.deliveries.iter()
    }

    /// Acks all of them.
    pub async fn ack_all(self) -> Result<(), SettleError> {
        for delivery in self.deliveries {
            delivery.ack().await?;
        }
        Ok(())
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = Delivery<T>;
    type IntoIter = std::vec::IntoIter<Delivery<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.deliveries.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a Batch<T> {
    type Item = &'a Delivery<T>;
    type IntoIter = std::slice::Iter<'a, Delivery<T>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T> fmt::Debug for Batch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.len()).finish()
    }
}
