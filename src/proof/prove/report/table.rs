//! The report for people, as text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::{NOT_SHOWN, Report, facts, pairs, studies};
use crate::prove::arm::{Arm, Role};
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::options;
use crate::prove::pace::Pace;
use crate::prove::repeats;
use crate::prove::theory::{Prediction, percent};

/// Columns, if the width of the terminal is not known.
const WIDTH: u16 = 132;

/// Arms in one table at most; more come in tables of their own.
const ARMS_BESIDE: usize = 5;

/// Renders the whole report.
pub fn render(report: &Report, width: Option<u16>, bold: impl Fn(&str) -> String) -> String {
    let mut text = String::new();
    for line in report.verdict() {
        let _ = writeln!(text, "{}", bold(&line));
    }
    let (width, arms) = (width.unwrap_or(WIDTH), report.arms().collect::<Vec<Arm>>());
    for arms in arms.chunks(ARMS_BESIDE) {
        let _ = writeln!(text, "\n{}", table(report, arms, width));
    }
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
         arm who pause {asked_seconds} s would send {offered:.0}. So they paused {pause_seconds:.1} s, and everything \
         was judged at that rate. Users who pause {asked_seconds} s: at most {users_max} here.\n"
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

/// How a cell is shown in a row.
type Show = fn(&CellReport) -> String;

/// What people ask of a fleet: a name in two lines, and what was found in each arm, a few lines each.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) cells: Vec<String>,
}

/// The rows whose event was played, with one cell for each of `arms`: prediction beside measurement.
pub(super) fn rows(report: &Report, arms: &[Arm]) -> Vec<Row> {
    let rows: [(&str, Event, Show); 13] = [
        ("the same journey\nplaced in two ways", Event::Pairs, pairs::row),
        ("horizontal scaling\n2 to 20 replicas", Event::ScaleOut, scaling),
        ("failure recovery\none replica killed", Event::Crash, losses),
        ("failure recovery\nall but one killed", Event::CrashAllButOne, losses),
        ("load balancing\nbusiest over idlest", Event::Steady, balance),
        ("retries\nthrough five kills", Event::Repeats, |cell| repeats::shown(&cell.history)),
        ("deployment\nevery replica replaced", Event::Rolling, losses),
        ("deployment\none replica drained", Event::Drain, losses),
        ("the store restarted", Event::StoreRestart, store),
        ("the store failed over\nto one that copies it", Event::Failover, failover),
        ("no room left\nwhere sessions are", Event::Full, full),
        ("another key\nfor tokens", Event::KeyRotation, losses),
        ("cost", Event::Steady, cost),
    ];
    let is_played = |event| report.cells.iter().any(|cell| cell.event == event);
    let played = rows.into_iter().filter(|(_, event, _)| is_played(*event));
    let cell = |arm: &Arm, event, show: Show| report.cell(*arm, event).map_or("-".to_owned(), show);
    let row = |(name, event, show)| Row { name, cells: arms.iter().map(|arm| cell(arm, event, show)).collect() };
    played.map(row).collect()
}

fn table(report: &Report, arms: &[Arm], width: u16) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(std::iter::once(String::new()).chain(arms.iter().map(|arm| arm.name().to_owned())));
    for Row { name, cells } in rows(report, arms) {
        let texts = std::iter::once(name.to_owned()).chain(cells);
        table.add_row(texts.map(|text| Cell::new(text).set_alignment(CellAlignment::Left)));
    }
    table
}

/// Sessions lost beside what was predicted, and what else went wrong.
fn losses(cell: &CellReport) -> String {
    let mut text = match cell.predictions.iter().find(|prediction| prediction.what.starts_with("sessions lost")) {
        Some(prediction) => format!("{} lost\npredicted {}", prediction.measured, prediction.expected),
        None => format!("{} of {} lost", cell.findings.lost.count, cell.findings.sessions),
    };
    let _ = write!(text, "\n{} of {} failed", cell.findings.failed.count, cell.findings.requests);
    if cell.findings.excused.count > 0 {
        let _ = write!(text, "\n{} without a key died with it", cell.findings.excused.count);
    }
    text
}

fn scaling(cell: &CellReport) -> String {
    let fair = match (cell.arm.role(), cell.seconds_to_fair_share) {
        (Role::Sticky, _) => cell.newcomers.map_or(String::new(), |(old, all)| {
            format!("new ones get {} of old users' requests, {} of all (fair: 90 %)", percent(old), percent(all))
        }),
        (_, Some(seconds)) => format!("fair share after {seconds:.1} s"),
        (_, None) => "no fair share".to_owned(),
    };
    format!("{}\n{fair}", losses(cell))
}

fn balance(cell: &CellReport) -> String {
    let (measured, random) = cell.measures.variation;
    format!("{:.3}\nvariation {} (by lot: {})", cell.measures.largest_over_smallest, percent(measured), percent(random))
}

fn store(cell: &CellReport) -> String {
    format!(
        "{}\nwithin {:.1} s, longest wait {:.1} s: the store is the single point of failure",
        losses(cell),
        cell.failing_seconds,
        cell.longest_seconds
    )
}

fn failover(cell: &CellReport) -> String {
    format!("{}\n{}", told(cell, |what| what.starts_with("acknowledged writes lost")), store(cell))
}

fn full(cell: &CellReport) -> String {
    format!("{}\n{}", told(cell, |what| cell.history.count(what).is_some()), losses(cell))
}

/// Some predictions by their names, beside what was measured.
fn told(cell: &CellReport, is_one: impl Fn(&str) -> bool) -> String {
    let chosen = cell.predictions.iter().filter(|prediction| is_one(&prediction.what));
    let line =
        |Prediction { what, measured, expected, .. }: &Prediction| format!("{what}: {measured}\npredicted {expected}");
    chosen.map(line).collect::<Vec<_>>().join("\n")
}

fn cost(cell: &CellReport) -> String {
    let measures = &cell.measures;
    let memory: Vec<u64> = cell.memory_kib.iter().map(|(_, kib)| *kib).collect();
    let mib = memory.iter().sum::<u64>() as f64 / memory.len().max(1) as f64 / 1024.0;
    format!(
        "{:.0} B of state a request\n{:.1} store trips a request\np50 {:.1} ms, p99 {:.1} ms\n{mib:.1} MiB a replica\n\
         {} of {} sessions still good after logout\n{} of {} pairs of writes at once lost one",
        measures.state_bytes,
        measures.store_trips,
        measures.latency_ms.0,
        measures.latency_ms.1,
        if cell.arm.role() == Role::Stateful { "-".to_owned() } else { cell.findings.reused.count.to_string() },
        cell.findings.logouts,
        cell.findings.pairs.hits.count,
        cell.findings.pairs.trials,
    )
}

fn slow_replica(report: &Report) -> Vec<String> {
    let [round_robin, least] = &report.slow_replica[..] else { return Vec::new() };
    let line = |cell: &CellReport| {
        let all: u64 = cell.measures.spread.values().sum();
        let slow = cell.measures.spread.get("r0").copied().unwrap_or_default() as f64 / all.max(1) as f64;
        let (p50, p99) = cell.measures.latency_ms;
        format!("{} gives it {} of the requests, p50 {p50:.1} ms, p99 {p99:.1} ms", cell.balance, percent(slow))
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
