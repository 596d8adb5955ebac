//! What members of rooms said and heard.

use std::collections::HashSet;
use std::time::Duration;

use serde::Serialize;

use super::store::Said;

/// What one member did and heard, in its own order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Account {
    pub(super) member: u32,
    pub(super) room: String,
    pub(super) stays: Vec<Stay>,
    pub(super) spoken: Vec<Spoken>,
    pub(super) heard: Vec<Heard>,
    /// Messages that came again under an id that it had seen. Nobody is shown them.
    pub(super) duplicates: u64,
    /// Messages that it sent again, because it could not know whether they were kept.
    pub(super) sent_again: u64,
}

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Stay {
    pub(super) replica: String,
    pub(super) came: Duration,
    /// The last id that it had seen then.
    pub(super) after: u64,
    pub(super) left: Option<Duration>,
}

/// A message that it said. Its number is its place in the list, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Spoken {
    pub(super) at: Duration,
    /// When it was told that the message is kept, and with which id.
    pub(super) kept: Option<(Duration, u64)>,
}

/// A message that it was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Heard {
    pub(super) said: Said,
    pub(super) at: Duration,
    /// Its stay then, by place.
    pub(super) stay: usize,
}

impl Account {
    /// How many of its messages are kept.
    pub(super) fn kept(&self) -> usize {
        self.spoken.iter().filter(|spoken| spoken.kept.is_some()).count()
    }

    /// The replica at which it is, if it is at one.
    pub(super) fn replica(&self) -> Option<&str> {
        self.stays.last().filter(|stay| stay.left.is_none()).map(|stay| stay.replica.as_str())
    }

    /// Senders and numbers of what it was shown.
    pub(super) fn shown(&self) -> HashSet<(u32, u32)> {
        self.heard.iter().map(|heard| (heard.said.from, heard.said.number)).collect()
    }

    /// The last id that it has seen.
    pub(super) fn last(&self) -> u64 {
        self.heard.iter().map(|heard| heard.said.id).max().unwrap_or_default()
    }
}
