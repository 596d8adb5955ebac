//! The directory of a run: logs, config files and stores.
//!
//! It is in memory if there is room. On a disk that others write to, a database may wait for a second until its pages
//! are written, and its replica's response with it: that would be told as a slow response of the proxy.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;

use super::account::{Account, give, is_open_to_all};
use super::lifeline::Lifeline;
use super::process::until;

/// Where files are in memory.
const MEMORY: &str = "/dev/shm";
/// How many bytes must be free there. A long run of thousands of users writes some hundred megabytes.
const ROOM_MIN: u64 = 2 << 30;
/// How long its removal is tried: what was killed may write until it has ended.
const REMOVED_WITHIN: Duration = Duration::from_secs(5);

/// Where the directory of a run belongs: where `TMPDIR` says, else in memory. What is kept is for people, and must
/// still be there when the machine is started again. `room` is what is free in memory, in bytes.
fn parent(wanted: Option<OsString>, keep: bool, room: u64) -> PathBuf {
    match wanted {
        None if !keep && room >= ROOM_MIN => PathBuf::from(MEMORY),
        _ => std::env::temp_dir(),
    }
}

/// The bytes that this user may write there; 0 if it is no folder of files.
fn room(folder: &Path) -> u64 {
    let is_writable = rustix::fs::access(folder, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK).is_ok();
    let free = rustix::fs::statvfs(folder).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    if is_writable { free } else { 0 }
}

/// It is gone when this is dropped, or when the run is killed, unless it is to be kept.
pub(super) struct Workspace {
    pub(super) path: PathBuf,
    keep: bool,
    /// What is to be removed: it, and directories of other users, who cannot enter it.
    all: RefCell<Vec<PathBuf>>,
    /// What does that, and ends all processes, when the run is killed.
    lifeline: Rc<Lifeline>,
}

impl Workspace {
    /// A new directory that only this user can look into.
    pub(super) fn create(keep: bool) -> anyhow::Result<Self> {
        Self::named(&format!("unstick-prove-{}", std::process::id()), keep)
    }

    /// The same for one of several in this process.
    pub(super) fn named(name: &str, keep: bool) -> anyhow::Result<Self> {
        let parent = parent(std::env::var_os("TMPDIR"), keep, room(Path::new(MEMORY)));
        let (path, lifeline) = (std::path::absolute(parent)?.join(name), Rc::new(Lifeline::start()?));
        let workspace = Self { path: path.clone(), keep, all: RefCell::default(), lifeline };
        workspace.make(path, None)?;
        Ok(workspace)
    }

    /// Makes a directory that only its owner can enter, and that is removed at the end.
    fn make(&self, directory: PathBuf, owner: Option<Account>) -> anyhow::Result<PathBuf> {
        let created = std::fs::DirBuilder::new().mode(0o700).create(&directory);
        created.with_context(|| format!("cannot create {}; if it is left over, remove it", directory.display()))?;
        if !self.keep {
            self.all.borrow_mut().push(directory.clone());
            self.lifeline.remove(&directory)?;
        }
        give(&directory, owner).with_context(|| directory.display().to_string())?;
        Ok(directory)
    }

    /// What ends the processes of a run when it is killed.
    pub(super) fn lifeline(&self) -> &Rc<Lifeline> {
        &self.lifeline
    }

    /// A directory in it.
    pub(super) fn directory(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A directory of a server, which only its owner can enter: one in this directory if the server runs as we do, else
    /// one beside it, or where that user can come.
    pub(super) fn directory_of(&self, name: &str, owner: Option<Account>) -> anyhow::Result<PathBuf> {
        let beside = self.path.parent().unwrap_or(Path::new("/"));
        let places = [beside, Path::new(MEMORY), &std::env::temp_dir(), Path::new("/tmp")];
        let directory = match owner {
            None => self.directory(name),
            Some(_) => {
                let place = places.into_iter().find(|place| is_open_to_all(place));
                let place = place.context("there is no folder for temporary files that every user can enter")?;
                let own = self.path.file_name().unwrap_or_default().display().to_string();
                place.join(format!("{own}-{name}"))
            }
        };
        self.make(directory, owner)
    }

    /// Removes everything, unless it is to be kept. Call it when nothing of the run is left that could write there.
    pub(super) fn remove(&self) -> anyhow::Result<()> {
        let mut all = self.all.take();
        all.reverse();
        for directory in all {
            let mut last = None;
            let removed = until(REMOVED_WITHIN, || {
                let result = std::fs::remove_dir_all(&directory);
                last = result.err().filter(|error| error.kind() != std::io::ErrorKind::NotFound);
                last.is_none()
            });
            if let (false, Some(error)) = (removed, last) {
                anyhow::bail!("cannot remove {}: {error}; remove it", directory.display());
            }
        }
        Ok(())
    }

    /// All its directories.
    #[cfg(test)]
    pub(super) fn all(&self) -> Vec<PathBuf> {
        self.all.borrow().clone()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            // If nobody reads it, nothing better can be done.
            writeln!(std::io::stderr(), "{error:#}").ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_in_memory_unless_somebody_wants_them_elsewhere() {
        let elsewhere = std::env::temp_dir();
        for (wanted, keep, room, expected) in [
            (None, false, ROOM_MIN, Path::new(MEMORY)),
            (None, false, ROOM_MIN - 1, &elsewhere),
            (None, true, ROOM_MIN, &elsewhere),
            (Some("/x".into()), false, ROOM_MIN, &elsewhere),
        ] {
            assert_eq!(parent(wanted.clone(), keep, room), expected, "{wanted:?} {keep} {room}");
        }
        assert!(room(&elsewhere) > 0 && room(Path::new("/nonexistent")) == 0);
    }

    #[test]
    fn it_is_removed_with_all_that_is_beside_it_and_what_cannot_be_is_said() {
        let workspace = Workspace::named(&format!("workspace-of-{}", std::process::id()), false).unwrap();
        workspace.directory_of("a", None).unwrap();
        let beside = workspace.directory_of("b", Account::unprivileged(&["nobody"]).unwrap()).unwrap();
        std::fs::write(beside.join("file"), "").unwrap();
        let all = workspace.all();
        assert_eq!(all.len(), 3);
        workspace.remove().unwrap();
        assert!(all.iter().all(|directory| !directory.exists()));
        workspace.remove().unwrap();
        workspace.all.borrow_mut().push("/dev/null/a".into());
        let error = workspace.remove().unwrap_err().to_string();
        assert!(error.starts_with("cannot remove /dev/null/a: ") && error.ends_with("; remove it"), "{error}");
    }
}
