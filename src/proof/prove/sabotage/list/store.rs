//! What breaks one way to keep sessions.

use super::{Entry, Subject, entry};
use crate::prove::sabotage::Sabotage;

/// In the order of the arms.
pub(super) const LIST: [Entry; 19] = [
    entry(
        Subject::Store,
        Sabotage::DenylistLocal,
        ["denylist-local", "each replica keeps a deny-list of its own", "--arms jwt+denylist --events steady"],
        &["good after logout"],
    ),
    entry(
        Subject::Store,
        Sabotage::DenylistCached,
        [
            "denylist-cached",
            "a replica that has found a session good asks the deny-list again after 1 s",
            "--arms jwt+denylist --events steady",
        ],
        &["good after logout", "requests with a token that ask the deny-list once"],
    ),
    entry(
        Subject::Store,
        Sabotage::KeyUnannounced,
        [
            "key-unannounced",
            "a replica seals with the new key before the others know it",
            "--arms jwt --events key-rotation",
        ],
        &["sessions lost"],
    ),
    entry(
        Subject::Store,
        Sabotage::KeyWithoutOverlap,
        [
            "key-without-overlap",
            "the old key opens nothing any more once the new one is in use",
            "--arms paseto --events key-rotation",
        ],
        &["tokens of the old key that are refused", "sessions lost"],
    ),
    entry(
        Subject::Store,
        Sabotage::PostgresLeaks,
        [
            "postgres-leaks",
            "a replica opens a connection for each request, and closes none",
            "--arms postgres --events steady",
        ],
        &["requests failed"],
    ),
    entry(
        Subject::Store,
        Sabotage::PostgresUnlogged,
        [
            "postgres-unlogged",
            "tables have no log, so they are empty after a crash of the store",
            "--arms postgres --events store-restart",
        ],
        &["sessions lost"],
    ),
    entry(
        Subject::Store,
        Sabotage::StandbyEmpty,
        [
            "standby-empty",
            "the standby has copied nothing when it takes over",
            "--arms redis-replicated --events failover",
        ],
        &["acknowledged writes lost that the standby had"],
    ),
    entry(
        Subject::Store,
        Sabotage::LinkOpen,
        ["link-open", "the standby does not fall behind", "--arms redis-replicated --events failover"],
        &["acknowledged writes lost that the standby lacked"],
    ),
    entry(
        Subject::Store,
        Sabotage::WaitForgotten,
        [
            "wait-forgotten",
            "a write is acknowledged though no standby has confirmed it",
            "--arms redis-replicated+wait --events failover",
        ],
        &["acknowledged writes lost"],
    ),
    entry(
        Subject::Store,
        Sabotage::CasIgnored,
        [
            "cas-ignored",
            "a write replaces the session, whoever has written meanwhile",
            "--arms memcached --events steady",
        ],
        &["pairs of writes at once that lose one"],
    ),
    entry(
        Subject::Store,
        Sabotage::MemoryPlenty,
        ["memory-plenty", "memcached has more memory than it is filled with", "--arms memcached --events full"],
        &["idle sessions evicted (a cost)"],
    ),
    entry(
        Subject::Store,
        Sabotage::CacheSurvives,
        [
            "cache-survives",
            "memcached is said to have been started again, and has not",
            "--arms memcached --events store-restart",
        ],
        &["sessions lost (a cost)"],
    ),
    entry(
        Subject::Store,
        Sabotage::CookieUnbounded,
        [
            "cookie-unbounded",
            "a replica sets a cookie of any size, which the browser drops",
            "--arms cookie-session --events full",
        ],
        &["writes still there after the refusal, of those accepted"],
    ),
    entry(
        Subject::Store,
        Sabotage::KeysInMemory,
        [
            "keys-unknown-elsewhere",
            "the same as `keys-in-memory`, while clients repeat what was cut off",
            "--arms redis --events repeats",
        ],
        &["writes with a key done twice, of those met behind their effect"],
    ),
    entry(
        Subject::Client,
        Sabotage::KeysForAll,
        ["keys-for-all-repeats", "clients that should have no key send one", "--arms database --events repeats"],
        &["writes without a key done twice, of those met behind their effect"],
    ),
    entry(
        Subject::Store,
        Sabotage::Double,
        ["double-through-kills", "every write takes effect twice, key or not", "--arms database --events repeats"],
        &["writes done twice, of those not met behind their effect"],
    ),
    entry(
        Subject::Store,
        Sabotage::LostWrites,
        ["lost-through-kills", "one write in 50 is acknowledged and not stored", "--arms redis --events repeats"],
        &["acknowledged writes missing"],
    ),
    entry(
        Subject::Store,
        Sabotage::RefusesKnown,
        [
            "refused-through-kills",
            "a replica refuses a write whose key it has seen before",
            "--arms database --events repeats",
        ],
        &["writes that a replica refuses"],
    ),
    entry(
        Subject::Store,
        Sabotage::StoreAway,
        [
            "store-away",
            "the store cannot be reached any more when it is started again",
            "--arms redis --events store-restart",
        ],
        &["requests failed once the store was back"],
    ),
];
