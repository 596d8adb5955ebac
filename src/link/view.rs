//! A worker's view of the current snapshot: the snapshot, and the worker's own half of every endpoint.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::time::Instant;

use super::WorkerEndpoint;
use super::texts::Texts;
use crate::config::model::Timeouts;
use crate::net::outbox::Outbox;
use crate::pool::{Member, Pool};
use crate::snapshot::{SharedSnapshot, Snapshot};

/// A snapshot, and one worker's own half of it: its connections to each endpoint.
#[derive(Debug)]
pub struct View {
    /// The half that all workers share.
    pub snapshot: Arc<Snapshot>,
    /// The worker's half of each member of each pool, at the same indices.
    pub endpoints: Box<[Box<[Rc<WorkerEndpoint>]>]>,
    /// Where short texts for its requests are made.
    pub texts: Texts,
}

impl View {
    /// Takes over the connections to every endpoint that `previous` knew, and closes the unused connections to all
    /// others.
    fn new(snapshot: Arc<Snapshot>, previous: Option<&Self>, worker: usize, outbox: &Rc<Outbox>) -> Self {
        let known = || previous.into_iter().flat_map(|view| view.endpoints.iter().flatten());
        let idle_max = snapshot.limits.idle_per_endpoint;
        let mut left: HashMap<_, _> = known().map(|e| (Arc::as_ptr(&e.endpoint), e)).collect();
        let mut adopt = |pool: &Pool, member: &Member| match left.remove(&Arc::as_ptr(&member.endpoint)) {
            Some(kept) => {
                kept.limit_idle(idle_max);
                kept.reconnect_with(pool.settings(member));
                Rc::clone(kept)
            }
            None => {
                let (endpoint, shared) = (Arc::clone(&member.endpoint), Arc::clone(&pool.shared));
                let settings = pool.settings(member);
                Rc::new(WorkerEndpoint::new(endpoint, worker, Rc::clone(outbox), shared, settings, idle_max))
            }
        };
        let now = Instant::now();
        let mut take = |pool: &Pool, member: &Member| {
            let endpoint = adopt(pool, member);
            endpoint.set_draining(!member.state.takes_requests(), now);
            endpoint
        };
        let members = |pool: &Arc<Pool>| pool.members.iter().map(|member| take(pool, member)).collect();
        let endpoints = snapshot.pools.iter().map(members).collect();
        // In their old order, not in that of the map, so that the same events lead to the same connections.
        for endpoint in known().filter(|endpoint| left.contains_key(&Arc::as_ptr(&endpoint.endpoint))) {
            endpoint.limit_idle(0);
            endpoint.set_draining(true, now);
        }
        Self { snapshot, endpoints, texts: Texts::default() }
    }

    /// Closes the older half of the unused connections: they take descriptors that somebody else needs. Returns whether
    /// there was one.
    #[cold]
    fn close_unused(&self) -> bool {
        let mut was_one = false;
        self.endpoints.iter().flatten().for_each(|endpoint| was_one |= endpoint.close_unused());
        was_one
    }

    /// Closes unused connections that are too old or were closed by the endpoint.
    pub fn reap_idle(&self, now: Instant) {
        let idle_timeout = self.snapshot.timeouts.upstream_idle;
        self.endpoints.iter().flatten().for_each(|endpoint| endpoint.reap(idle_timeout, now));
    }
}

/// A worker's view of the current snapshot. It is renewed when a request finds that the snapshot was swapped.
#[derive(Debug)]
pub struct Viewer {
    worker: usize,
    outbox: Rc<Outbox>,
    shared: Arc<SharedSnapshot>,
    view: RefCell<Rc<View>>,
    /// How often the snapshot had been swapped when the view was last renewed.
    swaps: Cell<u64>,
    renewals: Cell<u64>,
    /// How often a worker had no descriptor left when this one last made room.
    lacks: Cell<u64>,
}

impl Viewer {
    /// A view for worker number `worker`. What its connections send goes through `outbox`.
    pub(crate) fn new(shared: Arc<SharedSnapshot>, worker: usize, outbox: Rc<Outbox>) -> Self {
        let swaps = Cell::new(shared.swaps());
        let view = RefCell::new(Rc::new(View::new(shared.load(), None, worker, &outbox)));
        Self { worker, outbox, shared, view, swaps, renewals: Cell::new(0), lacks: Cell::new(0) }
    }

    /// How often the view has been renewed.
    pub fn renewals(&self) -> u64 {
        self.renewals.get()
    }

    /// The view of the current snapshot. It costs one atomic load when nothing has changed.
    #[inline]
    pub fn current(&self) -> Rc<View> {
        self.look();
        Rc::clone(&self.view.borrow())
    }

    /// A deadline of the current snapshot.
    #[inline]
    pub fn timeout<T>(&self, of: impl FnOnce(&Timeouts) -> T) -> T {
        self.look();
        of(&self.view.borrow().snapshot.timeouts)
    }

    /// Closes unused connections of this worker, because there is no descriptor left. The other workers do the same
    /// when they keep house. Returns whether there was one.
    #[cold]
    pub fn make_room(&self) -> bool {
        self.lacks.set(self.shared.lacks_descriptors());
        self.view.borrow().close_unused()
    }

    /// The same for another worker that had no descriptor left.
    pub fn make_room_for_others(&self) {
        let lacks = self.shared.lacks();
        if self.lacks.replace(lacks) != lacks {
            self.view.borrow().close_unused();
        }
    }

    #[inline]
    fn look(&self) {
        let swaps = self.shared.swaps();
        if swaps != self.swaps.get() {
            self.renew(swaps);
        }
    }

    #[cold]
    fn renew(&self, swaps: u64) {
        self.swaps.set(swaps);
        let (mut view, latest) = (self.view.borrow_mut(), self.shared.load());
        if !Arc::ptr_eq(&latest, &view.snapshot) {
            *view = Rc::new(View::new(latest, Some(&view), self.worker, &self.outbox));
            self.renewals.set(self.renewals.get() + 1);
        }
    }
}
