//! What is told about an import: what became what, and each line that has no faithful translation.

use serde::Serialize;

use super::imported::{Imported, LeftOut};
use super::write::one_line;

/// What a machine reads.
#[derive(Serialize)]
struct Report<'a> {
    listeners: usize,
    routes: usize,
    pools: usize,
    left_out: &'a [LeftOut],
}

/// For people.
pub fn text(imported: &Imported) -> String {
    let mut out = String::new();
    for LeftOut { place, directive, why, what_to_do, .. } in &imported.left_out {
        let [directive, why, what_to_do] = [directive, why, what_to_do].map(|text| one_line(text));
        out.push_str(&format!("{place}: {directive}\n    {why}\n    {what_to_do}\n"));
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let made = [
        count(imported.listeners.len(), "listener"),
        count(imported.routes.len(), "route"),
        count(imported.pools.len(), "pool"),
    ];
    let left = match imported.left_out.len() {
        0 => "everything was translated".to_owned(),
        n => format!("{} no faithful translation, see above", count(n, "line") + if n == 1 { " has" } else { " have" }),
    };
    out.push_str(&format!("{}; {left}\n", made.join(", ")));
    out
}

/// For machines: one object of JSON, with a line end.
pub fn json(imported: &Imported) -> String {
    let report = Report {
        listeners: imported.listeners.len(),
        routes: imported.routes.len(),
        pools: imported.pools.len(),
        left_out: &imported.left_out,
    };
    serde_json::to_string_pretty(&report).unwrap_or_default() + "\n"
}
