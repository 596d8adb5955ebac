//! A response body on its way to the client, and the connection it comes from.
//!
//! The body is streamed, never collected. While the client takes it, this value drives the connection to the endpoint.
//! When the body is complete, the connection goes back to the worker's unused ones. When the body is dropped earlier
//! (the client left), the connection is closed with it. A body that broke off upstream ends in an error, so that the
//! client's connection is reset too: a truncated response is never presented as complete.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body::{Body, Frame, SizeHint};

use super::busy::Busy;
use super::exchange::{ENDED_BY, Exchange};
use super::rest::Rest;
use crate::deadlines::Wait;
use crate::fields;
use crate::link::request_body::BodyFailure;
use crate::link::response::{BrokenBody, EndpointBody};
use crate::metrics::Outcome;

/// The share of the drain time from which on responses are ended that are still under way.
const ENDING_FROM: f64 = 0.75;

/// The body of every response to a client; see the module.
#[derive(Debug)]
pub struct ResponseBody {
    kind: Kind,
    _busy: Busy,
}

#[derive(Debug)]
enum Kind {
    /// A body that is in memory: one made by the proxy, or an empty one.
    Local(Bytes),
    Upstream(Box<Streaming>),
}

#[derive(Debug)]
struct Streaming {
    incoming: EndpointBody,
    exchange: Exchange,
    waits: BodyWaits,
}

/// How long a response that has begun may pause.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyWaits {
    /// The longest pause between two parts of the response.
    pub(super) read_timeout: Duration,
    /// Whether the client may take its time with the rest of its request meanwhile, as in a call of gRPC.
    pub(super) is_conversation: bool,
}

/// Whether a response has content, by its status and the method of the request (RFC 9110 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    None,
    /// None over HTTP/2, where the stream ends with the head; over HTTP/1.1 it may be framed as if it had some (RFC
    /// 9110 section 15.3.6).
    Reset,
    Possible,
}

impl Content {
    /// Of a response with this status.
    #[inline]
    pub(super) fn of(is_head: bool, status: StatusCode) -> Self {
        match status {
            _ if is_head => Self::None,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED => Self::None,
            StatusCode::RESET_CONTENT => Self::Reset,
            _ => Self::Possible,
        }
    }
}

/// Who is to blame that a response broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    Endpoint,
    /// The client, or a deadline that has nothing to do with the endpoint.
    Nobody,
}

/// The response broke off. The reason was logged where it was found.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct Cut;

impl ResponseBody {
    /// A body that is in memory.
    pub(super) fn local(bytes: Bytes, busy: Busy) -> Self {
        Self { kind: Kind::Local(bytes), _busy: busy }
    }

    /// The bytes of a [`Self::local`] body.
    #[cfg(test)]
    pub(super) fn into_local(self) -> Option<Bytes> {
        match self.kind {
            Kind::Local(bytes) => Some(bytes),
            Kind::Upstream(_) => None,
        }
    }

    /// The response body of an endpoint. It closes the books of `exchange` when it ends, however it ends.
    pub(super) fn upstream(
        incoming: EndpointBody,
        exchange: Exchange,
        waits: BodyWaits,
        content: Content,
        busy: Busy,
    ) -> Self {
        let mut streaming = Streaming { incoming, exchange, waits };
        let ends_with_head = match content {
            Content::None => true,
            Content::Reset => streaming.exchange.client().is_stream(),
            Content::Possible => false,
        };
        if ends_with_head || streaming.has_given_all() {
            streaming.complete();
            return Self::local(Bytes::new(), busy);
        }
        Self { kind: Kind::Upstream(Box::new(streaming)), _busy: busy }
    }
}

impl ResponseBody {
    /// Ends the response if its time is over. It is looked at before each part; whoever sends the parts must ask while
    /// they wait for the client.
    pub(crate) fn end_of_time(&mut self) -> Option<Cut> {
        match &mut self.kind {
            Kind::Local(_) => None,
            Kind::Upstream(streaming) => streaming.end_of_time(),
        }
    }
}

impl Streaming {
    /// Whether the client can get no more of it. A client of HTTP/1.1 gets nothing behind the last byte of a length,
    /// and nobody asks for it; over HTTP/2 trailers may follow.
    #[inline]
    fn has_given_all(&self) -> bool {
        self.incoming.is_end_stream()
            || !self.exchange.client().is_stream() && self.incoming.size_hint().exact() == Some(0)
    }

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(end) = self.end_of_time() {
            return Poll::Ready(Some(Err(end)));
        }
        match self.incoming.poll_frame(cx) {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    fields::strip_trailers(trailers);
                }
                self.exchange.passed_on(frame.data_ref().map_or(0, Bytes::len));
                self.exchange.client().deadlines.disarm(Wait::Upstream);
                // Nobody polls after trailers.
                if frame.is_trailers() || self.has_given_all() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                let is_its_own = matches!(error, BrokenBody::Endpoint(_));
                let blame = if is_its_own { Blame::Endpoint } else { Blame::Nobody };
                Poll::Ready(Some(Err(self.cut(blame, &error))))
            }
            Poll::Pending => self.poll_deadline(),
        }
    }

    /// Ends the response if its time is over, however much of it there is to pass on.
    #[inline]
    fn end_of_time(&mut self) -> Option<Cut> {
        let deadlines = &self.exchange.client().deadlines;
        match (self.exchange.draining_since(), deadlines.is_armed(Wait::Drain)) {
            (None, false) => {}
            (Some(_), _) if deadlines.expired(Wait::Drain) => return Some(self.end_drained()),
            (Some(since), false) => deadlines.arm(Wait::Drain, since + self.time_to_drain()),
            (Some(_), true) => {}
            (None, true) => deadlines.disarm(Wait::Drain),
        }
        let is_late = deadlines.expired(Wait::Request);
        is_late.then(|| self.cut(Blame::Nobody, &"the client's deadline is over"))
    }

    fn poll_deadline(&mut self) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let deadlines = &self.exchange.client().deadlines;
        if !self.waits.is_conversation
            && let Some(upload) = self.incoming.upload()
            && upload.is_late(deadlines)
        {
            return Poll::Ready(Some(Err(self.cut(Blame::Nobody, &BodyFailure::Timeout))));
        }
        if deadlines.expired(Wait::Upstream) {
            let why = "the endpoint sent no more of its response in time";
            return Poll::Ready(Some(Err(self.cut(Blame::Endpoint, &why))));
        }
        if !deadlines.is_armed(Wait::Upstream) {
            deadlines.arm_in(Wait::Upstream, self.waits.read_timeout);
        }
        Poll::Pending
    }

    /// How long this response may go on when its endpoint or listener is draining. What still runs then is ended at a
    /// moment of its own, so that the clients do not all come back at one instant.
    fn time_to_drain(&self) -> Duration {
        let share = ENDING_FROM + (ENDED_BY - ENDING_FROM) * fastrand::f64();
        self.exchange.drain().mul_f64(share)
    }

    #[cold]
    fn end_drained(&mut self) -> Cut {
        self.exchange.breaks_off(&"the time to drain is over");
        self.end_early();
        self.exchange.log_drained();
        Cut
    }

    fn end_waits(&mut self) {
        let waits = [Wait::Upstream, Wait::Request, Wait::RequestBody, Wait::Drain];
        self.exchange.client().deadlines.disarm_all(waits);
    }

    fn end_early(&mut self) {
        self.end_waits();
        drop(self.incoming.finish());
        self.exchange.client().cut();
        self.exchange.finish(Outcome::Cut);
    }

    #[cold]
    fn cut(&mut self, blame: Blame, why: &dyn std::fmt::Display) -> Cut {
        self.exchange.breaks_off(why);
        self.end_early();
        if blame == Blame::Endpoint {
            self.exchange.endpoint_failed(1);
        }
        self.exchange.log_cut(why);
        Cut
    }

    /// The whole response was passed on.
    fn complete(&mut self) {
        self.end_waits();
        self.exchange.answered_whole();
        let now = self.exchange.finish_answered();
        self.incoming.was_passed_on();
        if self.incoming.has_rest() {
            self.leave_rest();
        } else if let Some(connection) = self.incoming.finish() {
            self.exchange.checkin(connection, now);
        }
        self.exchange.release();
    }

    /// The response is over before the request is. With a call of gRPC the request is over too: its status ends it.
    #[cold]
    fn leave_rest(&mut self) {
        let client = Rc::clone(self.exchange.client());
        let Some((upload, driver)) = self.incoming.take_rest() else { return };
        let driver = driver.filter(|_| !self.waits.is_conversation && client.is_read_on.get());
        if client.is_stream() && driver.is_none() {
            // Its task discards the rest of the body.
            return;
        }
        let timeouts = &self.exchange.timeouts().clone();
        client.leave_rest(match driver {
            Some(driver) => Rest::passed_on(upload, driver, self.exchange.take_in_flight(), timeouts),
            // The connection closes now, and what still comes is discarded as long as it lingers.
            None if client.is_told_to_close.get() => return,
            None => Rest::discarded(upload, timeouts),
        });
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut self.kind {
            Kind::Local(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Local(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Upstream(streaming) => streaming.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Local(bytes) => bytes.is_empty(),
            Kind::Upstream(streaming) => streaming.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Local(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Kind::Upstream(streaming) => streaming.incoming.size_hint(),
        }
    }
}
