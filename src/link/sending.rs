//! A request between its sending and the head of its response: the deadlines, and who is to blame for their passing.

use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::time::Instant;

use super::WorkerEndpoint;
use super::error::{LinkError, Phase};
use super::hold::{PATIENCE, Said};
use super::request_body::Upload;
use super::response::{EndpointBody, LinkResponse, Over, Source};
use super::waits::Waits;
use crate::deadlines::Wait;

/// A request that is being sent, until its response head comes.
pub(super) struct Sending<'a> {
    /// The body that goes with it, if there is one.
    pub(super) upload: Option<Rc<Upload>>,
    /// Bytes of the request body that had come when the deadline of the response was last set.
    bytes_passed: u64,
    endpoint: &'a WorkerEndpoint,
    waits: &'a Waits<'a>,
}

impl<'a> Sending<'a> {
    pub(super) fn begin(upload: Option<Rc<Upload>>, endpoint: &'a WorkerEndpoint, waits: &'a Waits<'a>) -> Self {
        waits.arm(waits.began + waits.timeouts.response_head);
        let sending = Self { upload, bytes_passed: 0, endpoint, waits };
        if let Some(upload) = sending.upload.as_ref().filter(|upload| upload.is_held()) {
            upload.hold.ask(sending.patience());
        }
        sending
    }

    /// How long the endpoint may take to say whether it wants the body. At least as much is left for the response.
    #[cold]
    fn patience(&self) -> Option<Duration> {
        let of_attempt = self.waits.until.get().map(|until| until.saturating_duration_since(Instant::now()));
        let shortest =
            of_attempt.map_or(self.waits.timeouts.response_head, |most| most.min(self.waits.timeouts.response_head));
        (!self.endpoint.ignores_expect.get()).then_some(PATIENCE.min(shortest / 2))
    }

    /// The endpoint has sent `head` before its response, which is for the client unless it is for us.
    #[cold]
    pub(super) fn pass_interim(&self, head: Response<()>, pass_on: &dyn Fn(Response<()>)) {
        match &self.upload {
            Some(upload) if head.status() == StatusCode::CONTINUE => upload.hold.tell(),
            _ => pass_on(head),
        }
    }

    /// Ready when the wait has run out.
    pub(super) fn poll_deadline(&mut self) -> Poll<()> {
        let deadlines = self.waits.deadlines;
        if let Some(upload) = &self.upload {
            let bytes = upload.progress().bytes.get();
            let waits_for_client = upload.is_awaited() && deadlines.expired(Wait::Upstream);
            if bytes != self.bytes_passed || waits_for_client {
                // The time for the response, and that of the attempt, count from the last progress of the request body,
                // and do not run while the client is awaited.
                self.bytes_passed = bytes;
                self.waits.arm_again();
            }
            if upload.is_late(deadlines) {
                return Poll::Ready(());
            }
        }
        if self.waits.passed(Phase::Response).is_some() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether the endpoint has responded instead of wanting the body.
    pub(super) fn is_refused(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.is_held())
    }

    /// The upload, if the client is still sending it on.
    pub(super) fn rest(&self) -> Option<&Rc<Upload>> {
        self.upload.as_ref().filter(|upload| upload.is_coming())
    }

    pub(super) fn end_waits(&self) {
        if let Some(said) = self.upload.as_ref().and_then(|upload| upload.hold.settle()) {
            self.endpoint.ignores_expect.set(said == Said::Nothing);
        }
        self.waits.deadlines.disarm(Wait::Upstream);
        self.waits.deadlines.disarm(Wait::RequestBody);
    }

    /// What is to blame for a failure: the client, if its body broke off; the deadline of the whole request, if it is
    /// over; else `why`.
    pub(super) fn blame(&self, why: LinkError) -> LinkError {
        let by_client = self.upload.as_ref().and_then(|upload| upload.progress().failure.get());
        match by_client {
            _ if self.waits.deadlines.expired(Wait::Request) => LinkError::TimedOut(Phase::Request),
            Some(failure) => LinkError::Body(failure),
            None => why,
        }
    }

    pub(super) fn into_response(self, response: Response<Source>, over: Over) -> LinkResponse {
        let response = response.map(|source| EndpointBody::new(source, over, self.upload));
        LinkResponse { response, connected_at: None }
    }
}
