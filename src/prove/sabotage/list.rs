//! The list of sabotages: what each breaks, where that shows, and which predictions must not hold then.

use std::fmt;
use std::str::FromStr;

use super::Sabotage;
use crate::prove::options::by_name;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The proxy, or what it is told.
    Proxy,
    /// The code of replicas that keep nothing.
    Replica,
    /// A store of sessions.
    Store,
    /// The users.
    Client,
    /// The judge.
    Judge,
    /// A control group that must lose sessions.
    Control,
}

/// One line of the list.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The sabotage.
    pub sabotage: Sabotage,
    /// As it is written on the command line.
    pub name: &'static str,
    /// What it breaks.
    pub subject: Subject,
    /// What it does.
    pub what: &'static str,
    /// The smallest run that contains its subject.
    pub arguments: &'static str,
    /// The predictions one of which must be broken at least. None: the run must be inconclusive.
    pub breaks: &'static [&'static str],
}

/// Where a control group is broken, nothing can be concluded.
const INCONCLUSIVE: &[&str] = &[];

const fn entry(
    subject: Subject,
    sabotage: Sabotage,
    [name, what, arguments]: [&'static str; 3],
    breaks: &'static [&'static str],
) -> Entry {
    Entry { sabotage, name, subject, what, arguments, breaks }
}

/// All of them.
pub const LIST: [Entry; 37] = [
    entry(
        Subject::Proxy,
        Sabotage::PostsTwice,
        ["posts-twice", "every POST is sent twice", "--arms database --events steady"],
        &["requests without a key executed twice"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::BarePostsRepeated,
        ["bare-posts-repeated", "a POST without a key is sent again after a failure", "--arms database --events crash"],
        &["requests without a key executed twice"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::KeyRemoved,
        ["key-removed", "Idempotency-Key is removed from every request", "--arms database --events steady"],
        &["requests changed on the way"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::DrainIgnored,
        ["drain-ignored", "draining replicas get requests like the others", "--arms jwt --events drain"],
        &["requests to draining replicas"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::RemovedKept,
        [
            "removed-kept",
            "backends that are taken out of the file get requests like the others",
            "--arms jwt --events scale-in",
        ],
        &["requests to removed replicas"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::OldConfig,
        ["old-config", "an edit is in force 1.5 s late", "--arms jwt --events drain"],
        &["s until an edit is in force"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::AddressSticks,
        ["address-sticks", "a client address keeps to one replica", "--arms jwt --events steady"],
        &["spread", "steps on the replica of the step before"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::CookieSticks,
        ["cookie-sticks", "a session keeps to one replica", "--arms jwt --events steady"],
        &["steps on the replica of the step before"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::LastUnused,
        ["last-unused", "the last replica of the file gets nothing", "--arms jwt --events steady"],
        &["spread"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::OneStarved,
        ["one-starved", "the last replica gets a twentieth of its share", "--arms jwt --events steady"],
        &["spread"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::Skewed,
        ["skewed", "the first replica gets 10 % more than the others", "--arms jwt --events steady"],
        &["spread"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::SomeRefused,
        ["some-502", "one request in 500 gets a 502", "--arms jwt --events steady"],
        &["requests failed"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::BodiesCut,
        ["bodies-cut", "one response with a body in 300 breaks off in the middle of it", "--arms jwt --events steady"],
        &["requests failed"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::Stalls,
        ["stalls", "one request in 200 waits for 3 s", "--arms jwt --events steady"],
        &["longest response in ms"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::WorldStops,
        ["world-stops", "nothing moves for 1 s after an edit", "--arms jwt --events drain"],
        &["longest response in ms"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::HealthOff,
        ["health-off", "health checks are off", "--arms jwt --events sick"],
        &["requests to sick replicas"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::DeadReplica,
        [
            "dead-replica",
            "requests for carts go to one replica, even when it is dead",
            "--arms database --events crash",
        ],
        &["requests failed"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::ResponsesSwapped,
        ["responses-swapped", "one GET in 100 gets the response to another one", "--arms database --events steady"],
        &["responses wrong"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::HangsUp,
        [
            "hangs-up",
            "one request in 50 meets a connection that is closed without a response",
            "--arms jwt --events steady",
        ],
        &["requests sent again"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::SlowAfterEdit,
        ["slow-after-edit", "after an edit every request takes 450 ms longer", "--arms jwt --events drain"],
        &["p99 in ms from the first incident on"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::NewcomersStarved,
        [
            "newcomers-starved",
            "backends that were not there from the beginning get a twentieth of their share",
            "--arms jwt --events scale-out",
        ],
        &["s to a fair share"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::NeverBack,
        [
            "never-back",
            "a replica that has failed its health check never gets requests again",
            "--arms jwt --events sick",
        ],
        &["s until a recovered replica gets requests"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::NobodyWatched,
        ["nobody-watched", "health checks and ejection are off", "--arms jwt --events crash"],
        &["requests to dead replicas"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::NobodyWatched,
        ["nobody-watched-still", "the same, with a replica that stands still", "--arms jwt --events stop"],
        &["p99 in ms from the first incident on", "requests failed"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::BalanceIgnored,
        ["balance-ignored", "least-connections is round-robin", "--arms jwt --events steady"],
        &["its share under least-connections over a fair one"],
    ),
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
        Subject::Store,
        Sabotage::LostUpdates,
        ["lost-updates", "a write reads the whole cart and stores it again", "--arms redis --events steady"],
        &["pairs of writes at once that lose one"],
    ),
    entry(
        Subject::Store,
        Sabotage::LostWrites,
        ["lost-writes", "one write in 200 is acknowledged and not stored", "--arms database --events steady"],
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
];

/// The list for programs.
pub fn as_json() -> serde_json::Value {
    let line = |entry: &Entry| {
        let Entry { name, subject, what, arguments, breaks, .. } = entry;
        let subject = format!("{subject:?}").to_lowercase();
        serde_json::json!({ "name": name, "subject": subject, "what": what, "arguments": arguments, "breaks": breaks })
    };
    LIST.iter().map(line).collect()
}

/// An entry that is shown by its name.
#[derive(Clone, Copy)]
struct Name(Entry);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl Sabotage {
    /// Its first line of the list.
    pub fn entry(self) -> &'static Entry {
        LIST.iter().find(|entry| entry.sabotage == self).expect("every sabotage is listed")
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        by_name("sabotages", &LIST.map(Name), text).map(|Name(entry)| entry.sabotage)
    }
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().name)
    }
}
