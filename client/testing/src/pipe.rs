//! Connections that can be cut from outside, at both ends at once.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

/// All connections of a broker.
#[derive(Debug, Default)]
pub(crate) struct Pipes {
    all: Mutex<Vec<Weak<Mutex<End>>>>,
}

/// The client's end of a connection.
#[derive(Debug)]
pub(crate) struct Pipe {
    end: Arc<Mutex<End>>,
}

#[derive(Debug)]
struct End {
    /// `None` once it is cut: the broker's end is closed by that.
    stream: Option<DuplexStream>,
    /// Who waits in a read, and in a write.
    waiting: [Option<Waker>; 2],
}

const READ: usize = 0;
const WRITE: usize = 1;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipes {
    pub(crate) fn wrap(&self, stream: DuplexStream) -> Pipe {
        let end = Arc::new(Mutex::new(End { stream: Some(stream), waiting: [None, None] }));
        let mut all = locked(&self.all);
        all.retain(|pipe| pipe.strong_count() > 0);
        all.push(Arc::downgrade(&end));
        Pipe { end }
    }

    pub(crate) fn cut_all(&self) {
        let all = std::mem::take(&mut *locked(&self.all));
        for end in all.iter().filter_map(Weak::upgrade) {
            let waiting = {
                let mut end = locked(&end);
                drop(end.stream.take());
                std::mem::take(&mut end.waiting)
            };
            waiting.into_iter().flatten().for_each(Waker::wake);
        }
    }
}

impl Pipe {
    fn poll<T>(
        &self,
        cx: &Context<'_>,
        which: usize,
        poll: impl FnOnce(Pin<&mut DuplexStream>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let mut end = locked(&self.end);
        let Some(stream) = &mut end.stream else {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        };
        let polled = poll(Pin::new(stream));
        if polled.is_pending() {
            end.waiting[which] = Some(cx.waker().clone());
        }
        polled
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let waker = cx.waker().clone();
        self.poll(cx, READ, |stream| stream.poll_read(&mut Context::from_waker(&waker), buf))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let waker = cx.waker().clone();
        self.poll(cx, WRITE, |stream| stream.poll_write(&mut Context::from_waker(&waker), bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = cx.waker().clone();
        self.poll(cx, WRITE, |stream| stream.poll_flush(&mut Context::from_waker(&waker)))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let waker = cx.waker().clone();
        self.poll(cx, WRITE, |stream| stream.poll_shutdown(&mut Context::from_waker(&waker)))
    }
}
