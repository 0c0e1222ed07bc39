//! [`Options`]: the sizes and limits of one store.

/// LIMIT: how the log uses memory and disk. The defaults suit a small server; tests shrink them.
#[derive(Debug, Clone)]
pub struct Options {
    /// The smallest segment file, and the size of the first. Default 16 MiB.
    pub segment_bytes: u32,
    /// Segments grow up to this while much is written. Default 128 MiB.
    pub segment_bytes_max: u32,
    /// Segments kept ready. Two of them are for acknowledgements on a full disk, so at least 3. Default 3.
    pub spares: usize,
    /// Space given back to the disk at a time, with a pause after it. Default 4 MiB.
    pub give_back_bytes: u64,
    /// Free disk space that new segments leave for checkpoints. Default 64 MiB.
    pub reserve_bytes: u64,
    /// Memory of recent blocks. Default 64 MiB.
    pub tail_cache_bytes: usize,
    /// Memory of the indexes of sealed segments. Default 32 MiB.
    pub footer_cache_bytes: usize,
    /// The largest body of a block. Default 4 MiB.
    pub block_bytes_max: u32,
    /// A checkpoint is due when the log has grown by this since the last. Default 1 GiB.
    pub checkpoint_log_bytes: u64,
    /// Create a store where there is none. Default true.
    pub create: bool,
    /// Go on past damaged blocks and report the gap, instead of refusing to open. Default false.
    pub quarantine: bool,
    /// Keep segments ready on a thread of its own. Without it, they are made when needed and by
    /// [`crate::LogKeeper::maintain`]. Default true.
    pub background: bool,
    /// Write zeros over new segments while little is written, which makes later syncs faster. Default true.
    pub prewrite: bool,
    /// Makes salts and the identity repeatable, for tests. Default none: they are random.
    pub seed: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            segment_bytes_max: 128 << 20,
            spares: 3,
            give_back_bytes: 4 << 20,
            reserve_bytes: 64 << 20,
            tail_cache_bytes: 64 << 20,
            footer_cache_bytes: 32 << 20,
            block_bytes_max: 4 << 20,
            checkpoint_log_bytes: 1 << 30,
            create: true,
            quarantine: false,
            background: true,
            prewrite: true,
            seed: None,
        }
    }
}
