//! What breaks uploads in parts.

use super::{Entry, Subject, entry};
use crate::prove::sabotage::Sabotage;

/// The smallest run that contains them.
const RUN: &str = "--studies files";

/// In the order of the documentation.
pub(super) const LIST: [Entry; 3] = [
    entry(
        Subject::Replica,
        Sabotage::CompletesEarly,
        ["completes-early", "a replica completes an upload when it has the third part", RUN],
        &["looks that find half a file"],
    ),
    entry(
        Subject::Replica,
        Sabotage::PartForgotten,
        ["part-forgotten", "a replica leaves out the second part when it completes an upload", RUN],
        &["resumed uploads that are not whole", "looks that find half a file"],
    ),
    entry(
        Subject::Replica,
        Sabotage::AbortIgnored,
        ["abort-ignored", "a replica says that it has removed an upload, and has not", RUN],
        &["aborted uploads that are still there"],
    ),
];
