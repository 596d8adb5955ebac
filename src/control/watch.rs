//! Notices that a file of the config has changed, however it was changed, and whether its writer has finished.
//!
//! Editors write in place or rename a new file over the old one. Kubernetes swaps a symbolic link in the same folder.
//! Files that fit a pattern of `include` come and go. All of these are events in the *folder*, so the folders are
//! watched and not the files. Half a file can be valid by itself: a file that is being written is read when its writer
//! has closed it. Some file systems send no events (network and container mounts), so the files are also looked at
//! every two seconds, and believed when two looks find the same.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::folders::FolderWatch;
use crate::config::Origin;

/// The files are looked at at least this often.
pub(super) const POLL: Duration = Duration::from_secs(2);
/// Editors write in several steps. A change has settled when no event came for this long (see also [`SETTLE_MAX`]).
const SETTLE: Duration = Duration::from_millis(50);
/// A change has settled at the latest after this time.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// How long a writer that has not closed the file is waited for.
const WRITER_MAX: Duration = Duration::from_secs(10);
/// The most files of the folders of which it is remembered that they are being written.
const WRITTEN_MAX: usize = 1024;

/// The only kind of access after which the contents may be different.
const AFTER_WRITING: AccessKind = AccessKind::Close(AccessMode::Write);

/// What is known of the contents when it is time to look at the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Look {
    /// Their writer has closed the file, or put it there in one piece.
    Whole,
    /// Nobody says whether they are whole.
    Unsure,
}

/// Watches the files of a config.
#[derive(Debug)]
pub(crate) struct Watch {
    events: mpsc::Receiver<()>,
    folders: Arc<Mutex<Folders>>,
    /// When the files are looked at even without an event.
    poll_at: Instant,
    /// When the present change will have settled, unless another event comes.
    settled_at: Option<Instant>,
    /// When the present change counts as settled in any case.
    settles_by: Option<Instant>,
    /// Until when the present writer is waited for.
    written_until: Option<Instant>,
    /// `None` where the system offers no events. Then the files are only looked at.
    watcher: Option<FolderWatch>,
}

impl Watch {
    /// Starts watching the folders of a config.
    pub(crate) fn new(origin: &Origin) -> Self {
        // One waiting event says as much as many: what they have in common is in `folders`.
        let (sender, events) = mpsc::channel(1);
        let here = std::env::current_dir().unwrap_or_default();
        let folders = Arc::new(Mutex::new(Folders { here, ..Folders::default() }));
        let heard = Arc::clone(&folders);
        let notify = move |event: notify::Result<notify::Event>| {
            if lock(&heard).hear(event.ok().as_ref()) {
                sender.try_send(()).ok();
            }
        };
        let watcher = FolderWatch::new(notify)
            .inspect_err(|error| tracing::warn!(%error, "no file events here, looking every {POLL:?} instead"));
        let poll_at = Instant::now() + POLL;
        let (settled_at, settles_by, written_until) = (None, None, None);
        let watcher = watcher.ok();
        let mut watch = Self { events, folders, poll_at, settled_at, settles_by, written_until, watcher };
        watch.follow(origin);
        watch
    }

    /// Watches the folders of a config as it is now. A folder that is not there is tried again the next time.
    pub(crate) fn follow(&mut self, origin: &Origin) {
        lock(&self.folders).origin = origin.clone();
        if let Some(watcher) = &mut self.watcher {
            watcher.follow(origin.folders());
        }
    }

    /// Returns when it is time to look at the files.
    ///
    /// Cancel safety: it may be dropped and called again at any time without losing an event.
    pub(crate) async fn due(&mut self) -> Look {
        loop {
            while let Some(()) = self.heard().await {
                // Further events belong to the same change.
                let now = Instant::now();
                let at_the_latest = *self.settles_by.get_or_insert(now + SETTLE_MAX);
                self.settled_at = Some(at_the_latest.min(now + SETTLE));
            }
            (self.settled_at, self.settles_by) = (None, None);
            let now = Instant::now();
            let mut folders = lock(&self.folders);
            if folders.is_written() && now < *self.written_until.get_or_insert(now + WRITER_MAX) {
                continue;
            }
            let look = folders.take_look();
            drop(folders);
            self.written_until = None;
            self.poll_at = now + POLL;
            return look;
        }
    }

    /// Waits for an event. `None` when it is time to look at the files first.
    async fn heard(&mut self) -> Option<()> {
        let until = self.settled_at.or(self.written_until).unwrap_or(self.poll_at);
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

/// What the events in the folders say about the files.
#[derive(Debug, Default)]
struct Folders {
    origin: Origin,
    /// The working directory. Events name files by absolute paths, whatever the paths of the config are.
    here: PathBuf,
    /// The files that were written to and not closed.
    written: HashSet<PathBuf>,
    /// A file that is being renamed, and whether it is being written.
    moving: Option<(Option<usize>, bool)>,
    /// Whether the last event says that the files are whole.
    is_whole: bool,
}

impl Folders {
    /// Takes in an event; `None` if some were lost. Returns whether a file may be different now.
    fn hear(&mut self, event: Option<&notify::Event>) -> bool {
        let Some(event) = event.filter(|event| !event.need_rescan()) else {
            (self.is_whole, self.moving) = (false, None);
            self.written.clear();
            return true;
        };
        let file = event.paths.first().map_or(Path::new(""), PathBuf::as_path);
        match event.kind {
            EventKind::Access(AFTER_WRITING) => {
                self.written.remove(file);
                self.is_whole |= self.is_part(file);
            }
            // Reading a file is an event too, and each event is followed by a read. That would never end.
            EventKind::Access(_) => return false,
            EventKind::Modify(ModifyKind::Data(_)) => self.begin(file),
            EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                self.moving = Some((event.tracker(), self.written.remove(file)));
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                // A file may be renamed before its writer closes it.
                match self.moving.take() {
                    Some((tracker, true)) if tracker == event.tracker() => self.begin(file),
                    _ => {
                        self.written.remove(file);
                        self.is_whole = !self.is_written();
                    }
                }
            }
            // It follows the two above.
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {}
            EventKind::Create(_) if self.is_part(file) => self.is_whole = false,
            _ => {}
        }
        true
    }

    /// A file is being written.
    fn begin(&mut self, file: &Path) {
        if self.is_part(file) {
            self.is_whole = false;
        } else if self.written.len() >= WRITTEN_MAX {
            return;
        }
        self.written.insert(file.to_owned());
    }

    fn is_part(&self, file: &Path) -> bool {
        let is_relative =
            |relative: &Path| self.origin.is_part(relative) || self.origin.is_part(&Path::new(".").join(relative));
        self.origin.is_part(file) || file.strip_prefix(&self.here).is_ok_and(is_relative)
    }

    fn is_written(&self) -> bool {
        self.written.iter().any(|file| self.is_part(file))
    }

    /// What is known now. A writer that is still there was waited for long enough, and is forgotten.
    fn take_look(&mut self) -> Look {
        let was_written = self.is_written();
        let mut written = std::mem::take(&mut self.written);
        written.retain(|file| !self.is_part(file));
        self.written = written;
        let is_whole = std::mem::take(&mut self.is_whole);
        if is_whole && !was_written { Look::Whole } else { Look::Unsure }
    }
}

fn lock(folders: &Mutex<Folders>) -> MutexGuard<'_, Folders> {
    folders.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_change_is_noticed_however_often_the_wait_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unstick.toml");
        let mut watch = Watch::new(&Origin::of_file(&file));
        for nth in 0..3 {
            std::fs::write(&file, nth.to_string()).unwrap();
            let noticed = async {
                loop {
                    if let Ok(look) = timeout(SETTLE / 5, watch.due()).await {
                        return look;
                    }
                }
            };
            let look = timeout(POLL * 3 / 4, noticed).await.expect("it is not forgotten");
            assert_eq!(look, Look::Whole);
        }
    }

    #[tokio::test]
    async fn a_file_is_whole_when_its_writer_says_so() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let [file, other] = ["unstick.toml", "other"].map(|name| folder.path().join(name));
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(&Origin::of_file(&file));
        let mut writer = std::fs::File::create(&file).unwrap();
        writer.write_all(b"half").unwrap();
        assert!(timeout(POLL + SETTLE * 4, watch.due()).await.is_err(), "not at the next look either");
        writer.write_all(b" and half").unwrap();
        drop(writer);
        assert_eq!(timeout(POLL / 2, watch.due()).await, Ok(Look::Whole));
        assert_eq!(timeout(POLL * 2, watch.due()).await, Ok(Look::Unsure), "a look without an event");

        let mut writer = std::fs::File::create(&other).unwrap();
        writer.write_all(b"half").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert!(timeout(POLL + SETTLE * 4, watch.due()).await.is_err(), "renamed before it was closed");
        drop(writer);
        assert_eq!(timeout(POLL / 2, watch.due()).await, Ok(Look::Whole));

        std::fs::write(&other, "new").unwrap();
        std::fs::rename(&other, &file).unwrap();
        assert_eq!(timeout(POLL / 2, watch.due()).await, Ok(Look::Whole), "put there in one piece");
    }

    /// As with `-c unstick.toml`: the events name the file by its absolute path.
    #[test]
    fn a_relative_path_is_a_part_too() {
        let here = PathBuf::from("/srv/app");
        for (file, event, expected) in [
            ("unstick.toml", "/srv/app/./unstick.toml", true),
            ("./unstick.toml", "/srv/app/./unstick.toml", true),
            ("conf/unstick.toml", "/srv/app/conf/unstick.toml", true),
            ("./conf/unstick.toml", "/srv/app/./conf/unstick.toml", true),
            ("/srv/app/unstick.toml", "/srv/app/unstick.toml", true),
            ("unstick.toml", "/srv/app/conf/unstick.toml", false),
            ("unstick.toml", "/srv/unstick.toml", false),
        ] {
            let origin = Origin::of_file(Path::new(file));
            let folders = Folders { origin, here: here.clone(), ..Folders::default() };
            assert_eq!(folders.is_part(Path::new(event)), expected, "{file} {event}");
        }
    }

    #[tokio::test]
    async fn a_writer_that_never_closes_is_waited_for_but_not_for_ever() {
        use std::io::Write as _;
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unstick.toml");
        let mut watch = Watch::new(&Origin::of_file(&file));
        let mut writer = std::fs::File::create(&file).unwrap();
        writer.write_all(b"half").unwrap();
        assert!(timeout(WRITER_MAX * 9 / 10, watch.due()).await.is_err());
        for _ in 0..2 {
            assert_eq!(timeout(POLL * 2, watch.due()).await, Ok(Look::Unsure));
        }
    }
}
