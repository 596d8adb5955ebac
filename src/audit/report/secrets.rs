//! A report without its secrets. They are found in four ways, each of which covers for the others: by where they stand
//! (a cookie, an `Authorization` field, a name such as `csrf_token`), by how they look (a JWT, a long random string),
//! because the journey has sent or captured them, and because the same string stands in a place of the first kind
//! elsewhere.
//!
//! What is hidden too often costs a reader a look at the application; what is hidden too seldom cannot be taken back.
//! So where it is not clear, a string is hidden.

mod known;
mod names;
mod places;
mod shapes;

use std::ops::Range;

use super::{Cell, Coverage, Dependence, Difference, Report, StepLine, Verdict, Witness};
use known::Known;

/// What stands in the place of a secret.
pub const MASK: &str = "•••";

/// What stands behind the second of two texts that differ in what is hidden.
const ANOTHER: &str = " (another)";

/// What stands in the place of a secret is looked for elsewhere too if it has at least so many bytes.
const LEARNT_MIN: usize = 8;

/// What a judge says in the place of a value. It is no secret wherever it stands.
const PLAIN_VALUES: [&str; 10] =
    ["", "absent", "missing", "none", "not set", "not there", "nothing", "present", "set", "there"];

/// What kind of text it is, which decides what is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Names and sentences.
    Prose,
    /// Of a response, with whatever an application says.
    Outcome,
    /// Of a response, from a place whose name sounds like a secret.
    Secret,
}

/// The report without secrets: those that can be recognised, and `secrets`, values which the journey has sent or
/// captured, in whole and in parts, encoded too.
pub fn redact(report: &Report, secrets: &[String]) -> Report {
    let mut known = Known::default();
    secrets.iter().for_each(|secret| known.add(secret));
    let mut redacted = report.clone();
    each_text(&mut redacted, &mut |kind, text| learn(&mut known, kind, text));
    each_text(&mut redacted, &mut |kind, text| *text = cleaned(&known, kind, text));
    keep_differences(report, &mut redacted);
    redacted
}

/// Remembers what stands in places of secrets, so that it is hidden elsewhere as well. A cookie may be `1`, which is
/// not.
fn learn(known: &mut Known, kind: Kind, text: &str) {
    let mut found: Vec<String> = places::find(text, kind).into_iter().map(|span| text[span].to_owned()).collect();
    found.extend(places::nested(text));
    if kind == Kind::Secret && !is_plain(text) {
        found.push(text.to_owned());
    }
    found.iter().filter(|secret| secret.len() >= LEARNT_MIN).for_each(|secret| known.add(secret));
}

fn cleaned(known: &Known, kind: Kind, text: &str) -> String {
    if kind == Kind::Secret && !is_plain(text) {
        return MASK.to_owned();
    }
    let mut spans = places::find(text, kind);
    spans.extend(shapes::find(text));
    spans.extend(known.find(text));
    if kind == Kind::Outcome {
        spans.extend(known.find_tiny(text));
    }
    masked(text, spans)
}

/// Whether a text is no secret wherever it stands: a word of a judge, or a gap such as `{{sid}}`, which is only the
/// name of a value.
fn is_plain(text: &str) -> bool {
    let name = text.strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    PLAIN_VALUES.contains(&text) || name.is_some_and(|name| !name.contains(['{', '}']))
}

/// The text with a mask in the place of each span. Spans that touch get one.
fn masked(text: &str, mut spans: Vec<Range<usize>>) -> String {
    spans.retain(|span| !span.is_empty());
    spans.sort_by_key(|span| (span.start, span.end));
    let (mut clean, mut end) = (String::with_capacity(text.len()), 0);
    for span in spans {
        if span.start > end || (span.start == 0 && end == 0) {
            clean.push_str(&text[end..span.start]);
            clean.push_str(MASK);
        }
        end = end.max(span.end);
    }
    clean.push_str(&text[end..]);
    clean
}

/// Two secrets that differ look the same when both are hidden; then the report says that they differ.
fn keep_differences(before: &Report, after: &mut Report) {
    let (Verdict::Dependent { dependences: before }, Verdict::Dependent { dependences: after }) =
        (&before.verdict, &mut after.verdict)
    else {
        return;
    };
    for (before, after) in before.iter().zip(after) {
        let (before, after) = (&before.difference, &mut after.difference);
        if before.right != before.wrong && after.right == after.wrong {
            after.wrong.push_str(ANOTHER);
        }
        if before.right_whole != before.wrong_whole && after.right_whole == after.wrong_whole {
            after.wrong_whole.push_str(ANOTHER);
        }
    }
}

/// Calls `visit` with every text of a report. There is no `..` below, so that a new field cannot be forgotten.
fn each_text(report: &mut Report, visit: &mut impl FnMut(Kind, &mut String)) {
    let Report {
        schema: _,
        version: _,
        journey,
        steps,
        replicas,
        seed: _,
        verdict,
        coverage,
        notes,
        again: _,
        took: _,
    } = report;
    visit(Kind::Prose, journey);
    for StepLine { name, actor, action } in steps {
        [name, actor, action].into_iter().for_each(|text| visit(Kind::Prose, text));
    }
    replicas.iter_mut().chain(notes).for_each(|text| visit(Kind::Prose, text));
    let Coverage {
        steps: _,
        pairs: _,
        pairs_crossed: _,
        matrix: _,
        crash_points: _,
        crash_points_max: _,
        runs: _,
        crossings: _,
        failures: _,
        bound: _,
        untried,
    } = coverage;
    untried.iter_mut().for_each(|text| visit(Kind::Prose, text));
    match verdict {
        Verdict::NoneFound => {}
        Verdict::Dependent { dependences } => dependences.iter_mut().for_each(|found| of_dependence(found, visit)),
        Verdict::Inconclusive { why, advice } => [why, advice].into_iter().for_each(|text| visit(Kind::Prose, text)),
    }
}

fn of_dependence(found: &mut Dependence, visit: &mut impl FnMut(Kind, &mut String)) {
    let Dependence { step: _, needs: _, witness, cause: _, because, hint, difference } = found;
    visit(Kind::Prose, because);
    hint.iter_mut().for_each(|text| visit(Kind::Prose, text));
    let Witness { steps: _, times: _, sides: _, cells, p: _, p_corrected: _, after_crash: _, is_steady: _ } = witness;
    for Cell { one, other, runs: _, right: _, seen } in cells {
        [one, other, seen].into_iter().for_each(|text| visit(Kind::Prose, text));
    }
    let Difference { at, right, wrong, right_whole, wrong_whole } = difference;
    let value = match at.as_str() {
        // A status is never a secret, however short a value the journey has sent.
        "status" => Kind::Prose,
        at if names::is_place_of_secret(at) => Kind::Secret,
        _ => Kind::Outcome,
    };
    visit(Kind::Prose, at);
    [right, wrong].into_iter().for_each(|text| visit(value, text));
    [right_whole, wrong_whole].into_iter().for_each(|text| visit(Kind::Outcome, text));
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::super::{html, json, junit, sample, sarif, text};
    use super::*;

    /// All forms of a report.
    fn forms(report: &Report) -> [(&'static str, String); 5] {
        let places = [("journey.toml".to_owned(), 1)];
        [
            ("text", text::render(report, 120, text::Colours::Plain)),
            ("json", json::render(report)),
            ("junit", junit::render(report)),
            ("sarif", sarif::render(report, &places)),
            ("html", html::render(report)),
        ]
    }

    /// Fails if one of `secrets` is in any form of a report in which everything says `said`.
    fn assert_hidden(said: &str, known: &[&str], secrets: &[&str]) {
        let known: Vec<String> = known.iter().map(|&secret| secret.to_owned()).collect();
        let report = sample::saying(said);
        // Without redaction it is there, so that its absence says something.
        assert!(secrets.iter().all(|secret| json::render(&report).contains(secret)), "{said}");
        for (form, shown) in forms(&redact(&report, &known)) {
            for secret in secrets {
                assert!(!shown.contains(secret), "{secret} in {form} of {said}");
            }
            assert!(shown.contains(MASK), "{form} of {said}");
        }
    }

    #[test]
    fn secrets_are_hidden_in_all_forms_by_where_they_stand() {
        let cases: [(&str, &[&str]); 14] = [
            ("Set-Cookie: connect.sid=blue-moon; Path=/", &["blue-moon"]),
            ("Cookie: theme=dim-dark; sid=blue-moon", &["blue-moon", "dim-dark"]),
            ("Authorization: Bearer blue-moon", &["blue-moon"]),
            ("Authorization: Basic Ymx1ZTptb29u", &["Ymx1ZTptb29u"]),
            ("x-csrf-token: blue-moon", &["blue-moon"]),
            ("user=ann&password=blue-moon&next=1", &["blue-moon"]),
            ("GET /reset?page=1&token=blue-moon", &["blue-moon"]),
            ("location: https://host/cb?code=blue-moon", &["blue-moon"]),
            ("200\n\n{'api_key': 'blue-moon'}", &["blue-moon"]),
            ("<input type=hidden name=csrf value=blue-moon>", &["blue-moon"]),
            ("<input value=blue-moon type=password>", &["blue-moon"]),
            ("amqp://app:blue-moon@queue:5672", &["blue-moon"]),
            ("sent eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1LTcifQ.c2ln", &["eyJhbGci", "eyJzdWIi", "c2ln"]),
            ("sent 9f86d081884c7d659a2feaa0c55ad015", &["9f86d081", "a0c55ad015"]),
        ];
        for (said, secrets) in cases {
            assert_hidden(said, &[], secrets);
        }
    }

    #[test]
    fn json_is_looked_into() {
        let mut report = sample::dependent();
        let Verdict::Dependent { dependences } = &mut report.verdict else { panic!("it is dependent") };
        let json = "200\n\n{\"session\":{\"id\":\"blue-moon\"},\"otp\":918273,\"list\":[{\"jwt\":\"green-sun\"}]}";
        dependences[0].difference.right_whole = json.to_owned();
        dependences[1].because = "the response names blue-moon".to_owned();
        for (form, shown) in forms(&redact(&report, &[])) {
            for secret in ["blue-moon", "918273", "green-sun"] {
                assert!(!shown.contains(secret), "{secret} in {form}");
            }
        }
    }

    #[test]
    fn what_the_journey_sent_or_captured_is_hidden_however_it_is_written() {
        let secret = "pass word/+é&<42>";
        let encoded = |before: &str| STANDARD.encode(format!("{before}{secret} and more"));
        let cases = [
            (format!("it says {secret} here"), "word/"),
            ("a=pass%20word%2F%2B%C3%A9%26%3C42%3E".to_owned(), "word%2F"),
            ("a=pass+word%2f%2b%c3%a9%26%3c42%3e".to_owned(), "word%2f"),
            ("a=pass%2520word%252F%252B".to_owned(), "word%252F"),
            ("cut: pass word/+…".to_owned(), "word/"),
            ("…/+é&<42> was the end".to_owned(), "é"),
            ("ends with pass w".to_owned(), "pass w"),
            ("ends with pass ...".to_owned(), "pass ..."),
            (encoded(""), "cGFzcyB3b3Jk"),
            (encoded("x"), "Bhc3Mgd29yZ"),
            (encoded("xy"), "wYXNzIHdvcm"),
            ("%70%61%73%73%20%77%6f%72%64%2f".to_owned(), "%77%6f"),
            ("&#112;&#97;&#115;&#115;&#32;&#119;&#111;".to_owned(), "&#115;"),
            ("&#x70;&#x61;&#x73;&#x73;&#x20;".to_owned(), "&#x61;"),
            (r"\u0070\u0061\u0073\u0073\u0020".to_owned(), r"\u0061"),
            ("70:61:73:73:20:77:6f:72:64".to_owned(), "77:6f"),
            ("7061737320776F72642F2B".to_owned(), "776F"),
        ];
        for (said, part) in cases {
            assert_hidden(&said, &[secret], &[part]);
        }
    }

    #[test]
    fn short_secrets_are_hidden_as_words() {
        let report = sample::saying("x\npin1 is not pin12, and 7 is not 77");
        let redacted = redact(&report, &["pin1".to_owned(), "7".to_owned()]);
        let Verdict::Dependent { dependences } = &redacted.verdict else { panic!("it is dependent") };
        assert_eq!(redacted.journey, "x\n••• is not pin12, and 7 is not 77");
        assert_eq!(dependences[0].difference.right, "x\n••• is not pin12, and ••• is not 77");
    }

    #[test]
    fn values_of_a_place_that_sounds_like_a_secret_are_hidden_and_still_differ() {
        let cases = [
            ("cookie sid", "set", "not set", ("set", "not set")),
            ("body $.token", "{{token}}", "{{other}}", ("{{token}}", "{{other}}")),
            ("cookie sid", "one", "other", (MASK, "••• (another)")),
            ("body $.csrf", "one", "absent", (MASK, "absent")),
            ("status", "200", "401", ("200", "401")),
            ("body word 3", "one", "other", ("one", "other")),
        ];
        for (at, right, wrong, expected) in cases {
            let mut report = sample::dependent();
            let Verdict::Dependent { dependences } = &mut report.verdict else { panic!("it is dependent") };
            let difference = &mut dependences[0].difference;
            (difference.at, difference.right, difference.wrong) = (at.to_owned(), right.to_owned(), wrong.to_owned());
            let redacted = redact(&report, &["200".to_owned()]);
            let Verdict::Dependent { dependences } = &redacted.verdict else { panic!("it is dependent") };
            let difference = &dependences[0].difference;
            assert_eq!((difference.right.as_str(), difference.wrong.as_str()), expected, "{at}");
        }
    }

    #[test]
    fn a_report_without_secrets_stays_as_it_is() {
        for report in [sample::dependent(), sample::none_found(), sample::inconclusive(), sample::after_crash()] {
            assert_eq!(json::render(&redact(&report, &[])), json::render(&report));
        }
    }

    #[test]
    fn a_big_outcome_and_many_secrets_take_no_long_time() {
        let mut report = sample::dependent();
        let Verdict::Dependent { dependences } = &mut report.verdict else { panic!("it is dependent") };
        dependences[0].difference.right_whole = format!("200\n\n{}", "lorem ipsum ".repeat(1 << 16));
        let secrets: Vec<String> = (0..200).map(|number| format!("captured value {number}")).collect();
        let redacted = redact(&report, &secrets);
        let Verdict::Dependent { dependences } = &redacted.verdict else { panic!("it is dependent") };
        assert_eq!(dependences[0].difference.right_whole.len(), 5 + 12 * (1 << 16));
    }
}
