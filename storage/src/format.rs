//! The version fields that every file of the store carries, and the one rule about them.
//!
//! A file with a higher major version, or with an `incompatible` or `read-only` feature bit that is not known here, was
//! written by a newer program: it is refused before anything is written.

use std::path::Path;

use crate::error::StorageError;
use crate::fields::{put, u16_at, u32_at};

/// The version fields: major u16, minor u16, compat u32, read-only u32, incompatible u32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    major: u16,
    minor: u16,
    compat: u32,
    read_only: u32,
    incompatible: u32,
}

/// What this program writes.
pub(crate) const CURRENT: Versions =
    Versions { major: 1, minor: 0, compat: 0, read_only: 0, incompatible: 0 };

impl Versions {
    pub(crate) fn put(&self, out: &mut [u8], at: usize) {
        put(out, at, self.major.to_le_bytes());
        put(out, at + 2, self.minor.to_le_bytes());
        put(out, at + 4, self.compat.to_le_bytes());
        put(out, at + 8, self.read_only.to_le_bytes());
        put(out, at + 12, self.incompatible.to_le_bytes());
    }

    pub(crate) fn at(bytes: &[u8], at: usize) -> Self {
        Self {
            major: u16_at(bytes, at),
            minor: u16_at(bytes, at + 2),
            compat: u32_at(bytes, at + 4),
            read_only: u32_at(bytes, at + 8),
            incompatible: u32_at(bytes, at + 12),
        }
    }

    pub(crate) fn check(&self, path: &Path) -> Result<(), StorageError> {
        let bits = self.incompatible | self.read_only;
        let found = if self.major > CURRENT.major {
            u32::from(self.major)
        } else if bits != 0 {
            bits
        } else {
            return Ok(());
        };
        Err(StorageError::NewerFormat {
            path: path.to_path_buf(),
            found,
            known: u32::from(CURRENT.major),
        })
    }
}

#[cfg(test)]
mod tests;
