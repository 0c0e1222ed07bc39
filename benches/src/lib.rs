//! The paths of a message through the broker, without sockets, disks and threads: what they cost in instructions
//! (`benches/instructions`), and their parts in nanoseconds (`cargo bench -p posthaste-benches`).

pub mod path;
