//! What was found in journeys that were played in several placements, for people.

use super::{Report, facts};
use crate::prove::cell::CellReport;
use crate::prove::theory::{percent, percent_up, upper_bound};

/// The cell of the table: crossings that differ, and how much of what can be crossed was crossed.
pub(super) fn row(cell: &CellReport) -> String {
    let Some(pairs) = &cell.pairs else { return "-".to_owned() };
    let (trials, hits) = (pairs.crossings.trials, pairs.crossings.hits.count);
    let differ = if hits > 0 {
        let (runs, differing) = (pairs.runs.trials, pairs.runs.hits.count);
        format!("{differing} of {runs} runs differ")
    } else {
        format!("0 of {trials} crossings differ (below {})", percent_up(upper_bound(trials)))
    };
    let (seen, possible) = pairs.transitions;
    let share = percent(seen as f64 / possible.max(1) as f64);
    format!("{differ}\n{} journeys, {seen} of {possible} transitions ({share})", pairs.journeys)
}

/// What a journey looks like that depends on the replica, where it must.
pub(super) fn example(report: &Report) -> Vec<String> {
    let of_apparatus = |cell: &&CellReport| cell.predictions.iter().all(|one| one.what != BROKEN_CLAIM);
    let mut cells = report.cells.iter().filter(of_apparatus);
    let found = cells.find_map(|cell| Some((cell, cell.pairs.as_ref()?.runs.hits.example()?)));
    let Some((cell, example)) = found else { return Vec::new() };
    let head = format!("A journey that depends on the replica, as it must in the {} arm:", cell.arm);
    std::iter::once(head).chain(example.iter().map(|fact| format!("    {}", facts::line(fact)))).collect()
}

/// Where this is predicted, an example is shown with the prediction.
const BROKEN_CLAIM: &str = "responses that depend on the replica";
