//! A report as JUnit XML, as GitLab and Jenkins read it: one test case for each step, and one for the audit itself,
//! which is an error if nothing can be said.
//!
//! There is no standard. This keeps to `junit-10.xsd` of the xUnit plugin of Jenkins, which pytest keeps to as well.
//! GitLab tells test cases apart by class name and name, and names of steps are unique.

use std::fmt::Write as _;

use super::words::{self, NOT_SHOWN, class, is_deceptive};
use super::{Dependence, Report, Verdict, text};

/// The name of the test case that is not a step.
const AUDIT: &str = "(audit can be concluded)";

/// What became of a test case.
enum Result {
    Passed,
    /// Type, message, text.
    Failed(&'static str, String, String),
    /// Message, text.
    Error(String, String),
    /// Why.
    Skipped(String),
}

/// A report as JUnit XML.
pub fn render(report: &Report) -> String {
    let mut cases = vec![(AUDIT.to_owned(), of_audit(report))];
    cases.extend((0..report.steps.len()).map(|step| (report.steps[step].name.clone(), of_step(report, step))));
    let count = |is: fn(&Result) -> bool| cases.iter().filter(|(_, result)| is(result)).count();
    let failures = count(|result| matches!(result, Result::Failed(..)));
    let errors = count(|result| matches!(result, Result::Error(..)));
    let skipped = count(|result| matches!(result, Result::Skipped(_)));
    let (tests, seconds) = (cases.len(), report.took.as_secs_f64());
    let numbers = format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\"");
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(xml, "<testsuites name=\"unstick audit\" {numbers} time=\"{seconds:.3}\">");
    let name = attribute(&report.journey);
    let _ = writeln!(xml, "  <testsuite name=\"{name}\" {numbers} skipped=\"{skipped}\" time=\"{seconds:.3}\">");
    properties(&mut xml, report);
    for (place, (name, result)) in cases.iter().enumerate() {
        // Nobody has measured single steps: the whole time is that of the audit.
        let seconds = if place == 0 { seconds } else { 0.0 };
        test_case(&mut xml, &report.journey, name, result, seconds);
    }
    let _ = writeln!(xml, "    <system-out>{}</system-out>", content(&output(report)));
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

fn of_audit(report: &Report) -> Result {
    match &report.verdict {
        Verdict::Inconclusive { why, advice } => Result::Error(why.clone(), format!("{why}\nWhat to do: {advice}")),
        Verdict::NoneFound | Verdict::Dependent { .. } => Result::Passed,
    }
}

fn of_step(report: &Report, step: usize) -> Result {
    let found: Vec<&Dependence> = words::dependences(report).iter().filter(|found| found.step == step).collect();
    if !found.is_empty() {
        return failed(report, &found);
    }
    if let Verdict::Inconclusive { .. } = report.verdict {
        return Result::Skipped("not judged: the audit is inconclusive".to_owned());
    }
    let of_step = || report.coverage.matrix.iter().filter(|pair| pair.one == step || pair.other == step);
    let crossed = of_step().filter(|pair| pair.crossed > 0).count();
    if crossed == 0 && report.steps.len() > 1 {
        return Result::Skipped("not tried: it was never on another replica than another step".to_owned());
    }
    Result::Passed
}

/// All dependences of a step in one failure: readers show one.
fn failed(report: &Report, found: &[&Dependence]) -> Result {
    let messages: Vec<String> = found.iter().map(|found| words::headline(report, found)).collect();
    let texts: Vec<String> = found.iter().map(|found| text::witness(report, found)).collect();
    Result::Failed(class(found[0].cause).id, messages.join("; "), texts.join("\n"))
}

fn properties(xml: &mut String, report: &Report) {
    let values = [
        ("unstick", report.version.clone()),
        ("seed", format!("{:#x}", report.seed)),
        ("coverage", words::coverage(&report.coverage)),
        ("crossings", words::crossings(&report.coverage)),
    ];
    xml.push_str("    <properties>\n");
    for (name, value) in values {
        let _ = writeln!(xml, "      <property name=\"{name}\" value=\"{}\"/>", attribute(&value));
    }
    xml.push_str("    </properties>\n");
}

fn test_case(xml: &mut String, journey: &str, name: &str, result: &Result, seconds: f64) {
    let (name, class) = (attribute(name), attribute(journey));
    let _ = write!(xml, "    <testcase classname=\"{class}\" name=\"{name}\" time=\"{seconds:.3}\"");
    let (element, kind, message, text) = match result {
        Result::Passed => return xml.push_str("/>\n"),
        Result::Failed(kind, message, text) => ("failure", *kind, message, text.as_str()),
        Result::Error(message, text) => ("error", "inconclusive", message, text.as_str()),
        Result::Skipped(message) => ("skipped", "untried", message, ""),
    };
    let message = attribute(message);
    let _ = write!(xml, ">\n      <{element} type=\"{kind}\" message=\"{message}\"");
    if text.is_empty() {
        xml.push_str("/>\n");
    } else {
        let _ = writeln!(xml, ">{}</{element}>", content(text));
    }
    xml.push_str("    </testcase>\n");
}

/// What is true of the whole audit.
fn output(report: &Report) -> String {
    let mut lines: Vec<String> = Vec::new();
    lines.extend(report.coverage.untried.iter().map(|text| format!("not tried: {text}")));
    lines.extend(report.notes.iter().map(|text| format!("note: {text}")));
    lines.push("what this cannot show:".to_owned());
    lines.extend(NOT_SHOWN.iter().map(|text| format!("- {text}")));
    lines.join("\n")
}

/// A text inside of an element.
fn content(text: &str) -> String {
    escaped(text, |character| match character {
        '\n' | '\t' => Some(character.to_string()),
        _ => None,
    })
}

/// A text inside of quotes. Parsers make blanks of line feeds and tabs there, unless they are references.
fn attribute(text: &str) -> String {
    escaped(text, |character| match character {
        '\n' => Some("&#10;".to_owned()),
        '\t' => Some("&#9;".to_owned()),
        _ => None,
    })
}

/// Most control characters may not occur in XML 1.0 at all, not even as references, so escapes as in Rust stand for
/// them.
fn escaped(text: &str, blank: fn(char) -> Option<String>) -> String {
    let mut xml = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => xml.push_str("&amp;"),
            '<' => xml.push_str("&lt;"),
            '>' => xml.push_str("&gt;"),
            '"' => xml.push_str("&quot;"),
            '\'' => xml.push_str("&apos;"),
            _ => match blank(character) {
                Some(blank) => xml.push_str(&blank),
                None if is_deceptive(character) => xml.extend(character.escape_default()),
                None => xml.push(character),
            },
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, golden};
    use super::*;

    fn number(xml: &str, name: &str) -> usize {
        let suite = xml.lines().find(|line| line.starts_with("  <testsuite ")).unwrap();
        let value = suite.split_once(&format!(" {name}=\"")).unwrap().1.split_once('"').unwrap().0;
        value.parse().unwrap()
    }

    #[test]
    fn each_verdict_as_it_is_written() {
        golden("dependent.junit.xml", &render(&sample::dependent()));
        golden("inconclusive.junit.xml", &render(&sample::inconclusive()));
    }

    #[test]
    fn numbers_are_those_of_the_elements() {
        let mut untried = sample::none_found();
        untried.coverage.matrix.retain(|pair| pair.one != 3 && pair.other != 3);
        let cases = [
            (sample::dependent(), (10, 3, 0, 0)),
            (sample::none_found(), (10, 0, 0, 0)),
            (sample::inconclusive(), (10, 0, 1, 9)),
            (untried, (10, 0, 0, 1)),
        ];
        for (report, (tests, failures, errors, skipped)) in cases {
            let xml = render(&report);
            let expected =
                [("testcase", "tests", tests), ("failure", "failures", failures), ("error", "errors", errors)];
            for (element, name, expected) in expected.into_iter().chain([("skipped", "skipped", skipped)]) {
                assert_eq!(xml.matches(&format!("<{element} ")).count(), expected, "{element}: {xml}");
                assert_eq!(number(&xml, name), expected, "{name}: {xml}");
            }
        }
    }

    #[test]
    fn a_step_that_depends_has_its_witness() {
        let xml = render(&sample::dependent());
        assert!(
            xml.contains("<failure type=\"memory\" message=\"cart needs the replica that served login\">"),
            "{xml}"
        );
        assert!(xml.contains("login@A cart@B 401 (0/5)") && xml.contains("cause: memory"), "{xml}");
    }

    #[test]
    fn a_step_that_needs_several_others_fails_once() {
        let mut report = sample::dependent();
        if let Verdict::Dependent { dependences } = &mut report.verdict {
            let too = Dependence { needs: Some(0), ..dependences[0].clone() };
            dependences.insert(1, too);
        }
        let xml = render(&report);
        assert_eq!((xml.matches("<failure ").count(), number(&xml, "failures")), (3, 3), "{xml}");
        assert!(xml.contains("served login; cart needs the replica that served form\">"), "{xml}");
    }

    #[test]
    fn nothing_from_outside_can_end_an_element_or_is_forbidden_in_xml() {
        let text = "]]></failure><script a=\"b\" c='d'>&\u{0}\u{8}\u{1b}\u{202e}\u{fffe}\r\n\t";
        let xml = render(&sample::saying(text));
        assert!(!xml.contains("<script") && !xml.contains("]]>"), "{xml}");
        assert!(xml.contains("\\u{0}\\u{8}\\u{1b}\\u{202e}\\u{fffe}\\r"), "{xml}");
        assert!(xml.chars().all(|character| "\n\t".contains(character) || !is_deceptive(character)), "{xml}");
        assert!(attribute("a\n\tb") == "a&#10;&#9;b" && content("a\n\tb") == "a\n\tb");
        // Each `&` begins a reference.
        let references = ["&amp;", "&lt;", "&gt;", "&quot;", "&apos;", "&#10;", "&#9;"];
        let known: usize = references.iter().map(|reference| xml.matches(reference).count()).sum();
        assert_eq!(xml.matches('&').count(), known);
    }
}
