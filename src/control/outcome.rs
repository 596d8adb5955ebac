//! What an instance is started with, and how a start and an instance end.

use std::num::NonZeroUsize;

use super::reload::Source;
use crate::telemetry::Telemetry;

/// What [`crate::app::start`] needs besides the config.
#[derive(Default)]
pub struct Options {
    /// Where the config came from, for reloads.
    pub source: Source,
    /// Hash of the file's contents when it was read.
    pub text_hash: u64,
    /// `--workers`: wins over the file.
    pub workers: Option<NonZeroUsize>,
    /// Whether SIGHUP, SIGTERM, SIGINT, SIGQUIT and SIGUSR1 are meant for this instance.
    pub signals: bool,
    /// To change the level of the log when the config does.
    pub telemetry: Option<Telemetry>,
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything that ran was finished.
    Drained,
    /// `timeouts.drain` ran out, or a second signal came: what still ran was cut.
    Cut,
}

/// Why an instance could not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub(crate) String);
