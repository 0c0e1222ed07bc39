//! Frames and batches by hand, so that each field can be wrong while the checksums are right.
//!
//! Written from docs/protocol.md and not from the encoder, so that both cannot be wrong together.

/// CRC-32 (IEEE), bit by bit.
pub fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = u32::MAX;
    for byte in parts.iter().copied().flatten() {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// A frame, field by field.
#[derive(Clone, Debug)]
pub struct FrameDraft {
    /// Instead of the true length.
    pub len: Option<u32>,
    /// Command number.
    pub kind: u8,
    /// Flags.
    pub flags: u8,
    /// Channel.
    pub channel: u16,
    /// Request id.
    pub corr: u64,
    /// Instead of the true length of the meta section.
    pub meta_len: Option<u32>,
    /// Fields of the command.
    pub meta: Vec<u8>,
    /// Batches.
    pub payload: Vec<u8>,
    /// Added to the true checksum.
    pub crc_error: u32,
}

impl FrameDraft {
    /// A well-formed frame.
    pub fn new(kind: u8, meta: &[u8]) -> FrameDraft {
        FrameDraft {
            len: None,
            kind,
            flags: 0,
            channel: 0,
            corr: 77,
            meta_len: None,
            meta: meta.to_vec(),
            payload: Vec::new(),
            crc_error: 0,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let true_len = 24 + self.meta.len() + self.payload.len();
        let mut head = Vec::new();
        head.extend(self.len.unwrap_or(true_len as u32).to_le_bytes());
        head.extend([self.kind, self.flags]);
        head.extend(self.channel.to_le_bytes());
        head.extend(self.corr.to_le_bytes());
        head.extend(self.meta_len.unwrap_or(self.meta.len() as u32).to_le_bytes());
        let crc = crc32(&[&head, &self.meta]).wrapping_add(self.crc_error);
        head.extend(crc.to_le_bytes());
        [head, self.meta.clone(), self.payload.clone()].concat()
    }
}

/// A batch, field by field.
#[derive(Clone, Debug)]
pub struct BatchDraft {
    /// The queue or topic that the checksum covers.
    pub destination: String,
    /// Instead of the true length.
    pub len: Option<u32>,
    /// Format.
    pub format: u8,
    /// Attributes.
    pub attrs: u8,
    /// Count of records, as claimed.
    pub count: u32,
    /// Producer number.
    pub producer: u32,
    /// Sequence.
    pub sequence: u64,
    /// The records as bytes.
    pub records: Vec<u8>,
    /// Added to the true checksum.
    pub crc_error: u32,
}

impl BatchDraft {
    /// A well-formed batch of these encoded records.
    pub fn new(destination: &str, records: &[Vec<u8>]) -> BatchDraft {
        BatchDraft {
            destination: destination.to_owned(),
            len: None,
            format: 1,
            attrs: 0,
            count: records.len() as u32,
            producer: 0,
            sequence: 0,
            records: records.concat(),
            crc_error: 0,
        }
    }

    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = vec![self.format, self.attrs, 0, 0];
        body.extend(self.count.to_le_bytes());
        body.extend(self.producer.to_le_bytes());
        body.extend(0u32.to_le_bytes());
        body.extend(self.sequence.to_le_bytes());
        body.extend(0u64.to_le_bytes());
        body.extend(&self.records);
        let len = self.len.unwrap_or(body.len() as u32 + 8);
        let crc = crc32(&[self.destination.as_bytes(), &body]).wrapping_add(self.crc_error);
        [len.to_le_bytes().to_vec(), crc.to_le_bytes().to_vec(), body].concat()
    }
}

/// A varint.
pub fn varint(mut value: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// A record with these flags, and the encoded fields and value behind them.
pub fn record(flags: u8, rest: &[u8]) -> Vec<u8> {
    [varint(rest.len() as u32 + 1), vec![flags], rest.to_vec()].concat()
}

/// A text as a record carries it.
pub fn sized(text: &[u8]) -> Vec<u8> {
    [varint(text.len() as u32), text.to_vec()].concat()
}

/// A name as a command carries it.
pub fn name(text: &[u8]) -> Vec<u8> {
    [vec![u8::try_from(text.len()).unwrap_or(u8::MAX)], text.to_vec()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raw;
    use posthaste_protocol::Request;

    #[test]
    fn what_is_made_by_hand_is_what_the_encoder_makes() {
        assert_eq!(crc32(&[b"123456", b"789"]), 0xCBF4_3926);
        let bodies: [&[u8]; 2] = [b"one", b"two"];
        let batch = raw::batch("orders", &bodies);
        let by_hand = BatchDraft::new("orders", &bodies.map(|body| record(0, body))).bytes();
        assert_eq!(by_hand, batch);
        let request =
            Request::Publish { target: 5, durability: 0, expects: None, batch: batch.clone() };
        let mut draft = FrameDraft::new(11, &[5, 0, 0, 0, 0, 0, 0, 0]);
        draft.payload = batch.to_vec();
        assert_eq!(draft.bytes(), raw::encode(0, 77, &request));
        let describe = Request::Describe { name: raw::name("orders") };
        let draft = FrameDraft::new(7, &name(b"orders"));
        assert_eq!(draft.bytes(), raw::encode(0, 77, &describe));
    }
}
