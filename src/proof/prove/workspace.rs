//! The directory of a run: logs, config files and stores.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use anyhow::Context as _;

/// It is gone when this is dropped, unless it is to be kept.
pub(super) struct Workspace {
    pub(super) path: PathBuf,
    keep: bool,
}

impl Workspace {
    /// A new directory that only this user can look into.
    pub(super) fn create(keep: bool) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("unstick-prove-{}", std::process::id()));
        let created = std::fs::DirBuilder::new().mode(0o700).create(&path);
        created.with_context(|| format!("cannot create {}; if it is left over, remove it", path.display()))?;
        Ok(Self { path, keep })
    }

    /// A directory in it.
    pub(super) fn directory(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if !self.keep {
            // If this fails there is nothing better to do than to leave the directory.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
