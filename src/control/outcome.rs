//! The options of an instance, and how a start or an instance ends.

use std::num::NonZeroUsize;

use super::inherited::Inherited;
use super::reload::Source;
use super::signals::Signals;
use super::supervisor::Supervisor;
use super::upgrade::{Launch, Predecessor};
use crate::config::Origin;
use crate::telemetry::Telemetry;

/// What [`crate::app::start`] needs in addition to the config.
#[derive(Default)]
pub struct Options {
    /// Where the config came from. A reload reads it again.
    pub source: Source,
    /// The files that the config was read from, and what they contained.
    pub origin: Origin,
    /// The number of workers from `--workers`. It overrides the file.
    pub workers: Option<NonZeroUsize>,
    /// The signals of the process, if this instance obeys them.
    pub signals: Option<Signals>,
    /// How this process was started, if it may start its successor.
    pub launch: Option<Launch>,
    /// The process before this one, which waits until this one serves.
    pub predecessor: Option<Predecessor>,
    /// The listening sockets that this process was given.
    pub inherited: Inherited,
    /// The service manager, if this instance is its service.
    pub supervisor: Supervisor,
    /// The log, so that its level can follow the config. `None` leaves the level alone.
    pub telemetry: Option<Telemetry>,
}

/// How an instance ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every request was finished.
    Drained,
    /// `timeouts.drain` ran out or a second signal came. What still ran was cut off.
    Cut,
}

/// The reason why an instance could not start.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(pub(crate) String);
