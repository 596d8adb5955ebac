//! What users lost in an event.

use super::{Evidence, Grade, Played, Source, sum, worst};
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::report::bound;
use crate::prove::theory::{Prediction, TRIALS_MIN, percent};

/// What users lost in cells.
pub(super) struct Losses {
    /// Sessions lost, of so many.
    lost: (u64, u64),
    /// The share that is lost although nothing happens, if that is any.
    in_quiet: Option<f64>,
    /// What theory says of that.
    predicted: Option<String>,
    /// Requests failed, of so many.
    failed: (u64, u64),
    /// Writes without a key that died with their replica.
    excused: u64,
    pub(super) evidence: Vec<Evidence>,
}

/// The prediction begins with this, whatever it counts.
const LOST: &str = "sessions lost";

impl Losses {
    /// `None` if nothing was played, or nothing can be said for lack of sessions.
    pub(super) fn of(played: &Played<'_>, cells: &[Source<'_>]) -> Option<Self> {
        let predicted = cells.iter().rev().find_map(|source| prediction(source.cell)).map(|one| one.expected.clone());
        let (lost, quiet) = (lost(cells), lost(&played.cells(Event::Steady)));
        let mut shown: Vec<Source<'_>> = Vec::new();
        for source in cells {
            let of_event = cells.iter().copied().filter(|one| one.cell.event == source.cell.event);
            let found = |cell: &CellReport| cell.findings.lost.count + cell.findings.failed.count;
            shown.extend(worst(&of_event.collect::<Vec<_>>(), found).filter(|one| one.place == source.place));
        }
        let failed = (sum(cells, |findings| findings.failed.count), sum(cells, |findings| findings.requests));
        let has_failed = |source: &&Source<'_>| source.cell.findings.failed.count > 0;
        let of_failed = shown.iter().filter(has_failed).map(|one| one.told("requests failed", "findings/failed/count"));
        Some(Self {
            lost,
            in_quiet: (quiet.0 > 0).then(|| quiet.0 as f64 / quiet.1 as f64),
            predicted,
            failed,
            excused: sum(cells, |findings| findings.excused.count),
            evidence: shown.iter().map(|one| one.told(LOST, "findings/lost/count")).chain(of_failed).collect(),
        })
        .filter(|losses| losses.lost.0 > 0 || losses.lost.1 >= TRIALS_MIN)
    }

    pub(super) fn has_lost(&self) -> bool {
        self.lost.0 > 0
    }

    pub(super) fn grade(&self) -> Grade {
        match (self.lost.0, self.failed.0) {
            (0, 0) => Grade::Good,
            (0, _) => Grade::Partly,
            _ => Grade::Bad,
        }
    }

    /// Sessions lost, in one line.
    pub(super) fn lost(&self) -> String {
        let (lost, sessions) = self.lost;
        let in_quiet = self.in_quiet.map(|share| format!("; in quiet {}", percent(share))).unwrap_or_default();
        match lost {
            0 => format!("0 of {sessions} lost{}", bound(0, sessions)),
            _ => format!("{} lost ({lost} of {sessions}{in_quiet})", percent(lost as f64 / sessions as f64)),
        }
    }

    /// Requests failed, in one line.
    pub(super) fn failed(&self) -> String {
        format!("{} of {} failed", self.failed.0, self.failed.1)
    }

    /// All of it, with what was predicted.
    pub(super) fn text(&self) -> String {
        let predicted = self.predicted.as_ref().map(|text| format!("predicted {text}"));
        let excused = (self.excused > 0).then(|| format!("{} without a key died with it", self.excused));
        let lines = [Some(self.lost()), predicted, Some(self.failed()), excused];
        lines.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }
}

fn prediction(cell: &CellReport) -> Option<&Prediction> {
    cell.predictions.iter().find(|one| one.what.starts_with(LOST))
}

/// Sessions lost, of so many.
fn lost(cells: &[Source<'_>]) -> (u64, u64) {
    let of = |cell: &CellReport| match prediction(cell) {
        Some(one) => (one.hits, one.trials),
        None => (cell.findings.lost.count, cell.findings.sessions),
    };
    let each = cells.iter().map(|source| of(source.cell));
    each.fold((0, 0), |(lost, all), (more, of)| (lost + more, all + of))
}
