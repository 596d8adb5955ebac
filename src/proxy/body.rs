//! An answer's body on its way to the client, and the connection it comes from.
//!
//! Streamed, never collected. While the client takes the body, this value drives the connection to the endpoint; when the
//! body is whole the connection goes back to the worker's unused ones, and when the body is dropped before that (the client
//! left) the connection is closed with it. A body that broke off upstream ends in an error, so that the client's connection is
//! reset too: a truncated answer is never presented as complete.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::task::{JoinHandle, spawn_local};

use super::client::Turn;
use super::exchange::Exchange;
use crate::deadlines::Wait;
use crate::fields;
use crate::link::Lease;
use crate::link::h1::UpstreamConnection;
use crate::link::request_body::{BodyFailure, Upload};
use crate::metrics::Outcome;

/// See the module.
#[derive(Debug)]
pub struct ResponseBody {
    kind: Kind,
    turn: Turn,
}

#[derive(Debug)]
enum Kind {
    /// Made by the proxy, or nothing.
    Local(Bytes),
    Upstream(Box<Streaming>),
}

#[derive(Debug)]
struct Streaming {
    incoming: Incoming,
    connection: Carrier,
    exchange: Exchange,
    pace: Pace,
    /// What the client is still sending.
    rest: Option<Rc<Upload>>,
}

/// How long an answer that has begun may stand still.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Between two parts of it.
    pub(super) read_timeout: Duration,
    /// Whether the client may take its time with the rest of its request meanwhile.
    pub(super) is_conversation: bool,
}

/// Who drives the connection that an answer comes from.
#[derive(Debug)]
pub(super) enum Carrier {
    /// Whoever reads the answer.
    Inline(Box<UpstreamConnection>),
    /// A task of its own: the answer began before the request body had ended, and neither may wait for the other.
    #[expect(dead_code, reason = "held to be dropped")]
    Task(Driver),
    /// The connection's own task: it serves others too.
    #[expect(dead_code, reason = "held to be dropped")]
    Stream(Box<Lease>),
    /// Nobody any more.
    Done,
}

/// A task that drives a connection; dropping this ends it.
#[derive(Debug)]
pub(super) struct Driver(JoinHandle<()>);

impl Driver {
    /// Starts driving.
    pub(super) fn spawn(connection: UpstreamConnection) -> Self {
        Self(spawn_local(connection.into_driver()))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The answer broke off. What happened to it was logged where it happened.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub struct Cut;

impl ResponseBody {
    /// A body that is at hand.
    pub(super) fn local(bytes: Bytes, turn: Turn) -> Self {
        Self { kind: Kind::Local(bytes), turn }
    }

    /// The bytes of a [`Self::local`] body.
    #[cfg(test)]
    pub(super) fn into_local(self) -> Option<Bytes> {
        match self.kind {
            Kind::Local(bytes) => Some(bytes),
            Kind::Upstream(_) => None,
        }
    }

    /// An endpoint's answer; closes the books of `exchange` when it ends, however it ends.
    pub(super) fn upstream(
        incoming: Incoming,
        connection: Carrier,
        exchange: Exchange,
        pace: Pace,
        rest: Option<Rc<Upload>>,
        turn: Turn,
    ) -> Self {
        let mut streaming = Streaming { incoming, connection, exchange, pace, rest };
        if streaming.incoming.is_end_stream() {
            streaming.complete();
            return Self::local(Bytes::new(), turn);
        }
        Self { kind: Kind::Upstream(Box::new(streaming)), turn }
    }
}

impl Streaming {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let incoming = &mut self.incoming;
        let polled = match &mut self.connection {
            Carrier::Inline(connection) => connection.poll_quietly(cx, |connection, cx| {
                if let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) {
                    return Poll::Ready(frame);
                }
                connection.poll_drive(cx);
                Pin::new(&mut *incoming).poll_frame(cx)
            }),
            Carrier::Task(_) | Carrier::Stream(_) | Carrier::Done => Pin::new(incoming).poll_frame(cx),
        };
        match polled {
            Poll::Ready(Some(Ok(mut frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    fields::strip_trailers(trailers);
                }
                self.exchange.passed_on(frame.data_ref().map_or(0, Bytes::len));
                self.exchange.client().deadlines.disarm(Wait::Upstream);
                // hyper asks for nothing more after trailers.
                if frame.is_trailers() || self.incoming.is_end_stream() {
                    self.complete();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            // hyper takes a reset with NO_ERROR for the end, whether the endpoint had come to it or not.
            Poll::Ready(None) if matches!(self.connection, Carrier::Stream(_)) && !self.incoming.is_end_stream() => {
                self.cut(true, &"the endpoint reset its stream before the end")
            }
            Poll::Ready(None) => {
                self.complete();
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => match self.rest.as_ref().and_then(|rest| rest.progress().failure.get()) {
                Some(failure) => self.cut(false, &failure),
                None => self.cut(true, &format_args!("the endpoint broke off its answer: {error}")),
            },
            Poll::Pending => self.poll_deadline(),
        }
    }

    fn poll_deadline(&mut self) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        let deadlines = &self.exchange.client().deadlines;
        if deadlines.expired(Wait::Drain) {
            return self.end_drained();
        }
        match (self.exchange.draining_since(), deadlines.is_armed(Wait::Drain)) {
            (Some(since), false) => deadlines.arm(Wait::Drain, since + self.time_to_drain()),
            (None, true) => deadlines.disarm(Wait::Drain),
            _ => {}
        }
        if deadlines.expired(Wait::Request) {
            return self.cut(false, &"the client's deadline is over");
        }
        if !self.pace.is_conversation
            && let Some(rest) = &self.rest
            && rest.is_late(deadlines)
        {
            return self.cut(false, &BodyFailure::Timeout);
        }
        if deadlines.expired(Wait::Upstream) {
            return self.cut(true, &"the endpoint sent no more of its answer in time");
        }
        if !deadlines.is_armed(Wait::Upstream) {
            deadlines.arm_in(Wait::Upstream, self.pace.read_timeout);
        }
        Poll::Pending
    }

    /// How long this answer may go on when its endpoint or listener is going. What still runs then is ended spread over the
    /// last quarter of the drain time, so that the clients do not all come back at one instant.
    fn time_to_drain(&self) -> Duration {
        self.exchange.view().snapshot.timeouts.drain.mul_f64(0.75 + 0.25 * fastrand::f64())
    }

    fn end_drained(&mut self) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.end_early();
        self.exchange.log_drained();
        Poll::Ready(Some(Err(Cut)))
    }

    fn end_waits(&mut self) {
        self.rest = None;
        let deadlines = &self.exchange.client().deadlines;
        for wait in [Wait::Upstream, Wait::Request, Wait::RequestBody, Wait::Drain] {
            deadlines.disarm(wait);
        }
    }

    fn end_early(&mut self) {
        self.end_waits();
        self.connection = Carrier::Done;
        self.exchange.client().cut();
        self.exchange.finish(Outcome::Cut);
    }

    fn cut(&mut self, is_endpoint_s: bool, why: &dyn std::fmt::Display) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.end_early();
        if is_endpoint_s {
            self.exchange.endpoint_failed(1);
        }
        self.exchange.log_cut(why);
        Poll::Ready(Some(Err(Cut)))
    }

    /// The whole answer was passed on.
    fn complete(&mut self) {
        self.end_waits();
        self.exchange.answered_whole();
        let now = self.exchange.finish_answered();
        if let Carrier::Inline(connection) = std::mem::replace(&mut self.connection, Carrier::Done) {
            self.exchange.checkin(connection, now);
        }
        self.exchange.release();
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        self.turn.client().part_ended();
        let polled = match &mut self.kind {
            Kind::Local(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Local(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Upstream(streaming) => streaming.poll_frame(cx),
        };
        if matches!(polled, Poll::Ready(Some(Ok(_)))) {
            self.turn.client().part_begins();
        }
        polled
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
