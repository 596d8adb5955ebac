//! The life of an HTTP/1.1 connection beside what hyper does with it: whose turn it is, which deadline holds, and how
//! it ends.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWrite as _;
use tokio::time::Instant;

use super::listener::{ListenerState, Speaks};
use super::shared_io::SharedIo;
use crate::deadlines::{Alarm, Wait};
use crate::net::socket::Socket;
use crate::proxy::body::ResponseBody;
use crate::proxy::client::{Client, Proxy};

/// A connection without a request for this long is parked: its buffers are freed, and allocated again for the next
/// request.
const PARK_AFTER: Duration = Duration::from_secs(1);

/// Why polling a connection came to an end.
pub(super) enum End {
    /// hyper has finished the connection.
    Over(hyper::Result<()>),
    /// The client was silent until its deadline passed.
    Silent,
    /// The client has gone while it had a request under way.
    Gone(io::Error),
    /// The client sends no more of a body that an endpoint still reads.
    GivenUp,
    /// A body has come whole, but hyper has not said so: of trailers it tells only with the next head, or when its
    /// connection ends. That is to be made again.
    Whole,
    /// There was no request for [`PARK_AFTER`]: the connection is to be parked.
    Idle,
}

/// The state of a connection while its requests are served.
pub(super) struct Lifecycle {
    pub(super) peer: SocketAddr,
    pub(super) listener: Rc<ListenerState>,
    pub(super) worker: Rc<Proxy>,
    pub(super) client: Rc<Client>,
    pub(super) socket: Rc<Socket>,
    pub(super) io: SharedIo,
    /// Bytes written to the client when a client that has closed its half was last looked at.
    pub(super) written: Cell<u64>,
    pub(super) began: Instant,
    /// When the client was found to have sent something although its time was over.
    pub(super) heard_at: Cell<Option<Instant>>,
}

impl Lifecycle {
    pub(super) fn poll<S>(
        &self,
        alarm: &mut Alarm,
        mut connection: Pin<&mut http1::Connection<TokioIo<SharedIo>, S>>,
        cx: &mut Context<'_>,
    ) -> Poll<End>
    where
        S: HttpService<Incoming, ResBody = ResponseBody, Error = Infallible>,
    {
        let client = &*self.client;
        let deadlines = &client.deadlines;
        self.socket.begin_turn();
        let polled = alarm.poll_step(deadlines, cx, |cx| {
            if deadlines.expired(Wait::ClientWrite) {
                client.cut();
                return Poll::Ready(End::Silent);
            }
            if deadlines.expired(Wait::Client) && !self.is_alive_now() {
                return Poll::Ready(End::Silent);
            }
            if deadlines.expired(Wait::Park) {
                deadlines.disarm(Wait::Park);
                if self.may_park() {
                    return Poll::Ready(End::Idle);
                }
            }
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(End::Over(result));
            }
            if client.has_rest() && client.owes_body() && self.io.waits_behind_body() {
                // It has come whole, trailers and all: nobody waits for the client any more.
                client.note_read();
            }
            client.poll_rests(cx);
            if client.has_interims() {
                self.io.send_interims(cx);
            }
            if client.is_busy() {
                return self.watch_for_end(cx);
            }
            if client.has_rest() && self.has_untold_end() {
                return Poll::Ready(End::Whole);
            }
            // What it has not read of its response has a deadline of its own.
            if client.is_given_up() && !deadlines.is_armed(Wait::ClientWrite) && !self.is_alive_now() {
                if self.socket.is_silent() {
                    return Poll::Ready(End::GivenUp);
                }
                client.take_up_again();
            }
            if !client.has_rest() && !deadlines.is_armed(Wait::ClientWrite) && !self.io.is_shut() {
                self.wait_for_request();
            }
            Poll::Pending
        });
        self.socket.end_turn();
        polled
    }

    /// Whether hyper waits for the next head, but has not said that the body before it has ended. It has nothing left
    /// to read or to write then but a piece of that head, so nothing is lost when it is made again.
    #[cold]
    fn has_untold_end(&self) -> bool {
        let client = &self.client;
        client.owes_body() && !client.deadlines.is_armed(Wait::ClientWrite) && self.io.waits_behind_body()
    }

    /// Looks whether a client that waits for its response has gone. One that has closed only its half cannot be told
    /// from one that has closed the connection, so it may wait for `timeouts.half_closed` each time.
    fn watch_for_end(&self, cx: &mut Context<'_>) -> Poll<End> {
        let client = &self.client;
        if client.may_still_send() {
            // hyper reads, and takes an end within the request for what it is.
            return Poll::Pending;
        }
        if !client.is_half_closed() {
            if let Err(error) = ready!(self.io.poll_end(cx)) {
                return Poll::Ready(End::Gone(error));
            }
            client.set_half_closed();
        }
        if client.deadlines.is_armed(Wait::ClientWrite) {
            // It has a deadline for its reading.
            client.deadlines.disarm(Wait::Client);
        } else if self.has_written() || !client.deadlines.is_armed(Wait::Client) {
            let patience = self.worker.viewer.timeout(|timeouts| timeouts.half_closed);
            client.deadlines.arm_in(Wait::Client, patience);
        }
        Poll::Pending
    }

    /// Whether something was written to the client since the last call.
    fn has_written(&self) -> bool {
        let written = self.socket.bytes_written();
        self.written.replace(written) != written
    }

    /// Whether nothing is under way with the client, so that nothing is lost when all is forgotten that is not part of
    /// its connection.
    fn may_park(&self) -> bool {
        let client = &self.client;
        let is_between = !client.is_busy() && !client.may_still_send() && !client.has_rest();
        let is_whole = !client.was_cut() && !client.is_half_closed() && !self.io.is_shut();
        is_between && is_whole && !client.has_interims() && !client.deadlines.is_armed(Wait::ClientWrite)
    }

    /// Sends what is left and closes our half. hyper has done that, unless another protocol was asked for and refused.
    pub(super) async fn shut(&self, alarm: &mut Alarm) {
        let (mut io, deadlines) = (self.io.clone(), &self.client.deadlines);
        deadlines.disarm(Wait::Client);
        let mut step = |cx: &mut Context<'_>| {
            let is_late = deadlines.expired(Wait::ClientWrite) || deadlines.expired(Wait::Client);
            if is_late { Poll::Ready(()) } else { Pin::new(&mut io).poll_shutdown(cx).map(drop) }
        };
        poll_fn(|cx| alarm.poll_step(deadlines, cx, &mut step)).await;
    }

    /// Closes our half of a connection whose client was silent. In TLS it says so (RFC 8446 section 6.1), if there is
    /// room for that. Nothing is awaited. A response that has not ended is reset, see
    /// [`super::reset::ResetUnlessWhole`].
    pub(super) async fn say_goodbye(&self) {
        let (mut io, client) = (self.io.clone(), &self.client);
        if !client.is_busy() && !client.was_cut() && !client.deadlines.is_armed(Wait::ClientWrite) {
            poll_fn(|cx| Poll::Ready(_ = Pin::new(&mut io).poll_shutdown(cx))).await;
        }
    }

    /// Sets the deadlines of a connection that waits for its next request. When its listener drains, it may still bring
    /// that: the request may be on its way, and if we closed now, it would be lost. One that has come, though nobody
    /// has read it yet, has the deadline of its head: that of the drain would be over again at once, for ever.
    fn wait_for_request(&self) {
        let client = &self.client;
        let deadlines = &client.deadlines;
        if !deadlines.is_armed(Wait::Client) {
            let client_idle = self.worker.viewer.timeout(|timeouts| timeouts.client_idle);
            deadlines.arm(Wait::Client, client.idle_since() + client_idle);
            // Served again without a request, it stays ready for as long as after one.
            deadlines.arm(Wait::Park, client.idle_since().max(self.began) + PARK_AFTER);
        }
        // A client that is still sending a body is not idle: hyper is about to close, and then lingers.
        if self.listener.is_draining(Speaks::Http1) && !client.may_still_send() {
            let is_fresh = client.is_fresh();
            let since = if is_fresh { self.began } else { client.idle_since() };
            let timeouts = &self.worker.viewer.current().snapshot.timeouts;
            let patience = if is_fresh { timeouts.request_head } else { timeouts.client_idle };
            let is_heard = self.heard_at.get().is_some_and(|at| at >= since);
            if let Some(until) = self.listener.idle_until(Speaks::Http1, since, is_fresh, timeouts)
                && !is_heard
            {
                deadlines.arm(Wait::Client, until.min(since + patience));
            }
        }
    }

    /// Whether a client whose time is over has sent something in this very moment, of which the runtime has not heard
    /// yet; then its request is served. Or whether one that has closed its half was sent something meanwhile.
    fn is_alive_now(&self) -> bool {
        let client = &self.client;
        if self.io.is_shut() {
            return false;
        }
        if client.is_busy() {
            return self.has_written();
        }
        if self.socket.holds_unsent() {
            // The client has no room for the end of its response: it has the deadline of its reading.
            let client_write = self.worker.viewer.timeout(|timeouts| timeouts.client_write);
            client.deadlines.arm_in(Wait::ClientWrite, client_write);
            return true;
        }
        let is_heard = !client.may_still_send() && !self.socket.is_silent();
        if is_heard {
            self.heard_at.set(Some(Instant::now()));
            let patience = self.worker.viewer.timeout(|timeouts| timeouts.request_head);
            client.deadlines.arm_in(Wait::Client, patience);
        }
        is_heard
    }
}
