//! Atomics, locks and wake-ups of the structures that threads share.
//!
//! They are those of the standard library, tokio and arc-swap. In the unit tests they are the same with a place in
//! front of each operation where another thread may go on. There `model` runs the real structures under many schedules.

#[cfg(not(test))]
pub(crate) use arc_swap::ArcSwap;
#[cfg(not(test))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize};
#[cfg(not(test))]
pub(crate) use std::sync::{Mutex, MutexGuard};
#[cfg(not(test))]
pub(crate) use tokio::sync::Notify;

#[cfg(test)]
pub(crate) use stepped::{ArcSwap, AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Mutex, MutexGuard, Notify};

#[cfg(test)]
pub(crate) mod model;
#[cfg(test)]
mod stepped;
