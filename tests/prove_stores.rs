//! `unstick prove` with servers of the system: what they lose, and whether it is noticed.

use std::path::PathBuf;

use serde_json::Value;

use crate::prove::{honest, listed, prove};
use crate::support::skipped;

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

#[test]
fn a_store_that_is_given_and_not_there_says_so_without_its_password() {
    for (arm, flag) in
        [("postgres", "--postgres postgres://me:secret@127.0.0.1:1/shop"), ("memcached", "--memcached 127.0.0.1:1")]
    {
        let (text, code) = prove(&format!("--duration 5s --arms {arm} --events steady {flag}"));
        assert_eq!(code, 3, "{text}");
        assert!(text.contains(&format!("of --{arm}, ")) && !text.contains("secret"), "{text}");
    }
}
