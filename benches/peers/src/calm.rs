//! Waiting until the disk has done what the last broker left behind: where freed space is told to the disk, the files
//! that were removed hold up every sync for a while, and the next broker would pay for them.

use anyhow::{Context, Result};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Slower syncs than this are somebody else's.
const QUICK: Duration = Duration::from_millis(5);
/// So many quick syncs in a row are calm: about a tenth of a second.
const IN_A_ROW: u32 = 200;
/// LIMIT: a disk that is never calm is measured as it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Returns when small syncs in `dir` have been quick for a while; tells loudly when they never were.
pub(crate) fn wait(dir: &Path) -> Result<()> {
    let path = dir.join("calm");
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    // Freed space is told to the disk when the file system commits.
    file.sync_all()?;
    let begun = Instant::now();
    let mut quick = 0;
    while quick < IN_A_ROW {
        if begun.elapsed() > PATIENCE {
            println!("  the disk did not get calm within {PATIENCE:?}");
            break;
        }
        let asked = Instant::now();
        file.write_all_at(&[1; 4096], 0)?;
        file.sync_data()?;
        quick = if asked.elapsed() < QUICK { quick + 1 } else { 0 };
    }
    fs::remove_file(&path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calm_disk_is_found_calm_and_nothing_is_left() {
        let dir = std::env::temp_dir().join(format!("posthaste-calm-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        wait(&dir).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::remove_dir_all(&dir).unwrap();
    }
}
