//! The studies of `unstick prove`, whole: that they hold, that they notice, and that they leave nothing behind.

use std::process::{Command, Output};

use serde_json::Value;

use crate::support::skipped;

fn is_installed(program: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|path| path.join(program).is_file())
}

/// Runs it, alone. Returns its output, its exit code and the JSON. It may leave nothing behind.
#[track_caller]
fn study(arguments: &str) -> (String, i32, Value) {
    let _turn = crate::prove::turn();
    let (directory, results) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let json = results.path().join("all.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_unstick"));
    command.args(["prove", "--json"]).arg(&json).args(arguments.split_whitespace()).env("TMPDIR", directory.path());
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = String::from_utf8(stdout).unwrap() + &String::from_utf8(stderr).unwrap();
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0, "{text}");
    let json = std::fs::read(json).unwrap();
    (text, status.code().unwrap(), serde_json::from_slice(&json).unwrap_or_default())
}

/// A study holds, and has these places.
#[track_caller]
fn holds(name: &str, places: &[&str]) -> Value {
    let (text, code, report) = study(&format!("--studies {name}"));
    assert_eq!(code, 0, "{text}");
    let columns = report["studies"][0]["columns"].as_array().unwrap();
    assert_eq!(columns.iter().map(|one| one["place"].as_str().unwrap()).collect::<Vec<_>>(), places, "{text}");
    report["studies"][0].clone()
}

/// What breaks a study is caught by a prediction of the list, or makes the run inconclusive if none is listed.
#[track_caller]
fn is_caught(sabotages: &[&str]) {
    let list = Command::new(env!("CARGO_BIN_EXE_unstick")).args(["prove", "--sabotages"]).output().unwrap();
    let list: Vec<Value> = serde_json::from_slice(&list.stdout).unwrap();
    for name in sabotages {
        let entry = list.iter().find(|entry| entry["name"] == *name).unwrap();
        let breaks = entry["breaks"].as_array().unwrap();
        let (text, code, _) = study(&format!("{} --sabotage {name}", entry["arguments"].as_str().unwrap()));
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
    is_caught(&["limit-races", "limit-in-memory", "limit-shared"]);
}

#[test]
fn choices_are_explained() {
    for (arguments, hint) in [
        ("--studies weather", "the studies are limits"),
        ("--arms cookies", "the arms are memory, memory+sticky, jwt, "),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_unstick")).arg("prove").args(arguments.split(' ')).output();
        let Output { status, stderr, .. } = output.unwrap();
        let text = String::from_utf8(stderr).unwrap();
        assert!(status.code() == Some(2) && text.contains(hint), "{text}");
    }
}
