//! Where the page keeps what answers are made of: a row with an id for each cell and for each prediction.

use std::fmt::Write as _;

use super::html::escape;
use super::{Report, facts};
use crate::prove::cell::CellReport;
use crate::prove::study::{PlaceReport, StudyReport};
use crate::prove::theory::{Prediction, Verdict, percent, short};

/// A text as part of an id.
pub(super) fn slug(text: &str) -> String {
    let is_kept = |letter: char| letter.is_ascii_alphanumeric();
    let mut slug = String::new();
    for letter in text.chars() {
        match letter {
            letter if is_kept(letter) => slug.push(letter.to_ascii_lowercase()),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// The id of the row with the figures of a cell.
pub(super) fn of_cell(cell: &CellReport) -> String {
    let round = if cell.round > 0 { format!("-{}", cell.round + 1) } else { String::new() };
    format!("{}-in-{}{round}", slug(cell.arm.name()), cell.event.name())
}

/// The id of the row with a prediction of a cell.
pub(super) fn of_prediction(cell: &CellReport, what: &str) -> String {
    format!("{}-{}", of_cell(cell), slug(what))
}

/// A row of the table of predictions.
struct Row<'a> {
    id: String,
    arm: &'a str,
    event: &'a str,
    prediction: &'a Prediction,
}

/// All predictions, those that are broken first.
fn rows(report: &Report) -> Vec<Row<'_>> {
    let mut rows: Vec<Row<'_>> = Vec::new();
    for cell in &report.cells {
        let (arm, event) = (cell.arm.name(), cell.event.name());
        let id = |one: &Prediction| of_prediction(cell, &one.what);
        rows.extend(cell.predictions.iter().map(|one| Row { id: id(one), arm, event, prediction: one }));
    }
    for StudyReport { study, columns, .. } in &report.studies {
        for PlaceReport { place, predictions, .. } in columns {
            let id = |one: &Prediction| format!("{}-in-{study}-{}", slug(place), slug(&one.what));
            rows.extend(predictions.iter().map(|one| Row { id: id(one), arm: place, event: study, prediction: one }));
        }
    }
    let id = |one: &Prediction| format!("slow-replica-{}", slug(&one.what));
    let of_slow = report.slow_predictions.iter();
    rows.extend(of_slow.map(|one| Row { id: id(one), arm: "jwt", event: "slow replica", prediction: one }));
    rows.sort_by_key(|row| row.prediction.verdict != Verdict::Broken);
    rows
}

/// The table of predictions.
pub(super) fn predictions(report: &Report) -> String {
    let rows = rows(report);
    let count = |verdict| rows.iter().filter(|row| row.prediction.verdict == verdict).count();
    let broken = count(Verdict::Broken);
    let mut text = format!(
        "<details id=\"all\"{}><summary>{} predictions, {} held, {broken} broken</summary>\n<table>\n<thead><tr>",
        if broken > 0 { " open" } else { "" },
        rows.len(),
        count(Verdict::Held)
    );
    const COLUMNS: [&str; 6] = ["arm", "event", "what", "predicted", "measured", "verdict"];
    COLUMNS.iter().for_each(|name| _ = write!(text, "<th scope=\"col\">{name}"));
    text.push_str("</thead>\n<tbody>\n");
    for Row { id, arm, event, prediction } in &rows {
        let Prediction { what, expected, measured, verdict, counterexample, .. } = prediction;
        let (kind, verdict) = match verdict {
            Verdict::Held => ("good", "held"),
            Verdict::Broken => ("bad", "broken"),
            Verdict::TooFew => ("soft", "too few"),
            Verdict::Untested => ("soft", "untested"),
        };
        _ = write!(text, "<tr id=\"{id}\">");
        for (name, cell) in COLUMNS.iter().zip([arm, event, &**what, expected, measured]) {
            _ = write!(text, "<td data-label=\"{name}\"><div>{}</div>", escape(cell));
        }
        let facts = counterexample.iter().map(|fact| format!("<br>{}", escape(&facts::line(fact)))).collect::<String>();
        _ = writeln!(text, "<td data-label=\"verdict\" class=\"{kind}\"><div>{verdict}{facts}</div>");
    }
    text + "</tbody>\n</table></details>"
}

/// What a cell measured, a name and a text for each.
fn figures(cell: &CellReport) -> [(&'static str, String); 11] {
    let (findings, measures) = (&cell.findings, &cell.measures);
    let memory = cell.memory_kib.iter().map(|(_, kib)| *kib);
    let mib = memory.clone().sum::<u64>() as f64 / memory.count().max(1) as f64 / 1024.0;
    let of = |count: u64, all: u64| format!("{count} of {all}");
    [
        ("sessions lost", of(findings.lost.count, findings.sessions)),
        ("requests failed", of(findings.failed.count, findings.requests)),
        ("failing", format!("{} s", short(cell.failing_seconds, 1))),
        ("repeats refused", of(measures.repeats.1, measures.repeats.0)),
        ("doubled", (findings.doubled.count + findings.bare.hits.count).to_string()),
        ("good after logout", of(findings.reused.count, findings.logouts)),
        ("variation", percent(measures.variation.0)),
        ("p50, p99", format!("{} ms, {} ms", short(measures.latency_ms.0, 1), short(measures.latency_ms.1, 1))),
        ("memory", format!("{} MiB", short(mib, 1))),
        ("bytes", format!("{:.0} B", measures.state_bytes)),
        ("store trips", short(measures.store_trips, 2)),
    ]
}

/// The table of figures, a row for each cell.
pub(super) fn cells(report: &Report) -> String {
    let Some(first) = report.cells.first() else { return String::new() };
    let mut text = format!(
        "<details id=\"figures\"><summary>Figures of {} arms in events</summary>\n<div class=\"wide\" \
         tabindex=\"0\"><table>\n<thead><tr><th scope=\"col\">arm<th scope=\"col\">event",
        report.cells.len()
    );
    figures(first).iter().for_each(|(name, _)| _ = write!(text, "<th scope=\"col\">{name}"));
    text.push_str("</thead>\n<tbody>\n");
    for cell in &report.cells {
        let (id, arm, event) = (of_cell(cell), cell.arm, cell.event.name());
        _ = write!(text, "<tr id=\"{id}\"><th scope=\"row\"><b>{arm}</b><td data-label=\"event\"><div>{event}</div>");
        for (name, figure) in figures(cell) {
            _ = write!(text, "<td data-label=\"{name}\"><div>{figure}</div>");
        }
        text.push('\n');
    }
    text + "</tbody>\n</table></div></details>"
}
