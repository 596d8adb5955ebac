//! The runtime of a command that is one thread: `demo`, `prove` and their replicas.
//!
//! Their futures are run here and not in `main`: the crate that polls a future is the one that compiles it, and the
//! binary is compiled alone, after the library.

use anyhow::Context as _;
use tokio::task::LocalSet;

/// Runs a future to its end on this thread. It may start tasks that stay on this thread.
pub fn run<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    LocalSet::new().block_on(&runtime.context("cannot start a runtime")?, future)
}
