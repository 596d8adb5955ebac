//! What breaks rooms.

use super::{Entry, Subject, entry};
use crate::prove::sabotage::Sabotage;

/// The smallest run that contains them.
const RUN: &str = "--studies rooms";

/// In the order of the documentation.
pub(super) const LIST: [Entry; 7] = [
    entry(
        Subject::Replica,
        Sabotage::ResumesFromNow,
        ["resumes-from-now", "a member that comes back is told only what is said from then on", RUN],
        &["messages lost"],
    ),
    entry(
        Subject::Replica,
        Sabotage::PublishedOnly,
        ["published-only", "one message in five is published and not kept", RUN],
        &["messages that the history lacks or has twice"],
    ),
    entry(
        Subject::Replica,
        Sabotage::KeptLater,
        ["kept-later", "a message is acknowledged 200 ms before it is kept", RUN],
        &["messages lost"],
    ),
    entry(
        Subject::Replica,
        Sabotage::SaidAgain,
        ["said-again", "a message that comes again is kept again: its key is ignored", RUN],
        &["messages doubled"],
    ),
    entry(
        Subject::Replica,
        Sabotage::IdsSwapped,
        ["ids-swapped", "members are shown every tenth message after the next one", RUN],
        &["ids out of order"],
    ),
    entry(
        Subject::Client,
        Sabotage::SaysBackwards,
        ["says-backwards", "a member that comes back says again its last message first", RUN],
        &["messages of one sender out of order"],
    ),
    entry(
        Subject::Control,
        Sabotage::RoomsShared,
        ["rooms-shared", "replicas of the control share their rooms", RUN],
        &[],
    ),
];
