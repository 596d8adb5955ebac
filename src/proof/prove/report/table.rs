//! The report for people, as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{NOT_SHOWN, Report, facts, pairs, review, studies};
use crate::prove::cell::CellReport;
use crate::prove::options;
use crate::prove::pace::Pace;
use crate::prove::theory::{Prediction, percent, short};

/// Columns, if the width of the terminal is not known.
const WIDTH: u16 = 100;

/// Renders the whole report.
pub fn render(report: &Report, width: Option<u16>, bold: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for line in report.verdict() {
        let _ = writeln!(text, "{}", bold(&line));
    }
    let width = width.unwrap_or(WIDTH);
    text.push_str(&review::text::render(&report.review(), width));
    text.push_str(&studies::text(report, width));
    text.push('\n');
    text.push_str(&notes(report));
    let _ = writeln!(
        text,
        "\nMore: --html FILE draws it, --json FILE has every figure (--history: every step), --keep leaves logs and \
         files."
    );
    let _ = writeln!(text, "Not shown by this: {}.", NOT_SHOWN.join("; "));
    text
}

/// What there is to say besides the table. A line that belongs to the one above it is indented.
pub(super) fn notes(report: &Report) -> String {
    let mut text = String::new();
    for line in slow_replica(report).into_iter().chain(pairs::example(report)) {
        let _ = writeln!(text, "{line}");
    }
    text.push_str(&report.pace.as_ref().map(|pace| pace_of(pace, report.users)).unwrap_or_default());
    for skipped in &report.skipped {
        let _ = writeln!(text, "Left out: {skipped}");
    }
    for left_out in report.studies.iter().flat_map(|study| &study.left_out) {
        let _ = writeln!(text, "Left out: {left_out}");
    }
    if let Some(kept) = &report.kept {
        let _ = writeln!(text, "Kept: logs, config files and stores in {}", kept.display());
    }
    for (place, prediction) in report.broken() {
        text.push_str(&broken(&place, prediction));
    }
    text.push_str(&not_tested(report));
    text
}

/// Why users paused longer than they were told to.
fn pace_of(pace: &Pace, users: u32) -> String {
    let Pace { carried, offered, asked_seconds, pause_seconds, users_max } = pace;
    format!(
        "Paced: this machine carries about {carried:.0} requests per second of this experiment; {users} users in each \
         arm who pause {asked_seconds} s would send {offered:.0}. So they paused {} s, and everything was \
         judged at that rate. Users who pause {asked_seconds} s: at most {users_max} here.\n",
        short(*pause_seconds, 1)
    )
}

/// What this run left open: predictions that had no chance to be broken, by name, and events that were not played.
fn not_tested(report: &Report) -> String {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (place, prediction) in report.untested() {
        places.entry(&prediction.what).or_default().push(format!("{place} ({} trials)", prediction.trials));
    }
    let mut text = String::new();
    for (what, places) in places {
        let _ = writeln!(text, "Not tested: {what}: {}", places.join("; "));
    }
    let waits = || report.cells.iter().map(|cell| &cell.measures.waits);
    let held_up: u64 = waits().map(|waits| waits.held_up).sum();
    if held_up > 0 {
        let longest = waits().map(|waits| waits.machine.2).fold(0.0, f64::max);
        let _ = writeln!(
            text,
            "Left out of what is said of time: {held_up} responses, because the machine stood still (an idle replica \
             took up to {longest:.0} ms)"
        );
    }
    if !report.not_studied.is_empty() {
        let _ = writeln!(text, "Not studied (see --studies): {}", report.not_studied.join(", "));
    }
    if !report.not_played.is_empty() {
        let _ = writeln!(text, "Not played (see --full): {}", options::names(&report.not_played));
    }
    text
}

fn slow_replica(report: &Report) -> Vec<String> {
    let [round_robin, least] = &report.slow_replica[..] else { return Vec::new() };
    let line = |cell: &CellReport| {
        let all: u64 = cell.measures.spread.values().sum();
        let slow = cell.measures.spread.get("r0").copied().unwrap_or_default() as f64 / all.max(1) as f64;
        let (p50, p99) = cell.measures.latency_ms;
        let (p50, p99) = (short(p50, 1), short(p99, 1));
        format!("{} gives it {} of the requests, p50 {p50} ms, p99 {p99} ms", cell.balance, percent(slow))
    };
    vec![format!("One of {} replicas three times slower: {}; {}.", report.replicas, line(round_robin), line(least))]
}

fn broken(place: &str, prediction: &Prediction) -> String {
    let Prediction { what, expected, measured, counterexample, .. } = prediction;
    let mut text = format!("\nBROKEN  {place}: {what}: expected {expected}, measured {measured}\n");
    for fact in counterexample {
        let _ = writeln!(text, "    {}", facts::line(fact));
    }
    text
}
