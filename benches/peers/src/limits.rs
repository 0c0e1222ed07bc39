//! What the machine can do without any broker: synced writes, one TCP stream, one wake-up. Measured at the start of
//! every round, so that figures can be held against the limits of the same minutes.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// How long each is measured.
const WINDOW: Duration = Duration::from_millis(500);
/// A file that is written again and again, as a segment is.
const FILE_BYTES: u64 = 256 << 20;
const ALIGN: usize = 4_096;
/// What a broker writes between two syncs under load.
const LARGE: usize = 1 << 20;
const STREAM_CHUNK: usize = 256 << 10;
const WAKE_UPS: u32 = 2_000;

/// One measurement of each.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// 4 KiB and `fdatasync`, into space that was written before; mean.
    pub(crate) sync_micros: f64,
    /// 1 MiB past the page cache and `fdatasync`, one after the other.
    pub(crate) synced_mb_per_second: f64,
    /// One connection over loopback, nothing done with the bytes.
    pub(crate) stream_mb_per_second: f64,
    /// From one sleeping thread to another.
    pub(crate) wake_up_micros: f64,
}

/// Takes about two seconds.
pub(crate) fn measure(dir: &Path) -> Result<Limits> {
    let path = dir.join("limits");
    let ((small, _), (_, large)) = synced_writes(&path).context("synced writes")?;
    fs::remove_file(&path)?;
    Ok(Limits {
        sync_micros: small,
        synced_mb_per_second: large,
        stream_mb_per_second: stream().context("a loopback stream")?,
        wake_up_micros: wake_up()?,
    })
}

/// Microseconds and MB/s.
type Rate = (f64, f64);

fn synced_writes(path: &Path) -> Result<(Rate, Rate)> {
    let mut bytes = vec![1; LARGE + ALIGN];
    let skip = bytes.as_ptr().align_offset(ALIGN);
    let aligned = &mut bytes[skip..skip + LARGE];
    let small = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
    let past_the_cache = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let large = OpenOptions::new().write(true).custom_flags(past_the_cache).open(path);
    let large = large.or_else(|_not_here| small.try_clone())?;
    let mut at = 0;
    while at < FILE_BYTES {
        large.write_all_at(aligned, at)?;
        at += LARGE as u64;
    }
    small.sync_all()?;
    Ok((repeat(&small, &aligned[..ALIGN])?, repeat(&large, aligned)?))
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
fn repeat(file: &File, bytes: &[u8]) -> Result<Rate> {
    let (begun, mut count) = (Instant::now(), 0_u64);
    while begun.elapsed() < WINDOW {
        file.write_all_at(bytes, count * bytes.len() as u64 % FILE_BYTES)?;
        file.sync_data()?;
        count += 1;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok((seconds * 1e6 / count as f64, (count * bytes.len() as u64) as f64 / 1e6 / seconds))
}

#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
fn stream() -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut out = TcpStream::connect(listener.local_addr()?)?;
    let (mut incoming, _) = listener.accept()?;
    let reader = std::thread::spawn(move || -> std::io::Result<u64> {
        let (mut buffer, mut all) = (vec![0; STREAM_CHUNK], 0);
        loop {
            match incoming.read(&mut buffer)? {
                0 => return Ok(all),
                count => all += count as u64,
            }
        }
    });
    let (chunk, begun) = (vec![1; STREAM_CHUNK], Instant::now());
    while begun.elapsed() < WINDOW {
        out.write_all(&chunk)?;
    }
    drop(out);
    let bytes = reader.join().map_err(|_panic| anyhow::anyhow!("the reader panicked"))??;
    Ok(bytes as f64 / 1e6 / begun.elapsed().as_secs_f64())
}

/// Half of the way there and back between two threads that sleep in turn.
fn wake_up() -> Result<f64> {
    let (ask, asked) = sync_channel::<()>(1);
    let (answer, answered) = sync_channel::<()>(1);
    let other = std::thread::spawn(move || asked.iter().try_for_each(|()| answer.send(())).is_ok());
    let begun = Instant::now();
    for _ in 0..WAKE_UPS {
        ask.send(())?;
        answered.recv()?;
    }
    let elapsed = begun.elapsed();
    drop(ask);
    other.join().map_err(|_panic| anyhow::anyhow!("the other thread panicked"))?;
    Ok(elapsed.as_secs_f64() * 1e6 / f64::from(WAKE_UPS) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_has_limits_and_nothing_is_left_behind() {
        let dir = std::env::temp_dir().join(format!("posthaste-limits-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let limits = measure(&dir).unwrap();
        assert!(limits.sync_micros > 1.0 && limits.wake_up_micros > 0.1, "{limits:?}");
        assert!(limits.synced_mb_per_second > 1.0 && limits.stream_mb_per_second > 1.0);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
