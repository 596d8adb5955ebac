//! The pairs of steps as a triangle: a row for each later step, a column for each earlier one, their names on the
//! diagonal.

use std::fmt::Write as _;

use super::super::words::{self, shortened, step_name};
use super::super::{CrossedPair, Report};
use super::escaped;

/// The width that the cells share, in pixels.
const WIDTH: usize = 900;

/// The largest cell.
const CELL_MAX: usize = 28;

/// The smallest cell: 200 steps are then wider than most windows, and are scrolled.
const CELL_MIN: usize = 7;

/// Cells from this size on have room for a number.
const CELL_WITH_NUMBER: usize = 18;

/// Cells from this size on have room for a name beside each row.
const CELL_WITH_NAME: usize = 14;

/// Where there is less room, one row in so many is named.
const NAMED_EVERY: usize = 10;

/// Characters of a name beside a row.
const NAME_CHARACTERS_MAX: usize = 24;

/// The width of a name beside a row.
const NAME_WIDTH: usize = 200;

/// The pairs as a triangle with its legend.
pub(super) fn render(report: &Report) -> String {
    let (steps, coverage) = (report.steps.len(), &report.coverage);
    if coverage.matrix.is_empty() || steps < 2 {
        return "<p>No pair was crossed.</p>".to_owned();
    }
    let cell = (WIDTH / steps).clamp(CELL_MIN, CELL_MAX);
    let mut grid = vec![None; steps * steps];
    for pair in &coverage.matrix {
        if let Some(place) = grid.get_mut(pair.other * steps + pair.one).filter(|_| pair.one < steps) {
            *place = Some(pair);
        }
    }
    let mut drawing = String::new();
    for other in 0..steps {
        for one in 0..other {
            draw(&mut drawing, report, cell, (one, other), grid[other * steps + one]);
        }
        if cell >= CELL_WITH_NAME || other % NAMED_EVERY == NAMED_EVERY - 1 {
            let name = shortened(&step_name(report, other), NAME_CHARACTERS_MAX);
            let (x, y) = (other * cell + 5, other * cell + cell / 2 + 4);
            let _ = writeln!(drawing, "<text x=\"{x}\" y=\"{y}\">{} {}</text>", other + 1, escaped(&name));
        }
    }
    let (width, height) = (steps * cell + NAME_WIDTH, steps * cell + 4);
    let crossed = format!("{} of {}", coverage.pairs_crossed, words::count(coverage.pairs, "pair"));
    format!(
        "<div class=\"card\">\n{}<div class=\"scroll\" tabindex=\"0\"><svg class=\"pairs\" role=\"img\" \
         width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\"><title>{crossed} \
         crossed</title>\n{drawing}</svg></div>\n</div>",
        legend(report)
    )
}

fn draw(drawing: &mut String, report: &Report, cell: usize, place: (usize, usize), pair: Option<&CrossedPair>) {
    let (one, other) = place;
    let (crossed, is_dependent) = pair.map_or((0, false), |pair| (pair.crossed, pair.is_dependent));
    let (x, y, size) = (one * cell + 1, other * cell + 1, cell - 2);
    let class = match (is_dependent, crossed) {
        (true, _) => "md",
        (false, 0) => "m0",
        (false, 1) => "m1",
        (false, 2..=3) => "m2",
        (false, _) => "m3",
    };
    let said = match (crossed, is_dependent) {
        (0, _) => "never crossed".to_owned(),
        (times, false) => format!("crossed {}", words::count(times as usize, "time")),
        (times, true) => format!("crossed {}, dependent", words::count(times as usize, "time")),
    };
    // Twenty thousand cells get by without names.
    let names = if cell >= CELL_WITH_NAME {
        format!("{} {}, {} {}", one + 1, step_name(report, one), other + 1, step_name(report, other))
    } else {
        format!("{}, {}", one + 1, other + 1)
    };
    let title = escaped(&format!("{names}: {said}"));
    let _ = writeln!(
        drawing,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{size}\" height=\"{size}\"><title>{title}</title></rect>"
    );
    if cell >= CELL_WITH_NUMBER {
        let (x, y) = (one * cell + cell / 2, other * cell + cell / 2 + 4);
        let over = if is_dependent || crossed > 3 { " over" } else { "" };
        let _ = writeln!(drawing, "<text class=\"in{over}\" x=\"{x}\" y=\"{y}\">{crossed}</text>");
    }
}

fn legend(report: &Report) -> String {
    let pairs = &report.coverage.matrix;
    let count = |is: &dyn Fn(&CrossedPair) -> bool| pairs.iter().filter(|pair| is(pair)).count();
    let listed = pairs.len();
    let entries = [
        ("md", "dependent", count(&|pair| pair.is_dependent)),
        ("m0", "never crossed", count(&|pair| pair.crossed == 0) + report.coverage.pairs.saturating_sub(listed)),
        ("m1", "crossed once", count(&|pair| pair.crossed == 1 && !pair.is_dependent)),
        ("m2", "2 or 3 times", count(&|pair| matches!(pair.crossed, 2..=3) && !pair.is_dependent)),
        ("m3", "more often", count(&|pair| pair.crossed > 3 && !pair.is_dependent)),
    ];
    let items = entries.iter().filter(|(.., count)| *count > 0).map(|(class, text, count)| {
        format!(
            "<li><svg width=\"14\" height=\"14\" aria-hidden=\"true\"><rect class=\"{class}\" x=\"1\" y=\"1\" \
             width=\"12\" height=\"12\"/></svg>{text}: {count}</li>"
        )
    });
    format!(
        "<p>A row is the later step of a pair, a column the earlier one; the diagonal names them.</p>\n<ul \
         class=\"legend\">{}</ul>\n",
        items.collect::<String>()
    )
}
