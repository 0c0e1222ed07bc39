//! Request and reply, in bytes.

use super::{Raw, name};
use bytes::Bytes;
use posthaste_protocol::service::{Answer, Requested, ServiceCall, ServiceReply};
use posthaste_protocol::{Records, Request, Response};

/// A request to a service.
pub fn ask(service: &str, timeout_ms: u32, body: &[u8]) -> Request {
    let batch = super::batch(service, &[body]);
    Request::Service(ServiceCall::Ask { name: name(service), timeout_ms, batch })
}

/// An answer that is done.
pub fn answer(service: &str, ticket: u64, body: &[u8]) -> Request {
    let answer = Answer::Done(super::batch(service, &[body]));
    Request::Service(ServiceCall::Answer { name: name(service), ticket, answer })
}

/// A connection becomes an instance of a service.
pub fn serve(service: &str, in_flight_max: u32) -> Request {
    Request::Service(ServiceCall::Serve { name: name(service), in_flight_max })
}

/// The one body in a batch.
///
/// # Panics
/// When there is none.
pub fn body(batch: &Bytes) -> Bytes {
    let mut records = Records::new(batch.clone()).expect("a batch");
    records.next().expect("a record").expect("a readable one").value
}

impl Raw {
    /// Becomes an instance of a service.
    ///
    /// # Panics
    /// When the broker refuses.
    pub fn serve(&mut self, service: &str, in_flight_max: u32) {
        let answer = self.ask(0, &serve(service, in_flight_max));
        assert_eq!(answer, Response::Service(ServiceReply::Serving));
    }

    /// Waits for a request.
    ///
    /// # Panics
    /// When something else comes.
    pub fn requested(&mut self) -> Requested {
        match self.heard() {
            Some((_, Response::Service(ServiceReply::Requested(requested)))) => requested,
            other => panic!("a request was to come, not {other:?}"),
        }
    }
}

/// What came back for a request: the body, or the code of the refusal.
///
/// # Panics
/// When it is something else.
pub fn replied(response: Response) -> Result<Bytes, posthaste_protocol::ErrorCode> {
    match response {
        Response::Service(ServiceReply::Replied(Answer::Done(batch))) => Ok(body(&batch)),
        Response::Error(reply) => Err(reply.code),
        other => panic!("no reply: {other:?}"),
    }
}
