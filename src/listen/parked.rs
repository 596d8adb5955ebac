//! What an HTTP/1.1 client connection is between two requests that are far apart.
//!
//! What serves requests keeps a place for one, and much is known of a client that follows from its connection. All of
//! it is let go of, and made again with the next request. What stays is the socket, one timer, and what only the
//! beginning of the connection has told.

use std::future::Future as _;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::client_io::ClientTransport;
use super::conn::Accepted;
use super::listener::Speaks;
use crate::proxy::Proof;
use crate::proxy::client::Proxy;
use crate::proxy::connection::Connection;

/// Counts a connection while it is parked.
struct Counted(Rc<Proxy>);

impl Counted {
    fn begin(worker: &Rc<Proxy>) -> Self {
        worker.cell().parked.raise();
        Self(Rc::clone(worker))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.cell().parked.lower();
    }
}

/// Why a parked connection is parked no more.
pub(super) enum ParkedEnd {
    /// There is something to read.
    Heard,
    /// The client was silent until its deadline passed.
    Silent,
}

/// A parked connection. Nothing is under way on it, and nothing that belongs to it is held anywhere else.
pub(super) struct Parked {
    pub(super) accepted: Accepted,
    pub(super) transport: ClientTransport,
    /// What is known of the client, if that cannot be made again.
    connection: Option<Rc<Connection>>,
    /// When the wait for the next request began.
    pub(super) idle_since: Instant,
    patience: Patience,
    _counted: Counted,
}

impl Parked {
    pub(super) fn begin(
        accepted: Accepted,
        transport: ClientTransport,
        connection: Rc<Connection>,
        idle_since: Instant,
    ) -> Self {
        let _counted = Counted::begin(&accepted.proxy);
        let connection = (!connection.can_be_made_again()).then_some(connection);
        let client_idle = accepted.proxy.viewer.timeout(|timeouts| timeouts.client_idle);
        let patience = Patience::until(idle_since + client_idle);
        Self { accepted, transport, connection, idle_since, patience, _counted }
    }

    /// What is known of the client.
    pub(super) fn take_connection(&mut self) -> Rc<Connection> {
        let kept = self.connection.take();
        let socket = &self.transport.socket;
        kept.unwrap_or_else(|| self.accepted.connection(socket, Speaks::Http1, Proof::NotAskedFor))
    }

    /// Waits for the next request, with nothing but the socket. A client that is silent for too long is told of the end
    /// in TLS (RFC 8446 section 6.1), if there is room for that; then the connection is over.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ParkedEnd> {
        if self.transport.socket.poll_heard(cx).is_ready() {
            return Poll::Ready(ParkedEnd::Heard);
        }
        let Accepted { peer, listener, proxy, .. } = &self.accepted;
        let timeouts = &proxy.viewer.current().snapshot.timeouts;
        let drains_at = listener.idle_until(Speaks::Http1, self.idle_since, false, timeouts);
        let is_silent = || self.transport.socket.is_silent();
        ready!(self.patience.poll(cx, drains_at, timeouts.request_head, is_silent));
        tracing::debug!(%peer, "client connection closed: the client was silent for too long");
        _ = self.transport.poll_shutdown(cx);
        Poll::Ready(ParkedEnd::Silent)
    }
}

/// How long a client may be silent.
struct Patience {
    ends_at: Instant,
    /// Whether the client was found to have sent something although its time was over.
    is_extended: bool,
    sleep: Pin<Box<Sleep>>,
}

impl Patience {
    fn until(ends_at: Instant) -> Self {
        Self { ends_at, is_extended: false, sleep: Box::pin(sleep_until(ends_at)) }
    }

    /// Ready when the time is over, at `drains_at` at the latest: when its listener drains, a client may still bring
    /// its next request, which may be on its way. A client that has sent something in this very moment, of which the
    /// runtime has not heard yet, is given the time `extension`, once. Its bytes cannot be read before the runtime has.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        drains_at: Option<Instant>,
        extension: Duration,
        is_silent: impl Fn() -> bool,
    ) -> Poll<()> {
        loop {
            let drains_at = drains_at.filter(|_| !self.is_extended);
            let ends_at = drains_at.map_or(self.ends_at, |drains_at| drains_at.min(self.ends_at));
            if self.sleep.deadline() != ends_at {
                self.sleep.as_mut().reset(ends_at);
            }
            // Outside of the task's budget: without budget left it would be pending and not registered.
            ready!(pin!(unconstrained(self.sleep.as_mut())).poll(cx));
            if self.is_extended || is_silent() {
                return Poll::Ready(());
            }
            (self.ends_at, self.is_extended) = (Instant::now() + extension, true);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const HEAD: Duration = Duration::from_secs(3);

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_has_its_time_or_that_of_the_drain() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut patience = Patience::until(at(10));
        let mut polled = |drains_at: Option<Instant>| patience.poll(&mut cx, drains_at, HEAD, || true).is_ready();
        assert!(!polled(None) && !polled(Some(at(5))) && !polled(Some(at(20))));
        advance(Duration::from_secs(6)).await;
        assert!(!polled(None) && polled(Some(at(5))));
        advance(Duration::from_secs(5)).await;
        assert!(polled(None) && polled(Some(at(20))));
    }

    /// The worker must have its turn to hear of it: nothing can be read before that.
    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_at_the_end_of_its_time_is_given_more_once() {
        let start = Instant::now();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        for drains_at in [None, Some(start)] {
            let mut patience = Patience::until(start);
            let mut polled = || patience.poll(&mut cx, drains_at, HEAD, || false).is_ready();
            assert!(!polled() && !polled());
            advance(HEAD - Duration::from_millis(10)).await;
            assert!(!polled());
            advance(Duration::from_millis(20)).await;
            assert!(polled());
        }
    }
}
