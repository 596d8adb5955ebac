//! Routes and pools as one immutable value, swapped whole.
//!
//! [`Shared`] holds the crate's only `ArcSwap`. A reader therefore never sees new routes with old pools. The control plane
//! builds the next snapshot from the config and the previous one ([`build`]) and swaps; a request keeps the snapshot it began
//! with until it ends.

pub mod routes;

use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

use crate::config::model::{Limits, Route, Timeouts};
use crate::pool::Pool;
use routes::Routes;

/// Everything a request needs to know of the configuration.
#[derive(Debug)]
pub struct Snapshot {
    /// Which pool serves which request; holds indices into `pools`.
    pub routes: Routes,
    /// The same as written, for people.
    pub route_list: Box<[Route]>,
    /// All pools.
    pub pools: Box<[Arc<Pool>]>,
    /// Deadlines.
    pub timeouts: Timeouts,
    /// Bounds.
    pub limits: Limits,
}

impl Snapshot {
    /// The pool of this name.
    pub fn pool(&self, name: &str) -> Option<&Arc<Pool>> {
        self.pools.iter().find(|pool| &*pool.name == name)
    }
}

/// The current snapshot, shared by all threads.
#[derive(Debug)]
pub struct Shared(ArcSwap<Snapshot>);

impl Shared {
    /// Starts with `snapshot`.
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        Self(ArcSwap::new(snapshot))
    }

    /// The current snapshot.
    pub fn load(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// The same without counting a reader, for who looks only whether it has changed.
    pub fn peek(&self) -> Guard<Arc<Snapshot>> {
        self.0.load()
    }

    /// Makes `next` the current snapshot.
    pub fn swap(&self, next: Arc<Snapshot>) {
        self.0.store(next);
    }
}
