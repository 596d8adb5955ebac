//! How long an attempt may wait, and for what.

use tokio::time::Instant;

use super::error::Phase;
use crate::config::model::Timeouts;
use crate::deadlines::{Deadlines, Wait};

/// The waits of one attempt; see the module.
#[derive(Debug, Clone, Copy)]
pub struct Waits<'a> {
    /// The deadlines of the client for which the attempt is made.
    pub deadlines: &'a Deadlines,
    /// The timeouts of the config.
    pub timeouts: &'a Timeouts,
    /// When the attempt began.
    pub began: Instant,
    /// When the attempt as a whole must have had its response, if it has a time of its own (`retry.attempt_timeout`).
    pub until: Option<Instant>,
}

impl Waits<'_> {
    /// Sets the deadline of one phase of the attempt, which ends with the attempt as a whole at the latest.
    pub(super) fn arm(&self, phase_ends: Instant) {
        self.deadlines.arm(Wait::Upstream, self.until.map_or(phase_ends, |until| until.min(phase_ends)));
    }

    /// Sets the deadline of the response anew, unless the attempt as a whole has used up its time.
    pub(super) fn arm_again(&self) {
        let now = Instant::now();
        if self.until.is_none_or(|until| now < until) {
            self.arm(now + self.timeouts.response_head);
        }
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
