//! What breaks long work.

use super::{Entry, Subject, entry};
use crate::prove::sabotage::Sabotage;

/// The smallest run that contains them.
const RUN: &str = "--studies jobs";

/// In the order of the documentation.
pub(super) const LIST: [Entry; 12] = [
    entry(
        Subject::Replica,
        Sabotage::AckedBeforeWork,
        ["acked-before-work", "a worker acknowledges an order before it begins", RUN],
        &["orders not done"],
    ),
    entry(
        Subject::Replica,
        Sabotage::NeverTakenOver,
        ["never-taken-over", "nobody takes over what a dead worker had", RUN],
        &["orders not done"],
    ),
    entry(
        Subject::Replica,
        Sabotage::SentAgain,
        ["sent-again", "a report that is made again is sent out again: it has no key", RUN],
        &["reports sent out twice"],
    ),
    entry(
        Subject::Replica,
        Sabotage::SentSeparately,
        ["sent-separately", "a report is kept, and sent out in a second step", RUN],
        &["reports never sent out"],
    ),
    entry(
        Subject::Replica,
        Sabotage::OrderedAgain,
        ["ordered-again", "an order that comes again is another one: its key is ignored", RUN],
        &["orders with several ids"],
    ),
    entry(
        Subject::Replica,
        Sabotage::OrdersInMemory,
        ["orders-in-memory", "a replica knows only what was ordered from it", RUN],
        &["orders that a replica does not know"],
    ),
    entry(
        Subject::Replica,
        Sabotage::ReportOfAnother,
        ["report-of-another", "one report in twenty is that of another order", RUN],
        &["reports that are wrong"],
    ),
    entry(
        Subject::Replica,
        Sabotage::OrdersRefused,
        ["orders-refused", "one order of 320 is refused by every replica, always", RUN],
        &["orders that nobody accepts"],
    ),
    entry(
        Subject::Store,
        Sabotage::QueueUnlocked,
        ["queue-unlocked", "a row of the table is found and taken in two statements, without a lock", RUN],
        &["orders that two workers have at one time"],
    ),
    entry(
        Subject::Store,
        Sabotage::DeletedBeforeWork,
        ["deleted-before-work", "the row of an order is deleted when a worker takes it", RUN],
        &["orders not done"],
    ),
    entry(
        Subject::Store,
        Sabotage::LeaseEndless,
        ["lease-endless", "a lease in the table lasts for an hour", RUN],
        &["orders not done"],
    ),
    entry(
        Subject::Control,
        Sabotage::OrdersShared,
        ["orders-shared", "replicas of the control share their orders", RUN],
        &[],
    ),
];
