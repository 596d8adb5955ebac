//! Two replicas of each application in one process, and its journey in many placements.

mod player;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::player::{Outcomes, Run, is_done, is_wanted, steps};
use super::{Fault, Planted, Replica, serve_on};
use crate::report::Cause;

const A: usize = 0;
const B: usize = 1;

/// A run that took too long is played again, so often at most.
const TRIES_MAX: usize = 20;

/// For each fault, how many steps from the beginning need to be on the replica of the others.
const CUTS: [(Fault, usize); 12] = [
    (Fault::MemorySession, 1),
    (Fault::CsrfSecret, 1),
    (Fault::OauthState, 1),
    (Fault::SigningKey, 1),
    (Fault::Upload, 1),
    (Fault::RateLimiter, 3),
    (Fault::LaggingCache, 1),
    (Fault::WizardDraft, 1),
    (Fault::WebsocketRoom, 1),
    (Fault::LongPoll, 1),
    (Fault::JobQueue, 1),
    (Fault::StaleCopy, 1),
];

/// Replicas A and B, which end with this.
struct Fleet {
    replicas: [Replica; 2],
    addresses: [SocketAddr; 2],
    running: [JoinHandle<std::io::Result<()>>; 2],
    _folder: TempDir,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.running.iter().for_each(JoinHandle::abort);
    }
}

async fn start(replica: Replica) -> (SocketAddr, JoinHandle<std::io::Result<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (listener.local_addr().unwrap(), tokio::spawn(serve_on(listener, replica)))
}

impl Fleet {
    async fn new(fault: Fault, planted: Planted) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let replica = |name: &str| {
            let [dir, shared] = [name, "shared"].map(|name| Path::join(folder.path(), name));
            Replica { fault, planted, dir, shared, key: format!("the key of {name}") }
        };
        let replicas = [replica("A"), replica("B")];
        let (one, a) = start(replicas[A].clone()).await;
        let (other, b) = start(replicas[B].clone()).await;
        Self { replicas, addresses: [one, other], running: [a, b], _folder: folder }
    }

    /// Ends A as SIGKILL would, and starts it again with its disk and this key.
    async fn restart_a(&mut self, key: &str) {
        self.running[A].abort();
        assert!((&mut self.running[A]).await.is_err_and(|error| error.is_cancelled()));
        let replica = Replica { key: key.to_owned(), ..self.replicas[A].clone() };
        (self.addresses[A], self.running[A]) = start(replica).await;
    }

    /// Plays the journey, step n on the replica that the n-th place names.
    async fn play(&self, places: &[usize]) -> Outcomes {
        let mut run = Run::new();
        let steps = steps(self.replicas[A].fault.journey());
        self.continue_with(&mut run, &steps, places).await;
        run.outcomes()
    }

    /// Plays the journey within a second: a cache that lags is right again after two.
    async fn play_quickly(&self, places: &[usize]) -> Outcomes {
        for _ in 0..TRIES_MAX {
            let began = Instant::now();
            let outcomes = self.play(places).await;
            if began.elapsed() < Duration::from_secs(1) || self.replicas[A].fault != Fault::LaggingCache {
                return outcomes;
            }
        }
        panic!("this machine is too busy to write and read within a second");
    }

    async fn continue_with(&self, run: &mut Run, steps: &[toml::Table], places: &[usize]) {
        for (step, place) in steps.iter().zip(places) {
            if !is_done(step, run.seen()) {
                run.step(step, self.addresses[*place]).await;
            }
        }
    }

    /// The right outcomes, which are those on one replica. They must be what the journey wants.
    async fn baseline(&self) -> Outcomes {
        let steps = steps(self.replicas[A].fault.journey());
        let mut run = Run::new();
        self.continue_with(&mut run, &steps, &vec![A; steps.len()]).await;
        for (step, outcome) in steps.iter().zip(run.seen()) {
            assert!(is_wanted(step, outcome, &run), "{outcome}");
        }
        run.outcomes()
    }
}

fn length(fault: Fault) -> usize {
    steps(fault.journey()).len()
}

/// Places of which the first ones, up to the cut, are here, and the others there.
fn cut(fault: Fault, cut: usize, here: usize, there: usize) -> Vec<usize> {
    (0..length(fault)).map(|step| if step < cut { here } else { there }).collect()
}

#[test]
fn each_fault_is_in_the_lists_and_has_a_name() {
    for fault in Fault::ALL {
        assert_eq!(Fault::named(fault.name()), Some(fault));
        assert_eq!(CUTS.iter().filter(|(listed, _)| *listed == fault).count(), 1, "{fault:?}");
    }
    for planted in Planted::ALL {
        assert_eq!(Planted::named(planted.name()), Some(planted));
    }
    assert_eq!((Fault::named("none"), Planted::named("none")), (None, None));
}

#[tokio::test]
async fn a_faulty_replica_is_right_alone_and_wrong_across() {
    for (fault, steps_before) in CUTS {
        let fleet = Fleet::new(fault, Planted::Faulty).await;
        let right = fleet.baseline().await;
        for (here, there) in [(A, A), (A, B), (B, B), (B, A)] {
            let outcomes = fleet.play_quickly(&cut(fault, steps_before, here, there)).await;
            assert_eq!(outcomes == right, here == there, "{fault:?} {here} {there}: {outcomes:?}");
        }
    }
}

#[tokio::test]
async fn a_clean_twin_is_right_in_every_placement() {
    for fault in Fault::ALL {
        let fleet = Fleet::new(fault, Planted::Clean).await;
        let right = fleet.baseline().await;
        for number in 0..1_usize << length(fault) {
            let places: Vec<_> = (0..length(fault)).map(|step| (number >> step) & 1).collect();
            assert_eq!(fleet.play(&places).await, right, "{fault:?} {places:?}");
        }
    }
}

/// Plays the steps before the cut on A, starts A again with this key, and plays the others there.
async fn survives(fault: Fault, planted: Planted, steps_before: usize, key: &str) -> bool {
    let mut fleet = Fleet::new(fault, planted).await;
    let (right, mut run, steps) = (fleet.baseline().await, Run::new(), steps(fault.journey()));
    fleet.continue_with(&mut run, &steps[..steps_before], &vec![A; steps_before]).await;
    fleet.restart_a(key).await;
    fleet.continue_with(&mut run, &steps[steps_before..], &vec![A; steps.len() - steps_before]).await;
    run.outcomes() == right
}

#[tokio::test]
async fn a_new_start_with_the_same_key_or_another_tells_the_causes_apart() {
    for (fault, steps_before) in CUTS {
        let seen = (
            survives(fault, Planted::Faulty, steps_before, "the key of A").await,
            survives(fault, Planted::Faulty, steps_before, "another key").await,
        );
        let told = match fault.cause() {
            Cause::Memory | Cause::LocalCounter | Cause::ProtocolSession => (false, false),
            Cause::KeyPerProcess => (true, false),
            Cause::LocalDisk | Cause::StaleCopy => (true, true),
            cause => panic!("no fault has {cause:?}"),
        };
        assert_eq!(seen, told, "{fault:?}");
    }
}

#[tokio::test]
async fn a_clean_twin_survives_the_death_of_its_replica() {
    for (fault, steps_before) in CUTS {
        // A WebSocket ends with its process, whatever the application does.
        let expected = fault != Fault::WebsocketRoom;
        assert_eq!(survives(fault, Planted::Clean, steps_before, "another key").await, expected, "{fault:?}");
    }
}

/// Writes on A, and reads on B until it is right or `within` is over. Returns how long that took, with the write.
async fn time_to_heal(fault: Fault, within: Duration) -> Option<Duration> {
    let fleet = Fleet::new(fault, Planted::Faulty).await;
    let (right, mut run, steps) = (fleet.baseline().await, Run::new(), steps(fault.journey()));
    let began = Instant::now();
    run.step(&steps[0], fleet.addresses[A]).await;
    while began.elapsed() < within {
        run.step(&steps[1], fleet.addresses[B]).await;
        if run.seen().last() == right.last() {
            return Some(began.elapsed());
        }
        pause("a cache heals by time", 50).await;
    }
    None
}

async fn pause(_why: &str, ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[tokio::test]
async fn a_lagging_cache_heals_after_two_seconds() {
    let healed = time_to_heal(Fault::LaggingCache, Duration::from_secs(20)).await;
    assert!(healed.is_some_and(|healed| healed > Duration::from_millis(1900)), "{healed:?}");
}

#[tokio::test]
async fn a_copy_taken_once_does_not_heal() {
    assert_eq!(time_to_heal(Fault::StaleCopy, Duration::from_secs(3)).await, None);
}

#[tokio::test]
async fn strange_names_and_pages_are_refused() {
    for (fault, request, status) in [
        (Fault::Upload, "GET /files/..", "404"),
        (Fault::Upload, "PUT /files/%2e%2e%2fx", "404"),
        (Fault::Upload, "DELETE /files/a", "404"),
        (Fault::MemorySession, "POST /login", "400"),
        (Fault::RateLimiter, "GET /hit", "400"),
        (Fault::WebsocketRoom, "GET /rooms/a", "426"),
        (Fault::WebsocketRoom, "GET /rooms/a/b", "404"),
        (Fault::LongPoll, "POST /poll?sid=none", "400"),
        (Fault::LaggingCache, "GET /settings/a", "404"),
        (Fault::JobQueue, "GET /jobs/none", "404"),
    ] {
        let fleet = Fleet::new(fault, Planted::Faulty).await;
        let step = format!("name = \"it\"\nrequest = \"{request}\"").parse().unwrap();
        let mut run = Run::new();
        run.step(&step, fleet.addresses[A]).await;
        assert!(run.seen()[0].starts_with(&format!("it: {status} ")), "{request}: {:?}", run.seen());
    }
}

/// Reads a journey and fails with its problems.
#[track_caller]
fn assert_is_read(name: &str, text: &str) {
    if let Err(problems) = crate::journey::read(name, text) {
        panic!("{problems}");
    }
}

#[test]
fn every_journey_is_read() {
    for fault in Fault::ALL {
        assert_is_read(fault.name(), fault.journey());
    }
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/audit/journeys"));
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 14, "{files:?}");
    for file in files {
        assert_is_read(&file.to_string_lossy(), &std::fs::read_to_string(&file).unwrap());
    }
}
