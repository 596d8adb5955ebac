//! Notices files of the config that are mounted alone, and were replaced outside of the mount.
//!
//! A container that is given a single file (`-v ./unstick.toml:/etc/unstick.toml`) sees the file that was there when it
//! started. Editors and tools rename a new file over the old one, and the mount does not follow: inside, the old file
//! stays, although it has no name any more (its link count is 0). No edit is ever seen again, so it must be said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::Link;

/// What to do about it.
pub(crate) const ADVICE: &str =
    "mount the folder instead of the file, as in -v ./conf:/etc/unstick with -c /etc/unstick/unstick.toml";

/// The files that are detached from their names.
#[derive(Debug, Default)]
pub(super) struct Detached {
    /// Those of the last look. A file that is just being replaced may be among them.
    seen_once: BTreeMap<PathBuf, Link>,
    sure: BTreeSet<PathBuf>,
}

impl Detached {
    /// Takes in what a look at the files has found. A file is detached if two looks in a row have found the same file
    /// without a name. Returns the files that were not known to be so.
    pub(super) fn observe(&mut self, found: &BTreeMap<PathBuf, Link>) -> Vec<PathBuf> {
        let is_sure = |(file, link): &(&PathBuf, &Link)| self.seen_once.get(*file) == Some(link);
        let sure: BTreeSet<PathBuf> = found.iter().filter(is_sure).map(|(file, _)| file.clone()).collect();
        let news = sure.difference(&self.sure).cloned().collect();
        (self.seen_once, self.sure) = (found.clone(), sure);
        news
    }

    /// The files that are detached.
    pub(super) fn files(&self) -> &BTreeSet<PathBuf> {
        &self.sure
    }
}

/// Says it in the log.
pub(super) fn warn(file: &Path) {
    let file = file.display();
    tracing::warn!(%file, "the file was replaced outside of its mount, so unstick sees the old one for ever: {ADVICE}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_detached_when_two_looks_find_the_same_one_without_a_name() {
        let mut detached = Detached::default();
        let found =
            |files: &[(&str, u64)]| files.iter().map(|(file, inode)| (PathBuf::from(file), (1, *inode))).collect();
        for (files, news, sure) in [
            (&[][..], &[][..], &[][..]),
            (&[("a", 7)], &[], &[]),
            // It was being replaced, and then another one was.
            (&[("a", 8)], &[], &[]),
            (&[], &[], &[]),
            (&[("a", 9)], &[], &[]),
            (&[("a", 9), ("b", 1)], &["a"], &["a"]),
            (&[("a", 9), ("b", 1)], &["b"], &["a", "b"]),
            (&[("a", 9), ("b", 1)], &[], &["a", "b"]),
            (&[("b", 1)], &[], &["b"]),
            (&[], &[], &[]),
        ] {
            let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
            assert_eq!(detached.observe(&found(files)), paths(news), "{files:?}");
            assert_eq!(detached.files().iter().cloned().collect::<Vec<_>>(), paths(sure), "{files:?}");
        }
    }
}
