//! The report as one page with charts: nothing is fetched when it is looked at. Charts are drawn by uPlot, which is
//! part of the page.

use std::io;

use super::{Report, table};
use unstick_uplot::{SCRIPT, STYLE};

const TEMPLATE: &str = include_str!("report.html");

/// Writes the page.
///
/// # Errors
/// It cannot be written.
pub fn write(report: &Report, mut file: impl io::Write) -> io::Result<()> {
    // Inside a script element only `</` could end the element.
    let data = serde_json::to_string(report).map_err(io::Error::from)?.replace("</", "<\\/");
    let text = escape(&table::render(report, None, str::to_owned));
    for (place, part) in TEMPLATE.split("{{").enumerate() {
        let (name, rest) = if place == 0 { ("", part) } else { part.split_once("}}").unwrap_or(("", part)) };
        let value = match name {
            "style" => STYLE,
            "script" => SCRIPT,
            "data" => &data,
            "text" => &text,
            _ => "",
        };
        file.write_all(value.as_bytes())?;
        file.write_all(rest.as_bytes())?;
    }
    file.flush()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
