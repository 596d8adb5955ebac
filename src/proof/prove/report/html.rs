//! The report as one page with a table and charts: nothing is fetched when it is looked at. Charts are drawn by uPlot,
//! which is part of the page.

use std::io;

use super::{Conclusion, NOT_SHOWN, Report, evidence, review, studies, table};
use unstick_uplot::{SCRIPT, STYLE};

const TEMPLATE: &str = include_str!("report.html");
const OWN_STYLE: &str = include_str!("report.css");

/// Writes the page.
///
/// # Errors
/// It cannot be written.
pub fn write(report: &Report, mut file: impl io::Write) -> io::Result<()> {
    // Inside a script element only `</` could end the element.
    let data = serde_json::to_string(report).map_err(io::Error::from)?.replace("</", "<\\/");
    for (place, part) in TEMPLATE.split("{{").enumerate() {
        let (name, rest) = if place == 0 { ("", part) } else { part.split_once("}}").unwrap_or(("", part)) };
        let value = match name {
            "charts-style" => STYLE,
            "style" => OWN_STYLE,
            "charts" => SCRIPT,
            "data" => &data,
            "verdict" => &verdict(report),
            "review" => &review::html::render(&report.review()),
            "figures" => &evidence::cells(report),
            "predictions" => &evidence::predictions(report),
            "studies" => &studies::html(report),
            "notes" => &notes(report),
            "not-shown" => &NOT_SHOWN.map(|one| format!("<li>{}", escape(one))).join("\n"),
            _ => "",
        };
        file.write_all(value.as_bytes())?;
        file.write_all(rest.as_bytes())?;
    }
    file.flush()
}

fn verdict(report: &Report) -> String {
    let (kind, word) = match report.conclusion() {
        Conclusion::Held => ("good", "Held"),
        Conclusion::Broken => ("bad", "Broken"),
        Conclusion::Inconclusive => ("unsure", "Inconclusive"),
    };
    let lines = report.verdict().map(|line| format!("<p>{}", escape(&line))).join("\n");
    format!("<section class=\"verdict {kind}\"><p class=\"word\">{word}\n{lines}\n</section>")
}

/// A text whose first line counts most.
pub(super) fn lines(text: &str) -> String {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    let rest = rest.lines().map(|line| format!("<br>{}", escape(line))).collect::<String>();
    format!("<div><b>{}</b>{rest}</div>", escape(first))
}

fn notes(report: &Report) -> String {
    let line = |line: &str| {
        let kind = match line {
            line if line.starts_with("    ") => "fact",
            line if line.starts_with("BROKEN") => "bad",
            _ => "note",
        };
        format!("<p class=\"{kind}\">{}\n", escape(line.trim()))
    };
    table::notes(report).lines().filter(|text| !text.is_empty()).map(line).collect()
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
