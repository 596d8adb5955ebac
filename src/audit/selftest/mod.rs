//! Applications of our own with a planted fault, and the same without it: what `unstick audit --selftest` is tried on.
//!
//! Each [`Fault`] is a small application with the journey that shows it. Both of its forms are the same code; only what
//! the state lies in differs, or the key that it is signed with. The faults are made so that runs tell their causes: a
//! key comes from outside and can be the same after a new start, an upload lies below [`Replica::dir`], a copy is taken
//! when the process starts.

mod copies;
mod drafts;
mod fault;
mod files;
mod http;
mod jobs;
mod keys;
mod matrix;
mod poll;
mod room;
mod serve;
mod sessions;
mod store;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use self::fault::Fault;
pub use self::matrix::{Matrix, Row, Said, matrix};
pub use self::serve::{serve, serve_on};

/// Whether an application has its fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Planted {
    /// It needs the replica that served the step before.
    Faulty,
    /// It is the clean twin: all replicas share its state, or its key.
    Clean,
}

impl Planted {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Faulty, Self::Clean];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Faulty => "faulty",
            Self::Clean => "clean",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|planted| planted.name() == name)
    }
}

/// One replica of an application.
#[derive(Debug, Clone)]
pub struct Replica {
    /// Which application it is.
    pub fault: Fault,
    /// Whether it has the fault.
    pub planted: Planted,
    /// Its private folder. It is there again after a new start.
    pub dir: PathBuf,
    /// The folder that all replicas have in common.
    pub shared: PathBuf,
    /// Its private key. A clean replica does not use it.
    pub key: String,
}
