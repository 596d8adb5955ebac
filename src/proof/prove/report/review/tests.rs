//! Cells are made up here, so that each answer can be seen to follow from a measurement, and to change with it.

use std::collections::BTreeSet;

use super::*;
use crate::prove::arm::ARMS;
use crate::prove::repeats::KEYED;
use crate::prove::theory::Prediction;
use crate::trial::history::History;
use crate::trial::judge::{Guarantee, Ratio, Tally};
use crate::trial::pairs::judge::PairFindings;

const EVENTS: [Event; 7] = [
    Event::Steady,
    Event::Pairs,
    Event::Crash,
    Event::Rolling,
    Event::ScaleOut,
    Event::TwoProxies,
    Event::StoreRestart,
];

fn arm(name: &str) -> Arm {
    name.parse().unwrap()
}

/// A cell of an arm that keeps nothing in its replicas: `trips` to a store.
fn cell(arm: Arm, event: Event, trips: f64) -> CellReport {
    let mut cell = CellReport::of((arm, event, 3, "round-robin"), History::default());
    (cell.findings.sessions, cell.findings.requests, cell.findings.writes) = (100, 1000, 300);
    (cell.findings.logouts, cell.findings.sent_again) = (100, (40, 27));
    cell.measures.repeats = (40, 0);
    (cell.measures.store_trips, cell.measures.state_bytes) = (trips, 35.0);
    (cell.measures.variation, cell.measures.largest_over_smallest) = ((0.001, 0.03), 1.0);
    (cell.measures.latency_ms, cell.measures.forgotten) = ((12.0, 150.5), (900, 0));
    cell.memory_kib = vec![("r0".into(), 18 * 1024), ("r1".into(), 20 * 1024)];
    if event == Event::ScaleOut {
        (cell.seconds_to_fair_share, cell.newcomers) = (Some(0.1), Some((0.9, 0.9)));
    }
    if event == Event::Pairs {
        cell.findings.requests = 0;
        let crossings = Ratio { trials: 1100, ..Ratio::default() };
        let runs = Ratio { trials: 100, ..Ratio::default() };
        cell.pairs = Some(PairFindings { crossings, runs, ..PairFindings::default() });
    }
    if event == Event::StoreRestart {
        (cell.findings.failed.count, cell.failing_seconds) = (200, 0.8);
    }
    let lost = Prediction::never("sessions lost", 0, 100, None);
    let doubled = Prediction::never("writes doubled", 0, 300, None);
    let logout = Prediction::never("good after logout", 0, 100, None);
    cell.predictions = vec![lost, doubled, logout];
    cell
}

/// A run of an arm with a token, and one with a store.
fn run() -> Report {
    let mut report = Report::default();
    for event in EVENTS {
        if event != Event::StoreRestart {
            report.cells.push(cell(arm("jwt"), event, 0.0));
        }
        report.cells.push(cell(arm("redis"), event, 1.0));
    }
    report
}

fn answer(report: &Report, question: &str, name: &str) -> Answer {
    let review = Review::of(report);
    let row = review.rows().find(|row| row.question == question).unwrap_or_else(|| panic!("{question}"));
    row.answers.iter().find(|answer| answer.arm == arm(name)).unwrap().clone()
}

fn change(report: &mut Report, name: &str, event: Event, edit: impl Fn(&mut CellReport)) {
    let is_it = |cell: &&mut CellReport| cell.arm == arm(name) && cell.event == event;
    edit(report.cells.iter_mut().find(is_it).unwrap());
}

const CONTEXT: &str = "all context in the request?";
const OUTSIDE: &str = "state outside?";
const RETRIES: &str = "retries safe?";
const SCALING: &str = "scaling without stickiness?";
const AUTHENTICATION: &str = "authentication stateless?";

#[test]
fn an_honest_run_answers_every_question() {
    let report = run();
    for (question, of_jwt, of_redis) in [
        ("scale out", Grade::Good, Grade::Good),
        ("crash", Grade::Good, Grade::Good),
        ("deploy", Grade::Good, Grade::Good),
        ("spread", Grade::Good, Grade::Good),
        ("memory per replica", Grade::Figure, Grade::Figure),
        ("bytes per request", Grade::Figure, Grade::Figure),
        ("store trips", Grade::Figure, Grade::Figure),
        ("revocation", Grade::Good, Grade::Good),
        ("single point of failure", Grade::Good, Grade::Bad),
        ("latency", Grade::Figure, Grade::Figure),
        (CONTEXT, Grade::Good, Grade::Partly),
        (OUTSIDE, Grade::Good, Grade::Good),
        (RETRIES, Grade::Good, Grade::Good),
        (SCALING, Grade::Good, Grade::Good),
        (AUTHENTICATION, Grade::Good, Grade::Bad),
    ] {
        let grades = ["jwt", "redis"].map(|name| answer(&report, question, name).grade);
        assert_eq!(grades, [of_jwt, of_redis], "{question}");
    }
    let text = |question, name| answer(&report, question, name).text;
    assert_eq!(text("crash", "jwt"), "0 of 100 lost (below 2.96 %)\npredicted 0\n0 of 1000 failed");
    assert_eq!(text("memory per replica", "jwt"), "19 MiB\n18 to 20");
    assert_eq!([text("store trips", "jwt"), text("store trips", "redis")], ["0", "1"]);
    assert!(text("single point of failure", "redis").starts_with("the store: restarted, 200 of 1000 failed, within"));
    assert_eq!(text("latency", "jwt"), "p50 12 ms\np99 150.5 ms");
}

/// What it is, where, how, and which answers it changes.
type Fault = (&'static str, Event, fn(&mut CellReport), &'static [(&'static str, Grade)]);

/// What is planted in the cells of `jwt` changes these answers, and no other.
#[test]
fn each_answer_changes_with_its_measurement() {
    let cases: [Fault; 13] = [
        (
            "sessions die with a replica",
            Event::Crash,
            |cell| lose(cell, 33),
            &[("crash", Grade::Bad), ("single point of failure", Grade::Bad), (OUTSIDE, Grade::Bad)],
        ),
        (
            "sessions die in a deployment",
            Event::Rolling,
            |cell| lose(cell, 100),
            &[("deploy", Grade::Bad), (OUTSIDE, Grade::Bad)],
        ),
        ("requests fail", Event::Crash, |cell| cell.findings.failed.count = 3, &[("crash", Grade::Partly)]),
        (
            "sessions die when replicas come",
            Event::ScaleOut,
            |cell| lose(cell, 5),
            &[("scale out", Grade::Bad), (SCALING, Grade::Bad)],
        ),
        (
            "new replicas starve",
            Event::ScaleOut,
            |cell| cell.seconds_to_fair_share = None,
            &[("scale out", Grade::Partly), (SCALING, Grade::Partly)],
        ),
        (
            "old users keep to old replicas",
            Event::ScaleOut,
            |cell| cell.newcomers = Some((0.0, 0.1)),
            &[("scale out", Grade::Bad), (SCALING, Grade::Bad)],
        ),
        ("one replica gets more", Event::Steady, |cell| cell.measures.variation.0 = 0.1, &[("spread", Grade::Bad)]),
        (
            "a token is good after the logout",
            Event::Steady,
            |cell| cell.findings.reused.count = 100,
            &[("revocation", Grade::Bad)],
        ),
        ("some are", Event::Steady, |cell| cell.findings.reused.count = 3, &[("revocation", Grade::Partly)]),
        ("a write is done twice", Event::Rolling, |cell| cell.findings.doubled.count = 1, &[(RETRIES, Grade::Bad)]),
        ("a repeat is refused", Event::Crash, |cell| cell.measures.repeats.1 = 1, &[(RETRIES, Grade::Bad)]),
        ("a field is in memory", Event::Steady, break_guarantee, &[(OUTSIDE, Grade::Partly)]),
        (
            "a response depends on the replica",
            Event::Pairs,
            differ,
            &[("placement", Grade::Bad), (CONTEXT, Grade::Bad), (OUTSIDE, Grade::Partly), (AUTHENTICATION, Grade::Bad)],
        ),
    ];
    let honest = Review::of(&run());
    for (planted, event, edit, expected) in cases {
        let mut report = run();
        change(&mut report, "jwt", event, edit);
        let review = Review::of(&report);
        for (row, before) in review.rows().zip(honest.rows()) {
            let grade = expected.iter().find(|(question, _)| *question == row.question).map(|(_, grade)| *grade);
            let (now, then) = (&row.answers[0], &before.answers[0]);
            assert_eq!(now.grade, grade.unwrap_or(then.grade), "{planted}: {}", row.question);
            assert!(grade.is_none() || now.text != then.text, "{planted}: {}", row.question);
            assert_eq!(row.answers[1], before.answers[1], "{planted}: nothing happened to the other arm");
        }
    }
}

fn lose(cell: &mut CellReport, count: u64) {
    cell.findings.lost.count = count;
    cell.predictions[0] = Prediction::never("sessions lost", count, 100, None);
}

fn break_guarantee(cell: &mut CellReport) {
    let tally = Tally { count: 7, examples: Vec::new() };
    cell.findings.violations.insert(Guarantee::ReadYourWrites, tally);
}

fn differ(cell: &mut CellReport) {
    let pairs = cell.pairs.as_mut().unwrap();
    (pairs.runs.hits.count, pairs.crossings.hits.count) = (9, 9);
}

#[test]
fn a_store_that_is_asked_is_the_single_point_of_failure() {
    let spof = |report: &Report, name| answer(report, "single point of failure", name);
    let mut report = run();
    change(&mut report, "redis", Event::StoreRestart, |cell| cell.findings.failed.count = 0);
    assert_eq!(spof(&report, "redis").grade, Grade::Good, "nothing failed without it");
    change(&mut report, "redis", Event::StoreRestart, |cell| lose(cell, 100));
    assert_eq!(spof(&report, "redis").grade, Grade::Bad, "it forgets everything");
    report.cells.retain(|cell| cell.event != Event::StoreRestart);
    let text = spof(&report, "redis").text;
    assert!(text.starts_with("the store: a request makes 1 trip to a store\nstore-restart was not played"), "{text}");
    change(&mut report, "jwt", Event::TwoProxies, |cell| cell.findings.failed.count = 1);
    let answer = spof(&report, "jwt");
    assert!(answer.grade == Grade::Partly && answer.text.contains("of 2 proxies one killed: 1 of 1000"), "{answer:?}");
    change(&mut report, "jwt", Event::TwoProxies, |cell| lose(cell, 3));
    let answer = spof(&report, "jwt");
    assert!(answer.grade == Grade::Bad && answer.text.contains("(3 of 100)"), "{answer:?}");
    let mut cell = cell(arm("redis-replicated"), Event::Failover, 1.0);
    (cell.findings.failed.count, cell.failing_seconds) = (12, 0.3);
    cell.predictions.push(Prediction::never("acknowledged writes lost that the standby had", 0, 90, None));
    cell.predictions.push(Prediction::share("acknowledged writes lost that the standby lacked", 76, 76, 1.0));
    report.cells.push(cell);
    let answer = spof(&report, "redis-replicated");
    assert!(answer.grade == Grade::Partly && answer.text.contains("76 of 76 acknowledged writes lost"), "{answer:?}");
    report.cells.push(self::cell(arm("redis-replicated"), Event::StoreRestart, 1.0));
    let answer = spof(&report, "redis-replicated");
    let tells = ["76 of 76 acknowledged writes lost", "restarted, 200 of 1000 failed"];
    assert!(answer.grade == Grade::Bad && tells.iter().all(|what| answer.text.contains(what)), "{answer:?}");
}

#[test]
fn an_event_is_not_blamed_for_what_is_lost_in_quiet() {
    let mut report = run();
    change(&mut report, "jwt", Event::Steady, |cell| lose(cell, 60));
    let lost = |report: &Report, question| answer(report, question, "jwt").text;
    assert!(!lost(&report, "crash").contains("in quiet"), "the crash lost nothing");
    change(&mut report, "jwt", Event::Crash, |cell| lose(cell, 70));
    for question in ["crash", "single point of failure", OUTSIDE] {
        assert!(lost(&report, question).contains("; in quiet 60.0 %)"), "{}", lost(&report, question));
    }
}

#[test]
fn repeats_that_a_replica_refuses_on_purpose_do_not_count_and_doubled_ones_through_kills_do() {
    let mut report = run();
    let mut errors = cell(arm("jwt"), Event::Errors, 0.0);
    errors.measures.repeats = (40, 7);
    report.cells.push(errors);
    assert_eq!(answer(&report, RETRIES, "jwt").grade, Grade::Good);
    let mut kills = cell(arm("jwt"), Event::Repeats, 0.0);
    kills.predictions.push(Prediction::never(KEYED, 1, 40, None));
    report.cells.push(kills);
    let answer = answer(&report, RETRIES, "jwt");
    assert!(answer.grade == Grade::Bad && answer.text.contains("through kills"), "{answer:?}");
    assert_eq!(answer.evidence[0].event, Event::Repeats);
}

#[test]
fn what_was_not_played_is_said_to_be_not_measured() {
    let report = Report { cells: vec![cell(arm("jwt"), Event::Crash, 0.0)], ..Report::default() };
    for (question, why) in [
        ("scale out", "scale-out was not played"),
        ("spread", "steady was not played"),
        ("revocation", "steady was not played"),
        (CONTEXT, "pairs was not played"),
        (SCALING, "scale-out was not played"),
    ] {
        let answer = answer(&report, question, "jwt");
        assert!(answer.text.ends_with(why) && !answer.text.is_empty(), "{question}: {answer:?}");
        assert_eq!(answer.grade == Grade::NotMeasured, !why.is_empty(), "{question}: {answer:?}");
        assert_eq!(answer.evidence.is_empty(), !why.is_empty(), "{question}");
    }
    let report = Report { cells: vec![cell(arm("jwt"), Event::Steady, 0.0)], ..Report::default() };
    assert_eq!(answer(&report, "single point of failure", "jwt").text, "not measured\ncrash was not played");
    assert_eq!(answer(&report, OUTSIDE, "jwt").text, "not measured\nno replica ended");
    let mut report = run();
    change(&mut report, "jwt", Event::Crash, |cell| {
        cell.predictions[0] = Prediction::never("sessions lost", 0, 19, None);
    });
    assert_eq!(answer(&report, "crash", "jwt").text, "not measured\nfewer than 20 sessions in crash");
}

#[test]
fn rounds_are_added_up() {
    let mut report = run();
    let mut second = cell(arm("jwt"), Event::Crash, 0.0);
    second.round = 1;
    lose(&mut second, 2);
    report.cells.push(second);
    let answer = answer(&report, "crash", "jwt");
    assert!(answer.grade == Grade::Bad && answer.text.starts_with("1.00 % lost (2 of 200)"), "{answer:?}");
    assert_eq!(answer.evidence[0].anchor, "jwt-in-crash-2-sessions-lost", "the round that shows it");
}

#[test]
fn evidence_is_where_the_answer_says() {
    let report = run();
    let mut json = Vec::new();
    report.write_json(&mut json).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let mut page = Vec::new();
    super::super::html::write(&report, &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each id once");
    let mut links = 0;
    for target in page.split("href=\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        links += 1;
        assert!(ids.contains(&target), "{target}");
    }
    assert!(links > 30, "{links}");
    for answer in Review::of(&report).rows().flat_map(|row| row.answers.clone()) {
        assert_eq!(answer.evidence.is_empty(), answer.grade == Grade::NotMeasured, "{answer:?}");
        for Evidence { path, prediction, .. } in &answer.evidence {
            let found = json.pointer(path).unwrap_or_else(|| panic!("{path}"));
            assert!(prediction.as_ref().is_none_or(|what| found["what"] == **what), "{path}: {found}");
        }
    }
    assert_eq!(json["review"]["questions"].as_array().unwrap().len(), 10);
    assert_eq!(json["review"]["checklist"][0]["answers"][0]["grade"], "good");
}

#[test]
fn tables_fit_a_terminal_whatever_is_played() {
    let all = |event| ARMS.iter().map(move |arm| cell(*arm, event, 1.0));
    let report = Report { cells: EVENTS.into_iter().flat_map(all).collect(), ..Report::default() };
    for width in [80, 100, 132, 200] {
        let text = text::render(&Review::of(&report), width);
        let widest =
            text.lines().filter(|line| width >= 100 || !line.starts_with("In ")).map(|line| line.chars().count());
        assert!(widest.max() <= Some(usize::from(width)), "{width}: {text}");
        // A long name takes two lines in a narrow column.
        assert!(ARMS.iter().all(|arm| width < 132 || text.contains(arm.name())), "{width}: {text}");
        assert!(text.contains("[crash]") && text.contains("[store-restart"), "{text}");
    }
    assert_eq!(text::render(&Review::of(&Report::default()), 100), "");
}
