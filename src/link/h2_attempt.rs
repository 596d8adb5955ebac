//! One request on its way over a stream of HTTP/2, until the head of its response comes.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::{HeaderMap, Request, Response};
use http_body::Body as _;

use super::driver::Driver;
use super::error::LinkError;
use super::h2::Lease;
use super::record::BUFFER_BYTES_MAX;
use super::request_body::RequestBody;
use super::response::{Over, Source, Written};
use crate::net::h2::{BodySender, ReceivedBody, Unsent};

/// The most interim responses in one go (RFC 9110 section 15.2): more come only from an endpoint that sends nothing
/// else. What comes in the course of time has the deadline of the response.
const INTERIMS_AT_ONCE: u32 = 1024;

/// See the module. Dropping it resets the stream, and the endpoint hears CANCEL.
pub(super) struct Attempt {
    lease: Box<Lease>,
    stage: Stage,
    /// The bytes that had been written to the connection when the request was handed to h2.
    written_before: u64,
    written: Written,
}

enum Stage {
    /// The request waits for its stream.
    Waiting(SendRequest<Bytes>, Request<RequestBody>),
    /// It is being sent, or has been.
    Sent { response: ResponseFuture, upload: Option<BodySender<RequestBody>> },
    /// The stream is over.
    Over,
}

impl Lease {
    /// Sends `request`.
    pub(super) fn send(self: Box<Self>, request: Request<RequestBody>) -> Attempt {
        let sender = self.shared.sender.borrow().clone();
        Attempt { lease: self, stage: Stage::Waiting(sender, request), written_before: 0, written: Written::Nothing }
    }
}

impl Attempt {
    /// Ready with the head of the response. Meanwhile it sends the body of the request, and passes on what comes
    /// before that head.
    pub(super) fn poll(
        &mut self,
        interim: &dyn Fn(Response<()>),
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<Source>, LinkError>> {
        if let Stage::Waiting(sender, _) = &mut self.stage {
            let ready = ready!(sender.poll_ready(cx));
            self.begin(ready).map_err(|error| self.failed(error, 0))?;
        }
        let Stage::Sent { response, upload } = &mut self.stage else {
            return Poll::Ready(Err(LinkError::Closed(None)));
        };
        if let Some(sender) = upload
            && let Poll::Ready(ended) = sender.poll(&self.lease.shared.values, cx)
        {
            if let Err(Unsent::Body(_)) = ended {
                sender.reset(Reason::CANCEL);
                // The body says why.
                return Poll::Ready(Err(LinkError::Closed(None)));
            }
            // If the endpoint wants no more of it, its response says why, or its reset.
            *upload = None;
        }
        let mut interims = 0;
        while let Poll::Ready(Some(Ok(head))) = response.poll_informational(cx) {
            interims += 1;
            interim(head);
            if interims > INTERIMS_AT_ONCE {
                return Poll::Ready(Err(LinkError::InterimFlood));
            }
        }
        match ready!(Pin::new(&mut *response).poll(cx)) {
            Ok(response) => {
                let (head, stream) = response.into_parts();
                if head_size(&head.headers) > BUFFER_BYTES_MAX {
                    return Poll::Ready(Err(LinkError::HeadTooLarge));
                }
                let body = ReceivedBody::new(stream, &head.headers);
                Poll::Ready(Ok(Response::from_parts(head, Source::Http2(body))))
            }
            Err(error) => {
                let stream = response.stream_id().as_u32();
                Poll::Ready(Err(self.failed(error, stream)))
            }
        }
    }

    /// Hands the request to h2.
    fn begin(&mut self, ready: Result<(), h2::Error>) -> Result<(), h2::Error> {
        ready?;
        let Stage::Waiting(mut sender, request) = std::mem::replace(&mut self.stage, Stage::Over) else {
            return Ok(());
        };
        let (mut head, body) = request.into_parts();
        self.lease.shared.values.give(&mut head.headers);
        let is_whole = body.is_end_stream();
        let (response, stream) = sender.send_request(Request::from_parts(head, ()), is_whole)?;
        self.written_before = self.lease.shared.record.bytes_written();
        self.written = Written::Something;
        let upload = (!is_whole).then(|| BodySender::new(stream, body));
        self.stage = Stage::Sent { response, upload };
        Ok(())
    }

    /// Notes whether the endpoint may have seen the request, and classifies the error. A request that has no `stream`
    /// yet has 0.
    fn failed(&mut self, error: h2::Error, stream: u32) -> LinkError {
        if self.lease.shared.seen.is_ended_for_another(stream, &error) {
            return LinkError::Curbed(error);
        }
        let record = &self.lease.shared.record;
        // If h2 ends the connection itself, it may still be sending what it has.
        let is_unwritten = record.bytes_written() == self.written_before && !error.is_library();
        let why = LinkError::awaiting(error.into(), record.tls_failure());
        if is_unwritten || why.is_declined() {
            self.written = Written::Nothing;
        }
        why
    }

    /// Whether the endpoint may have seen the request.
    pub(super) fn written(&self) -> Written {
        self.written
    }

    /// The share in the connection.
    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The endpoint has responded without wanting the body of the request, so that is not sent.
    pub(super) fn leave_out_body(&mut self) {
        if let Stage::Sent { upload, .. } = &mut self.stage {
            *upload = None;
        }
    }

    /// What carries the response from now on. If the client is still sending its body, a task sends that on.
    pub(super) fn into_over(self) -> Over {
        let Self { lease, stage, .. } = self;
        let Stage::Sent { upload: Some(mut upload), .. } = stage else { return Over::Stream(lease, None) };
        let (slot, values) = (Rc::clone(&lease.slot), Rc::clone(&lease.shared.values));
        let rest = async move {
            if let Err(Unsent::Body(_)) = poll_fn(|cx| upload.poll(&values, cx)).await {
                upload.reset(Reason::CANCEL);
            }
            drop(slot);
        };
        Over::Stream(lease, Some(Driver::spawn(rest)))
    }
}

/// The size of a head in the measure of RFC 9113 section 6.5.2.
fn head_size(fields: &HeaderMap) -> usize {
    const OVERHEAD: usize = 32;
    fields.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD).sum()
}
