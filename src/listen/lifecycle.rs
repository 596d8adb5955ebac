//! The life of an HTTP/1.1 connection beside its exchanges: whose turn it is, which deadline holds, and how it ends.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Response;
use tokio::time::Instant;

use super::h1_input::Input;
use super::h1_server::{Broken, Server};
use super::listener::{ListenerState, Speaks};
use super::reset::ResetUnlessWhole;
use crate::deadlines::{Alarm, Wait};
use crate::net::socket::Socket;
use crate::proxy::Admission;
use crate::proxy::body::ResponseBody;
use crate::proxy::client::{Client, Proxy};
use crate::proxy::exchange::ENDED_BY;

/// A connection without a request for this long is parked: its buffers are freed, and allocated again for the next
/// request.
const PARK_AFTER: Duration = Duration::from_secs(1);

/// Why polling a connection came to an end.
pub(super) enum End {
    /// Nothing follows, or the connection has failed.
    Over(Result<(), Broken>),
    /// The client was silent until its deadline passed.
    Silent,
    /// The client has gone while it had a request under way.
    Gone(io::Error),
    /// The client sends no more of a body that an endpoint still reads.
    GivenUp,
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
    pub(super) input: Input,
    /// Bytes written to the client when a client that has closed its half was last looked at.
    pub(super) written: Cell<u64>,
    pub(super) began: Instant,
    /// When the client was found to have sent something although its time was over.
    pub(super) heard_at: Cell<Option<Instant>>,
}

impl Lifecycle {
    pub(super) fn poll<R, F>(&self, alarm: &mut Alarm, server: &mut Server<R, F>, cx: &mut Context<'_>) -> Poll<End>
    where
        R: Fn(Admission) -> F,
        F: Future<Output = Response<ResponseBody>>,
    {
        let client = &*self.client;
        let deadlines = &client.deadlines;
        self.socket.begin_turn();
        let polled = alarm.poll_step(deadlines, cx, |cx| {
            if self.reads_too_long() {
                client.cut();
                return Poll::Ready(End::Silent);
            }
            if deadlines.expired(Wait::Client) && !self.is_alive_now() {
                return Poll::Ready(End::Silent);
            }
            if deadlines.expired(Wait::Park) {
                deadlines.disarm(Wait::Park);
                if self.may_park() && server.is_between() {
                    return Poll::Ready(End::Idle);
                }
            }
            if let Poll::Ready(result) = server.poll(cx) {
                return Poll::Ready(End::Over(result));
            }
            client.poll_rests(cx);
            if client.is_busy() {
                return self.watch_for_end(cx);
            }
            // What it has not read of its response has a deadline of its own.
            if client.is_given_up() && !deadlines.is_armed(Wait::ClientWrite) && !self.is_alive_now() {
                if self.socket.is_silent() {
                    return Poll::Ready(End::GivenUp);
                }
                client.take_up_again();
            }
            if !client.has_rest() && !deadlines.is_armed(Wait::ClientWrite) && !self.input.borrow().is_shut() {
                self.wait_for_request();
            }
            Poll::Pending
        });
        self.socket.end_turn();
        polled
    }

    /// Looks whether a client that waits for its response has gone. One that has closed only its half cannot be told
    /// from one that has closed the connection, so it may wait for `timeouts.half_closed` each time.
    fn watch_for_end(&self, cx: &mut Context<'_>) -> Poll<End> {
        let client = &self.client;
        if client.may_still_send() {
            // Whoever reads the body takes an end within it for what it is.
            return Poll::Pending;
        }
        if !client.is_half_closed() {
            if let Err(error) = ready!(self.input.borrow().poll_end(cx)) {
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

    /// Whether the client has taken too long to read what was written: it has read nothing for `timeouts.client_write`,
    /// or it still reads the end of its response when its listener has drained.
    fn reads_too_long(&self) -> bool {
        let (client, deadlines) = (&self.client, &self.client.deadlines);
        if deadlines.expired(Wait::ClientWrite) {
            return true;
        }
        if client.is_busy() {
            // Its response looks after that.
            return false;
        }
        match (deadlines.is_armed(Wait::ClientWrite), deadlines.is_armed(Wait::Drain)) {
            (false, false) => return false,
            (false, true) => deadlines.disarm(Wait::Drain),
            (true, is_armed) => match client.draining_since() {
                Some(_) if deadlines.expired(Wait::Drain) => return true,
                Some(since) if !is_armed => {
                    let drain = self.worker.viewer.timeout(|timeouts| timeouts.drain);
                    deadlines.arm(Wait::Drain, since + drain.mul_f64(ENDED_BY));
                }
                Some(_) => {}
                None => deadlines.disarm(Wait::Drain),
            },
        }
        false
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
        let is_whole = !client.was_cut() && !client.is_half_closed() && !self.input.borrow().is_shut();
        is_between && is_whole && !client.has_interims() && !client.deadlines.is_armed(Wait::ClientWrite)
    }

    /// What follows behind the exchanges: the tunnel, or a goodbye. Then `guard` is dropped, still before the server.
    pub(super) async fn finish<R, F>(
        &self,
        end: End,
        server: Box<Server<R, F>>,
        alarm: &mut Alarm,
        guard: ResetUnlessWhole,
    ) {
        let (client, peer) = (&self.client, self.peer);
        match end {
            End::Over(result) => {
                let result = result.inspect_err(|error| tracing::debug!(%peer, %error, "client connection ended"));
                let tunnel = client.take_tunnel().and_then(|tunnel| Some((tunnel, self.input.borrow().take()?)));
                if let Some((tunnel, (io, ahead))) = tunnel {
                    // Boxed: most connections never become a tunnel, and their tasks need no room for one.
                    Box::pin(tunnel.run(io, ahead, client)).await;
                } else if matches!(result, Ok(()) | Err(Broken::NoHead(_))) {
                    // What precedes the head may still be on its way.
                    Box::pin(self.shut(alarm)).await;
                }
            }
            End::GivenUp => {
                tracing::debug!(%peer, "client connection closed: the client sent no more of its body");
                // The body breaks off. The client may still read its response.
                self.input.borrow().end_body();
                drop(server);
                Box::pin(self.shut(alarm)).await;
                return drop(guard);
            }
            End::Gone(error) => tracing::debug!(%peer, %error, "client connection ended"),
            End::Silent | End::Idle => {
                tracing::debug!(%peer, "client connection closed: the client was silent for too long");
                self.say_goodbye().await;
            }
        }
        drop((guard, server));
    }

    /// Closes our half.
    async fn shut(&self, alarm: &mut Alarm) {
        let deadlines = &self.client.deadlines;
        deadlines.disarm(Wait::Client);
        let mut step = |cx: &mut Context<'_>| {
            self.client.poll_rests(cx);
            if self.reads_too_long() {
                // The end of its response has not reached it.
                self.client.cut();
            }
            let is_late = self.client.was_cut() || deadlines.expired(Wait::Client);
            if is_late { Poll::Ready(()) } else { self.input.borrow().poll_shutdown(cx).map(drop) }
        };
        poll_fn(|cx| alarm.poll_step(deadlines, cx, &mut step)).await;
    }

    /// Closes our half of a connection whose client was silent. In TLS it says so (RFC 8446 section 6.1), if there is
    /// room for that. Nothing is awaited. A response that has not ended is reset, see [`ResetUnlessWhole`].
    async fn say_goodbye(&self) {
        let client = &self.client;
        if !client.is_busy() && !client.was_cut() && !client.deadlines.is_armed(Wait::ClientWrite) {
            poll_fn(|cx| Poll::Ready(_ = self.input.borrow().poll_shutdown(cx))).await;
        }
    }

    /// Sets the deadlines of a connection that waits for its next request. When its listener drains, it may still bring
    /// that: the request may be on its way, and if we closed now, it would be lost. One that has come, though nobody
    /// has read it yet, has the deadline of its head: that of the drain would be over again at once, for ever.
    fn wait_for_request(&self) {
        let client = &self.client;
        let deadlines = &client.deadlines;
        if !deadlines.is_armed(Wait::Client) {
            // What it was heard to send was no beginning of a request.
            self.heard_at.take();
            let client_idle = self.worker.viewer.timeout(|timeouts| timeouts.client_idle);
            deadlines.arm(Wait::Client, client.idle_since() + client_idle);
            // Served again without a request, it stays ready for as long as after one.
            deadlines.arm(Wait::Park, client.idle_since().max(self.began) + PARK_AFTER);
        }
        // A client that is still sending a body is not idle: its connection is about to close, and then lingers.
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
        if self.input.borrow().is_shut() {
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
        let has_come = || self.input.borrow().holds_unread() || !self.socket.is_silent();
        let is_heard = !client.may_still_send() && has_come();
        if is_heard {
            self.heard_at.set(Some(Instant::now()));
            let patience = self.worker.viewer.timeout(|timeouts| timeouts.request_head);
            client.deadlines.arm_in(Wait::Client, patience);
        }
        is_heard
    }
}

impl Drop for Lifecycle {
    fn drop(&mut self) {
        // Whoever still reads the body holds the connection too.
        self.input.borrow().close();
    }
}
