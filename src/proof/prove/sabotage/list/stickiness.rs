//! What breaks clients that repeat.

use super::{Entry, Subject, entry};
use crate::prove::sabotage::Sabotage;

/// Where a control group is broken, nothing can be concluded.
const INCONCLUSIVE: &[&str] = &[];

/// In the order of the documentation.
pub(super) const LIST: [Entry; 6] = [
    entry(
        Subject::Replica,
        Sabotage::KeysIgnored,
        ["keys-ignored", "replicas do not look at the key of an order", "--studies retries"],
        &["orders with a key done twice"],
    ),
    entry(
        Subject::Replica,
        Sabotage::KeysRefused,
        ["keys-refused", "replicas refuse an order whose key they know", "--studies retries"],
        &["orders without a response in the end"],
    ),
    entry(
        Subject::Store,
        Sabotage::LostWrites,
        ["lost-orders", "one order in 200 is acknowledged and not stored", "--studies retries"],
        &["orders acknowledged and not done"],
    ),
    entry(
        Subject::Store,
        Sabotage::Double,
        ["double-orders", "every order takes effect twice, key or not", "--studies retries"],
        &["orders with a key done twice"],
    ),
    entry(
        Subject::Client,
        Sabotage::KeysForAll,
        ["keys-for-all", "clients of the control send a key, too", "--studies retries"],
        INCONCLUSIVE,
    ),
    entry(
        Subject::Client,
        Sabotage::NobodyGivesUp,
        ["nobody-gives-up", "clients that should never repeat do", "--studies retries"],
        INCONCLUSIVE,
    ),
];
