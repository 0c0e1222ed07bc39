//! One connection from welcome to end: the loop that reads, writes, and keeps time.
//!
//! All of it is one task. A round of the loop takes over everything that was handed in meanwhile,
//! so the busier the client is, the more goes into one write.

use std::time::Duration;

use bytes::BytesMut;
use posthaste_protocol::limits::FRAME_BYTES_MAX;
use posthaste_protocol::{Cut, Request, cut_frame};
use tokio::io::AsyncReadExt;
use tokio::time::Instant;

use super::calls::Expected;
use super::driver::Driver;
use crate::error::{Failed, Failure, Local};
use crate::transport::{Reading, Writing};

/// Room for one read. Large, because under load one read then brings hundreds of frames.
const READ_BYTES: usize = 256 << 10;
/// With less room than this a new buffer is begun.
const READ_BYTES_MIN: usize = 32 << 10;
/// A silent connection says something this many times within the agreed silence.
const HEARTBEATS: u32 = 3;
/// Without any other reason the loop looks around this often.
const ROUND: Duration = Duration::from_secs(60);

/// An open connection.
pub(crate) struct Link {
    pub(crate) reading: Reading,
    pub(crate) writing: Writing,
    pub(crate) inbound: BytesMut,
    /// Agreed silence; zero = none.
    pub(crate) idle: Duration,
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum LinkEnd {
    /// The client was closed, and everything is done.
    Finished,
    /// The client was closed, and time ran out.
    OutOfTime,
    Broken(Failed),
}

impl Link {
    /// Runs until the connection ends.
    pub(crate) async fn run(mut self, driver: &mut Driver) -> LinkEnd {
        match self.serve(driver).await {
            Ok(end) => end,
            Err(failure) => LinkEnd::Broken(failure),
        }
    }

    async fn serve(&mut self, driver: &mut Driver) -> Result<LinkEnd, Failed> {
        let mut now = Instant::now();
        let (mut last_read, mut last_write) = (now, now);
        let timer = tokio::time::sleep_until(now + ROUND);
        tokio::pin!(timer);
        let core = std::sync::Arc::clone(&driver.core);
        self.cut_frames(driver, now)?;
        loop {
            driver.collect(now);
            if driver.is_finished() && driver.out.is_idle() {
                return self.say_goodbye(driver).await;
            }
            if driver.is_out_of_time(now) {
                return Ok(LinkEnd::OutOfTime);
            }
            let alarm = self.alarm(driver, last_read, last_write).unwrap_or(now + ROUND);
            if timer.deadline() != alarm {
                timer.as_mut().reset(alarm);
            }
            self.make_room();
            tokio::select! {
                read = self.reading.read_buf(&mut self.inbound) => {
                    now = Instant::now();
                    last_read = now;
                    match read {
                        Ok(0) => return Err(broken("the broker closed the connection")),
                        Ok(_) => self.cut_frames(driver, now)?,
                        Err(error) => return Err(broken(&error.to_string())),
                    }
                }
                written = driver.out.progress(&mut self.writing), if !driver.out.is_idle() => {
                    now = Instant::now();
                    last_write = now;
                    written.map_err(|error| broken(&error.to_string()))?;
                }
                () = core.wake.notified() => now = Instant::now(),
                () = &mut timer => {
                    now = Instant::now();
                    self.heartbeat(driver, now, last_read, last_write)?;
                }
            }
        }
    }

    /// Everything that is whole in the buffer.
    fn cut_frames(&mut self, driver: &mut Driver, now: Instant) -> Result<(), Failed> {
        loop {
            match cut_frame(&mut self.inbound, FRAME_BYTES_MAX) {
                Ok(Cut::Frame(frame)) => driver.on_frame(&frame, now)?,
                Ok(Cut::NeedMore(missing)) => {
                    // LIMIT: the length was checked against what this side accepts.
                    if missing > READ_BYTES_MIN {
                        self.inbound.reserve(missing);
                    }
                    return Ok(());
                }
                Err(error) => return Err(Failure::coded(error.code(), error.to_string())),
            }
        }
    }

    fn make_room(&mut self) {
        if self.inbound.capacity() - self.inbound.len() < READ_BYTES_MIN {
            self.inbound.reserve(READ_BYTES);
        }
    }

    /// When something is due: of the driver, or a sign of life of either side.
    fn alarm(&self, driver: &Driver, last_read: Instant, last_write: Instant) -> Option<Instant> {
        let say = (last_write + self.idle / HEARTBEATS, driver.out.is_idle());
        let hear = (last_read + self.idle, true);
        let due = [say, hear].into_iter().filter(|one| one.1 && !self.idle.is_zero());
        let heartbeat = due.map(|one| one.0).min();
        [driver.next_due(), heartbeat].into_iter().flatten().min()
    }

    fn heartbeat(
        &self,
        driver: &mut Driver,
        now: Instant,
        last_read: Instant,
        last_write: Instant,
    ) -> Result<(), Failed> {
        if self.idle.is_zero() {
            return Ok(());
        }
        if now >= last_read + self.idle {
            return Err(broken("the broker has been silent for too long"));
        }
        if now >= last_write + self.idle / HEARTBEATS && driver.out.is_idle() {
            driver.calls.send(&mut driver.out, 0, &Request::Ping(0), Expected::Heartbeat);
        }
        Ok(())
    }

    async fn say_goodbye(&mut self, driver: &mut Driver) -> Result<LinkEnd, Failed> {
        driver.calls.tell(&mut driver.out, 0, &Request::Close);
        while !driver.out.is_idle() {
            if driver.out.progress(&mut self.writing).await.is_err() {
                // Everything that matters was answered before.
                break;
            }
        }
        Ok(LinkEnd::Finished)
    }
}

fn broken(what: &str) -> Failed {
    Failure::local(Local::Disconnected, format!("the connection broke: {what}"))
}
