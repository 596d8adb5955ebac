//! Of which requests it is kept what became of them.

use std::time::Duration;

/// Of which requests it is kept what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Explain {
    /// A request that takes longer is kept.
    pub slow: Duration,
    /// How many are kept of each kind: failed, retried, slow, and sampled ones. With 0 none is.
    pub keep: usize,
    /// One of so many is kept in any case, for each worker. With 0 none is.
    pub sample: u32,
}

impl Default for Explain {
    fn default() -> Self {
        Self { slow: Duration::from_secs(1), keep: 1000, sample: 64 }
    }
}
