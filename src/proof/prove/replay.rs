//! Judges a run again that was written down with `--json FILE --history`: a pure function of the file, so that a
//! counterexample can be argued about, and a judge that has changed can be compared with the one before.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;

use super::arm::Arm;
use super::cell::CellReport;
use super::event::Event;
use super::lab::slow_predictions;
use super::pace::Pace;
use super::report::Report;
use crate::trial::history::History;

/// What is needed of the file.
#[derive(Deserialize)]
struct Recorded {
    seed: u64,
    users: u32,
    replicas: usize,
    seconds: f64,
    #[serde(default)]
    sampled: usize,
    #[serde(default)]
    pace: Option<Pace>,
    skipped: Vec<String>,
    cells: Vec<Cell>,
    slow_replica: Vec<Cell>,
    #[serde(default)]
    histories: Vec<History>,
}

#[derive(Deserialize)]
struct Cell {
    arm: String,
    event: String,
    round: u32,
    replicas: usize,
    balance: String,
    memory_kib: Vec<(String, u64)>,
}

/// Judges what a file says.
///
/// # Errors
/// The file cannot be read, or has no history.
pub fn judge(path: &Path) -> anyhow::Result<Report> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let recorded: Recorded = serde_json::from_reader(BufReader::new(file))
        .with_context(|| format!("{} is no report of `unstick prove --json`", path.display()))?;
    let Recorded { seed, users, replicas, seconds, sampled, pace, skipped, cells, slow_replica, histories } = recorded;
    let count = cells.len() + slow_replica.len();
    anyhow::ensure!(histories.len() == count, "{} has no history; write it with --history", path.display());
    let mut histories = histories.into_iter();
    let version = env!("CARGO_PKG_VERSION");
    let mut report = Report { version, seed, users, replicas, seconds, pace, skipped, ..Report::default() };
    for (cell, history) in cells.into_iter().zip(histories.by_ref()) {
        let mut cell = cell.judge(history)?;
        cell.predictions = cell.arm.predict(&cell);
        report.cells.push(cell);
    }
    for (cell, history) in slow_replica.into_iter().zip(histories) {
        report.slow_replica.push(cell.judge(history)?);
    }
    report.slow_predictions = slow_predictions(&report.slow_replica, replicas);
    // Studies are not judged again, but they had their part of the level.
    report.judge_shares(sampled);
    report.inconclusive = super::inconclusive(&report);
    Ok(report)
}

impl Cell {
    fn judge(self, history: History) -> anyhow::Result<CellReport> {
        let arm: Arm = self.arm.parse().map_err(anyhow::Error::msg)?;
        let event: Event = self.event.replace('_', "-").parse().map_err(anyhow::Error::msg)?;
        let balance = if self.balance == "round-robin" { "round-robin" } else { "least-connections" };
        let mut report = CellReport::of((arm, event, self.replicas, balance), history);
        (report.round, report.memory_kib) = (self.round, self.memory_kib);
        Ok(report)
    }
}
