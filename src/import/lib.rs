//! What `unstick import` is made of: the grammars of other proxies, and what their words mean in `unstick.toml`.
//!
//! An importer reads one kind of file into an [`Imported`]; [`write::toml`] writes that, and [`report`] tells what was
//! left out. Nothing is silently different: what has no faithful translation is a [`LeftOut`], which is a comment in
//! the file and a line of the report. What kept somebody out and could not be translated closes the route.

mod fate;
mod files;
pub mod imported;
mod nginx;
pub mod report;
pub mod value;
pub mod write;

use std::path::Path;

pub use fate::{Tables, Word, markdown};
pub use imported::{Imported, LeftOut, Unreadable};

/// Whose configuration it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// nginx.conf, or a file of its conf.d.
    Nginx,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::Nginx];

    /// Its name, as the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
        }
    }

    /// What the name of a file says; nothing if it may be anything.
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        name.ends_with(".conf").then_some(Self::Nginx)
    }
}

/// Reads a configuration. `base` is put in front of relative paths of files that unstick will read: unstick.toml may be
/// written to another folder.
///
/// # Errors
/// A file that cannot be read or breaks its grammar. What cannot be translated is no error.
pub fn import(path: &Path, kind: Kind, base: Option<&Path>) -> Result<Imported, Unreadable> {
    match kind {
        Kind::Nginx => nginx::import(path, base),
    }
}

/// What becomes of each word of each proxy.
pub fn tables() -> Tables {
    vec![("nginx", nginx::words::WORDS)]
}
