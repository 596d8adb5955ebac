//! When the steps of an attempt were over, for whoever tells of it. What is not a step of every attempt is noted by
//! itself: a connection that is there already leaves all of this empty.

use std::cell::Cell;

use tokio::time::Instant;

/// The steps of one attempt; see the module.
#[derive(Debug, Default)]
pub struct Timing {
    /// A connection is to be opened, or one that is being opened is waited for.
    pub opening: Cell<Option<Instant>>,
    /// A new connection was established.
    pub connected: Cell<Option<Instant>>,
    /// TLS was established over it.
    pub secured: Cell<Option<Instant>>,
    /// A connection that was not there before can take the request.
    pub ready: Cell<Option<Instant>>,
    /// Whether the connection is HTTP/2.
    pub is_h2: Cell<bool>,
}

impl Timing {
    /// Another attempt begins.
    #[inline]
    pub fn reset(&self) {
        let Self { opening, connected, secured, ready, is_h2 } = self;
        [opening, connected, secured, ready].into_iter().for_each(|step| step.set(None));
        is_h2.set(false);
    }
}

/// Notes that a step is over now, if somebody wants to know.
pub(super) fn note(timing: Option<&Timing>, step: impl FnOnce(&Timing) -> &Cell<Option<Instant>>) {
    if let Some(timing) = timing {
        step(timing).set(Some(Instant::now()));
    }
}
