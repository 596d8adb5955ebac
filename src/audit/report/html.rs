//! A report as one page that fetches nothing and runs nothing: the verdict, each finding with both outcomes side by
//! side, the journey as a graph, the pairs as a triangle, and what it cannot show. Whatever came from outside passes
//! [`escaped`].

mod diff;
mod graph;
mod matrix;

use std::fmt::Write as _;

use super::words::{self, DEPENDENT, INCONCLUSIVE, NONE_FOUND, NOT_SHOWN, class, is_deceptive, shortened};
use super::{Cell, Dependence, Report, Verdict};

/// The page with gaps.
const PAGE: &str = include_str!("html/page.html");

/// How the page looks.
const STYLE: &str = include_str!("html/style.css");

/// How much of a value is shown that differs.
const VALUE_CHARACTERS_MAX: usize = 200;

/// A report as one HTML page.
pub fn render(report: &Report) -> String {
    let mut page = String::with_capacity(PAGE.len() + STYLE.len());
    for (place, part) in PAGE.split("{{").enumerate() {
        let (name, rest) = if place == 0 { ("", part) } else { part.split_once("}}").unwrap_or(("", part)) };
        match name {
            "title" => page.push_str(&escaped(&format!("{}: {}", verdict(report).1, report.journey))),
            "style" => page.push_str(STYLE),
            "verdict" => page.push_str(&banner(report)),
            "findings" => page.push_str(&findings(report)),
            "journey" => page.push_str(&graph::render(report)),
            "pairs" => page.push_str(&matrix::render(report)),
            "coverage" => page.push_str(&coverage(report)),
            "not_shown" => page.push_str(&items(NOT_SHOWN.iter().copied())),
            _ => {}
        }
        page.push_str(rest);
    }
    page
}

/// The class of the verdict for the style sheet, and its word.
fn verdict(report: &Report) -> (&'static str, &'static str) {
    match report.verdict {
        Verdict::NoneFound => ("good", NONE_FOUND),
        Verdict::Dependent { .. } => ("bad", DEPENDENT),
        Verdict::Inconclusive { .. } => ("unsure", INCONCLUSIVE),
    }
}

fn banner(report: &Report) -> String {
    let (tone, word) = verdict(report);
    let said = match &report.verdict {
        Verdict::NoneFound => {
            let tried = format!("{}, {}", words::coverage(&report.coverage), words::crossings(&report.coverage));
            format!("<p>{}</p>", escaped(&tried))
        }
        Verdict::Dependent { dependences } => {
            let links = dependences.iter().enumerate().map(|(place, found)| {
                let text = escaped(&words::headline(report, found));
                format!("<li><a href=\"#finding-{}\">{text}</a></li>", place + 1)
            });
            let tried = escaped(&words::coverage(&report.coverage));
            format!("<ul>{}</ul>\n<p class=\"quiet\">{tried}</p>", links.collect::<String>())
        }
        Verdict::Inconclusive { why, advice } => {
            format!("<p>{}</p>\n<p><b>What to do:</b> {}</p>", escaped(why), escaped(advice))
        }
    };
    let replicas = escaped(&report.replicas.join(", "));
    let runs = words::count(report.coverage.runs, "run");
    format!(
        "<header class=\"verdict {tone}\">\n<p class=\"quiet\">unstick audit {}</p>\n<h1><strong>{word}</strong> \
         <bdi>{}</bdi></h1>\n{said}\n<p class=\"quiet\">{runs} on {replicas} in {:.1} s, seed {:#x}</p>\n</header>",
        escaped(&report.version),
        escaped(&report.journey),
        report.took.as_secs_f64(),
        report.seed
    )
}

fn findings(report: &Report) -> String {
    let dependences = words::dependences(report);
    if dependences.is_empty() {
        return String::new();
    }
    let all = dependences.iter().enumerate().map(|(place, found)| finding(report, place + 1, found));
    format!("<section>\n<h2>Findings</h2>\n{}</section>", all.collect::<String>())
}

fn finding(report: &Report, number: usize, found: &Dependence) -> String {
    let class = class(found.cause);
    let difference = &found.difference;
    let hint = found.hint.as_deref().unwrap_or(class.cure);
    let mut html = format!(
        "<article id=\"finding-{number}\">\n<h3>{number}. <bdi>{}</bdi></h3>\n{}",
        escaped(&words::headline(report, found)),
        cells(report, found)
    );
    let value = |text: &str| match shortened(text, VALUE_CHARACTERS_MAX) {
        text if text.is_empty() => "<i>nothing</i>".to_owned(),
        text => format!("<code>{}</code>", escaped(&text)),
    };
    let (right, wrong) = (value(&difference.right), value(&difference.wrong));
    let sides = words::sides(found);
    let (here, there) = (escaped(&sides.0), escaped(&sides.1));
    let differs = format!("{}: {right} {here}, {wrong} {there}", escaped(&difference.at));
    let cause = format!("<b>{}</b>: {}", class.title, escaped(&found.because));
    let certainty = escaped(&words::p_value(report, &found.witness));
    let rows = [("cause", cause), ("differs", differs), ("hint", escaped(hint)), ("certainty", certainty)];
    let again =
        found.needs.and(report.again.as_deref()).map(|again| ("again", format!("<code>{}</code>", escaped(again))));
    html.push_str("<dl>\n");
    for (name, value) in rows.into_iter().chain(again) {
        let _ = writeln!(html, "<dt>{name}</dt><dd>{value}</dd>");
    }
    let _ = write!(html, "</dl>\n{}</article>\n", diff::render(difference, (&here, &there)));
    html
}

/// The placements as in the text: all on one replica on the left, across on the right.
fn cells(report: &Report, found: &Dependence) -> String {
    let cell = |(place, shown): (usize, &Cell)| {
        let tone = match shown.right {
            right if right == shown.runs => "good",
            0 => "bad",
            _ => "unsure",
        };
        let text = escaped(&words::placement(report, &found.witness, place));
        format!("<li class=\"{tone}\"><bdi>{text}</bdi></li>")
    };
    let all = words::cells(&found.witness).into_iter().map(cell);
    format!("<ul class=\"cells\">{}</ul>\n", all.collect::<String>())
}

fn coverage(report: &Report) -> String {
    let coverage = &report.coverage;
    let sentences = [words::coverage(coverage), words::crossings(coverage)];
    let untried = coverage.untried.iter().map(|text| format!("Not tried: {text}"));
    let said: Vec<String> = sentences.into_iter().chain(untried).chain(report.notes.iter().cloned()).collect();
    items(said.iter().map(String::as_str))
}

fn items<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let items: String = texts.map(|text| format!("<li>{}</li>\n", escaped(text))).collect();
    format!("<ul>\n{items}</ul>")
}

/// A text that is nothing but text wherever it stands in the page, in quotes too. What deceives is written as an
/// escape.
pub(super) fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            '\n' | '\t' => html.push(character),
            _ if is_deceptive(character) => html.extend(character.escape_default()),
            _ => html.push(character),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, golden};
    use super::*;

    #[test]
    fn each_verdict_as_it_is_written() {
        golden("dependent.html", &render(&sample::dependent()));
        // One file to look at is enough.
        golden("none-found.html", &render(&sample::none_found()).replace(STYLE, ""));
        golden("inconclusive.html", &render(&sample::inconclusive()).replace(STYLE, ""));
    }

    #[test]
    fn the_page_fetches_nothing_and_runs_nothing() {
        for report in [sample::dependent(), sample::none_found(), sample::inconclusive()] {
            let page = render(&report).to_ascii_lowercase();
            for what in ["<script", "src=", "http:", "https:", "url(", "@import", "<link", "<iframe", "<img", "onload"]
            {
                assert!(!page.contains(what), "{what}");
            }
            assert!(page.contains("content-security-policy") && page.contains("default-src 'none'"));
        }
    }

    #[test]
    fn whatever_an_application_says_is_text() {
        let text = "<script>alert(1)</script>\"'><img onerror=x>\u{0}\u{1b}\u{202e}\u{2066}{{style}}&lt;\n\n<b>";
        let page = render(&sample::saying(text));
        for what in ["<script", "<img", "<b>\n", "\"'>", "&lt;script&gt;alert(1)&lt;/script&gt;&lt;/script"] {
            assert!(!page.contains(what), "{what}");
        }
        assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(page.contains("\\u{0}\\u{1b}\\u{202e}\\u{2066}"));
        assert!(page.chars().all(|character| character == '\n' || !is_deceptive(character)));
        // Gaps of the template are not filled twice.
        assert_eq!(page.matches(":root {").count(), render(&sample::dependent()).matches(":root {").count());
        assert_eq!(page.matches("<article").count(), 3);
    }

    #[test]
    fn every_step_pair_and_finding_has_a_title() {
        let page = render(&sample::dependent());
        let titles = [
            "<title>cart needs the replica that served login: memory</title>",
            "<title>3. cart: cart needs the replica that served login</title>",
            "<title>2. login: no dependence found, but needed by cart</title>",
            "<title>2 login, 3 cart: crossed 4 times, dependent</title>",
        ];
        for title in titles {
            assert!(page.contains(title), "{title}");
        }
        assert_eq!(page.matches("<circle").count(), 9);
        assert_eq!(page.matches("<rect class=\"m").count(), 36 + page.matches("aria-hidden").count());
        assert_eq!(page.matches("class=\"arc\"").count(), 3);
    }

    #[test]
    fn two_hundred_steps_fit() {
        let page = render(&sample::long(200));
        assert!(page.len() < 3_000_000, "{}", page.len());
        assert_eq!(page.matches("<rect class=\"m").count(), 200 * 199 / 2 + page.matches("aria-hidden").count());
        assert!(page.contains("<title>2, 200: crossed"), "a pair by its numbers");
    }

    #[test]
    fn odd_reports_have_a_page_too() {
        let mut report = sample::dependent();
        report.steps.clear();
        assert!(render(&report).contains("The journey has no steps."));
        let mut report = sample::dependent();
        report.coverage.matrix[0].one = 999;
        report.coverage.matrix[1].other = 999;
        let page = render(&report);
        assert_eq!(page.matches(": never crossed</title>").count(), 2);
    }
}
