//! What all rate limits of a process share: the memory that they may take together, and the key of their hashes.
//!
//! A table asks before it grows, for the whole of its next generation. So a process with many rules is bounded too.

use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::sync::AtomicUsize;

/// What the tables of all rules take at most, but for their first generations (under 1 KiB each). When a reload changes
/// rates, old and new tables are there for a moment.
pub const BYTES_ALL_MAX: usize = 128 << 20;

/// The memory of all rate limits.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    /// What is in use of [`BYTES_ALL_MAX`], in bytes.
    used: Arc<AtomicUsize>,
    /// The key of the hashes by which clients are known. With one key, a connection needs to hash its client once.
    pub(super) key: RandomState,
}

impl Memory {
    /// Whether there is as much left. If so, it is in use from now on.
    pub(super) fn take(&self, bytes: usize) -> bool {
        let take = |used: usize| used.checked_add(bytes).filter(|used| *used <= BYTES_ALL_MAX);
        self.used.fetch_update(Relaxed, Relaxed, take).is_ok()
    }

    /// For a table that takes the place of another one, which will be gone soon.
    pub(super) fn take_anyway(&self, bytes: usize) {
        self.used.fetch_add(bytes, Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Relaxed);
    }

    /// The bytes in use.
    pub fn in_use(&self) -> usize {
        self.used.load(Relaxed)
    }
}
