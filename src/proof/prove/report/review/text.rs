//! The review for a terminal.

use comfy_table::{Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, Width, presets};

use super::{Answer, Grade, Question, Review, references};

/// Columns that an arm takes at least, and what stands in front of the first.
const ARM_WIDTH: usize = 19;
const HEAD_WIDTH: u16 = 22;
/// Arms in one table at most; more come in tables of their own.
const ARMS_MAX: usize = 6;

/// Below the first table.
const LEGEND: &str = "In brackets: the events an answer is made of. --json has the path to each figure, --html a link.";

/// All of it for a terminal of so many columns.
pub(in crate::prove::report) fn render(review: &Review, width: u16) -> String {
    let arms = review.questions.first().map_or(0, |question| question.answers.len());
    if arms == 0 {
        return String::new();
    }
    let beside = (usize::from(width.saturating_sub(HEAD_WIDTH)) / ARM_WIDTH).clamp(1, ARMS_MAX);
    // As even as possible.
    let beside = arms.div_ceil(arms.div_ceil(beside));
    let mut text = String::new();
    for first in (0..arms).step_by(beside) {
        let last = (first + beside).min(arms);
        let rows = review.questions.iter().chain(&review.further);
        text.push_str(&format!("\n{}\n", table(rows, first..last, width)));
        text.push_str(&format!("{}\n", table(review.checklist.iter(), first..last, width)));
    }
    text + LEGEND + "\n"
}

fn table<'a>(rows: impl Iterator<Item = &'a Question>, arms: std::ops::Range<usize>, width: u16) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    for (place, Question { question, asks, answers }) in rows.enumerate() {
        let answers = &answers[arms.clone()];
        if place == 0 {
            let names = answers.iter().map(|answer| answer.arm.name().to_owned());
            table.set_header(std::iter::once(String::new()).chain(names));
        }
        // Mostly all answers of a row are made of the same events.
        let mut all = answers.iter().filter(|answer| answer.grade != Grade::NotMeasured).map(refer);
        let common = all.next().filter(|one| all.all(|other| other == *one));
        // What is longer is on the page and in the documentation.
        let asks = if asks.len() > usize::from(HEAD_WIDTH) + 2 { "" } else { &format!("{asks}\n") };
        let head = format!("{question}\n{asks}{}", common.as_deref().unwrap_or_default());
        let cell = |answer: &Answer| match common {
            Some(_) => answer.text.clone(),
            None => format!("{}\n{}", answer.text, refer(answer)),
        };
        let texts = std::iter::once(head).chain(answers.iter().map(cell));
        table.add_row(texts.map(|text| Cell::new(text.trim_end()).set_alignment(CellAlignment::Left)));
    }
    if let Some(column) = table.column_mut(0) {
        column.set_constraint(ColumnConstraint::UpperBoundary(Width::Fixed(HEAD_WIDTH)));
    }
    table
}

fn refer(answer: &Answer) -> String {
    match references(&answer.evidence) {
        none if none.is_empty() => none,
        names => format!("[{names}]"),
    }
}
