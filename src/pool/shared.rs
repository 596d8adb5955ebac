//! The state of a pool that outlives its snapshots.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use crossbeam_utils::CachePadded;

use super::budget::Budget;
use super::endpoint::Endpoint;
use super::queue::WaitQueue;
use crate::config::address::Address;
use crate::metrics::{self, PoolCell};
use crate::sync::{AtomicU64, Mutex, MutexGuard};

/// The most endpoints that are remembered after they have left a pool.
const REMOVED_MAX: usize = 1024;

/// The state that a pool keeps across reloads. Pools are matched by their name.
#[derive(Debug)]
pub struct PoolShared {
    /// The next turn of round robin. All workers share it, so it has a cache line of its own.
    pub(super) turn: CachePadded<AtomicU64>,
    /// Requests that wait because all endpoints are full.
    pub queue: Arc<WaitQueue>,
    pub(super) budget: Mutex<Budget>,
    /// Held while an endpoint is ejected, so that two threads together cannot eject more than `eject.share` allows.
    pub(super) ejecting: Mutex<()>,
    /// Endpoints that have left the pool and may come back. Their counters must not start again at 0.
    removed: Mutex<HashMap<Address, Arc<Endpoint>>>,
    /// How many times an endpoint was ejected.
    pub ejections: AtomicU64,
    /// Counters, one cell per worker.
    pub cells: Box<[CachePadded<PoolCell>]>,
}

impl PoolShared {
    /// The state of a new pool, with counters for `workers` workers.
    pub fn new(workers: usize) -> Self {
        Self {
            turn: CachePadded::default(),
            queue: Arc::default(),
            budget: Mutex::default(),
            ejecting: Mutex::default(),
            removed: Mutex::default(),
            ejections: AtomicU64::new(0),
            cells: metrics::cells(workers),
        }
    }

    /// Remembers an endpoint that leaves the pool. It is dropped if [`REMOVED_MAX`] others have requests in flight.
    pub fn remove(&self, endpoint: &Arc<Endpoint>) {
        let mut removed = self.removed();
        if removed.len() >= REMOVED_MAX {
            // Endpoints with requests in flight matter most. The counters of the others are forgotten.
            removed.retain(|_, endpoint| endpoint.in_flight() > 0);
        }
        if removed.len() < REMOVED_MAX {
            removed.insert(endpoint.address.clone(), Arc::clone(endpoint));
        }
    }

    /// Takes out the endpoint with this address that left the pool before, if it is remembered.
    pub fn take_back(&self, address: &Address) -> Option<Arc<Endpoint>> {
        self.removed().remove(address)
    }

    /// The endpoints that have left the pool and are still draining, with their number of requests in flight.
    pub fn draining(&self) -> Vec<(Address, u32)> {
        let busy = |endpoint: &Arc<Endpoint>| (endpoint.address.clone(), endpoint.in_flight());
        self.removed().values().map(busy).filter(|&(_, in_flight)| in_flight > 0).collect()
    }

    fn removed(&self) -> MutexGuard<'_, HashMap<Address, Arc<Endpoint>>> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
