//! The body of a message on a stream of HTTP/2 (RFC 9113 section 8.1), as it is received and as it is sent; and the
//! pings that show whether a peer is still there.
//!
//! h2 would take any number of bytes and hold them until the peer's windows let them out. [`BodySender`] gives it only
//! what the windows let out now. So every byte that waits for the peer lies with the one who also has a deadline for
//! it. A body that h2 has been given whole needs nothing of the peer any more but that it reads its socket, unless the
//! peer makes its windows smaller afterwards: then h2 holds up to 64 KiB of the stream as long as the connection lives.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::header::{CONTENT_LENGTH, HeaderMap};
use http_body::{Body, Frame, SizeHint};

use super::h2_signals::BodySignals;
use super::h2_values::OwnValues;
use crate::deadlines::{Deadlines, Wait};

/// A body that the peer sends. What is taken from it opens the peer's window again.
#[derive(Debug)]
pub struct ReceivedBody {
    stream: RecvStream,
    /// The bytes that are still to come, if `Content-Length` has said how many.
    left: Option<u64>,
    has_data: bool,
    /// What is said of it beside h2, if anything is.
    signals: Option<Rc<BodySignals>>,
}

impl ReceivedBody {
    /// The body that follows a head with these fields.
    pub(crate) fn new(stream: RecvStream, headers: &HeaderMap) -> Self {
        // h2 has refused lengths that are malformed or differ.
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let left = if stream.is_end_stream() { Some(0) } else { length };
        Self { stream, left, has_data: true, signals: None }
    }

    /// As [`Self::new`], for a body of a client.
    pub(crate) fn of_client(stream: RecvStream, headers: &HeaderMap, signals: Rc<BodySignals>) -> Self {
        let body = Self::new(stream, headers);
        signals.begin(body.left);
        Self { signals: Some(signals), ..body }
    }

    /// The next part. A reset is an error, whatever its code, unless it came after the end.
    pub(crate) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        while self.has_data {
            let Poll::Ready(polled) = self.stream.poll_data(cx) else { return self.poll_signals(cx) };
            match polled {
                Some(Ok(data)) if data.is_empty() => {}
                Some(Ok(data)) => {
                    self.stream.flow_control().release_capacity(data.len()).ok();
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    if let Some(signals) = &self.signals {
                        signals.has_come();
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.has_data = false,
            }
        }
        let trailers = ready!(self.stream.poll_trailers(cx));
        Poll::Ready(trailers.map(|trailers| trailers.map(Frame::trailers)).transpose())
    }

    /// Nothing has come: says so, and looks whether h2 was not told that nothing will.
    fn poll_signals(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let Some(signals) = &self.signals else { return Poll::Pending };
        match signals.poll_end(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) if self.left == Some(0) => Poll::Ready(None),
            Poll::Ready(()) if signals.is_answered() => Poll::Ready(Some(Err(Reason::PROTOCOL_ERROR.into()))),
            Poll::Ready(()) => Poll::Pending,
        }
    }

    /// Whether the whole body has been taken.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
            || self.left == Some(0) && self.signals.as_ref().is_some_and(|signals| signals.has_ended())
    }

    /// The number of its stream.
    pub(crate) fn stream(&self) -> u32 {
        self.stream.stream_id().as_u32()
    }

    /// What is known about the number of bytes to come.
    pub(crate) fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Sends a body, never more than the peer's windows allow.
#[derive(Debug)]
pub(crate) struct BodySender<B> {
    stream: SendStream<Bytes>,
    body: B,
    /// The part that waits for the peer's windows.
    part: Bytes,
    /// Whether `part` is the last one.
    is_last: bool,
    bytes_sent: u64,
}

/// Why a body was not sent whole.
#[derive(Debug)]
pub(crate) enum Unsent<E> {
    /// The peer has reset the stream, or the connection is over.
    Peer(h2::Error),
    /// The body broke off.
    Body(E),
}

impl<B: Body<Data = Bytes> + Unpin> BodySender<B> {
    pub(crate) fn new(stream: SendStream<Bytes>, body: B) -> Self {
        Self { stream, body, part: Bytes::new(), is_last: false, bytes_sent: 0 }
    }

    /// Whether the peer's windows are awaited. Otherwise it is the body that is.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.part.is_empty()
    }

    /// The bytes that the peer's windows have let out so far.
    pub(crate) fn bytes_sent(&self) -> u64 {
        self.bytes_sent
    }

    /// The body.
    pub(crate) fn body_mut(&mut self) -> &mut B {
        &mut self.body
    }

    /// Resets the stream with this code.
    pub(crate) fn reset(&mut self, reason: Reason) {
        self.stream.send_reset(reason);
    }

    /// Ready when the whole body is on its way, or when it cannot be. Trailers get values out of `values`, those of the
    /// connection.
    pub(crate) fn poll(&mut self, values: &OwnValues, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<B::Error>>> {
        loop {
            if !self.part.is_empty() {
                ready!(self.poll_part(cx)).map_err(Unsent::Peer)?;
            }
            if self.is_last {
                return Poll::Ready(Ok(()));
            }
            let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else { return self.poll_gone(cx) };
            match frame.transpose().map_err(Unsent::Body)?.map(Frame::into_data) {
                Some(Ok(data)) => {
                    self.is_last = self.body.is_end_stream();
                    self.part = data;
                    if self.part.is_empty() && self.is_last {
                        self.send(Bytes::new()).map_err(Unsent::Peer)?;
                    }
                }
                Some(Err(other)) => {
                    if let Ok(mut trailers) = other.into_trailers() {
                        self.is_last = true;
                        values.give(&mut trailers);
                        self.stream.send_trailers(trailers).map_err(Unsent::Peer)?;
                    }
                }
                None => {
                    self.is_last = true;
                    self.send(Bytes::new()).map_err(Unsent::Peer)?;
                }
            }
        }
    }

    /// Sends the part that waits, as the windows open.
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        self.stream.reserve_capacity(self.part.len());
        while !self.part.is_empty() {
            let mut capacity = self.stream.capacity();
            if capacity == 0 {
                capacity = match ready!(self.stream.poll_capacity(cx)) {
                    Some(capacity) => capacity?,
                    // The stream is over. Why, the reset says.
                    None => return self.stream.poll_reset(cx).map(|reason| Err(reason?.into())),
                };
            }
            let now = self.part.split_to(capacity.min(self.part.len()));
            self.bytes_sent += now.len() as u64;
            if !now.is_empty() {
                self.send(now)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives h2 the next bytes, with the end of the stream if they are the last ones.
    fn send(&mut self, bytes: Bytes) -> Result<(), h2::Error> {
        self.stream.send_data(bytes, self.is_last && self.part.is_empty())
    }

    /// Ready with an error when the peer wants no more of the body.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unsent<B::Error>>> {
        let reason = ready!(self.stream.poll_reset(cx));
        Poll::Ready(Err(Unsent::Peer(reason.map_or_else(|error| error, h2::Error::from))))
    }
}

/// Finds out whether a peer that sends nothing is still there (RFC 9113 section 6.7).
#[derive(Debug)]
pub(crate) struct Pings {
    pings: PingPong,
    every: Duration,
    is_awaited: bool,
}

/// A ping was not acknowledged in time.
#[derive(Debug, thiserror::Error)]
#[error("a ping was not acknowledged in time")]
pub(crate) struct Unacknowledged;

impl Pings {
    /// A ping is due when the peer has sent nothing for `every`, and it has as long to acknowledge it. `None` means
    /// never.
    pub(crate) fn new(pings: Option<PingPong>, every: Option<Duration>, deadlines: &Deadlines) -> Option<Self> {
        let (pings, every) = pings.zip(every)?;
        deadlines.arm_in(Wait::Ping, every);
        Some(Self { pings, every, is_awaited: false })
    }

    /// To be called whenever the connection is polled. `is_quiet` asks whether the peer has sent nothing since it was
    /// asked last, although something is expected of it.
    ///
    /// # Errors
    /// The peer is gone.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        deadlines: &Deadlines,
        is_quiet: impl FnOnce() -> bool,
    ) -> Result<(), Unacknowledged> {
        if self.is_awaited && self.pings.poll_pong(cx).is_ready() {
            self.is_awaited = false;
        }
        if !deadlines.expired(Wait::Ping) {
            return Ok(());
        }
        deadlines.arm_in(Wait::Ping, self.every);
        if !is_quiet() {
            return Ok(());
        }
        if self.is_awaited {
            return Err(Unacknowledged);
        }
        // It is refused only when the connection is over, and then there is nobody to ping.
        self.is_awaited = self.pings.send_ping(Ping::opaque()).is_ok() && self.pings.poll_pong(cx).is_pending();
        Ok(())
    }
}
