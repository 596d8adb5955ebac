//! Two outcomes side by side: lines that differ are marked, and in them the words.

use std::fmt::Write as _;
use std::ops::Range;

use similar::{Algorithm, DiffTag, capture_diff_slices};

use super::super::{Difference, words};
use super::escaped;

/// Lines of an outcome that are compared.
const LINES_MAX: usize = 400;

/// Characters of a line that are compared.
const LINE_CHARACTERS_MAX: usize = 2_000;

/// Equal lines that are shown around one that differs.
const CONTEXT: usize = 3;

/// Words are marked in lines of which at least one part in so many is common to both. In others they would be noise.
const COMMON_MIN: usize = 4;

/// Both outcomes as a table, whose columns have titles in HTML.
pub(super) fn render(difference: &Difference, (here, there): (&str, &str)) -> String {
    let (right, wrong) = (difference.right_whole.as_str(), difference.wrong_whole.as_str());
    if right.is_empty() && wrong.is_empty() {
        return String::new();
    }
    let (right, wrong) = (Outcome::of(right), Outcome::of(wrong));
    let mut rows = String::new();
    let operations = capture_diff_slices(Algorithm::Patience, &right.lines, &wrong.lines);
    let last = operations.len().saturating_sub(1);
    for (place, operation) in operations.iter().enumerate() {
        let (tag, old, new) = operation.as_tag_tuple();
        let (old, new) = (&right.lines[old], &wrong.lines[new]);
        if tag == DiffTag::Equal {
            equal(&mut rows, old, (place == 0, place == last));
        } else {
            changed(&mut rows, old, new);
        }
    }
    let cut = if right.is_cut || wrong.is_cut {
        format!(
            "<p class=\"quiet\">Only the first {LINES_MAX} lines and {LINE_CHARACTERS_MAX} characters of a line are \
                 compared here.</p>\n"
        )
    } else {
        String::new()
    };
    format!(
        "<table class=\"diff\">\n<thead><tr><th scope=\"col\">{here}</th><th scope=\"col\">{there}</th></tr></thead>\n\
         <tbody>\n{rows}</tbody>\n</table>\n{cut}"
    )
}

/// An outcome in lines.
struct Outcome {
    lines: Vec<String>,
    is_cut: bool,
}

impl Outcome {
    fn of(text: &str) -> Self {
        let text = laid_out(text);
        let mut is_cut = false;
        let mut lines = Vec::new();
        for line in text.lines() {
            if lines.len() == LINES_MAX {
                is_cut = true;
                break;
            }
            let short = words::shortened(line, LINE_CHARACTERS_MAX);
            is_cut |= short.len() < line.len();
            lines.push(short);
        }
        Self { lines, is_cut }
    }
}

/// An outcome whose body is JSON, with a line for each value: otherwise all of it would be one line that differs.
fn laid_out(text: &str) -> String {
    let Some((head, body)) = text.split_once("\n\n") else { return text.to_owned() };
    match serde_json::from_str::<serde_json::Value>(body) {
        Ok(json) if json.is_object() || json.is_array() => {
            format!("{head}\n\n{}", serde_json::to_string_pretty(&json).unwrap_or_else(|_| body.to_owned()))
        }
        _ => text.to_owned(),
    }
}

/// Equal lines: those near to others that differ, and how many there are in between.
fn equal(rows: &mut String, lines: &[String], (is_first, is_last): (bool, bool)) {
    let before = if is_first { 0 } else { CONTEXT };
    let after = if is_last { 0 } else { CONTEXT };
    let row = |rows: &mut String, line: &String| {
        let line = escaped(line);
        let _ = writeln!(rows, "<tr class=\"same\"><td>{line}</td><td>{line}</td></tr>");
    };
    if lines.len() <= before + after + 1 {
        return lines.iter().for_each(|line| row(rows, line));
    }
    let hidden = lines.len() - before - after;
    lines[..before].iter().for_each(|line| row(rows, line));
    let _ = writeln!(rows, "<tr class=\"gap\"><td colspan=\"2\">{} the same</td></tr>", words::count(hidden, "line"));
    lines[lines.len() - after..].iter().for_each(|line| row(rows, line));
}

/// Lines in the place of others, one beside the other.
fn changed(rows: &mut String, old: &[String], new: &[String]) {
    for place in 0..old.len().max(new.len()) {
        let (was, now) = match (old.get(place), new.get(place)) {
            (Some(old), Some(new)) => by_words(old, new),
            (old, new) => {
                (old.map_or_else(String::new, |line| escaped(line)), new.map_or_else(String::new, |line| escaped(line)))
            }
        };
        let class = |name: &'static str, line: Option<&String>| if line.is_some() { name } else { "none" };
        let (was_class, now_class) = (class("was", old.get(place)), class("now", new.get(place)));
        let _ = writeln!(rows, "<tr><td class=\"{was_class}\">{was}</td><td class=\"{now_class}\">{now}</td></tr>");
    }
}

/// Two lines with their different words marked.
fn by_words(old: &str, new: &str) -> (String, String) {
    let (old_words, new_words) = (tokens(old), tokens(new));
    let operations = capture_diff_slices(Algorithm::Myers, &old_words, &new_words);
    let common = operations.iter().map(|operation| match operation.as_tag_tuple() {
        (DiffTag::Equal, range, _) => length(&old_words, range),
        _ => 0,
    });
    if common.sum::<usize>() * COMMON_MIN < old.len().max(new.len()) {
        return (escaped(old), escaped(new));
    }
    let (mut was, mut now) = (String::new(), String::new());
    let last = operations.len() - 1;
    for (place, operation) in operations.iter().enumerate() {
        let (tag, old, new) = operation.as_tag_tuple();
        let (old, new) = (escaped(&old_words[old].concat()), escaped(&new_words[new].concat()));
        // A blank between two words that differ differs with them: one mark is easier to read than two.
        let is_blank = old.trim().is_empty() && place > 0 && place < last;
        if tag == DiffTag::Equal && !is_blank {
            was.push_str(&old);
            now.push_str(&new);
            continue;
        }
        if !old.is_empty() {
            let _ = write!(was, "<del>{old}</del>");
        }
        if !new.is_empty() {
            let _ = write!(now, "<ins>{new}</ins>");
        }
    }
    (was.replace("</del><del>", ""), now.replace("</ins><ins>", ""))
}

fn length(words: &[&str], range: Range<usize>) -> usize {
    words[range].iter().map(|word| word.trim().len()).sum()
}

/// A line as words, blanks and single marks.
fn tokens(line: &str) -> Vec<&str> {
    let kind = |character: char| match character {
        _ if character.is_alphanumeric() => 0,
        _ if character.is_whitespace() => 1,
        _ => 2,
    };
    let mut tokens = Vec::new();
    let (mut start, mut last) = (0, None);
    for (place, character) in line.char_indices() {
        let now = kind(character);
        if last.is_some_and(|last| last != now || now == 2) {
            tokens.push(&line[start..place]);
            start = place;
        }
        last = Some(now);
    }
    tokens.push(&line[start..]);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(right: &str, wrong: &str) -> String {
        let (right_whole, wrong_whole) = (right.to_owned(), wrong.to_owned());
        let (at, right, wrong) = Default::default();
        render(&Difference { at, right, wrong, right_whole, wrong_whole }, ("here", "there"))
    }

    #[test]
    fn words_that_differ_are_marked_and_nothing_else() {
        let cases = [
            (
                "photo of the beach",
                "photo of the hill",
                "photo of the <del>beach</del>",
                "photo of the <ins>hill</ins>",
            ),
            ("count=1, ok", "count=12, ok", "count=<del>1</del>, ok", "count=<ins>12</ins>, ok"),
            (
                "photo of a beach here",
                "photo is lost here",
                "photo <del>of a beach</del> here",
                "photo <ins>is lost</ins> here",
            ),
            ("a <b> tag", "a <i> tag", "a &lt;<del>b</del>&gt; tag", "a &lt;<ins>i</ins>&gt; tag"),
            ("quite another", "not the same line", "quite another", "not the same line"),
        ];
        for (old, new, was, now) in cases {
            assert_eq!(by_words(old, new), (was.to_owned(), now.to_owned()));
        }
    }

    #[test]
    fn json_is_compared_value_by_value() {
        let table = compared("200\n\n{\"a\":1,\"b\":\"x\"}", "200\n\n{\"a\":1,\"b\":\"y\"}");
        assert!(table.contains("<tr class=\"same\"><td>  &quot;a&quot;: 1,</td>"), "{table}");
        assert!(table.contains("<del>x</del>") && table.contains("<ins>y</ins>"), "{table}");
    }

    #[test]
    fn equal_lines_far_from_a_difference_are_counted() {
        let lines = |last: &str| (0..50).map(|n| format!("line {n}\n")).chain([last.to_owned()]).collect::<String>();
        let table = compared(&lines("one"), &lines("two"));
        assert!(table.contains(">47 lines the same<"), "{table}");
        assert_eq!(table.matches("class=\"same\"").count(), CONTEXT);
    }

    #[test]
    fn huge_outcomes_are_cut_and_said_to_be() {
        let huge = format!("{}\n", "x".repeat(1 << 20)).repeat(8);
        let table = compared(&huge, &format!("{huge}more"));
        assert!(
            table.len() < 8 * LINES_MAX * LINE_CHARACTERS_MAX && table.contains("Only the first"),
            "{}",
            table.len()
        );
        let many = "y\n".repeat(1 << 20);
        assert!(compared(&many, "z").contains("Only the first"));
    }
}
