//! Client connections: listening sockets, what precedes HTTP, HTTP/1.1 and HTTP/2, and how many connections each worker
//! has.

mod client_io;
pub(crate) mod conn;
mod date;
mod h1;
mod h1_input;
mod h1_request;
mod h1_response;
mod h1_server;
mod h2;
mod h2_ends;
mod h2_guard;
mod h2_io;
mod h2_stream;
mod h2_tunnel;
mod interim;
mod lifecycle;
pub(crate) mod listener;
mod parked;
pub(crate) mod permits;
pub(crate) mod private;
mod reset;
pub(crate) mod serve;
pub(crate) mod socket;
pub(crate) mod sockets;
pub(crate) mod tls;

pub(crate) use h1_input::READ_BYTES_MAX;
pub(crate) use h2::SEND_BUFFER;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::task::{Context, Waker};

use crossbeam_utils::CachePadded;
use slab::Slab;

use crate::sync::AtomicUsize;

/// How often a draining worker looks whether its connections have ended.
const EMPTIED_POLL: std::time::Duration = std::time::Duration::from_millis(10);

/// The number of client connections of every worker, for spreading them evenly and for the limit over all workers.
#[derive(Debug, Clone)]
pub(crate) struct Loads(Arc<[CachePadded<AtomicUsize>]>);

impl Loads {
    /// Counters for this many workers, all at zero.
    pub(crate) fn new(workers: usize) -> Self {
        Self((0..workers).map(|_| CachePadded::default()).collect())
    }

    /// Connections of all workers together.
    pub(crate) fn total(&self) -> usize {
        self.0.iter().map(|load| load.load(Relaxed)).sum()
    }

    /// Connections of one worker.
    pub(crate) fn of(&self, worker: usize) -> usize {
        self.0[worker].load(Relaxed)
    }

    /// Counts a connection of `worker` until the guard is dropped.
    pub(crate) fn add(&self, worker: usize) -> LoadGuard {
        self.0[worker].fetch_add(1, Relaxed);
        LoadGuard { loads: self.clone(), worker }
    }

    /// A worker that should take a new connection in place of `worker`, because it holds clearly fewer.
    pub(crate) fn better_than(&self, worker: usize) -> Option<usize> {
        let (least, least_load) = (0..self.0.len()).map(|w| (w, self.of(w))).min_by_key(|&(_, load)| load)?;
        is_clearly_more(self.of(worker), least_load).then_some(least)
    }
}

/// More by one eighth, and by more than one connection. Handing a connection over costs two system calls; a small
/// difference costs less.
fn is_clearly_more(own: usize, least: usize) -> bool {
    own > least + (least / 8).max(1)
}

/// Keeps one connection counted until it is dropped; see [`Loads::add`].
#[derive(Debug)]
pub(crate) struct LoadGuard {
    loads: Loads,
    worker: usize,
}

impl Drop for LoadGuard {
    fn drop(&mut self) {
        self.loads.0[self.worker].fetch_sub(1, Relaxed);
    }
}

/// The wakers of all connections of one worker, so that it can wake them all.
#[derive(Debug, Default)]
pub(crate) struct Connections(RefCell<Slab<Option<Waker>>>);

impl Connections {
    /// Registers a connection until the guard is dropped.
    pub(crate) fn register(self: &Rc<Self>) -> Registration {
        Registration {
            key: self.0.borrow_mut().insert(None),
            connections: Rc::clone(self),
            is_followed: Cell::default(),
        }
    }

    /// Returns when no connection is left, and no worker has a socket that could bring one (`accepting` counts these).
    pub(crate) async fn emptied(&self, accepting: &AtomicUsize) {
        while accepting.load(Acquire) > 0 || !self.0.borrow().is_empty() {
            tokio::time::sleep(EMPTIED_POLL).await;
        }
    }

    /// Wakes every connection, so that it looks at the state of its listener again.
    pub(crate) fn wake_all(&self) {
        self.0.borrow().iter().filter_map(|(_, waker)| waker.as_ref()).for_each(Waker::wake_by_ref);
    }
}

/// Counts a listening socket until it is closed and its queue is empty.
pub(crate) struct Accepting(Arc<AtomicUsize>);

impl Accepting {
    /// Counts one in `count`.
    pub(crate) fn begin(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, AcqRel);
    }
}

/// Keeps a connection registered until it is dropped; see [`Connections::register`].
#[derive(Debug)]
pub(crate) struct Registration {
    key: usize,
    connections: Rc<Connections>,
    /// Whether the task is known that serves it.
    is_followed: Cell<bool>,
}

impl Registration {
    /// The list that this registration belongs to.
    pub(crate) fn connections(&self) -> Rc<Connections> {
        Rc::clone(&self.connections)
    }

    /// Says which task serves the connection, the first time it is called. Until then [`Connections::wake_all`] skips
    /// the connection. The task stays the same as long as the connection lives.
    pub(crate) fn follow(&self, cx: &Context<'_>) {
        if !self.is_followed.replace(true)
            && let Some(slot) = self.connections.0.borrow_mut().get_mut(self.key)
        {
            *slot = Some(cx.waker().clone());
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.connections.0.borrow_mut().try_remove(self.key);
    }
}

#[cfg(test)]
mod models;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_goes_to_a_worker_with_clearly_fewer() {
        for (own, least, expected) in [(0, 0, false), (1, 0, false), (2, 0, true), (9, 8, false), (10, 8, true)] {
            assert_eq!(is_clearly_more(own, least), expected, "{own} {least}");
        }
        let loads = Loads::new(2);
        let guards: Vec<_> = (0..3).map(|_| loads.add(0)).collect();
        assert_eq!((loads.better_than(0), loads.better_than(1), loads.total()), (Some(1), None, 3));
        drop(guards);
        assert_eq!((loads.better_than(0), loads.total()), (None, 0));
    }
}
