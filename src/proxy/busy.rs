//! A client is busy from the head of its request to the end of the response.

use std::rc::Rc;

use tokio::time::Instant;

use super::client::Client;
use crate::deadlines::Wait;

/// Marks a client as busy until it is dropped. It travels with the request and its response.
#[derive(Debug)]
pub(crate) struct Busy(Rc<Client>);

impl Busy {
    pub(super) fn begin(client: &Rc<Client>) -> Self {
        client.is_busy.set(true);
        client.in_head.set(false);
        // If the guard ends without an exchange, dropping it sets the time.
        client.idle_since.set(None);
        // The request before may have ended while some wait was still under way. Its deadlines mean nothing to this
        // one.
        let waits = [Wait::Client, Wait::RequestBody, Wait::Upstream, Wait::Request, Wait::Drain, Wait::Park];
        client.deadlines.disarm_all(waits);
        Self(Rc::clone(client))
    }

    pub(super) fn client(&self) -> &Client {
        &self.0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.is_busy.set(false);
        if self.0.idle_since.get().is_none() {
            self.0.idle_since.set(Some(Instant::now()));
        }
    }
}
