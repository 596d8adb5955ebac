//! The rest of a request body whose response is over already.
//!
//! The end of the response is not the end of the exchange. A replica may answer `202` and go on reading, so its
//! connection is driven on until the body has ended, the replica closes, or a deadline has passed; the client may leave
//! when it has sent everything. What nobody wants is read and discarded, within bounds, so that the client's connection
//! can carry the next request.

use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::client::Client;
use super::exchange::ENDED_BY;
use crate::config::model::Timeouts;
use crate::link::InFlight;
use crate::link::driver::Driver;
use crate::link::request_body::{BodyFailure, Upload};

/// The most bytes that are discarded, counted from the moment when nobody wanted them any more.
const DISCARDED_MAX: u64 = 8 << 20;

/// The most bytes that are read to see whether a body without a length has come whole.
const LOOKED_THROUGH_MAX: u64 = 64 << 10;

/// The rests of bodies that one client may have: of one that it is still sending, and of those that have come whole but
/// that their endpoints have not read. The next request of a client that has so many waits for one of them to end.
const RESTS_MAX: usize = 4;

/// Looks in a row that find nothing, after which the rest of a body is still on its way. One may find nothing because
/// it is the turn of others.
const LOOKS_IN_VAIN_MAX: u32 = 2;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rest {
    upload: Rc<Upload>,
    /// The endpoint that still reads the body, if one does.
    passing: Option<Passing>,
    /// How far the body is read and discarded.
    enough: u64,
    bytes_seen: u64,
    /// How often something had been read from the client when it was last looked at.
    reads_seen: u64,
    progress_at: Instant,
    timer: Pin<Box<Sleep>>,
    waits: RestWaits,
}

#[derive(Debug)]
struct Passing {
    driver: Driver,
    in_flight: Option<InFlight>,
}

/// How long the rest of a body may take.
#[derive(Debug, Clone, Copy)]
struct RestWaits {
    /// Between two parts of it, while the client is awaited.
    by_client: Duration,
    /// Between two parts of it, while the endpoint is.
    by_endpoint: Duration,
    drain: Duration,
}

impl Rest {
    /// A body that nobody wants.
    pub(super) fn discarded(upload: Rc<Upload>, timeouts: &Timeouts) -> Self {
        Self::new(upload, None, timeouts)
    }

    /// A body that an endpoint still reads, which `driver` serves; the request stays counted on it.
    pub(super) fn passed_on(
        upload: Rc<Upload>,
        driver: Driver,
        in_flight: Option<InFlight>,
        timeouts: &Timeouts,
    ) -> Self {
        Self::new(upload, Some(Passing { driver, in_flight }), timeouts)
    }

    fn new(upload: Rc<Upload>, passing: Option<Passing>, timeouts: &Timeouts) -> Self {
        let (now, bytes) = (Instant::now(), upload.progress().bytes.get());
        let waits =
            RestWaits { by_client: timeouts.request_body, by_endpoint: timeouts.response_body, drain: timeouts.drain };
        Self {
            upload,
            passing,
            enough: bytes.saturating_add(DISCARDED_MAX),
            bytes_seen: bytes,
            reads_seen: 0,
            progress_at: now,
            timer: Box::pin(sleep_until(now + waits.by_client)),
            waits,
        }
    }

    /// Ready when nothing more is to be done: the body has ended, or too much of it was discarded, or a deadline has
    /// passed. The connection of a client is closed whose body has not ended and is no longer read.
    fn poll(&mut self, client: &Client, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            if let Some(passing) = &mut self.passing
                && passing.driver.poll(cx).is_ready()
            {
                self.stop_passing();
            }
            if self.passing.is_none() && (client.is_stream() || client.is_told_to_close.get()) {
                // The stream, or the connection that ends, lingers for the rest.
                return Poll::Ready(());
            }
            if self.passing.is_none() && self.upload.poll_discard(cx, self.enough).is_ready() {
                return Poll::Ready(());
            }
            ready!(self.poll_timer(client, cx));
            match (&self.passing, self.upload.is_awaited()) {
                (Some(_), true) if !client.is_stream() => {
                    // It goes on when the connection of the client has ended, see `Client::keeps_passing`.
                    client.is_given_up.set(true);
                    return Poll::Pending;
                }
                (Some(_), false) => self.stop_passing(),
                _ => return Poll::Ready(()),
            }
        }
    }

    /// The endpoint has everything, or takes no more.
    fn stop_passing(&mut self) {
        self.passing = None;
        self.enough = self.upload.progress().bytes.get().saturating_add(DISCARDED_MAX);
    }

    /// Ready when there was no progress for too long, or the time to drain is over.
    fn poll_timer(&mut self, client: &Client, cx: &mut Context<'_>) -> Poll<()> {
        let bytes = self.upload.progress().bytes.get();
        let reads = client.reads.get();
        let waits_for_client = self.passing.is_none() || self.upload.is_awaited();
        // What is read and is no part of the body may be trailers. It says nothing of an endpoint that is awaited.
        if bytes != self.bytes_seen || (waits_for_client && reads != self.reads_seen) {
            self.progress_at = Instant::now();
        }
        (self.bytes_seen, self.reads_seen) = (bytes, reads);
        let patience = if waits_for_client { self.waits.by_client } else { self.waits.by_endpoint };
        let endpoint = self.passing.as_ref().and_then(|passing| passing.in_flight.as_ref()).map(InFlight::endpoint);
        let by_endpoint = endpoint.and_then(|endpoint| endpoint.draining_since());
        let draining_since = by_endpoint.into_iter().chain(client.draining_since()).min();
        let drained_at = draining_since.map(|since| since + self.waits.drain.mul_f64(ENDED_BY));
        let until = drained_at.into_iter().fold(self.progress_at + patience, Instant::min);
        if until != self.timer.deadline() {
            self.timer.as_mut().reset(until);
        }
        self.timer.as_mut().poll(cx)
    }
}

impl Client {
    /// Takes the body of the present request, if it has not ended.
    pub(super) fn take_unread(&self) -> Option<Rc<Upload>> {
        self.body.take().filter(|upload| !upload.progress().ended.get())
    }

    /// What follows the response that is being sent.
    pub(super) fn leave_rest(&self, rest: Rest) {
        self.rests.borrow_mut().push(rest);
    }

    /// Whether the client has as many rests as it may.
    #[inline]
    pub(super) fn has_many_rests(&self) -> bool {
        self.rests.borrow().len() >= RESTS_MAX
    }

    /// Waits until the client has fewer rests than it may. Each has a deadline.
    pub(super) async fn wait_for_rests(&self) {
        poll_fn(|_| if self.has_many_rests() { Poll::Pending } else { Poll::Ready(()) }).await;
    }

    /// Goes on with what is left of the bodies of earlier requests.
    pub(crate) fn poll_rests(&self, cx: &mut Context<'_>) {
        let mut rests = self.rests.borrow_mut();
        if rests.is_empty() {
            return;
        }
        let before = rests.len();
        rests.retain_mut(|rest| rest.poll(self, cx).is_pending());
        if rests.len() < before {
            // The next request, or its head, may wait for this in the same task.
            cx.waker().wake_by_ref();
        }
        if rests.is_empty() {
            // What came late, but whole, is forgiven.
            self.is_given_up.set(false);
            if !self.is_busy() {
                self.begin_idling();
            }
        }
    }

    /// Goes on with what is left of the bodies of earlier requests until nothing is. `at_each_turn` is called
    /// meanwhile.
    pub(crate) async fn pass_rests_on(&self, at_each_turn: &mut dyn FnMut(&mut Context<'_>)) {
        poll_fn(|cx| {
            at_each_turn(cx);
            self.poll_rests(cx);
            if self.has_rest() { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    /// The client has left. What an endpoint still reads is passed on, and the rest given up: of a body what was read
    /// of it already, behind which it breaks off. It returns whether there is anything to pass on.
    pub(crate) fn keeps_passing(&self) -> bool {
        let mut rests = self.rests.borrow_mut();
        rests.retain(|rest| rest.passing.is_some());
        !rests.is_empty()
    }

    /// Whether something is left of the body of an earlier request: the client still sends it, or an endpoint has not
    /// read all of it.
    pub(crate) fn has_rest(&self) -> bool {
        !self.rests.borrow().is_empty()
    }

    /// Whether the rest of this body will end soon enough to be waited for. A client that waits for 100 (Continue) may
    /// send the body or leave it out, so what comes next is not known (RFC 9110 section 10.1.1).
    pub(super) fn ends_soon(&self, upload: &Upload) -> bool {
        let is_readable = !matches!(upload.progress().failure.get(), Some(BodyFailure::Client | BodyFailure::Timeout));
        is_readable && !self.leaves_open(upload) && upload.bytes_left().is_some_and(|left| left <= DISCARDED_MAX)
    }

    /// Reads what has come of a body without a length, so that it is known to have ended if it has. Waits for nothing.
    pub(super) async fn look_through_body(&self) {
        self.let_continue_out().await;
        let Some(upload) = self.body.borrow().clone().filter(|upload| upload.bytes_left().is_none()) else { return };
        if self.is_stream() || self.leaves_open(&upload) {
            return;
        }
        let progress = upload.progress();
        let (enough, mut looks) = (progress.bytes.get() + LOOKED_THROUGH_MAX, 0);
        poll_fn(|cx| {
            let before = progress.bytes.get();
            if upload.poll_discard(cx, enough).is_ready() {
                return Poll::Ready(());
            }
            looks = if progress.bytes.get() > before { 0 } else { looks + 1 };
            if looks == LOOKS_IN_VAIN_MAX {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}
