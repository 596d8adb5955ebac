//! How long an attempt may wait, and for what.

use tokio::time::Instant;

use super::error::Phase;
use crate::config::model::Timeouts;
use crate::deadlines::{Deadlines, Wait};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct Waits<'a> {
    /// Those of the client for which the attempt is made.
    pub deadlines: &'a Deadlines,
    /// The config's.
    pub timeouts: &'a Timeouts,
    /// When the attempt began.
    pub began: Instant,
    /// When the attempt must have been answered, if there is such a time.
    pub until: Option<Instant>,
}

impl Waits<'_> {
    /// Bounds one phase of the attempt.
    pub(super) fn arm(&self, phase_ends: Instant) {
        self.deadlines.arm(Wait::Upstream, self.until.map_or(phase_ends, |until| until.min(phase_ends)));
    }

    /// Bounds the wait for the response anew, unless the attempt as a whole has had its time.
    pub(super) fn arm_again(&self) {
        let now = Instant::now();
        if self.until.is_none_or(|until| now < until) {
            self.arm(now + self.timeouts.response_head);
        }
    }

    /// Which wait has run out, if one has: that for this `phase`, or for the request as a whole.
    pub(super) fn passed(&self, phase: Phase) -> Option<Phase> {
        if self.deadlines.expired(Wait::Request) {
            Some(Phase::Request)
        } else {
            self.deadlines.expired(Wait::Upstream).then_some(phase)
        }
    }
}
