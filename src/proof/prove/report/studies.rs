//! What studies found, as text and for the page: one table for each, a column for each place.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::Report;
use super::html::{escape, lines};
use crate::prove::study::{PlaceReport, StudyReport};

/// All of them for a terminal of so many columns.
pub(super) fn text(report: &Report, width: u16) -> String {
    let studies = report.studies.iter().filter(|study| !study.columns.is_empty());
    studies.map(|study| format!("\n{}: {}\n{}\n", study.study, study.question, table(study, width))).collect()
}

fn table(study: &StudyReport, width: u16) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table.set_header(study.columns.iter().map(heading));
    table.add_row(study.columns.iter().map(|one| Cell::new(&one.shown).set_alignment(CellAlignment::Left)));
    table
}

fn heading(column: &PlaceReport) -> String {
    let control = if column.is_control { " (must fail)" } else { "" };
    format!("{}{control}", column.place)
}

/// All of them for the page. Each cell names its place too: on a narrow page the cells are below each other.
pub(super) fn html(report: &Report) -> String {
    let mut text = String::new();
    for study in report.studies.iter().filter(|study| !study.columns.is_empty()) {
        _ = write!(text, "<h2 id=\"study-{0}\">{0}</h2>\n<p>{1}\n", study.study, escape(study.question));
        text.push_str("<table class=\"results\">\n<thead><tr>");
        for column in &study.columns {
            _ = write!(text, "<th scope=\"col\">{}", escape(&heading(column)));
        }
        text.push_str("</thead>\n<tbody>\n<tr>");
        for column in &study.columns {
            _ = write!(text, "<td data-label=\"{}\">{}", escape(&heading(column)), lines(&column.shown));
        }
        text.push_str("\n</tbody>\n</table>\n");
    }
    text
}
