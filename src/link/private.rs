//! Connections to endpoints that serve the requests of one client connection only.
//!
//! NTLM, and often Negotiate (RFC 4559), authenticate a connection, not a request: whatever else comes over it is done
//! in the name of the same user. So a connection on which either is offered or used belongs from then on to the client
//! connection whose request it carried, and is closed with it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use super::WorkerEndpoint;
use super::h1::UpstreamConnection;

/// The most unused private connections of one client connection. Beyond that, the oldest is closed.
const PRIVATE_MAX: usize = 4;

/// The unused private connections of one client connection, the most recently used last.
#[derive(Debug, Default)]
pub struct PrivateConnections {
    /// Whether there ever was one: most clients never have one, and looking costs them one load.
    is_used: Cell<bool>,
    kept: RefCell<Vec<Private>>,
}

#[derive(Debug)]
struct Private {
    endpoint: Rc<WorkerEndpoint>,
    connection: Box<UpstreamConnection>,
}

impl PrivateConnections {
    /// Whether there ever was one.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used.get()
    }

    /// The index, among `endpoints`, of the one that the latest private connection leads to. Connections to endpoints
    /// that are draining, or that are spoken to in another way by now, are closed.
    pub fn endpoint_among(&self, endpoints: &[Rc<WorkerEndpoint>]) -> Option<usize> {
        if !self.is_used.get() {
            return None;
        }
        let mut kept = self.kept.borrow_mut();
        kept.retain(|private| private.endpoint.is_current(&private.connection));
        kept.iter().rev().find_map(|private| endpoints.iter().position(|other| Rc::ptr_eq(other, &private.endpoint)))
    }

    /// Takes the latest usable connection to `endpoint`.
    ///
    /// The guess `upstream_idle` does not count here, because a client that is thrown out must authenticate itself
    /// again. What is known of the endpoint does.
    pub(super) fn take(&self, endpoint: &WorkerEndpoint, now: Instant) -> Option<Box<UpstreamConnection>> {
        if !self.is_used.get() {
            return None;
        }
        let mut kept = self.kept.borrow_mut();
        while let Some(at) = kept.iter().rposition(|private| std::ptr::eq(&*private.endpoint, endpoint)) {
            let Private { connection, .. } = kept.remove(at);
            let age = connection.idle_for(now);
            if age < endpoint.endpoint.idle_limit().at_most(Duration::MAX, now) && !connection.is_spent(age) {
                return Some(connection);
            }
        }
        None
    }

    /// Keeps a connection whose exchange is complete, or closes it if it cannot carry another one.
    pub fn keep(&self, endpoint: &Rc<WorkerEndpoint>, mut connection: Box<UpstreamConnection>, now: Instant) {
        if !connection.can_go_on() || !endpoint.is_current(&connection) {
            return;
        }
        connection.begin_idling(now);
        self.is_used.set(true);
        let mut kept = self.kept.borrow_mut();
        if kept.len() >= PRIVATE_MAX {
            kept.remove(0);
        }
        kept.push(Private { endpoint: Rc::clone(endpoint), connection });
    }
}
