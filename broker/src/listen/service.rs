//! Bodies of requests and answers: one record, whole, for the service that is named.

use crate::config::Limits;
use posthaste_protocol::batch::{RecordLimits, check_records, destination_seed, verify_batch};
use posthaste_protocol::service::{Answer, ServiceCall};
use posthaste_protocol::{DecodeError, ErrorCode};

/// Checks the body, if there is one; its bytes.
pub(super) fn check(call: &ServiceCall, limits: &Limits) -> Result<usize, DecodeError> {
    let (ServiceCall::Ask { name, batch, .. }
    | ServiceCall::Answer { name, answer: Answer::Done(batch), .. }) = call
    else {
        return Ok(0);
    };
    let header = verify_batch(batch, destination_seed(name))?;
    if header.count != 1 {
        let what = "a request or an answer is one message";
        return Err(DecodeError::new(ErrorCode::InvalidArgument, 0, what));
    }
    check_records(batch, &RecordLimits { message_bytes_max: limits.message_bytes_max })?;
    Ok(batch.len())
}

/// What stands for an answer that was refused, so that nobody waits for it.
pub(super) fn refused(call: ServiceCall, error: DecodeError) -> Option<ServiceCall> {
    let ServiceCall::Answer { name, ticket, .. } = call else { return None };
    let reason = format!("the broker refused the reply: {}", error.what());
    Some(ServiceCall::Answer { name, ticket, answer: Answer::Failed { reason } })
}
