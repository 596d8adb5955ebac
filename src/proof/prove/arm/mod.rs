//! The arms of the experiment: each is a way to keep sessions, with what stands in front of it.
//!
//! An arm is a file here and an entry of [`ARMS`]. The rest of the experiment knows arms by their [`Role`], never by
//! their names.

mod cookie;
mod daemon;
pub(super) mod database;
mod denylist;
mod exchanges;
pub(super) mod jwt;
mod memcached;
pub(super) mod memory;
mod paseto;
pub(super) mod postgres;
mod predictions;
pub(super) mod redis;
pub(in crate::prove) mod replicated;
mod rotation;
mod shares;
mod sticky;
mod tokens;

use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::cell::CellReport;
use super::options::{self, Options};
use super::replica::Replica;
use super::theory::Prediction;
use super::workspace::Workspace;
use crate::trial::recorder::Recorder;
pub(super) use tokens::KEYS_FILE;

/// All arms, in the order in which they are shown. A static, because each crate that names a constant compiles what it
/// holds: here the whole of the replicas.
pub static ARMS: [Arm; 12] = [
    memory::ARM,
    sticky::ARM,
    jwt::ARM,
    database::ARM,
    redis::ARM,
    denylist::ARM,
    paseto::ARM,
    cookie::ARM,
    postgres::ARM,
    memcached::ARM,
    replicated::ARM,
    replicated::WAITING,
];

/// A prediction about the apparatus: without it nothing that is missing would be noticed.
pub(super) const UNWRITTEN: &str = "steps that were not written down";

/// One way to keep sessions, with what stands in front of it.
#[derive(Debug, Clone, Copy)]
pub struct Arm {
    name: &'static str,
    /// Whether a run of a minute has time for it.
    is_default: bool,
    role: Role,
    /// Whether its replicas share a store, so that sessions can read what others wrote.
    shares: bool,
    /// Whether sessions are in tokens, which replicas seal with keys, and which expire.
    has_tokens: bool,
    /// Serves the shop on the arm's store: the life of one replica.
    serve: fn(Replica) -> Work<'static, ()>,
    /// Starts or finds what the arm's replicas share, if they share more than a key and a directory.
    prepare: Option<for<'a> fn(&'a Options, &'a Workspace) -> Work<'a, Prepared>>,
    /// Fills up the place where sessions are, if it can be full.
    fill: Option<for<'a> fn(Filling<'a>) -> Work<'a, ()>>,
    /// What theory says of the arm in an event, beside what was measured.
    predict: fn(&CellReport) -> Vec<Prediction>,
}

/// What an arm stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sessions are in the replicas, and unstick chooses the replica: it must lose sessions, or the apparatus sees
    /// nothing.
    Stateful,
    /// Sessions are in the replicas, and every user keeps to one, by the harness: unstick has no affinity to switch on.
    Sticky,
    /// No replica keeps anything of a session.
    Stateless,
}

/// Work that takes time and may fail.
pub(super) type Work<'a, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + 'a>>;

/// What the replicas of an arm share besides a key and a directory.
#[derive(Clone, Default)]
pub(super) struct Backing {
    /// A variable in the replicas' environment that leads them to it. Arguments show up in `ps`, the environment only
    /// to its owner.
    pub(super) variable: Option<(&'static str, String)>,
    /// The server of it, if it is ours.
    pub(super) server: Option<Rc<dyn Server>>,
}

/// What it takes to fill up the place where sessions are.
#[derive(Clone, Copy)]
pub(super) struct Filling<'a> {
    /// A proxy in front of the replicas.
    pub(super) front: SocketAddr,
    pub(super) backing: &'a Backing,
    /// What came of it is counted here.
    pub(super) recorder: &'a Recorder,
}

/// The result of preparing an arm.
#[derive(Default)]
pub(super) struct Prepared {
    /// `None`: the arm is left out.
    pub(super) backing: Option<Backing>,
    /// What is left out, and what to do to have it measured.
    pub(super) left_out: Option<String>,
}

/// A server of an arm.
pub(super) trait Server {
    /// Ends it, and starts it again after a pause.
    fn restart(&self, pause: Duration) -> Work<'_, ()>;
    /// Whether another server copies it.
    fn can_fail_over(&self) -> bool {
        false
    }
    /// Kills it, and has the copy take its place.
    fn fail_over<'a>(&'a self, _recorder: &'a Recorder) -> Work<'a, ()> {
        Box::pin(async { anyhow::bail!("no other server copies it") })
    }
}

impl Arm {
    /// As it is written on the command line and in reports.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// What the arm stands for.
    pub fn role(self) -> Role {
        self.role
    }

    /// Whether a run of a minute has time for it.
    pub fn is_default(self) -> bool {
        self.is_default
    }

    /// Whether sessions are in tokens, which replicas seal with keys, and which expire.
    pub(super) fn has_tokens(self) -> bool {
        self.has_tokens
    }

    /// Whether its replicas ask a store for anything.
    pub(super) fn has_store(self) -> bool {
        self.shares || self.prepare.is_some()
    }

    /// Whether its replicas share a store, so that sessions can read what others wrote.
    pub(super) fn shares(self) -> bool {
        self.shares
    }

    /// Serves the shop until SIGTERM or the end of the parent.
    pub(super) async fn serve(self, replica: Replica) -> anyhow::Result<()> {
        (self.serve)(replica).await
    }

    /// Starts or finds what its replicas share.
    pub(super) async fn prepare(self, options: &Options, workspace: &Workspace) -> anyhow::Result<Prepared> {
        match self.prepare {
            Some(prepare) => prepare(options, workspace).await,
            None => Ok(Prepared { backing: Some(Backing::default()), left_out: None }),
        }
    }

    /// Whether the place where sessions are can be filled up by us.
    pub(super) fn can_be_full(self, backing: &Backing) -> bool {
        self.fill.is_some() && (self.prepare.is_none() || backing.server.is_some())
    }

    /// Fills it up.
    pub(super) async fn fill(self, filling: Filling<'_>) -> anyhow::Result<()> {
        match self.fill {
            Some(fill) => fill(filling).await,
            None => anyhow::bail!("there is nothing that could be full"),
        }
    }

    /// What theory says, beside what was measured.
    pub(super) fn predict(self, report: &CellReport) -> Vec<Prediction> {
        (self.predict)(report)
    }
}

impl PartialEq for Arm {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Arm {}

impl FromStr for Arm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        options::by_name("arms", &ARMS, text)
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl Serialize for Arm {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::prove::event::{EVENTS, Event};
    use crate::trial::history::{History, Mark, State};

    /// The names of what is predicted.
    fn predicted(arm: Arm, event: Event) -> Vec<String> {
        let mark = |state| Mark { at: Duration::ZERO, whose: "r1".into(), state, in_flight: 0 };
        let marks = match event {
            Event::Crash | Event::CrashAllButOne | Event::TwoProxies => vec![mark(State::Ending)],
            Event::Sick => vec![mark(State::Sick), mark(State::Well)],
            Event::Stop => vec![mark(State::Stopped)],
            Event::Mute => vec![mark(State::Mute)],
            _ => Vec::new(),
        };
        let report = CellReport::of((arm, event, 3, "round-robin"), History { marks, ..History::default() });
        arm.predict(&report).into_iter().map(|prediction| prediction.what).collect()
    }

    const ALWAYS: [&str; 14] = [
        "requests that arrive more often than they were sent",
        "responses changed on the way",
        "responses of which no replica knows",
        UNWRITTEN,
        "sessions lost",
        "writes doubled",
        "requests without a key executed twice",
        "requests changed on the way",
        "read your writes broken",
        "monotonic reads broken",
        "monotonic writes broken",
        "writes follow reads broken",
        "responses wrong",
        "requests failed",
    ];
    const BETWEEN: &str = "writes follow reads broken between sessions";
    const FAILING: &str = "requests to failing replicas";
    const ONCE: &str = "requests with a key executed twice";
    const AGAIN: &str = "requests sent again";
    const MEDIAN: &str = "median in ms from the first incident on";
    const WAITS: [&str; 2] = ["longest response in ms", "p99 in ms from the first incident on"];
    const PLACES: [&str; 2] = ["spread", "steps on the replica of the step before"];
    const DESIGN: [&str; 2] = ["good after logout", "pairs of writes at once that lose one"];
    const QUIET: &str = "median in ms at the slowest replica in quiet";
    const PROBES: [&str; 2] = ["s that a replica is not probed", "probes of a replica per second"];
    const CLOSED: &str = "connections closed under users";
    const AFTER: &str = "spread afterwards";
    const IN_FORCE: &str = "s until an edit is in force";
    const OUT: &str = "requests to removed replicas";

    #[test]
    fn every_arm_predicts_what_it_should_in_every_event() {
        for event in EVENTS {
            let special: &[&str] = match event {
                Event::Steady => {
                    let quiet = [QUIET, PROBES[0], PROBES[1]];
                    &[&[ONCE, AGAIN, WAITS[0], PLACES[0], PLACES[1], DESIGN[1]], &quiet[..]].concat()
                }
                Event::Crash => &[AGAIN, WAITS[0], WAITS[1], "requests to dead replicas", AFTER],
                Event::CrashAllButOne => &[AGAIN, WAITS[0], WAITS[1]],
                Event::Drain => {
                    &[ONCE, AGAIN, WAITS[0], WAITS[1], "requests to draining replicas", OUT, IN_FORCE, AFTER]
                }
                Event::Sick => {
                    let back = "s until a recovered replica gets requests";
                    &[ONCE, AGAIN, WAITS[0], WAITS[1], "requests to sick replicas", back]
                }
                Event::ScaleOut => &[ONCE, AGAIN, WAITS[0], WAITS[1], IN_FORCE, "s to a fair share"],
                Event::ScaleIn => {
                    let cut = "requests cut when their replica was taken out";
                    &[ONCE, AGAIN, WAITS[0], WAITS[1], OUT, IN_FORCE, AFTER, cut]
                }
                Event::Rolling => &[ONCE, AGAIN, WAITS[0], WAITS[1], OUT, IN_FORCE, AFTER],
                Event::Reloads => &[ONCE, AGAIN, WAITS[0], WAITS[1], "factor between a share and its weight"],
                Event::TwoProxies => &[WAITS[0], WAITS[1]],
                Event::StoreRestart => &[ONCE, AGAIN, "requests failed once the store was back"],
                Event::Stop => &[AGAIN, WAITS[0], WAITS[1], FAILING],
                Event::Mute => &[AGAIN, WAITS[0], WAITS[1], FAILING],
                Event::Errors | Event::Partition => &[ONCE, AGAIN, WAITS[0], WAITS[1], FAILING],
                Event::SlowOnce => &[ONCE, AGAIN, WAITS[1], "responses that wait"],
                Event::Clocks => &[ONCE, AGAIN, WAITS[0]],
                Event::KeyRotation => &[ONCE, AGAIN, WAITS[0], WAITS[1], "tokens of the old key that are refused"],
                // What happens to a store is predicted by the arms that have it.
                Event::Pairs | Event::Failover | Event::Full | Event::Repeats => continue,
            };
            let is_common = |what: &&&str| event != Event::StoreRestart || **what != "requests failed";
            let mut expected: Vec<&str> = ALWAYS.iter().filter(is_common).chain(special).copied().collect();
            expected.extend(special.contains(&WAITS[1]).then_some(MEDIAN));
            // A dead proxy takes its connections along.
            expected.extend((event != Event::TwoProxies).then_some(CLOSED));
            expected.sort_unstable();
            for arm in ARMS {
                // A cache that is started again has forgotten all.
                if arm.name() == "memcached" && event == Event::StoreRestart {
                    continue;
                }
                let mut names = predicted(arm, event);
                names.sort_unstable();
                match (arm.role(), event) {
                    (Role::Stateless, _) => {
                        let between = names.extract_if(.., |what| what == BETWEEN).count();
                        assert_eq!(between, usize::from(arm.shares()), "{arm}, {event}");
                        // A token cannot be taken back, so that is said of it once.
                        let logout = names.extract_if(.., |what| what == DESIGN[0]).count();
                        assert_eq!(logout, usize::from(arm.has_store() || event == Event::Steady), "{arm}, {event}");
                        // What it costs not to.
                        let asked = names.extract_if(.., |what| what.contains("deny-list")).count();
                        let is_asked = arm.name() == "jwt+denylist" && event == Event::Steady;
                        assert_eq!(asked, usize::from(is_asked), "{arm}, {event}");
                        assert_eq!(names, expected, "{arm}, {event}");
                    }
                    (Role::Stateful, Event::Steady) => {
                        assert_eq!(names, [PLACES[0], "steps on the replica of the step before", FORGOTTEN]);
                    }
                    (Role::Stateful, _) => assert!(names.is_empty(), "{arm}, {event}"),
                    (Role::Sticky, Event::Stop | Event::Mute | Event::Errors | Event::SlowOnce) => {
                        assert!(names.is_empty(), "{arm}, {event}");
                    }
                    (Role::Sticky, Event::Partition | Event::Clocks | Event::KeyRotation) => {
                        assert!(names.is_empty(), "{arm}, {event}")
                    }
                    (Role::Sticky, _) => assert_eq!(names, ["sessions lost"], "{arm}, {event}"),
                }
            }
        }
    }

    #[test]
    fn pairs_of_runs_predict_that_nothing_depends_on_the_replica_unless_it_keeps_sessions() {
        let unsteady = "journeys that differ from themselves on one replica";
        for arm in ARMS {
            let expected: &[&str] = match arm.role() {
                Role::Stateless => {
                    let noisy = "bodies that differ between two runs on one replica";
                    &["responses that depend on the replica", noisy, unsteady]
                }
                Role::Stateful => &["runs on several replicas that differ", unsteady],
                Role::Sticky => &[],
            };
            assert_eq!(predicted(arm, Event::Pairs), expected, "{arm}");
        }
    }

    const FORGOTTEN: &str = "steps that find the session forgotten";

    #[test]
    fn arms_are_known_by_their_names() {
        for arm in ARMS {
            assert_eq!(arm.to_string().parse(), Ok(arm));
            assert_eq!(ARMS.iter().filter(|other| **other == arm).count(), 1, "{arm}");
        }
        let listed = format!("the arms are {}", options::names(&ARMS));
        assert_eq!("cookies".parse::<Arm>(), Err(listed));
    }
}
