//! Ids of version 7: a time and chance.

use std::time::SystemTime;

use crate::core::random;
use crate::options::unix_ms;
use crate::trace_context::hex;

/// A new id of this moment.
pub(super) fn v7(now: SystemTime) -> String {
    of(unix_ms(now), random::number(), random::number())
}

fn of(unix_ms: u64, first: u64, second: u64) -> String {
    let high = (unix_ms << 16) | 0x7000 | (first & 0x0fff);
    let low = (0b10 << 62) | (second >> 2);
    let digits = hex(&[high.to_be_bytes(), low.to_be_bytes()].concat());
    let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_version_7_and_differs_from_others() {
        // The example of RFC 9562, A.6.
        let example = of(0x017F_22E2_79B0, 0xCC3, 0x18C4_DC0C_0C07_398F << 2);
        assert_eq!(example, "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
        let all: std::collections::HashSet<_> = (0..1_000).map(|_| v7(SystemTime::now())).collect();
        assert_eq!(all.len(), 1_000);
    }
}
