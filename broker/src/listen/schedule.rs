//! The message of a schedule: one plain record for the queue or topic that is named.

use crate::config::Limits;
use posthaste_protocol::batch::{
    RecordLimits, Records, check_records, destination_seed, verify_batch,
};
use posthaste_protocol::limits::SCHEDULE_BATCH_BYTES_MAX;
use posthaste_protocol::schedule::ScheduleCall;
use posthaste_protocol::{DecodeError, ErrorCode};

/// Checks the message, if there is one.
pub(super) fn check(call: &ScheduleCall, limits: &Limits) -> Result<(), DecodeError> {
    let ScheduleCall::Set { to, batch, .. } = call else { return Ok(()) };
    let error = |code, what| Err(DecodeError::new(code, 0, what));
    if batch.len() > SCHEDULE_BATCH_BYTES_MAX as usize {
        return error(
            ErrorCode::MessageTooLarge,
            "the message of a schedule is larger than 64 KiB",
        );
    }
    let header = verify_batch(batch, destination_seed(to))?;
    if header.count != 1 || header.producer != 0 {
        return error(ErrorCode::InvalidArgument, "a schedule has one message, of no session");
    }
    check_records(batch, &RecordLimits { message_bytes_max: limits.message_bytes_max })?;
    for record in Records::new(batch.clone())? {
        let record = record?;
        if record.not_before_ms.is_some() || record.expires_ms.is_some() || record.id().is_some() {
            let what = "a recurring message has no id and no time of its own";
            return error(ErrorCode::InvalidArgument, what);
        }
    }
    Ok(())
}
