//! Takes what a consumer has ready, many at once.

use posthaste::{ConsumeError, Consumer, Delivery, Stream};
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A consumer that hands out chunks.
#[derive(Debug)]
pub(crate) struct Taker {
    consumer: Consumer,
    /// Came behind deliveries that were handed out first.
    failed: Option<ConsumeError>,
}

impl Taker {
    pub(crate) fn new(consumer: Consumer) -> Self {
        Self { consumer, failed: None }
    }

    pub(crate) fn into_consumer(self) -> Consumer {
        self.consumer
    }

    /// Waits for a delivery and takes those that are there with it, up to a number and a size.
    /// Empty when the stream has ended.
    ///
    /// *Cancel safety*: nothing is lost when the future is dropped.
    pub(crate) async fn next(
        &mut self,
        max: usize,
        bytes_max: usize,
    ) -> Result<Vec<Delivery>, ConsumeError> {
        poll_fn(|cx| self.poll(cx, max, bytes_max)).await
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        max: usize,
        bytes_max: usize,
    ) -> Poll<Result<Vec<Delivery>, ConsumeError>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        while chunk.len() < max && bytes < bytes_max {
            match Pin::new(&mut self.consumer).poll_next(cx) {
                Poll::Ready(Some(Ok(delivery))) => {
                    bytes += delivery.bytes().len();
                    chunk.push(delivery);
                }
                Poll::Ready(Some(Err(error))) => {
                    self.failed = Some(error);
                    break;
                }
                Poll::Ready(None) => break,
                Poll::Pending if chunk.is_empty() => return Poll::Pending,
                Poll::Pending => break,
            }
        }
        match self.failed.take_if(|_| chunk.is_empty()) {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(chunk)),
        }
    }
}
