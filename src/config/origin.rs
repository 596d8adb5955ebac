//! Where a config came from: every file that was read for it, and what tells whether one of them has changed.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::hash::{Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use unstick_reading::Outside as _;

use super::include::{self, FILES_MAX, Pattern};
use super::outside::{System, World as _};

/// Where a config came from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    first: PathBuf,
    included: Vec<Pattern>,
    contents: Contents,
}

/// What files contained when they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Contents {
    /// The hash of each; `None` for one that could not be read.
    hashes: BTreeMap<PathBuf, Option<u64>>,
    detached: BTreeMap<PathBuf, Link>,
}

/// What identifies a file: its device and its number there.
pub type Link = (u64, u64);

impl Contents {
    /// Adds what a file contains.
    pub(super) fn add(&mut self, file: &Path, bytes: Option<&[u8]>, link: Option<Link>) {
        self.hashes.insert(file.to_owned(), bytes.map(hash));
        self.detached.extend(link.map(|link| (file.to_owned(), link)));
    }
}

impl Origin {
    /// A config of this one file, of which nothing is known yet.
    pub fn of_file(first: &Path) -> Self {
        Self { first: first.to_owned(), ..Self::default() }
    }

    /// What was read for a config that begins with `first`, which includes these files.
    pub(super) fn new(first: &Path, included: Vec<Pattern>, contents: Contents) -> Self {
        Self { first: first.to_owned(), included, contents }
    }

    /// The first file, the one that the command line names.
    pub fn first(&self) -> &Path {
        &self.first
    }

    /// Tells whether the text of any file has changed, within the life of a process.
    pub fn text_hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        // The same text in another file is the same config.
        let first = self.contents.hashes.get(&self.first);
        let others = self.contents.hashes.iter().filter(|(file, _)| **file != self.first);
        (first, others.collect::<Vec<_>>()).hash(&mut hasher);
        hasher.finish()
    }

    /// The same files as they are now. `None` if the first one is a FIFO or its like, which is not read without being
    /// asked: it gives its contents once. It blocks, for some seconds at most.
    ///
    /// # Errors
    /// The first file cannot be read, or a file hangs. That another cannot be read is noted.
    pub fn look(&self) -> io::Result<Option<Self>> {
        let found = fs::metadata(&self.first)?;
        if !found.is_file() && !found.is_dir() {
            return Ok(None);
        }
        let system = System::new();
        system.first(&self.first)?;
        for (_, file) in include::files(self.included.iter(), &self.first, &system).into_iter().take(FILES_MAX) {
            let Ok(file) = file else { continue };
            in_time(&file, system.text(&file))?;
        }
        for file in self.contents.hashes.keys().filter(|file| !self.is_part(file)) {
            in_time(file, system.secret(file))?;
        }
        Ok(Some(Self::new(&self.first, self.included.clone(), system.into_contents())))
    }

    /// The files of TOML, the first one first.
    pub fn files(&self) -> Vec<&Path> {
        let included = self.contents.hashes.keys().filter(|file| **file != self.first && self.is_part(file));
        [self.first.as_path()]
            .into_iter()
            .filter(|first| !first.as_os_str().is_empty())
            .chain(included.map(PathBuf::as_path))
            .collect()
    }

    /// The folders of all files, secrets excepted.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let folders = self.included.iter().map(|pattern| pattern.folder.as_path());
        folders.chain(self.first.parent()).map(named).collect()
    }

    /// Whether a file, if it exists, is a part of the config.
    pub fn is_part(&self, file: &Path) -> bool {
        let (folder, name) = (file.parent().map(named), file.file_name().unwrap_or_default());
        let is_in = |wanted: &Path, fits: &dyn Fn(&OsStr) -> bool| folder == Some(named(wanted)) && fits(name);
        let is_first = |name: &OsStr| self.first.file_name() == Some(name);
        self.first.parent().is_some_and(|folder| is_in(folder, &is_first))
            || self.included.iter().any(|pattern| is_in(&pattern.folder, &|name| pattern.fits(name)))
    }

    /// The files that have no name any more, though their path leads to them: each is mounted alone, and was replaced
    /// outside of the mount. With what identifies each.
    pub fn detached(&self) -> &BTreeMap<PathBuf, Link> {
        &self.contents.detached
    }
}

/// The error of a file that hangs; any other is noted already.
fn in_time(file: &Path, read: io::Result<Vec<u8>>) -> io::Result<()> {
    match read {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => {
            Err(io::Error::new(error.kind(), format!("{}: {error}", file.display())))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// The present folder has a name, too.
fn named(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}

/// What identifies a file at `path` that has no name any more. A file that was open while it was deleted, as the shell
/// hands over, has none either, but no path leads to it.
pub(super) fn detached(path: &Path, found: &Metadata) -> Option<Link> {
    if found.nlink() > 0 || !found.is_file() {
        return None;
    }
    let link = |found: &Metadata| (found.dev(), found.ino());
    let there = fs::canonicalize(path).and_then(fs::metadata).ok()?;
    (there.nlink() == 0 && link(&there) == link(found)).then(|| link(found))
}

fn hash(contents: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(contents);
    hasher.finish()
}
