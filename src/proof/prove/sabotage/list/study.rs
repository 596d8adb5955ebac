//! What breaks the places of studies.

use super::{Entry, Subject, entry};
use crate::prove::sabotage::Sabotage;

/// In the order of the documentation.
pub(super) const LIST: [Entry; 3] = [
    entry(
        Subject::Store,
        Sabotage::LimitRaces,
        ["limit-races", "a count is read and written in two steps", "--studies limits"],
        &["requests let through beyond the limit"],
    ),
    entry(
        Subject::Replica,
        Sabotage::LimitInMemory,
        ["limit-in-memory", "one user in ten is counted in the replica's memory", "--studies limits"],
        &["requests let through beyond the limit"],
    ),
    entry(
        Subject::Control,
        Sabotage::LimitShared,
        ["limit-shared", "replicas of the control share their counts", "--studies limits"],
        &[],
    ),
];
