//! The end of a run by a signal.

use std::task::Poll;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// Resolves at the first signal that ends programs.
pub(super) fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::quit(), SignalKind::hangup()] {
        signals.push(signal(kind).context("cannot listen for signals")?);
    }
    Ok(std::future::poll_fn(move |cx| {
        let is_over = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    }))
}
