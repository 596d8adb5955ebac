//! A request body on its way from the client to an endpoint: streamed, never collected.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use crate::deadlines::{Deadlines, Wait};

/// The body of one request. Requests without one, which are most, carry nothing but a null pointer.
#[derive(Debug, Default)]
pub struct RequestBody(Option<Box<Streaming>>);

#[derive(Debug)]
struct Streaming {
    incoming: Incoming,
    progress: Rc<Progress>,
    deadlines: Rc<Deadlines>,
    read_timeout: Duration,
    bytes_max: u64,
}

/// How far a body got; stays readable when the body itself is gone.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes passed on.
    pub bytes: Cell<u64>,
    /// Whether anybody asked for a part of it, so that it may be gone.
    pub started: Cell<bool>,
    /// Whether it was passed on whole.
    pub ended: Cell<bool>,
    /// Why it broke off.
    pub failure: Cell<Option<BodyFailure>>,
}

/// Why a request body broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFailure {
    /// The client closed, or broke the framing.
    #[error("the client broke off its request body")]
    Client,
    /// `timeouts.request_body` ran out.
    #[error("the client sent no more of its request body in time")]
    Timeout,
    /// `limits.request_body` was passed.
    #[error("the request body is larger than allowed")]
    TooLarge,
}

impl RequestBody {
    /// Wraps the client's body. `bytes_max` bounds it, `read_timeout` bounds the wait for each part of it.
    pub fn new(incoming: Incoming, deadlines: &Rc<Deadlines>, read_timeout: Duration, bytes_max: u64) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        let (progress, deadlines) = (Rc::new(Progress::default()), Rc::clone(deadlines));
        Self(Some(Box::new(Streaming { incoming, progress, deadlines, read_timeout, bytes_max })))
    }

    /// Whether there is no body at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How far it got; `None` if there is no body.
    pub fn progress(&self) -> Option<Rc<Progress>> {
        self.0.as_ref().map(|streaming| Rc::clone(&streaming.progress))
    }
}

impl Streaming {
    fn fail(&mut self, failure: BodyFailure) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        self.deadlines.disarm(Wait::RequestBody);
        self.progress.failure.set(Some(failure));
        Poll::Ready(Some(Err(failure)))
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyFailure>>> {
        self.progress.started.set(true);
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => {
                if self.deadlines.expired(Wait::RequestBody) {
                    return self.fail(BodyFailure::Timeout);
                }
                if !self.deadlines.is_armed(Wait::RequestBody) {
                    self.deadlines.arm_in(Wait::RequestBody, self.read_timeout);
                }
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                self.deadlines.disarm(Wait::RequestBody);
                let progress = &self.progress;
                progress.bytes.set(progress.bytes.get() + frame.data_ref().map_or(0, |data| data.len() as u64));
                if progress.bytes.get() > self.bytes_max {
                    return self.fail(BodyFailure::TooLarge);
                }
                progress.ended.set(frame.is_trailers() || self.incoming.is_end_stream());
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(_))) => self.fail(BodyFailure::Client),
            Poll::Ready(None) => {
                self.deadlines.disarm(Wait::RequestBody);
                self.progress.ended.set(true);
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.deadlines.disarm(Wait::RequestBody);
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyFailure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |streaming| streaming.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|streaming| streaming.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |streaming| streaming.incoming.size_hint())
    }
}
