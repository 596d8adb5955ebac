//! The memory that all rate limits may take together.
//!
//! A table asks before it grows, for the whole of its next generation. So a process with many rules is bounded too.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::sync::AtomicUsize;

/// What the tables of all rules take at most, but for their first generations (under 1 KiB each). When a reload changes
/// rates, old and new tables are there for a moment.
pub const BYTES_ALL_MAX: usize = 128 << 20;

/// What is in use of [`BYTES_ALL_MAX`], in bytes.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<AtomicUsize>);

impl Memory {
    /// Whether there is as much left. If so, it is in use from now on.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let take = |used: usize| used.checked_add(bytes).filter(|used| *used <= BYTES_ALL_MAX);
        self.0.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    /// For a table that takes the place of another one, which will be gone soon.
    pub(super) fn take_anyway(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Relaxed);
    }

    /// The bytes in use.
    pub fn in_use(&self) -> usize {
        self.0.load(Relaxed)
    }
}
