//! Notices that the config file has changed, however it was changed.
//!
//! Editors write in place or rename a new file over the old one. Kubernetes swaps a symbolic link in the same folder.
//! All of these are events in the *folder*, so the folder is watched and not the file. Some file systems send no events
//! (network and container mounts), so the file is also checked every two seconds. A reload follows only if the contents
//! differ.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The file is checked at least this often.
const POLL: Duration = Duration::from_secs(2);
/// Editors write in several steps. A change has settled when no event came for this long (see also [`SETTLE_MAX`]).
const SETTLE: Duration = Duration::from_millis(50);

/// A change has settled at the latest after this time.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// The only kind of access after which the contents may be different.
const AFTER_WRITING: AccessKind = AccessKind::Close(AccessMode::Write);

/// Watches one file.
#[derive(Debug)]
pub(crate) struct Watch {
    events: mpsc::Receiver<()>,
    /// When the file is checked even without an event.
    poll_at: Instant,
    /// When the present change will have settled, unless another event comes.
    settled_at: Option<Instant>,
    /// When the file is checked in any case after a change.
    settles_by: Option<Instant>,
    /// `None` where the system offers no events. Then the file is only polled.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Starts watching the folder of `file`.
    pub(crate) fn new(file: &Path) -> Self {
        // One waiting event says as much as many.
        let (sender, events) = mpsc::channel(1);
        let notify = move |event: notify::Result<notify::Event>| {
            // Reading the file is an event too, and each event is followed by a read. Without this filter that would
            // never end.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(kind) if kind != AFTER_WRITING)) {
                sender.try_send(()).ok();
            }
        };
        let watcher = notify::recommended_watcher(notify)
            .and_then(|mut watcher| watcher.watch(&folder_of(file), RecursiveMode::NonRecursive).map(|()| watcher))
            .inspect_err(|error| tracing::warn!(%error, "no file events here, looking every {POLL:?} instead"));
        Self { events, poll_at: Instant::now() + POLL, settled_at: None, settles_by: None, _watcher: watcher.ok() }
    }

    /// Returns when it is time to check the file.
    ///
    /// Cancel safety: it may be dropped and called again at any time without losing an event.
    pub(crate) async fn due(&mut self) {
        while let Some(()) = self.heard().await {
            // Lets the writer finish. Further events belong to the same change.
            let now = Instant::now();
            let at_the_latest = *self.settles_by.get_or_insert(now + SETTLE_MAX);
            self.settled_at = Some(at_the_latest.min(now + SETTLE));
        }
        self.settles_by = None;
        self.settled_at = None;
        self.poll_at = Instant::now() + POLL;
    }
}

impl Watch {
    /// Waits for an event. `None` when it is time to check the file first.
    async fn heard(&mut self) -> Option<()> {
        let until = self.settled_at.unwrap_or(self.poll_at);
        match timeout_at(until, self.events.recv()).await {
            Ok(Some(())) => Some(()),
            Ok(None) => {
                sleep_until(until).await;
                None
            }
            Err(_) => None,
        }
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_change_is_noticed_however_often_the_wait_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unstick.toml");
        let mut watch = Watch::new(&file);
        for nth in 0..3 {
            std::fs::write(&file, nth.to_string()).unwrap();
            let noticed = async { while timeout(SETTLE / 5, watch.due()).await.is_err() {} };
            timeout(POLL * 3 / 4, noticed).await.expect("it is not forgotten");
        }
    }
}
