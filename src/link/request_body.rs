//! A request body on its way from the client to an endpoint: streamed, never collected.
//!
//! Its beginning, up to `limits.replay` bytes, is kept until the response begins, for another attempt: without a copy
//! if its parts are large, as counted references to what was read from the client.

use std::cell::{Cell, OnceCell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::client_body::ClientBody;
use super::hold::Hold;
use super::replay::{Position, Replay};
use crate::deadlines::{Deadlines, Wait};
use crate::fields;

/// The body of one request as one attempt reads it. Most requests have no body; they carry only a null pointer.
#[derive(Debug, Default)]
pub struct RequestBody(Option<Reader>);

#[derive(Debug)]
struct Reader {
    upload: Rc<Upload>,
    /// How much of the kept beginning this attempt has read.
    replayed: Position,
    /// The number of the attempt. Only the latest one reads; the response of another may be kept meanwhile.
    attempt: u32,
}

/// The bounds of a request body.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// The most bytes of the whole body.
    pub bytes_max: u64,
    /// The most bytes that are kept for another attempt.
    pub replay_max: usize,
    /// The most bytes of its trailers, counted as a head of HTTP/2 is.
    pub trailers_max: usize,
    /// How long the client may take to send each part.
    pub read_timeout: Duration,
}

/// The body that the client sends, over all attempts.
#[derive(Debug)]
pub struct Upload {
    incoming: RefCell<ClientBody>,
    kept: RefCell<Replay>,
    progress: Rc<Progress>,
    bounds: Cell<Bounds>,
    /// The fields that its route gives to the request or takes from it.
    not_in_trailers: OnceCell<Arc<[HeaderName]>>,
    /// When the present wait for the client began, if it is awaited.
    waiting_since: Cell<Option<Instant>>,
    pub(super) hold: Hold,
    /// The number of the latest attempt.
    attempt: Cell<u32>,
}

/// How far a body has come. It stays readable when the body itself is gone.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes that have come from the client.
    pub bytes: Cell<u64>,
    /// Whether the whole body has come.
    pub ended: Cell<bool>,
    /// When the whole body had come.
    pub ended_at: Cell<Option<Instant>>,
    /// Why it broke off, if it did.
    pub failure: Cell<Option<BodyFailure>>,
}

impl Progress {
    fn end(&self) {
        self.ended.set(true);
        self.ended_at.set(Some(Instant::now()));
    }
}

/// Why a request body broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyFailure {
    /// The client closed the connection, or broke the framing.
    #[error("the client broke off its request body")]
    Client,
    /// `timeouts.request_body` ran out.
    #[error("the client sent no more of its request body in time")]
    Timeout,
    /// The body exceeded `limits.request_body`.
    #[error("the request body is larger than allowed")]
    TooLarge,
}

/// A body breaks off here. Why, [`Progress::failure`] says.
#[derive(Debug, thiserror::Error)]
#[error("the request body ends here")]
pub struct BrokenOff;

impl RequestBody {
    /// Wraps the client's body.
    pub fn new(incoming: ClientBody, bounds: Bounds) -> Self {
        if incoming.is_end_stream() {
            return Self(None);
        }
        let (kept, progress, waiting_since) = (RefCell::default(), Rc::default(), Cell::default());
        let (incoming, hold, attempt) = (RefCell::new(incoming), Hold::default(), Cell::default());
        let (bounds, not_in_trailers) = (Cell::new(bounds), OnceCell::new());
        let upload = Upload { incoming, kept, progress, bounds, not_in_trailers, waiting_since, hold, attempt };
        Self(Some(Reader { upload: Rc::new(upload), replayed: Position::default(), attempt: 0 }))
    }

    /// Other bounds, before any of it was read.
    pub fn set_bounds(&self, bounds: Bounds) {
        if let Self(Some(reader)) = self {
            reader.upload.bounds.set(bounds);
        }
    }

    /// These fields do not stand in its trailers: the head says what they are.
    pub fn keep_from_trailers(&self, names: &Arc<[HeaderName]>) {
        if let Self(Some(reader)) = self {
            _ = reader.upload.not_in_trailers.set(Arc::clone(names));
        }
    }

    /// Its client holds it back until it is told to continue. So it is not read before an endpoint wants it.
    pub fn hold(&self) {
        if let Some(reader) = &self.0 {
            reader.upload.hold.close();
        }
    }

    /// Whether there is no body at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The upload, from which [`Self::again`] makes the body for another attempt; `None` if there is no body.
    pub fn upload(&self) -> Option<&Rc<Upload>> {
        self.0.as_ref().map(|reader| &reader.upload)
    }

    /// The body from its beginning, which must still be kept; see [`Upload::can_replay`].
    pub fn again(upload: &Rc<Upload>) -> Self {
        upload.waiting_since.set(None);
        upload.attempt.update(|attempt| attempt + 1);
        Self(Some(Reader { upload: Rc::clone(upload), replayed: Position::default(), attempt: upload.attempt.get() }))
    }
}

impl Upload {
    /// Whether everything that has come so far is still kept.
    pub fn can_replay(&self) -> bool {
        !self.kept.borrow().is_too_much
    }

    /// How far it has come.
    pub fn progress(&self) -> &Rc<Progress> {
        &self.progress
    }

    /// Whether it is not to be read, because no endpoint has said yet that it wants it.
    pub fn is_held(&self) -> bool {
        self.hold.is_held()
    }

    /// Whether it is passed on as the client sends it.
    pub(super) fn is_coming(&self) -> bool {
        !self.progress.ended.get() && !self.is_held()
    }

    /// Whether the client has sent nothing for too long. Then it is no longer awaited.
    ///
    /// To be called by the task that `deadlines` wake, whenever it is polled. That need not be the task that reads.
    pub fn is_late(&self, deadlines: &Deadlines) -> bool {
        let is_due = deadlines.expired(Wait::RequestBody) || !deadlines.is_armed(Wait::RequestBody);
        if self.progress.ended.get() || !is_due {
            return false;
        }
        let now = Instant::now();
        if self.is_held() {
            self.hold.look(now, deadlines);
            return false;
        }
        let until = self.waiting_since.get().unwrap_or(now) + self.bounds.get().read_timeout;
        if until <= now {
            self.progress.failure.set(Some(BodyFailure::Timeout));
            return true;
        }
        deadlines.arm(Wait::RequestBody, until);
        false
    }

    /// Whether more of the body is awaited from the client.
    pub fn is_awaited(&self) -> bool {
        self.waiting_since.get().is_some()
    }

    fn fail(&self, failure: BodyFailure) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        self.progress.failure.set(Some(failure));
        Poll::Ready(Some(Err(BrokenOff)))
    }

    /// Whether somebody has asked for a part of it. 100 (Continue) is sent then, if the client waits for that.
    pub fn was_asked_for(&self) -> bool {
        self.is_awaited() || self.progress.bytes.get() > 0 || self.progress.ended.get()
    }

    /// How many bytes are still to come, if that is known.
    pub fn bytes_left(&self) -> Option<u64> {
        self.incoming.borrow().size_hint().exact()
    }

    /// Reads and discards the body, even if it is larger than allowed, or held. Ready when it has ended, or when
    /// `enough` bytes have come, counted from its beginning.
    pub fn poll_discard(&self, cx: &mut Context<'_>, enough: u64) -> Poll<()> {
        loop {
            let is_over = match ready!(self.poll_incoming(cx)) {
                Some(Ok(_)) => false,
                Some(Err(_)) => self.progress.failure.get() != Some(BodyFailure::TooLarge),
                None => true,
            };
            if is_over || self.progress.bytes.get() >= enough {
                return Poll::Ready(());
            }
        }
    }

    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        ready!(self.hold.poll(cx));
        self.poll_incoming(cx)
    }

    fn poll_incoming(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.progress.failure.get() == Some(BodyFailure::Client) {
            // It has broken off for every reader.
            return self.fail(BodyFailure::Client);
        }
        if self.progress.ended.get() {
            return Poll::Ready(None);
        }
        let mut incoming = self.incoming.borrow_mut();
        let Poll::Ready(polled) = Pin::new(&mut *incoming).poll_frame(cx) else {
            let since = self.waiting_since.get().unwrap_or_else(Instant::now);
            self.waiting_since.set(Some(since));
            return Poll::Pending;
        };
        self.waiting_since.set(None);
        let progress = &self.progress;
        match polled {
            Some(Ok(mut frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    if fields::list_size(trailers) > self.bounds.get().trailers_max {
                        // It has come whole, but is no body that may be passed on.
                        progress.end();
                        return self.fail(BodyFailure::Client);
                    }
                    fields::strip_trailers(trailers);
                    if let Some(names) = self.not_in_trailers.get() {
                        fields::strip_named(trailers, names);
                    }
                }
                progress.bytes.set(progress.bytes.get() + frame.data_ref().map_or(0, |data| data.len() as u64));
                if frame.is_trailers() || incoming.is_end_stream() {
                    progress.end();
                }
                if progress.bytes.get() > self.bounds.get().bytes_max {
                    return self.fail(BodyFailure::TooLarge);
                }
                self.kept.borrow_mut().keep(&frame, self.bounds.get().replay_max);
                Poll::Ready(Some(Ok(frame)))
            }
            Some(Err(failure)) => self.fail(failure),
            None => {
                progress.end();
                Poll::Ready(None)
            }
        }
    }
}

impl Reader {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        if self.attempt != self.upload.attempt.get() {
            return Poll::Pending;
        }
        if let Some(frame) = self.upload.kept.borrow().next(&mut self.replayed) {
            return Poll::Ready(Some(Ok(frame)));
        }
        let polled = self.upload.poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = polled {
            self.replayed = self.upload.kept.borrow().end();
        }
        polled
    }

    fn bytes_to_replay(&self) -> u64 {
        self.upload.kept.borrow().bytes_behind(self.replayed)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |reader| reader.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|reader| {
            reader.replayed >= reader.upload.kept.borrow().end()
                && (reader.upload.progress.ended.get() || reader.upload.incoming.borrow().is_end_stream())
        })
    }

    fn size_hint(&self) -> SizeHint {
        let Some(reader) = &self.0 else { return SizeHint::with_exact(0) };
        let (replay, coming) = (reader.bytes_to_replay(), reader.upload.incoming.borrow().size_hint());
        let mut hint = SizeHint::new();
        if let Some(upper) = coming.upper() {
            hint.set_upper(upper.saturating_add(replay));
        }
        hint.set_lower(coming.lower().saturating_add(replay));
        hint
    }
}
