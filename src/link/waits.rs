//! How long an attempt may wait, and for what.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::Instant;

use super::error::Phase;
use crate::config::model::Timeouts;
use crate::deadlines::{Deadlines, Wait};

/// The waits of one attempt; see the module.
#[derive(Debug)]
pub struct Waits<'a> {
    /// The deadlines of the client for which the attempt is made.
    pub deadlines: &'a Deadlines,
    /// The timeouts of the config.
    pub timeouts: &'a Timeouts,
    /// When the attempt began.
    pub began: Instant,
    /// The time of the attempt as a whole, if it has one of its own (`retry.attempt_timeout`).
    of_attempt: Option<Duration>,
    /// When that is over.
    pub(super) until: Cell<Option<Instant>>,
}

impl<'a> Waits<'a> {
    /// Those of an attempt that begins now.
    pub fn begin(
        deadlines: &'a Deadlines,
        timeouts: &'a Timeouts,
        began: Instant,
        of_attempt: Option<Duration>,
    ) -> Self {
        let until = Cell::new(of_attempt.map(|time| began + time));
        Self { deadlines, timeouts, began, of_attempt, until }
    }

    /// Sets the deadline of one phase of the attempt, which ends with the attempt as a whole at the latest.
    pub(super) fn arm(&self, phase_ends: Instant) {
        self.deadlines.arm(Wait::Upstream, self.until.get().map_or(phase_ends, |until| until.min(phase_ends)));
    }

    /// Begins the time for the response anew, and that of the attempt: a client that takes long to send its body is
    /// no failure of the endpoint.
    pub(super) fn arm_again(&self) {
        let now = Instant::now();
        self.until.set(self.of_attempt.map(|time| now + time));
        self.arm(now + self.timeouts.response_head);
    }

    /// The wait that has run out, if one has: that of this `phase`, or that of the whole request.
    pub(super) fn passed(&self, phase: Phase) -> Option<Phase> {
        if self.deadlines.expired(Wait::Request) {
            Some(Phase::Request)
        } else {
            self.deadlines.expired(Wait::Upstream).then_some(phase)
        }
    }
}
