//! The journey as a graph: steps below each other, arcs from what is needed to what depends on it.

use std::fmt::Write as _;

use super::super::words::{class, dependences, headline, step_name};
use super::super::{Report, Verdict};
use super::escaped;

/// The height of a step, in pixels; `.journey li` has the same.
const ROW: usize = 36;

/// The width of the drawing.
const WIDTH: usize = 92;

/// Where the nodes stand.
const NODE_X: usize = 74;

/// How far the longest arc goes to the left.
const BULGE_MAX: usize = 66;

/// How far an arc goes to the left for each step that it spans.
const BULGE: usize = 12;

/// The radius of a node.
const RADIUS: usize = 8;

/// The journey as a drawing beside a list.
pub(super) fn render(report: &Report) -> String {
    if report.steps.is_empty() {
        return "<p>The journey has no steps.</p>".to_owned();
    }
    let height = report.steps.len() * ROW;
    let mut drawing = arcs(report);
    let mut list = String::new();
    for (place, step) in report.steps.iter().enumerate() {
        let (tone, title, link) = state(report, place);
        let title = escaped(&format!("{}. {}: {title}", place + 1, step.name));
        let y = middle(place);
        let _ = writeln!(
            drawing,
            "<circle class=\"node {tone}\" cx=\"{NODE_X}\" cy=\"{y}\" r=\"{RADIUS}\"><title>{title}</title></circle>"
        );
        let who = if is_one_actor(report) { String::new() } else { format!(" <i>{}</i>", escaped(&step.actor)) };
        let (name, action) = (escaped(&step.name), escaped(&step.action));
        let _ = writeln!(
            list,
            "<li title=\"{title}\"><span class=\"number\">{}</span><bdi>{name}</bdi>{who}<code>{action}</code>\
             {link}</li>",
            place + 1
        );
    }
    format!(
        "<div class=\"card scroll\" tabindex=\"0\"><div class=\"journey\">\n<svg role=\"img\" width=\"{WIDTH}\" \
         height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\"><title>Steps in their order; arcs lead to what \
         depends</title>\n{drawing}</svg>\n<ol>\n{list}</ol>\n</div></div>"
    )
}

/// How far down the middle of a step is.
fn middle(step: usize) -> usize {
    step * ROW + ROW / 2
}

/// The line on which the steps stand, and the arcs.
fn arcs(report: &Report) -> String {
    let (first, last) = (middle(0), middle(report.steps.len() - 1));
    let mut drawing = format!("<path class=\"rail\" d=\"M{NODE_X} {first}V{last}\"/>\n");
    for found in dependences(report) {
        let title = escaped(&format!("{}: {}", headline(report, found), class(found.cause).title));
        let Some(needs) = found.needs else { continue };
        let tone = tone(found.witness.is_steady);
        let bulge = (2 * RADIUS + BULGE * needs.abs_diff(found.step)).min(BULGE_MAX);
        // A curve goes three quarters of the way to its control points.
        let (from, to, x) = (middle(needs), middle(found.step), NODE_X as f64 - bulge as f64 * 4.0 / 3.0);
        let (start, end) = (NODE_X - RADIUS, NODE_X - RADIUS - 5);
        let _ = writeln!(
            drawing,
            "<g class=\"{tone}\"><title>{title}</title><path class=\"arc\" d=\"M{start} {from}C{x:.0} {from} \
             {x:.0} {to} {end} {to}\"/><path class=\"head\" d=\"M{start} {to}l-8 -5v10z\"/></g>"
        );
    }
    drawing
}

fn is_one_actor(report: &Report) -> bool {
    report.steps.iter().all(|step| step.actor == report.steps[0].actor)
}

fn tone(is_steady: bool) -> &'static str {
    if is_steady { "bad" } else { "unsure" }
}

/// How a step is coloured, what is said of it, and a link to its finding.
fn state(report: &Report, step: usize) -> (&'static str, String, String) {
    let all = dependences(report);
    if let Some(number) = all.iter().position(|found| found.step == step) {
        let found = &all[number];
        let (tone, title) = (tone(found.witness.is_steady), class(found.cause).title);
        let link = format!("<a class=\"{tone}\" href=\"#finding-{}\">{title}</a>", number + 1);
        return (tone, headline(report, found), link);
    }
    if let Verdict::Inconclusive { .. } = report.verdict {
        return ("", "not judged".to_owned(), String::new());
    }
    let needing: Vec<String> =
        all.iter().filter(|found| found.needs == Some(step)).map(|found| step_name(report, found.step)).collect();
    if needing.is_empty() {
        return ("good", "no dependence found".to_owned(), String::new());
    }
    ("good", format!("no dependence found, but needed by {}", needing.join(", ")), String::new())
}
