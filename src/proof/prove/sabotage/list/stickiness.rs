//! What breaks clients that keep to a replica, clients that repeat, and a fleet that follows the load.

use super::{Entry, Subject, entry};
use crate::prove::sabotage::Sabotage;

/// Where a control group is broken, nothing can be concluded.
const INCONCLUSIVE: &[&str] = &[];

/// In the order of the documentation.
pub(super) const LIST: [Entry; 16] = [
    entry(
        Subject::Client,
        Sabotage::RingIsMod,
        ["ring-is-mod", "a consistent hash is a hash modulo the number of replicas", "--studies affinity"],
        &["sessions lost when a replica came", "users who move between replicas that stay"],
    ),
    entry(
        Subject::Client,
        Sabotage::PoorHash,
        ["poor-hash", "a hash of addresses is always even", "--studies affinity"],
        &["factor between a variation and that of theory"],
    ),
    entry(
        Subject::Client,
        Sabotage::CookieForgotten,
        ["cookie-forgotten", "clients forget the replica that their cookie names", "--studies affinity"],
        &["sessions lost in quiet"],
    ),
    entry(
        Subject::Control,
        Sabotage::SharedMemory,
        ["shared-memory-of-sticky", "replicas with sessions in memory share them", "--studies affinity"],
        &["sessions lost when a replica died"],
    ),
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
    entry(
        Subject::Proxy,
        Sabotage::ScalesByKill,
        ["scales-by-kill", "replicas are killed, and then taken out of the file", "--studies autoscaling"],
        &["requests failed"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::ScalesHalfway,
        ["scales-halfway", "the controller stops at 10 replicas", "--studies autoscaling"],
        &["replicas missing at the peak"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::NeverScalesIn,
        ["never-scales-in", "the controller takes no replica out", "--studies autoscaling"],
        &["replicas too many in the end"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::NewcomersStarved,
        [
            "newcomers-of-controller-starved",
            "replicas that came get a twentieth of their share",
            "--studies autoscaling",
        ],
        &["s to a fair share"],
    ),
    entry(
        Subject::Control,
        Sabotage::SharedMemory,
        ["shared-memory-of-fleet", "replicas with sessions in memory share them", "--studies autoscaling"],
        INCONCLUSIVE,
    ),
    entry(
        Subject::Client,
        Sabotage::CookieForgotten,
        ["cookie-forgotten-in-fleet", "clients forget the replica that their cookie names", "--studies autoscaling"],
        INCONCLUSIVE,
    ),
];
