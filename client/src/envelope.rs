//! One record as a delivery holds it: small, because deliveries are moved a lot.

use bytes::Bytes;
use posthaste_protocol::RecordView;

/// The body of a message, and whatever else it has.
#[derive(Debug)]
pub(crate) struct Envelope {
    value: Bytes,
    /// Only of messages that have something besides a body.
    fields: Option<Box<RecordView>>,
}

impl From<RecordView> for Envelope {
    #[inline]
    fn from(record: RecordView) -> Self {
        let is_plain = record.key().is_none()
            && record.id().is_none()
            && record.priority.is_none()
            && record.headers().next().is_none();
        if is_plain {
            return Self { value: record.value, fields: None };
        }
        Self { value: record.value.clone(), fields: Some(Box::new(record)) }
    }
}

impl Envelope {
    pub(crate) fn value(&self) -> &Bytes {
        &self.value
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.fields.as_deref()?.key()
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.fields.as_deref()?.id()
    }

    pub(crate) fn priority(&self) -> Option<u8> {
        self.fields.as_deref()?.priority
    }

    pub(crate) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.as_deref().into_iter().flat_map(RecordView::headers)
    }
}
