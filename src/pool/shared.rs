//! What outlives a pool's snapshots.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_utils::CachePadded;

use super::budget::Budget;
use super::endpoint::Endpoint;
use super::queue::Queue;
use crate::config::address::Address;
use crate::metrics::{self, PoolCell};

/// Endpoints that have left a pool and are remembered, at most.
const RETIRED_MAX: usize = 1024;

/// What a pool keeps over reloads, by its name.
#[derive(Debug)]
pub struct PoolShared {
    /// The next turn of round robin, for all workers.
    pub(super) turn: CachePadded<AtomicU64>,
    /// Who waits because all endpoints have enough to do.
    pub queue: Arc<Queue>,
    pub(super) budget: Mutex<Budget>,
    /// Whoever ejects holds it, so that two cannot take out more than may be out.
    pub(super) ejecting: Mutex<()>,
    /// Endpoints that have left the pool, in case they come back: their counters must not go back.
    retired: Mutex<HashMap<Address, Arc<Endpoint>>>,
    /// Ejections so far.
    pub ejections: AtomicU64,
    /// Counters, one cell per worker.
    pub cells: Box<[CachePadded<PoolCell>]>,
}

impl PoolShared {
    /// Fresh counters for this many workers.
    pub fn new(workers: usize) -> Self {
        Self {
            turn: CachePadded::default(),
            queue: Arc::default(),
            budget: Mutex::default(),
            ejecting: Mutex::default(),
            retired: Mutex::default(),
            ejections: AtomicU64::new(0),
            cells: metrics::cells(workers),
        }
    }

    /// Remembers an endpoint that leaves the pool.
    pub fn retire(&self, endpoint: &Arc<Endpoint>) {
        let mut retired = self.retired();
        if retired.len() >= RETIRED_MAX {
            // Those with something under way matter most; what the others counted is forgotten.
            retired.retain(|_, endpoint| endpoint.in_flight() > 0);
        }
        if retired.len() < RETIRED_MAX {
            retired.insert(endpoint.address.clone(), Arc::clone(endpoint));
        }
    }

    /// An endpoint that left the pool and comes back.
    pub fn take_back(&self, address: &Address) -> Option<Arc<Endpoint>> {
        self.retired().remove(address)
    }

    /// Those that left and still have requests under way: address and number.
    pub fn leaving(&self) -> Vec<(Address, u32)> {
        let busy = |endpoint: &Arc<Endpoint>| (endpoint.address.clone(), endpoint.in_flight());
        self.retired().values().map(busy).filter(|&(_, in_flight)| in_flight > 0).collect()
    }

    fn retired(&self) -> MutexGuard<'_, HashMap<Address, Arc<Endpoint>>> {
        self.retired.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
