//! `unstick prove` as a user meets it, and whether it notices what it must notice.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;
use serde_json::Value;
use unstick_proof::prove::arm::ARMS;

use crate::support::{eventually, signal, skipped};

/// Two runs at one time would share the cores and slow each other down.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub(crate) fn turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn command(arguments: &str, directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unstick"));
    // Leftovers would be found here.
    command.arg("prove").args(arguments.split_whitespace()).env("TMPDIR", directory).current_dir(directory);
    command
}

/// Runs it. Returns its output and its exit code. It may leave nothing behind.
#[track_caller]
pub(crate) fn prove(arguments: &str) -> (String, i32) {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let Output { status, stdout, stderr } = command(arguments, directory.path()).output().unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "{text}");
    (text, status.code().unwrap())
}

fn has_redis() -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|path| path.join("redis-server").is_file())
}

/// These predictions measure time, so a run beside all the other tests cannot promise them.
const OF_SPEED: [&str; 14] = [
    "median in ms from the first incident on",
    "longest response in ms",
    "median in ms at the slowest replica in quiet",
    "requests to failing replicas",
    "s that a replica is not probed",
    "spread afterwards",
    "p99 in ms from the first incident on",
    "requests to dead replicas",
    "requests to sick replicas",
    "s to a fair share",
    "s until a recovered replica gets requests",
    "s until an edit is in force",
    "its share under least-connections over a fair one",
    "p99 of least-connections over that of round-robin",
];

/// An honest run, the longer one if the shorter one completes too few trials, as on a busy machine. Nothing may be
/// broken but what measures time.
#[track_caller]
pub(crate) fn honest(arguments: &str, durations: [&str; 2]) -> (String, Value) {
    let _turn = turn();
    let run = |duration: &str| {
        let directory = tempfile::tempdir().unwrap();
        let arguments = format!("{arguments} --duration {duration} --json all.json");
        let Output { status, stdout, .. } = command(&arguments, directory.path()).output().unwrap();
        let json = std::fs::read(directory.path().join("all.json")).unwrap();
        (status, String::from_utf8(stdout).unwrap(), serde_json::from_slice::<Value>(&json).unwrap())
    };
    let is_inconclusive = |report: &Value| !report["inconclusive"].as_array().unwrap().is_empty();
    let (mut status, mut text, mut report) = run(durations[0]);
    if is_inconclusive(&report) {
        (status, text, report) = run(durations[1]);
    }
    let of_cells = report["cells"].as_array().unwrap().iter();
    let of_cells = of_cells.flat_map(|cell| cell["predictions"].as_array().unwrap());
    let all = of_cells.chain(report["slow_predictions"].as_array().unwrap());
    let broken: Vec<&Value> = all.filter(|prediction| prediction["verdict"] == "broken").collect();
    assert!(broken.iter().all(|prediction| OF_SPEED.contains(&prediction["what"].as_str().unwrap())), "{text}");
    assert_eq!(status.code(), Some(i32::from(!broken.is_empty())), "{text}");
    assert!(!is_inconclusive(&report), "{text}");
    assert!(text.contains("Not shown by this: paths that no journey touches"), "{text}");
    (text, report)
}

#[test]
fn the_claim_holds_while_a_replica_is_alive_and_unwell() {
    // Each in the smallest selection of arms that has its subject.
    let (text, report) = honest("--users 40 --arms jwt --events mute,errors,slow-once,clocks", ["18s", "54s"]);
    let cells = report["cells"].as_array().unwrap();
    let predicted = |cells: &[Value], event: &str, what: &str| {
        let cell = cells.iter().find(|cell| cell["event"] == event).unwrap();
        cell["predictions"].as_array().unwrap().iter().filter(|prediction| prediction["what"] == what).count()
    };
    assert_eq!(cells.len(), 4, "{text}");
    assert_eq!(predicted(cells, "mute", "requests to failing replicas"), 1, "{text}");
    assert_eq!(predicted(cells, "errors", "requests to failing replicas"), 1, "{text}");
    assert_eq!(predicted(cells, "slow_once", "responses that wait"), 1, "{text}");
    assert_eq!(predicted(cells, "clocks", "sessions lost"), 1, "{text}");
    let excused = cells[1]["findings"]["excused"]["count"].as_u64();
    assert!(cells[1]["event"] == "errors" && excused > Some(0), "a response of any status is a response: {text}");
    let (text, report) = honest("--users 40 --arms database --events partition", ["6s", "18s"]);
    let cells = report["cells"].as_array().unwrap();
    assert_eq!(predicted(cells, "partition", "requests to failing replicas"), 1, "{text}");
    assert!(text.contains("Not played (see --full): stop, mute, errors, slow-once, clocks"), "{text}");
}

#[test]
fn the_claim_holds() {
    let events = "steady,pairs,crash,drain,sick,scale-out,scale-in,rolling,two-proxies,store-restart,stop";
    let (text, report) = honest(&format!("--users 40 --events {events}"), ["36s", "108s"]);
    let cells = report["cells"].as_array().unwrap();
    if !has_redis() {
        skipped("there is no redis-server, so the redis arm was not played");
    }
    let arms = ARMS.iter().filter(|arm| arm.is_default()).count() - usize::from(!has_redis());
    // Who keeps to one replica is not placed on several; only Redis can be restarted.
    assert_eq!(cells.len(), 9 * arms + arms - 1 + usize::from(has_redis()), "every arm in every event: {text}");
    assert!(text.contains("A journey that depends on the replica, as it must in the memory arm:"), "{text}");
    for cell in cells.iter().filter(|cell| cell["event"] == "pairs") {
        let (runs, crossings) = (&cell["pairs"]["runs"], &cell["pairs"]["crossings"]);
        let differing = if cell["arm"] == "memory" { runs["trials"].as_u64() } else { Some(0) };
        assert_eq!(runs["hits"]["count"].as_u64(), differing, "{text}");
        assert!(runs["trials"].as_u64() >= Some(20) && crossings["trials"].as_u64() >= Some(20), "{text}");
        let examples = runs["hits"]["examples"].as_array().unwrap();
        assert!(examples.iter().all(|facts| (2..=4).contains(&facts.as_array().unwrap().len())), "{text}");
    }
    assert!(text.contains(" requests were under way at replicas that were killed"), "{text}");
    let in_flight = |cell: &&Value| cell["event"] == "crash" && cell["findings"]["in_flight"].as_u64().unwrap() > 0;
    assert_eq!(cells.iter().filter(in_flight).count(), arms, "kills meet requests: {text}");
    assert_eq!(text.contains("apt-get install redis-server"), !has_redis(), "{text}");
    let lost = |arm: &str, event: &str| {
        let cell = cells.iter().find(|cell| cell["arm"] == arm && cell["event"] == event).unwrap();
        (cell["findings"]["lost"]["count"].as_u64().unwrap(), cell["findings"]["sessions"].as_u64().unwrap())
    };
    assert_eq!(lost("memory+sticky", "steady").0, 0);
    assert!(lost("memory+sticky", "crash").0 > 0, "stickiness does not save them");
    let (gone, sessions) = lost("memory", "steady");
    assert!(gone * 10 > sessions * 8, "{gone} of {sessions}");
}

#[test]
fn more_users_than_the_machine_can_carry_break_nothing() {
    let (text, report) = honest("--users 2000 --arms jwt --events rolling", ["5s", "15s"]);
    let pace = &report["pace"];
    let figure = |name: &str| pace[name].as_f64().unwrap();
    assert!(figure("offered") > figure("carried") && figure("pause_seconds") > figure("asked_seconds"), "{text}");
    assert!(text.contains("Paced: this machine carries about "), "{text}");
    assert_eq!(report["cells"][0]["findings"]["late"]["count"], 0, "{text}");
    // Nor do they hide a fault.
    let (text, code) = prove("--users 2000 --arms jwt --events rolling --duration 5s --sabotage some-502");
    assert!(code == 1 && text.contains("jwt, rolling: requests failed: expected 0, measured "), "{text}");
}

/// What the list says of one sabotage: a run that contains its subject, and the predictions of which one must not hold.
pub(crate) fn listed(name: &str) -> (String, Vec<String>) {
    let output = command("--sabotages", Path::new("/tmp")).output().unwrap();
    let list: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert!(list.len() >= 70, "{} sabotages", list.len());
    let entry = list.iter().find(|entry| entry["name"] == name).unwrap();
    let breaks = entry["breaks"].as_array().unwrap().iter().map(|what| what.as_str().unwrap().to_owned()).collect();
    (entry["arguments"].as_str().unwrap().to_owned(), breaks)
}

#[test]
fn sabotage_is_caught_by_its_name_with_a_counterexample() {
    // One of each subject; tests/kill_matrix.py plants all.
    for (sabotage, fact) in [
        ("posts-twice", "is executed by"),
        ("removed-kept", "is out of the file"),
        ("last-unused", "0 requests at r2"),
        ("forget", "the session is not known"),
        ("visits-in-memory", "field x-visits: 1, but "),
        ("keys-in-memory", "again, with the same key"),
        ("lost-writes", "gets ["),
    ] {
        let (arguments, breaks) = listed(sabotage);
        let (text, code) = prove(&format!("{arguments} --sabotage {sabotage}"));
        assert_eq!(code, 1, "{sabotage}: {text}");
        let is_found = |what: &String| text.lines().any(|line| line.starts_with("BROKEN") && line.contains(what));
        assert!(breaks.iter().any(is_found), "{sabotage}: {text}");
        assert!(text.contains(fact) && text.contains("did NOT hold"), "{sabotage}: {text}");
    }
}

#[test]
fn an_apparatus_that_sees_no_failure_proves_nothing() {
    let (text, code) =
        prove("--users 30 --duration 6s --arms memory,jwt --events drain,steady --sabotage shared-memory");
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("INCONCLUSIVE: the memory arm must lose sessions"), "{text}");
    let (text, code) = prove("--users 10 --duration 5s --arms jwt --events drain");
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("10 trials are too few"), "{text}");
    let (text, code) = prove("--users 20 --duration 5s --arms jwt --events store-restart");
    assert_eq!(code, 3, "{text}");
    assert!(text.contains("INCONCLUSIVE: nothing was measured"), "{text}");
    let (text, code) = prove("--duration 5s --arms redis --events steady --redis redis://127.0.0.1:1");
    assert_eq!(code, 3, "{text}");
    assert!(
        text.contains("inconclusive: the Redis of --redis, redis://127.0.0.1:1: the store is not available"),
        "{text}"
    );
}

#[test]
fn what_is_broken_is_said_though_nothing_can_be_concluded() {
    // Too few sessions to say that none is lost, and every one of them gets a 502 now and then.
    let (text, code) = prove("--users 15 --pause 10ms --duration 5s --arms jwt --events steady --sabotage some-502");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("Besides, INCONCLUSIVE: jwt, steady: sessions lost: 15 trials are too few"), "{text}");
    assert!(text.contains("BROKEN  jwt, steady: requests failed: expected 0"), "{text}");
}

#[test]
fn bad_usage_says_what_there_is() {
    for (arguments, hint) in [
        ("--arms cookies", "the arms are memory, memory+sticky, jwt, "),
        ("--events earthquake", "the events are steady, pairs, crash,"),
        ("--replicas 1", "with one replica there is nothing to show"),
        ("--duration 1s", "at least 5s"),
        ("--sabotage nothing", "the sabotages are posts-twice, "),
    ] {
        let (text, code) = prove(arguments);
        assert_eq!(code, 2, "{text}");
        assert!(text.contains(hint), "{text}");
    }
}

/// The processes whose command line names this directory, or that this process has started.
pub(crate) fn processes_of(parent: u32) -> Vec<u32> {
    let status = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let is_child = |pid: &u32| status(*pid).lines().any(|line| line == format!("PPid:\t{parent}"));
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

#[test]
fn an_interrupted_run_leaves_nothing_behind() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let mut child =
        command("--users 20", directory.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut children = Vec::new();
    eventually("replicas and proxies run", || {
        children = processes_of(child.id());
        children.len() >= 16
    });
    signal(child.id(), Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    eventually("all children are gone", || children.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()));
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn a_run_that_was_written_down_is_judged_again() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &str| {
        let output = command(arguments, directory.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (text, output.status.code().unwrap())
    };
    let (first, code) = run("--users 30 --arms database --events steady --history --json all.json --duration 5s");
    let (again, code_again) = run("--replay all.json");
    let verdict = |text: &str| text.lines().take(3).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!((verdict(&first), code), (verdict(&again), code_again), "{again}");
    // One response of another kind, and the judge sees a lost session.
    let file = directory.path().join("all.json");
    let mut report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    report["histories"][0]["steps"][200]["outcome"] = "forgotten".into();
    std::fs::write(&file, report.to_string()).unwrap();
    let (text, code) = run("--replay all.json");
    assert!(code == 1 && text.contains("sessions lost: expected 0, measured 1 of "), "{text}");
    report["histories"] = Value::Array(Vec::new());
    std::fs::write(&file, report.to_string()).unwrap();
    let (text, code) = run("--replay all.json");
    assert!(code == 3 && text.contains("has no history; write it with --history"), "{text}");
}

#[test]
fn a_seed_makes_the_same_journeys_and_the_same_verdict() {
    let _turn = turn();
    let run = || {
        let directory = tempfile::tempdir().unwrap();
        let arguments =
            "--seed 7 --users 30 --duration 5s --arms jwt --events crash --history --json all.json --html all.html";
        let output = command(arguments, directory.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let page = std::fs::read_to_string(directory.path().join("all.html")).unwrap();
        assert!(page.contains("uPlot") && page.len() > 50_000);
        let row = "<tr id=\"review-crash\"><th scope=\"row\"><div><b>crash</b><br>one replica killed</div><td \
                   data-label=\"jwt\" class=\"good\">";
        let is_linked = page.contains("href=\"#jwt-in-crash-sessions-lost\"");
        assert!(is_linked && page.contains("<tr id=\"jwt-in-crash-sessions-lost\">"), "answers are linked");
        assert!(page.contains(row) && !page.contains('┌') && !page.contains("{{"), "a table of its own");
        assert!(!page.contains(" src=") && !page.contains("<link"), "nothing is fetched when it is looked at");
        serde_json::from_slice::<Value>(&std::fs::read(directory.path().join("all.json")).unwrap()).unwrap()
    };
    let (one, other) = (run(), run());
    let verdicts = |report: &Value| {
        let predictions = report["cells"][0]["predictions"].as_array().unwrap();
        predictions.iter().map(|prediction| prediction["verdict"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(verdicts(&one), verdicts(&other));
    let journeys = |report: &Value| {
        let mut journeys: BTreeMap<u64, Vec<Value>> = BTreeMap::new();
        for step in report["histories"][0]["steps"].as_array().unwrap() {
            journeys.entry(step["user"].as_u64().unwrap()).or_default().push(step["action"].clone());
        }
        journeys
    };
    let (one, other) = (journeys(&one), journeys(&other));
    assert_eq!(one.len(), 30);
    // Of two tabs either may be the first to get its response.
    for (user, actions) in one.iter().filter(|(user, _)| **user % 5 != 4) {
        // How far a user gets depends on the clock. The last three steps end the session wherever it is.
        let common = actions.len().min(other[user].len()) - 3;
        assert!(common > 2, "{actions:?}");
        assert_eq!(actions[..common], other[user][..common], "user {user}");
    }
}
