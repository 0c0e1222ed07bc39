//! What an operator can set. Every option has a safe default and a range that is checked once.

use posthaste_protocol::limits;
use posthaste_storage::Options;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Port of the client protocol.
pub const PORT: u16 = 7420;
/// Port of metrics and health.
pub const HTTP_PORT: u16 = 7421;

/// Everything a broker needs to start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the log lives. Created if missing; must be on a local disk.
    pub data_dir: PathBuf,
    /// Keep everything in memory instead: nothing survives the process.
    pub in_memory: bool,
    /// Address for clients. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Address for `/metrics`, `/livez`, `/readyz`; `None` = off.
    pub http: Option<SocketAddr>,
    /// Go on past damaged blocks of the log and report what is lost, instead of refusing to start.
    pub quarantine_damage: bool,
    /// Limits of connections and memory.
    pub limits: Limits,
    /// Limits and sizes of the log.
    pub storage: Options,
}

/// Limits of connections and memory; each refusal has a named error.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at once; fewer if the process may not open so many files.
    pub connections_max: usize,
    /// Connections at once from one address.
    pub connections_per_address_max: usize,
    /// Connections that have not finished their handshake.
    pub handshakes_max: usize,
    /// The same from one address.
    pub handshakes_per_address_max: usize,
    /// Time for preface and hello together.
    pub handshake_timeout: Duration,
    /// Time for one frame to arrive whole.
    pub frame_timeout: Duration,
    /// Time in which a client must take something from a full outbound buffer.
    pub write_timeout: Duration,
    /// Silence after which a connection is closed is twice this.
    pub idle: Duration,
    /// Largest frame.
    pub frame_bytes_max: u32,
    /// Largest message: key, headers and body.
    pub message_bytes_max: u32,
    /// Unconfirmed bytes a client may have under way.
    pub publish_bytes_max: u64,
    /// Unconfirmed bytes of all clients together; beyond it sockets are not read.
    pub ingest_bytes_max: usize,
    /// Memory for large frames of all clients that have not arrived whole.
    pub assembly_bytes_max: usize,
    /// Bytes waiting for one client; beyond it nothing more is delivered to it.
    pub outbound_bytes_max: usize,
    /// Message ids remembered in all queues and topics together, some 60 bytes each; beyond it messages with
    /// new ids are refused where ids have a window.
    pub message_ids_max: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data_dir: PathBuf::from("posthaste-data"),
            in_memory: false,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            http: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, HTTP_PORT))),
            quarantine_damage: false,
            limits: Limits::default(),
            // A block may hold a megabyte and, behind it, one chunk with the largest frame.
            storage: Options { block_bytes_max: 8 << 20, ..Options::default() },
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 10_000,
            connections_per_address_max: 5_000,
            handshakes_max: 512,
            handshakes_per_address_max: 256,
            handshake_timeout: Duration::from_secs(5),
            frame_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            idle: Duration::from_secs(15),
            frame_bytes_max: limits::FRAME_BYTES_MAX,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            publish_bytes_max: 8 << 20,
            ingest_bytes_max: 64 << 20,
            assembly_bytes_max: 64 << 20,
            outbound_bytes_max: 8 << 20,
            message_ids_max: 10_000_000,
        }
    }
}
