//! What breaks replicas, stores, control groups, users or the judge.

use super::{Entry, Subject, entry};
use crate::prove::sabotage::Sabotage;

/// Where a control group is broken, nothing can be concluded.
const INCONCLUSIVE: &[&str] = &[];

/// In the order of the documentation.
pub(super) const LIST: [Entry; 28] = [
    entry(
        Subject::Replica,
        Sabotage::LogoutIgnored,
        ["logout-ignored", "a logout is acknowledged, and the session stays", "--arms database --events steady"],
        &["good after logout"],
    ),
    entry(
        Subject::Replica,
        Sabotage::Reordered,
        ["reordered", "one read in 50 shows the last two writes in the other order", "--arms database --events steady"],
        &["monotonic writes broken"],
    ),
    entry(
        Subject::Replica,
        Sabotage::BookReordered,
        [
            "book-reordered",
            "the last two entries of a book, by different users, are shown in the other order",
            "--arms database --events steady",
        ],
        &["writes follow reads broken between sessions"],
    ),
    entry(
        Subject::Replica,
        Sabotage::Forget,
        ["forget", "replicas forget one session in a thousand", "--arms database --events steady"],
        &["sessions lost"],
    ),
    entry(
        Subject::Replica,
        Sabotage::Stale,
        ["stale", "reads come from a cache in the replica, up to 300 ms old", "--arms database --events steady"],
        &["read your writes broken", "monotonic reads broken"],
    ),
    entry(
        Subject::Replica,
        Sabotage::Double,
        ["double", "every write takes effect twice, key or not", "--arms database --events steady"],
        &["writes doubled"],
    ),
    entry(
        Subject::Replica,
        Sabotage::FieldInMemory,
        ["field-in-memory", "one write in ten is kept in the replica's memory", "--arms jwt --events steady"],
        &["read your writes broken"],
    ),
    entry(
        Subject::Replica,
        Sabotage::KeysInMemory,
        [
            "keys-in-memory",
            "keys that were used are remembered by the replica alone",
            "--arms database --events steady",
        ],
        &["writes doubled"],
    ),
    entry(
        Subject::Replica,
        Sabotage::Cache,
        [
            "cache",
            "reads come from a cache in the replica, up to 300 ms old, which only its own writes renew",
            "--arms database --events pairs",
        ],
        &["responses that depend on the replica"],
    ),
    entry(
        Subject::Replica,
        Sabotage::WriteBehind,
        [
            "write-behind",
            "a write is acknowledged when the replica has it, and reaches the store 60 ms later",
            "--arms database --events pairs",
        ],
        &["responses that depend on the replica", "bodies that differ between two runs on one replica"],
    ),
    entry(
        Subject::Replica,
        Sabotage::Flickers,
        ["flickers", "one read in 7 leaves out what was written last", "--arms database --events pairs"],
        &["bodies that differ between two runs on one replica"],
    ),
    entry(
        Subject::Replica,
        Sabotage::VisitsInMemory,
        [
            "visits-in-memory",
            "a field of the response counts the session's requests, in the replica's memory",
            "--arms jwt --events pairs",
        ],
        &["responses that depend on the replica"],
    ),
    entry(
        Subject::Store,
        Sabotage::LostUpdates,
        ["lost-updates", "a write reads the whole cart and stores it again", "--arms redis --events steady"],
        &["pairs of writes at once that lose one"],
    ),
    entry(
        Subject::Store,
        Sabotage::LostWrites,
        ["lost-writes", "one write in 50 is acknowledged and not stored", "--arms database --events steady"],
        &["read your writes broken"],
    ),
    entry(
        Subject::Control,
        Sabotage::SharedMemory,
        ["shared-memory", "replicas of the memory arms share their sessions", "--arms memory,jwt --events steady"],
        INCONCLUSIVE,
    ),
    entry(
        Subject::Client,
        Sabotage::BlindClient,
        ["blind-client", "users take every response for a good one", "--arms memory,jwt --events steady"],
        INCONCLUSIVE,
    ),
    entry(
        Subject::Judge,
        Sabotage::BlindJudge,
        [
            "blind-judge",
            "the judge takes a forgotten session for a failed request",
            "--arms memory,jwt --events steady",
        ],
        &["steps on the replica of the step before"],
    ),
    entry(
        Subject::Judge,
        Sabotage::BlindPairs,
        ["blind-pairs", "all steps of a pair of runs go to one replica", "--arms memory,jwt --events pairs"],
        INCONCLUSIVE,
    ),
    entry(
        Subject::Replica,
        Sabotage::ClockStrict,
        ["clock-strict", "a token expires to the second, by the clock of each replica", "--arms jwt --events clocks"],
        &["sessions lost"],
    ),
    entry(
        Subject::Replica,
        Sabotage::HealthOfOne,
        ["health-of-one", "health checks see nothing but the first replica", "--arms jwt,database,redis --events sick"],
        &["requests to sick replicas"],
    ),
    entry(
        Subject::Replica,
        Sabotage::ClockHour,
        ["clock-hour", "the clock of one replica is an hour ahead", "--arms jwt --events clocks"],
        &["sessions lost"],
    ),
    entry(
        Subject::Replica,
        Sabotage::AckedEarly,
        ["acked-early", "a write is acknowledged 20 ms before the store has it", "--arms database --events pairs"],
        &["bodies that differ between two runs on one replica", "responses that depend on the replica"],
    ),
    entry(
        Subject::Replica,
        Sabotage::LogoutLocal,
        ["logout-local", "a logout is known to the replica that got it alone", "--arms database --events crash"],
        &["good after logout"],
    ),
    entry(
        Subject::Store,
        Sabotage::StoreEmpty,
        [
            "store-empty",
            "the store has lost everything when it is started again",
            "--arms redis --events store-restart",
        ],
        &["sessions lost"],
    ),
    entry(
        Subject::Client,
        Sabotage::ForgetfulClient,
        ["forgetful-client", "users do not write down one step in 50", "--arms jwt --events steady"],
        &["steps that were not written down"],
    ),
    entry(
        Subject::Judge,
        Sabotage::HalfJudge,
        ["half-judge", "the judge looks at the first half of what happened", "--arms jwt --events drain"],
        INCONCLUSIVE,
    ),
    entry(
        Subject::Judge,
        Sabotage::DeafLedger,
        ["deaf-ledger", "replicas do not write down one request in 50", "--arms jwt --events steady"],
        &["responses of which no replica knows"],
    ),
    entry(
        Subject::Client,
        Sabotage::HarnessPanics,
        ["harness-panics", "the harness panics while users are there", "--arms jwt --events steady"],
        &[],
    ),
];
