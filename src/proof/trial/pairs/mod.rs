//! Pairs of runs: the same journey, its steps placed on replicas in two ways. If the responses agree, no dependence on
//! the placement was found; nobody needs to know what they should be, so this works with any application.
//!
//! | part | does | knows nothing of |
//! |---|---|---|
//! | [`journey`] | a list of requests, in which values of earlier responses stand | what the requests mean |
//! | [`placing`] | says which step goes to which replica: all to one, or never twice in a row | requests |
//! | [`play`] | plays a journey in all placements, and makes one that differs smaller | what may differ |
//! | [`mask`] | compares two responses, but for what differs between two runs on one replica | placements |
//! | [`body`] | compares two bodies, as JSON or as text | responses |
//! | `words` | words of a text, and which of them differ from run to run | JSON |
//! | [`judge`](mod@judge) | a pure function from what was played to findings | sockets |

pub mod body;
pub mod journey;
pub mod judge;
pub mod mask;
pub mod placing;
pub mod play;
mod words;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use mask::Outcome;
use placing::Placing;

/// One journey in all placements.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Played {
    /// What each step does, in words.
    pub actions: Vec<String>,
    /// One for each placement, in the order of [`placing::PLACINGS`].
    pub runs: Vec<PlayedRun>,
    /// Whether it is a part of a longer one that differed, played to show that this part is enough.
    pub is_part: bool,
}

/// One journey in one placement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayedRun {
    /// How it was placed.
    pub placing: Placing,
    /// Its steps. There are fewer than the journey has if a request lacked a value that no response had brought.
    pub steps: Vec<PlayedStep>,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlayedStep {
    /// The replica that it was sent to.
    pub replica: Arc<str>,
    /// When, since the beginning.
    pub sent: Duration,
    /// When the response ended, or the step failed.
    pub ended: Duration,
    /// What came of it.
    pub outcome: Outcome,
}
