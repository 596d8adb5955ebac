//! The review for the page: each answer has links to the rows that it is made of.

use std::fmt::Write as _;

use super::{Answer, Evidence, Grade, Question, Review};
use crate::prove::report::html::{escape, lines};

/// Both tables.
pub(in crate::prove::report) fn render(review: &Review) -> String {
    if review.questions.iter().all(|question| question.answers.is_empty()) {
        return String::new();
    }
    let rows = review.questions.iter().chain(&review.further);
    let (questions, checklist) = (table("review", rows), table("checklist", review.checklist.iter()));
    format!(
        "<h2 id=\"review\">What a review of the architecture asks</h2>\n<p class=\"soft\">Each answer is made of what \
         this run measured; its links lead there.\n{questions}\n<h2 id=\"checklist\">Five points</h2>\n{checklist}\n"
    )
}

/// On a narrow page each row becomes a block with its cells below each other, so each cell names its arm too.
fn table<'a>(name: &str, rows: impl Iterator<Item = &'a Question>) -> String {
    let mut text = String::new();
    for (place, Question { question, asks, answers }) in rows.enumerate() {
        if place == 0 {
            text.push_str("<div class=\"wide\" tabindex=\"0\"><table class=\"results\">\n<thead><tr><td>");
            for answer in answers {
                _ = write!(text, "<th scope=\"col\">{}", answer.arm);
            }
            text.push_str("</thead>\n<tbody>\n");
        }
        let id = format!("{name}-{}", super::super::evidence::slug(question));
        _ = write!(text, "<tr id=\"{id}\"><th scope=\"row\">{}", lines(&format!("{question}\n{asks}")));
        answers.iter().for_each(|answer| text.push_str(&cell(answer)));
        text.push('\n');
    }
    text + "</tbody>\n</table></div>"
}

fn cell(answer: &Answer) -> String {
    let Answer { arm, grade, text, evidence } = answer;
    let kind = match grade {
        Grade::Good => "good",
        Grade::Partly => "unsure",
        Grade::Bad => "bad",
        Grade::Figure => "figure",
        Grade::NotMeasured => "soft",
    };
    let link = |Evidence { event, prediction, anchor, .. }: &Evidence| {
        let what = prediction.as_ref().map_or_else(|| "figures".to_owned(), |what| escape(what));
        format!(" <a href=\"#{anchor}\">{}: {what}</a>", event.name())
    };
    let mut links: Vec<String> = Vec::new();
    for link in evidence.iter().map(link) {
        if !links.contains(&link) {
            links.push(link);
        }
    }
    let links = if links.is_empty() { String::new() } else { format!("<p class=\"links\">{}", links.concat()) };
    format!("<td data-label=\"{arm}\" class=\"{kind}\"><div>{}{links}</div>", lines(text))
}
