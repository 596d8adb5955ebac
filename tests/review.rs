//! The answers of `unstick prove` to the questions of a review: from real runs, and changed by what is planted in them.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::prove::{command, listed, processes_of, turn};
use crate::support::{eventually, signal};

/// A run's report.
#[track_caller]
fn report(arguments: &str) -> (String, Value) {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let output = command(&format!("{arguments} --json all.json"), directory.path()).output().unwrap();
    let json = std::fs::read(directory.path().join("all.json")).unwrap();
    (String::from_utf8(output.stdout).unwrap(), serde_json::from_slice(&json).unwrap())
}

/// What it says of an arm: the grade, and the text.
#[track_caller]
fn answer<'a>(report: &'a Value, question: &str, arm: &str) -> (&'a str, &'a str) {
    let parts = ["questions", "further", "checklist"].map(|part| report["review"][part].as_array().unwrap());
    let mut rows = parts.into_iter().flatten();
    let row = rows.find(|row| row["question"] == question).unwrap_or_else(|| panic!("{question}"));
    let answers = row["answers"].as_array().unwrap();
    let answer = answers.iter().find(|answer| answer["arm"] == arm).unwrap_or_else(|| panic!("{arm}"));
    (answer["grade"].as_str().unwrap(), answer["text"].as_str().unwrap())
}

#[test]
fn a_run_answers_the_questions_of_a_review() {
    let events = "steady,pairs,crash,rolling,scale-out";
    let (text, report) = report(&format!("--users 40 --arms memory,memory+sticky,jwt,database --events {events}"));
    // Of each question: memory, memory+sticky, jwt, database.
    for (question, expected) in [
        ("scale out", ["bad", "bad", "", ""]),
        ("crash", ["bad", "bad", "good", "good"]),
        ("deploy", ["bad", "bad", "good", "good"]),
        ("memory per replica", ["figure"; 4]),
        ("bytes per request", ["figure"; 4]),
        ("store trips", ["figure"; 4]),
        ("revocation", ["not_measured", "good", "bad", "good"]),
        ("single point of failure", ["bad", "bad", "good", "bad"]),
        ("latency", ["figure"; 4]),
        ("placement", ["bad", "not_measured", "good", "good"]),
        ("all context in the request?", ["bad", "bad", "good", "partly"]),
        ("state outside?", ["bad", "bad", "good", "good"]),
        ("retries safe?", ["", "", "good", "good"]),
        ("authentication stateless?", ["bad", "bad", "good", "bad"]),
    ] {
        for (arm, expected) in ["memory", "memory+sticky", "jwt", "database"].into_iter().zip(expected) {
            let (grade, said) = answer(&report, question, arm);
            // What is left open depends on the time that the machine has.
            assert!(expected.is_empty() || grade == expected, "{question}, {arm}: {grade}, {said}\n{text}");
        }
    }
    for row in ["questions", "checklist"].iter().flat_map(|part| report["review"][part].as_array().unwrap()) {
        for answer in row["answers"].as_array().unwrap() {
            let evidence = answer["evidence"].as_array().unwrap();
            assert_eq!(evidence.is_empty(), answer["grade"] == "not_measured", "{answer}");
            let paths = evidence.iter().map(|one| one["path"].as_str().unwrap());
            paths.for_each(|path| assert!(report.pointer(path).is_some(), "{path}"));
        }
    }
    let drawn = text.lines().filter(|line| line.starts_with(['│', '┌', '├', '└', '╞']));
    assert!(drawn.map(|line| line.chars().count()).max() <= Some(100), "{text}");
}

#[test]
fn what_is_planted_changes_the_answers() {
    for (sabotage, arguments, arm, changed) in [
        ("logout-ignored", "", "database", &[("revocation", "bad")][..]),
        ("double", "", "database", &[("retries safe?", "bad")]),
        ("one-starved", "", "", &[("spread", "bad")]),
        ("newcomers-starved", "", "", &[("scale out", "partly"), ("scaling without stickiness?", "partly")]),
        (
            "visits-in-memory",
            "--arms jwt --events pairs,steady",
            "jwt",
            &[("all context in the request?", "bad"), ("authentication stateless?", "bad")],
        ),
    ] {
        let listed = listed(sabotage).0;
        let arguments = if arguments.is_empty() { &listed } else { arguments };
        let (text, report) = report(&format!("{arguments} --sabotage {sabotage}"));
        let arm = if arm.is_empty() { report["cells"][0]["arm"].as_str().unwrap() } else { arm };
        for (question, expected) in changed {
            let (grade, said) = answer(&report, question, arm);
            let is_it = grade == *expected || (*expected == "partly" && grade == "bad");
            assert!(is_it, "{sabotage}: {question}, {arm}: {grade}, {said}\n{text}");
        }
    }
}

#[test]
fn a_full_run_says_beforehand_how_long_it_takes() {
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let mut child = command("--full", directory.path()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut line, mut stderr) = (String::new(), BufReader::new(child.stderr.take().unwrap()));
    stderr.read_line(&mut line).unwrap();
    eventually("it waits for signals", || !processes_of(child.id()).is_empty());
    signal(child.id(), Signal::INT);
    assert_eq!(child.wait().unwrap().code(), Some(3), "interrupted");
    let minutes = line.trim_end().strip_prefix("unstick prove --full takes about ");
    let minutes = minutes.and_then(|rest| rest.strip_suffix(" minutes")).unwrap_or_else(|| panic!("{line}"));
    assert!((1.0..=6.0).contains(&minutes.parse::<f64>().unwrap()), "{line}");
}
