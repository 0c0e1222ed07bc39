//! One record of a batch, held by the bytes it arrived in.

use bytes::Bytes;

/// A record. Cheap to make: slices of the batch, nothing copied.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    value: Bytes,
}

impl Record {
    pub(crate) fn value(&self) -> &Bytes {
        &self.value
    }

    pub(crate) fn key(&self) -> Option<&str> {
        None
    }

    pub(crate) fn id(&self) -> Option<&str> {
        None
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        std::iter::empty()
    }

    pub(crate) fn priority(&self) -> Option<u8> {
        None
    }
}
