//! `unstick prove` with servers of the system: what they lose, whether it is noticed, and that nothing of them is left.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::prove::{command, honest, listed, processes_of, prove, turn};
use crate::support::{eventually, signal, skipped};

fn has(program: &str, folders: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap();
    let folders = folders.iter().map(PathBuf::from);
    let is_there = std::env::split_paths(&path).chain(folders).any(|folder| folder.join(program).is_file());
    if !is_there {
        skipped(&format!("there is no {program}"));
    }
    is_there
}

fn has_redis() -> bool {
    has("redis-server", &[])
}

fn measured<'a>(report: &'a Value, arm: &str, event: &str, what: &str) -> &'a Value {
    let cells = report["cells"].as_array().unwrap();
    let cell = cells.iter().find(|cell| cell["arm"] == arm && cell["event"] == event).unwrap();
    cell["predictions"].as_array().unwrap().iter().find(|one| one["what"] == what).unwrap()
}

#[test]
fn a_fail_over_loses_what_was_not_copied_and_wait_prevents_that() {
    if !has_redis() {
        return;
    }
    let arms = "redis-replicated,redis-replicated+wait";
    let (text, report) = honest(&format!("--users 40 --arms {arms} --events failover"), ["6s", "18s"]);
    let lacked = measured(&report, "redis-replicated", "failover", "acknowledged writes lost that the standby lacked");
    assert_eq!(lacked["hits"], lacked["trials"], "{text}");
    let all = measured(&report, "redis-replicated+wait", "failover", "acknowledged writes lost");
    assert!(all["hits"] == 0 && all["trials"].as_u64() > Some(20), "{text}");
}

#[test]
fn what_is_full_refuses_or_forgets() {
    let (text, report) = honest("--users 30 --arms cookie-session,memcached --events full", ["6s", "18s"]);
    let kept = measured(&report, "cookie-session", "full", "writes still there after the refusal, of those accepted");
    assert_eq!((kept["hits"].as_u64(), kept["trials"].as_u64()), (Some(269), Some(269)), "{text}");
    if has("memcached", &["/usr/bin", "/usr/sbin"]) {
        let evicted = measured(&report, "memcached", "full", "idle sessions evicted (a cost)");
        assert_eq!(evicted["hits"], 200, "{text}");
    }
}

#[test]
fn keys_change_while_tokens_of_the_old_one_are_in_use() {
    let (text, report) = honest("--users 40 --arms paseto --events key-rotation", ["6s", "18s"]);
    let refused = measured(&report, "paseto", "key_rotation", "tokens of the old key that are refused");
    assert!(refused["hits"] == 0 && refused["trials"].as_u64() > Some(20), "{text}");
}

#[test]
fn writes_that_clients_repeat_are_done_twice_in_a_store_unless_they_bear_a_key() {
    let arms = if has_redis() { "jwt,database,redis" } else { "jwt,database" };
    let (text, report) = honest(&format!("--arms {arms} --events repeats"), ["6s", "18s"]);
    for arm in arms.split(',') {
        let keyed = "writes with a key done twice, of those met behind their effect";
        let keyed = measured(&report, arm, "repeats", keyed);
        assert!(keyed["hits"] == 0 && keyed["trials"].as_u64() >= Some(20), "{text}");
        let bare = "writes without a key done twice, of those met behind their effect";
        let bare = measured(&report, arm, "repeats", bare);
        let expected = if arm == "jwt" { &0.into() } else { &bare["trials"] };
        assert!(bare["hits"] == *expected && bare["trials"].as_u64() >= Some(20), "{text}");
    }
}

#[test]
fn sabotage_of_a_store_is_caught_with_a_counterexample() {
    // tests/kill_matrix.py plants all.
    let chosen =
        ["key-without-overlap", "cookie-unbounded", "double-through-kills", "denylist-cached", "wait-forgotten"];
    for sabotage in chosen.into_iter().take(if has_redis() { 5 } else { 3 }) {
        let (arguments, breaks) = listed(sabotage);
        let (text, code) = prove(&format!("{arguments} --sabotage {sabotage}"));
        assert_eq!(code, 1, "{sabotage}: {text}");
        let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("BROKEN")).collect();
        assert!(breaks.iter().any(|what| lines[0].contains(what) || text.contains(what)), "{sabotage}: {text}");
        let facts = lines[1..].iter().take_while(|line| line.starts_with("    ")).count();
        assert!((1..=4).contains(&facts), "{sabotage}: {text}");
    }
}

/// Directories of servers that run as other users.
fn directories_of(pid: u32) -> Vec<PathBuf> {
    let all = ["/dev/shm", "/tmp"].into_iter().flat_map(std::fs::read_dir).flatten().flatten();
    let is_its =
        |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&format!("unstick-prove-{pid}"));
    all.map(|entry| entry.path()).filter(is_its).collect()
}

#[test]
fn servers_of_an_interrupted_run_leave_nothing_behind() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let arguments = "--users 20 --arms postgres,memcached,redis-replicated+wait,jwt --events steady";
    let mut child = command(arguments, directory.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut children = Vec::new();
    eventually("servers, replicas and proxies run", || {
        children = processes_of(child.id());
        children.len() >= 6
    });
    let all: Vec<u32> = children.iter().flat_map(|pid| processes_of(*pid)).chain(children.iter().copied()).collect();
    signal(child.id(), Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(3));
    eventually("all of them are gone", || all.iter().all(|pid| !Path::new(&format!("/proc/{pid}/exe")).exists()));
    assert_eq!(directories_of(child.id()), Vec::<PathBuf>::new());
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
}

#[test]
fn a_store_that_is_given_and_not_there_says_so_without_its_password() {
    for (arm, flag) in
        [("postgres", "--postgres postgres://me:secret@127.0.0.1:1/shop"), ("memcached", "--memcached 127.0.0.1:1")]
    {
        let (text, code) = prove(&format!("--duration 5s --arms {arm} --events steady {flag}"));
        assert_eq!(code, 3, "{text}");
        assert!(text.contains(&format!("of --{arm}: ")) && !text.contains("secret"), "{text}");
    }
}
