//! A file system of its own, in an image that is mounted through a loop device: it can be cut off like
//! by a power failure, frozen, filled up, and put on a disk that has no room left.
//!
//! Needs root, loop devices and the programs of the file system. Where something is missing,
//! [`Volume::make`] says what, and the rig says that it was skipped.

use crate::wait::eventually;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The file systems that the rigs run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4, with its journal.
    Ext4,
    /// XFS.
    Xfs,
}

impl FileSystem {
    /// Both.
    pub const ALL: [FileSystem; 2] = [FileSystem::Ext4, FileSystem::Xfs];

    /// Its name for `mount`.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }
}

/// Which way the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing more reaches the disk, the journal in memory included.
    Hard = 2,
    /// The journal is written, the content of files is not: names and sizes may outlive bytes.
    JournalFirst = 1,
}

/// A mounted image. Dropping it unmounts and detaches it; the image goes unless the test failed.
#[derive(Debug)]
pub struct Volume {
    kind: FileSystem,
    image: PathBuf,
    device: String,
    at: PathBuf,
    is_mounted: bool,
    is_frozen: bool,
}

impl Volume {
    /// Makes a file system of so many MiB and mounts it at `at`. The image lies in memory where the
    /// system has a place for that.
    ///
    /// # Errors
    /// This machine cannot do it, and why.
    pub fn make(kind: FileSystem, mib: u64, at: &Path) -> Result<Volume, String> {
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        Volume::make_in(kind, mib, at, &dir)
    }

    /// [`Volume::make`] with a folder for the image.
    ///
    /// # Errors
    /// This machine cannot do it, and why.
    pub fn make_in(kind: FileSystem, mib: u64, at: &Path, dir: &Path) -> Result<Volume, String> {
        let user = run("id", &["-u"])?;
        if user.trim() != "0" {
            return Err("it needs root".to_owned());
        }
        let name = at.to_string_lossy().replace('/', "-");
        let image = dir.join(format!("{}.img", name.trim_start_matches('-')));
        let file = File::create(&image).map_err(|error| format!("no image: {error}"))?;
        file.set_len(mib << 20).map_err(|error| format!("no image: {error}"))?;
        let mut volume = Volume {
            kind,
            image,
            device: String::new(),
            at: at.to_path_buf(),
            is_mounted: false,
            is_frozen: false,
        };
        let path = volume.image.to_string_lossy().into_owned();
        match kind {
            // All that the file system writes for itself lies at the front.
            FileSystem::Ext4 => run(
                "mkfs.ext4",
                &["-q", "-F", "-N4096", "-Jsize=8", "-E", "nodiscard,packed_meta_blocks=1", &path],
            )?,
            FileSystem::Xfs => run("mkfs.xfs", &["-q", "-f", "-K", &path])?,
        };
        // The journal has its room even where the disk below has none left for anything else.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::KEEP_SIZE, 0, 24 << 20)
            .map_err(|error| format!("no room for an image: {error}"))?;
        volume.device = run("losetup", &["--find", "--show", &path])?.trim().to_owned();
        // The loop driver takes a short write for a whole one: one page cannot be written in part.
        let device = volume.device.trim_start_matches("/dev/");
        let limit = format!("/sys/block/{device}/queue/max_sectors_kb");
        std::fs::write(&limit, "4").map_err(|error| format!("{limit}: {error}"))?;
        std::fs::create_dir_all(at).map_err(|error| format!("no mount point: {error}"))?;
        volume.try_mount()?;
        Ok(volume)
    }

    fn try_mount(&mut self) -> Result<(), String> {
        let at = self.at.to_string_lossy().into_owned();
        run("mount", &["-t", self.kind.name(), &self.device, &at])?;
        self.is_mounted = true;
        Ok(())
    }

    /// Mounts it again: the file system recovers.
    ///
    /// # Panics
    /// When it does not.
    pub fn mount(&mut self) {
        self.try_mount().expect("a volume can be mounted again");
    }

    /// Unmounts it, which also forgets what memory held of its files.
    ///
    /// # Panics
    /// When somebody holds it.
    pub fn unmount(&mut self) {
        let at = self.at.to_string_lossy().into_owned();
        eventually("the volume can be unmounted", || run("umount", &[&at]).ok());
        self.is_mounted = false;
    }

    /// Cuts it off from its disk. Whoever writes to it gets an error from now on.
    ///
    /// # Panics
    /// When the file system cannot.
    pub fn cut(&self, how: Cut) {
        let top = File::open(&self.at).expect("the volume is mounted");
        shut_down(&top, how).expect("the file system can be shut down");
    }

    /// Writes wait from now on.
    ///
    /// # Panics
    /// When the file system cannot.
    pub fn freeze(&mut self) {
        run("fsfreeze", &["--freeze", &self.at.to_string_lossy()]).expect("it can be frozen");
        self.is_frozen = true;
    }

    /// Writes go on.
    ///
    /// # Panics
    /// When the file system cannot.
    pub fn thaw(&mut self) {
        run("fsfreeze", &["--unfreeze", &self.at.to_string_lossy()]).expect("it can be thawed");
        self.is_frozen = false;
    }

    /// Whether the file system still takes anything; after an error of its own journal it does not.
    pub fn is_writable(&self) -> bool {
        let probe = self.at.join("lost+found.probe");
        let made = File::create(&probe).and_then(|file| file.sync_all());
        made.is_ok() && std::fs::remove_file(&probe).is_ok()
    }

    /// Takes all the room that is left but so many bytes.
    ///
    /// # Panics
    /// When the system does not allow it.
    pub fn fill(&self, but: u64) {
        fill(&self.at, but);
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// When it was not taken.
    pub fn empty(&self) {
        std::fs::remove_file(self.at.join(BALLAST)).expect("there is a ballast");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        let at = self.at.to_string_lossy().into_owned();
        if self.is_frozen {
            drop(run("fsfreeze", &["--unfreeze", &at]));
        }
        if self.is_mounted && run("umount", &[&at]).is_err() {
            // Somebody holds it: it goes when they let go.
            drop(run("umount", &["--lazy", &at]));
        }
        if !self.device.is_empty() {
            drop(run("losetup", &["--detach", &self.device]));
        }
        if std::thread::panicking() {
            eprintln!("kept for you: {}", self.image.display());
        } else {
            drop(std::fs::remove_file(&self.image));
        }
    }
}

/// Memory with a limit, as a disk that can be filled up below a file system.
#[derive(Debug)]
pub struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Mounts so many MiB at `at`.
    ///
    /// # Errors
    /// This machine cannot do it, and why.
    pub fn make(mib: u64, at: &Path) -> Result<SmallDisk, String> {
        std::fs::create_dir_all(at).map_err(|error| format!("no mount point: {error}"))?;
        let size = format!("size={mib}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "posthaste-tests", &at.to_string_lossy()])?;
        Ok(SmallDisk { at: at.to_path_buf() })
    }

    /// Takes all the room that is left but so many bytes.
    ///
    /// # Panics
    /// When the system does not allow it.
    pub fn fill(&self, but: u64) {
        fill(&self.at, but);
    }

    /// Gives the room back.
    ///
    /// # Panics
    /// When it was not taken.
    pub fn empty(&self) {
        std::fs::remove_file(self.at.join(BALLAST)).expect("there is a ballast");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let at = self.at.to_string_lossy().into_owned();
        // The loop device lets go of the image a little later than the call that detached it.
        eventually("the small disk can be unmounted", || run("umount", &[&at]).ok());
    }
}

/// The file that takes up room. Brokers leave it alone.
const BALLAST: &str = "ballast";

fn fill(at: &Path, but: u64) {
    let ballast = File::create(at.join(BALLAST)).expect("a file can be made");
    // Others may take of the room between the look and the call.
    eventually("the room is taken", || {
        let stat = rustix::fs::statvfs(at).expect("it is mounted");
        let bytes = (stat.f_bavail * stat.f_frsize).saturating_sub(but);
        match rustix::fs::fallocate(&ballast, rustix::fs::FallocateFlags::empty(), 0, bytes.max(1))
        {
            Ok(()) => Some(()),
            Err(rustix::io::Errno::NOSPC) if bytes == 0 => Some(()),
            Err(rustix::io::Errno::NOSPC) => None,
            Err(error) => panic!("no ballast: {error}"),
        }
    });
}

/// Forgets what memory holds of files and is written.
///
/// # Panics
/// When the system does not allow it.
pub fn drop_caches() {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").expect("root may drop caches");
}

fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| format!("{program} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), said.trim()))
}

/// `_IOR('X', 125, u32)`: the same number for ext4 and XFS.
#[expect(unsafe_code, reason = "an ioctl has no safe door")]
fn shut_down(top: &File, how: Cut) -> rustix::io::Result<()> {
    const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
    // SAFETY: the kernel reads one u32 behind the pointer, which Setter provides, and keeps nothing.
    unsafe { rustix::ioctl::ioctl(top, rustix::ioctl::Setter::<SHUTDOWN, u32>::new(how as u32)) }
}
