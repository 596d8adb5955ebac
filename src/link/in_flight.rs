//! A request in flight, as it is counted on its endpoint.

use std::rc::Rc;

use super::WorkerEndpoint;
use crate::pool::pick::Acquired;

/// A request that is counted on an endpoint. Dropping it ends the count, whatever happened.
#[derive(Debug)]
pub struct InFlight(Rc<WorkerEndpoint>);

impl InFlight {
    /// Takes over what [`crate::pool::Pool::acquire`] has counted on `endpoint`.
    pub fn adopt(acquired: Acquired<'_>, endpoint: Rc<WorkerEndpoint>) -> Self {
        acquired.hand_over();
        Self(endpoint)
    }

    /// Counts one more request on `endpoint`.
    pub fn begin(endpoint: Rc<WorkerEndpoint>) -> Self {
        endpoint.endpoint.begin();
        Self(endpoint)
    }

    /// The endpoint on which the request is counted.
    pub fn endpoint(&self) -> &Rc<WorkerEndpoint> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.endpoint.end();
        self.0.pool.queue.freed();
    }
}
