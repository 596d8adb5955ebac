//! The directory of a run: logs, config files and stores.
//!
//! It is in memory if there is room. On a disk that others write to, a database may wait for a second until its pages
//! are written, and its replica's response with it: that would be told as a slow response of the proxy.

use std::cell::RefCell;
use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where files are in memory.
const MEMORY: &str = "/dev/shm";
/// How many bytes must be free there. A long run of thousands of users writes some hundred megabytes.
const ROOM_MIN: u64 = 2 << 30;

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

/// Whether every user can enter a folder and all folders above it.
fn is_open_to_all(folder: &Path) -> bool {
    folder.ancestors().all(|part| std::fs::metadata(part).is_ok_and(|found| found.is_dir() && found.mode() & 0o001 > 0))
}

/// It is gone when this is dropped, unless it is to be kept.
pub(super) struct Workspace {
    pub(super) path: PathBuf,
    keep: bool,
    /// Directories of other users, who cannot enter that one.
    others: RefCell<Vec<PathBuf>>,
}

impl Workspace {
    /// A new directory that only this user can look into.
    pub(super) fn create(keep: bool) -> anyhow::Result<Self> {
        Self::named(&format!("unstick-prove-{}", std::process::id()), keep)
    }

    /// The same for one of several in this process.
    pub(super) fn named(name: &str, keep: bool) -> anyhow::Result<Self> {
        let parent = parent(std::env::var_os("TMPDIR"), keep, room(Path::new(MEMORY)));
        let path = parent.join(name);
        let created = std::fs::DirBuilder::new().mode(0o700).create(&path);
        created.with_context(|| format!("cannot create {}; if it is left over, remove it", path.display()))?;
        Ok(Self { path, keep, others: RefCell::default() })
    }

    /// A directory in it.
    pub(super) fn directory(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A directory of a server, which only its owner can enter: one in this directory if the server runs as we do, else
    /// one beside it, or where that user can come.
    pub(super) fn directory_of(&self, name: &str, owner: Option<(u32, u32)>) -> anyhow::Result<PathBuf> {
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
        let created = std::fs::DirBuilder::new().mode(0o700).create(&directory);
        created.with_context(|| format!("cannot create {}", directory.display()))?;
        self.others.borrow_mut().push(directory.clone());
        if let Some((user, group)) = owner {
            chown(&directory, Some(user), Some(group)).with_context(|| directory.display().to_string())?;
        }
        Ok(directory)
    }

    /// The directories of servers.
    #[cfg(test)]
    pub(super) fn others(&self) -> Vec<PathBuf> {
        self.others.borrow().clone()
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if !self.keep {
            // If this fails there is nothing better to do than to leave the directory.
            for directory in self.others.take().iter().chain([&self.path]) {
                let _ = std::fs::remove_dir_all(directory);
            }
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
}
