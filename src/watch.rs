//! Notices that the config file has changed, however it was changed.
//!
//! Editors write in place or rename a new file over the old one; Kubernetes swaps a symbolic link in the same folder. All of
//! these are events in the *folder*, so the folder is watched, not the file. File systems that send no events (some network
//! and container mounts) are covered by a look every two seconds. What counts in the end is whether the contents differ.

use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

/// A look at the file is due at least this often.
const POLL: Duration = Duration::from_secs(2);
/// Editors write in several steps: wait until none came for this long.
const SETTLE: Duration = Duration::from_millis(50);

/// The only kind of access that can leave other contents behind.
const AFTER_WRITING: AccessKind = AccessKind::Close(AccessMode::Write);

/// Watches one file.
#[derive(Debug)]
pub(crate) struct Watch {
    events: mpsc::Receiver<()>,
    /// `None` where the system offers no events; then only polling is left.
    _watcher: Option<RecommendedWatcher>,
}

impl Watch {
    /// Starts watching the folder of `file`.
    pub(crate) fn new(file: &Path) -> Self {
        // One event that waits says as much as many.
        let (sender, events) = mpsc::channel(1);
        let notify = move |event: notify::Result<notify::Event>| {
            // Reading the file is an event too, and it is read after each event: without this it would go on for ever.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(kind) if kind != AFTER_WRITING)) {
                sender.try_send(()).ok();
            }
        };
        let watcher = notify::recommended_watcher(notify)
            .and_then(|mut watcher| watcher.watch(&folder_of(file), RecursiveMode::NonRecursive).map(|()| watcher))
            .inspect_err(|error| tracing::warn!(%error, "no file events here, looking every {POLL:?} instead"));
        Self { events, _watcher: watcher.ok() }
    }

    /// Returns when it is time to look at the file.
    pub(crate) async fn due(&mut self) {
        match timeout(POLL, self.events.recv()).await {
            // Let the writer finish; what comes meanwhile is part of the same change.
            Ok(Some(())) => {
                sleep(SETTLE).await;
                while self.events.try_recv().is_ok() {}
            }
            Ok(None) => sleep(POLL).await,
            Err(_) => {}
        }
    }
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
