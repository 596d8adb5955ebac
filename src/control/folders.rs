//! Watches folders, on a thread of its own: on a mount that is gone, the system call with which that begins may hang
//! for as long as the mount is there, and signals, probes and the admin port must go on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, channel, sync_channel};
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

/// How long it is waited until folders are watched. Nearly always that takes less than a millisecond.
const BEGIN_MAX: Duration = Duration::from_millis(500);

/// The folders that are wanted, and whom to tell that they are watched.
type Job = (BTreeSet<PathBuf>, SyncSender<()>);

/// The thread that watches, as the control thread sees it.
#[derive(Debug)]
pub(super) struct FolderWatch {
    jobs: Sender<Job>,
    /// Says when the last job is done, if that took too long.
    late: Option<Receiver<()>>,
}

impl FolderWatch {
    /// A thread that watches nothing yet, and calls `hear` with every event.
    ///
    /// # Errors
    /// The system offers no events.
    pub(super) fn new(hear: impl FnMut(notify::Result<notify::Event>) + Send + 'static) -> notify::Result<Self> {
        let watcher = notify::recommended_watcher(hear)?;
        let (jobs, received) = channel();
        std::thread::Builder::new().name("unstick-watch".into()).spawn(move || watch(watcher, &received))?;
        Ok(Self { jobs, late: None })
    }

    /// Watches these folders and no others. A folder that is not there is tried again the next time. While one hangs,
    /// nothing new is watched: files are still looked at now and then.
    pub(super) fn follow(&mut self, wanted: BTreeSet<PathBuf>) {
        if self.late.as_ref().is_some_and(|late| late.try_recv() == Err(TryRecvError::Empty)) {
            return;
        }
        let (done, awaited) = sync_channel(1);
        let is_sent = self.jobs.send((wanted, done)).is_ok();
        let is_late = is_sent && awaited.recv_timeout(BEGIN_MAX).is_err();
        if is_late {
            tracing::warn!("a folder of the config hangs: edits are noticed late until it does not");
        }
        self.late = is_late.then_some(awaited);
    }
}

fn watch(mut watcher: RecommendedWatcher, jobs: &Receiver<Job>) {
    let mut watched = BTreeSet::new();
    for (wanted, done) in jobs {
        follow(&mut watcher, &mut watched, wanted);
        done.try_send(()).ok();
    }
}

fn follow(watcher: &mut RecommendedWatcher, watched: &mut BTreeSet<PathBuf>, wanted: BTreeSet<PathBuf>) {
    for folder in watched.difference(&wanted) {
        watcher.unwatch(folder).ok();
    }
    watched.retain(|folder| wanted.contains(folder));
    for folder in wanted {
        if watched.contains(&folder) {
            continue;
        }
        match watcher.watch(&folder, RecursiveMode::NonRecursive) {
            Ok(()) => _ = watched.insert(folder),
            // A folder of files that are included need not be there.
            Err(error) if matches!(error.kind, notify::ErrorKind::PathNotFound) => {}
            Err(error) => {
                warn(&folder, &error);
                // It is said once.
                watched.insert(folder);
            }
        }
    }
}

fn warn(folder: &Path, error: &notify::Error) {
    let folder = folder.display();
    tracing::warn!(%error, %folder, "no file events here, the files are looked at now and then instead");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_hangs_holds_nobody_up_for_long() {
        let (jobs, received) = channel::<Job>();
        let mut watch = FolderWatch { jobs, late: None };
        // Nobody takes the first job.
        watch.follow(BTreeSet::new());
        assert!(watch.late.is_some());
        watch.follow(BTreeSet::from(["a".into()]));
        let (wanted, done) = received.recv().unwrap();
        assert!(wanted.is_empty() && received.try_recv().is_err(), "it is not asked again while it hangs");
        done.send(()).unwrap();
        let thread = std::thread::spawn(move || {
            let (wanted, done) = received.recv().unwrap();
            done.send(()).unwrap();
            wanted
        });
        watch.follow(BTreeSet::from(["b".into()]));
        assert!(watch.late.is_none());
        assert_eq!(thread.join().unwrap(), BTreeSet::from(["b".into()]));
    }
}
