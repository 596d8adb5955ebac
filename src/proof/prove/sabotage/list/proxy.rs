//! What breaks the proxy, or what it is told.

use super::{Entry, Subject, entry};
use crate::prove::sabotage::Sabotage;

/// In the order of the documentation.
pub(super) const LIST: [Entry; 46] = [
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
        &["longest response in ms", "p99 in ms from the first incident on"],
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
        &["median in ms from the first incident on"],
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
        &["requests to failing replicas", "p99 in ms from the first incident on", "requests failed"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::BalanceIgnored,
        ["balance-ignored", "least-connections is round-robin", "--arms jwt --events steady"],
        &["its share under least-connections over a fair one"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::HangsUp,
        ["hangs-up-on-pairs", "the same, where journeys are played in several placements", "--arms jwt --events pairs"],
        &["journeys that differ from themselves on one replica"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::Stalls,
        [
            "stalls-beside",
            "the same, beside one request that a replica takes long for",
            "--arms jwt --events slow-once",
        ],
        &["responses that wait"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::HealthOff,
        ["health-off-with-errors", "the same, with a replica that responds 500", "--arms jwt --events errors"],
        &["requests failed", "requests to failing replicas"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::StatusIgnored,
        [
            "status-ignored",
            "a 503 of a replica that cannot reach its store is passed on",
            "--arms database --events partition",
        ],
        &["requests failed"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::GetsRepeated,
        ["gets-repeated", "every GET is sent twice", "--arms jwt --events steady"],
        &["requests that arrive more often than they were sent"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::RetryStorm,
        [
            "retry-storm",
            "after an edit every request that may be repeated is sent three times",
            "--arms jwt --events scale-out",
        ],
        &["requests that arrive more often than they were sent"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::PathSwapped,
        ["path-swapped", "one request in 500 goes to another path", "--arms jwt --events steady"],
        &["requests changed on the way"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::FieldDropped,
        ["field-dropped", "one response in 100 lacks a field that nobody reads", "--arms jwt --events steady"],
        &["responses changed on the way"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::BodyRepeated,
        ["body-repeated", "one response in 300 has its body twice", "--arms jwt --events steady"],
        &["responses changed on the way"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::CookieOfAnother,
        ["cookie-of-another", "one response in 200 sets the cookie of another client", "--arms jwt --events steady"],
        &["responses changed on the way"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::ConnectionsClosed,
        [
            "connections-closed",
            "after an edit every connection of a client is closed behind its response",
            "--arms jwt --events drain",
        ],
        &["connections closed under users"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::StaleAfterKill,
        ["stale-after-kill", "for 1 s after a kill GETs get responses of before", "--arms database --events crash"],
        &["responses of which no replica knows"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::ProxyCache,
        [
            "proxy-cache",
            "a GET gets the response to the same one of the same client, if that is 50 ms old at most",
            "--arms database --events steady",
        ],
        &["responses changed on the way"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::AllSlow,
        ["all-slow", "every request takes 250 ms longer, always", "--arms jwt --events steady"],
        &["median in ms at the slowest replica in quiet"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::OneSlow,
        ["one-slow", "what one replica responds takes 400 ms longer, always", "--arms jwt --events steady"],
        &["median in ms at the slowest replica in quiet"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::SomeStick,
        ["some-stick", "one client in ten keeps to one replica", "--arms jwt --events steady"],
        &["steps on the replica of the step before"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::WeightsForgotten,
        ["weights-forgotten", "weights are forgotten when the file is read again", "--arms jwt --events reloads"],
        &["factor between a share and its weight"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::CutAtRemoval,
        [
            "cut-at-removal",
            "a backend that is taken out is said to have nothing under way, though it has",
            "--arms jwt --events scale-in",
        ],
        &["requests cut when their replica was taken out"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::ProbeStorm,
        ["probe-storm", "replicas are probed ten times as often as the file says", "--arms jwt --events steady"],
        &["probes of a replica per second"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::MiscountsAfterKill,
        [
            "miscounts-after-kill",
            "after a kill one of those that are left gets twenty times as much as the other",
            "--arms database --events crash",
        ],
        &["spread afterwards"],
    ),
    entry(
        Subject::Proxy,
        Sabotage::HealthOff,
        ["health-off-in-quiet", "the same, while all replicas are well", "--arms jwt --events steady"],
        &["s that a replica is not probed"],
    ),
];
