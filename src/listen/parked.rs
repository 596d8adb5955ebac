//! How many connections are parked.

use crate::proxy::client::Proxy;

/// Counts a connection while it is parked.
pub(super) struct Parked<'a>(&'a Proxy);

impl<'a> Parked<'a> {
    pub(super) fn begin(worker: &'a Proxy) -> Self {
        worker.cell().parked.raise();
        Self(worker)
    }
}

impl Drop for Parked<'_> {
    fn drop(&mut self) {
        self.0.cell().parked.lower();
    }
}
