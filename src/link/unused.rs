//! The unused HTTP/1.1 connections of one worker to one endpoint: which of them can carry another request.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::WorkerEndpoint;
use super::h1::UpstreamConnection;

impl WorkerEndpoint {
    /// The most recently used of the unused connections, if it is younger than `idle_timeout` and than the time the
    /// endpoint is known to wait.
    pub(super) fn checkout(&self, idle_timeout: Duration, now: Instant) -> Option<Box<UpstreamConnection>> {
        self.checkout_from(&mut self.idle.borrow_mut(), idle_timeout, now)
    }

    /// The same, among the connections that serve this client only.
    pub(super) fn checkout_of(
        &self,
        client: SocketAddr,
        idle_timeout: Duration,
        now: Instant,
    ) -> Option<Box<UpstreamConnection>> {
        let mut idle = self.idle.borrow_mut();
        let mut own: Vec<_> = idle.extract_if(.., |connection| connection.record().client == Some(client)).collect();
        let found = self.checkout_from(&mut own, idle_timeout, now);
        idle.append(&mut own);
        found
    }

    #[expect(clippy::vec_box, reason = "see `idle`")]
    fn checkout_from(
        &self,
        idle: &mut Vec<Box<UpstreamConnection>>,
        idle_timeout: Duration,
        now: Instant,
    ) -> Option<Box<UpstreamConnection>> {
        while let Some(connection) = idle.pop() {
            let age = connection.idle_for(now);
            if age >= self.endpoint.idle_limit().at_most(idle_timeout, now) {
                // All others are older.
                idle.clear();
                break;
            }
            if !connection.is_spent(age) {
                return Some(connection);
            }
        }
        None
    }

    /// Closes the older half of them. Returns whether there was one.
    pub(super) fn close_unused(&self) -> bool {
        let mut idle = self.idle.borrow_mut();
        let half = idle.len().div_ceil(2);
        idle.drain(..half).count() > 0
    }

    /// Whether new requests may use this connection: the endpoint is not draining, and is spoken to in the same way.
    pub(super) fn is_current(&self, connection: &UpstreamConnection) -> bool {
        self.draining_since().is_none() && connection.record().epoch == self.epoch.get()
    }

    /// Takes back a connection whose exchange is complete, or closes it if it cannot carry another one.
    pub fn checkin(&self, mut connection: Box<UpstreamConnection>, now: Instant) {
        let mut idle = self.idle.borrow_mut();
        if connection.can_go_on() && connection.record().epoch == self.epoch.get() && idle.len() < self.idle_max.get() {
            connection.begin_idling(now);
            idle.push(connection);
        }
    }
}
