//! A report as SARIF 2.1.0 (OASIS), with what code scanning of GitHub needs: one rule for each class of causes, one
//! result for each dependence at its step in the journey file, with a fingerprint that is the same in every run.

use serde_json::{Value, json};

use super::words::{self, CAUSES, INCONCLUSIVE, NOT_SHOWN, class, visible, visible_line};
use super::{Dependence, Report, Verdict, text};

/// Where the schema stands.
const SCHEMA: &str = "https://json.schemastore.org/sarif-2.1.0.json";

/// The rule of an audit that says nothing.
const RULE_INCONCLUSIVE: &str = "inconclusive";

/// The place of a step: the URI of the journey file, relative to the root of the repository, and the line, from 1.
pub type Place = (String, u32);

/// A report as SARIF, with the places of the steps in their order. A step without one has that of the first.
pub fn render(report: &Report, places: &[Place]) -> String {
    let (results, invocation) = match &report.verdict {
        Verdict::NoneFound => (Vec::new(), json!({ "executionSuccessful": true })),
        Verdict::Dependent { dependences } => {
            let results = dependences.iter().map(|found| result(report, found, places)).collect();
            (results, json!({ "executionSuccessful": true }))
        }
        Verdict::Inconclusive { why, advice } => {
            let said = visible(&format!("{why} What to do: {advice}"));
            let notification = json!({ "level": "error", "message": { "text": said } });
            let invocation = json!({ "executionSuccessful": false, "toolExecutionNotifications": [notification] });
            (vec![inconclusive(report, &said, places)], invocation)
        }
    };
    let rules: Vec<Value> = CAUSES.iter().map(|cause| rule(class(*cause))).chain([rule_inconclusive()]).collect();
    let driver = json!({
        "name": "unstick audit",
        "semanticVersion": report.version,
        "rules": rules,
    });
    let log = json!({
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": driver },
            "automationDetails": { "id": format!("unstick audit/{}/", visible_line(&report.journey)) },
            "invocations": [invocation],
            "results": results,
            "properties": { "coverage": words::coverage(&report.coverage), "notShown": NOT_SHOWN },
        }],
    });
    // Keys are strings and nothing is written to: this cannot fail.
    let mut text = serde_json::to_string_pretty(&log).unwrap_or_default();
    text.push('\n');
    text
}

fn rule(class: &words::Class) -> Value {
    let words::Class { id, title, about, cure } = class;
    json!({
        "id": id,
        "name": title,
        "shortDescription": { "text": format!("Replica-dependent: {title}") },
        "fullDescription": { "text": about },
        "help": {
            "text": format!("{about} {cure}"),
            "markdown": format!("{about}\n\n**Usual cure:** {cure}\n\n**See it again:** `unstick audit --replay`"),
        },
        "defaultConfiguration": { "level": "error" },
        "properties": { "tags": ["stateless", "sticky-sessions"], "precision": "high" },
    })
}

fn rule_inconclusive() -> Value {
    let about = "The audit cannot tell whether the application depends on its replicas.";
    json!({
        "id": RULE_INCONCLUSIVE,
        "name": RULE_INCONCLUSIVE,
        "shortDescription": { "text": "The audit is inconclusive" },
        "fullDescription": { "text": about },
        "help": { "text": format!("{about} The message says why, and what to do.") },
        "defaultConfiguration": { "level": "note" },
        "properties": { "tags": ["sticky-sessions"], "precision": "low" },
    })
}

fn result(report: &Report, found: &Dependence, places: &[Place]) -> Value {
    let step = words::step_name(report, found.step);
    let level = if found.witness.is_steady { "error" } else { "warning" };
    let needs = found.needs.map(|needs| (needs, words::step_name(report, needs)));
    let mut message = words::headline(report, found);
    if let Some((_, name)) = &needs {
        // The name becomes a link to the step that is needed, which is the related location 1.
        let linked = name.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]");
        message = message.replacen(&format!("served {name}"), &format!("served [{linked}](1)"), 1);
    }
    let class = class(found.cause);
    let message = format!("{message}. Cause: {} ({}).", class.title, visible_line(&found.because));
    let needs_name = needs.as_ref().map_or("", |(_, name)| name);
    let mut result = json!({
        "ruleId": class.id,
        "ruleIndex": CAUSES.iter().position(|cause| *cause == found.cause),
        "level": level,
        "message": { "text": message },
        "locations": [location(report, found.step, places)],
        "partialFingerprints": fingerprint(&[&report.journey, &step, needs_name]),
        "properties": { "witness": text::witness(report, found) },
    });
    if let Some((needs, name)) = &needs {
        let mut related = location(report, *needs, places);
        related["id"] = json!(1);
        related["message"] = json!({ "text": format!("{name} is served here") });
        result["relatedLocations"] = json!([related]);
    }
    result
}

fn inconclusive(report: &Report, said: &str, places: &[Place]) -> Value {
    json!({
        "ruleId": RULE_INCONCLUSIVE,
        "ruleIndex": CAUSES.len(),
        "level": "note",
        "message": { "text": format!("{INCONCLUSIVE}: {said}") },
        "locations": [location(report, 0, places)],
        "partialFingerprints": fingerprint(&[&report.journey, RULE_INCONCLUSIVE]),
    })
}

/// A step as a location. GitHub asks for columns; how long the line is is not known here, so the first one is marked.
fn location(report: &Report, step: usize, places: &[Place]) -> Value {
    let name = words::step_name(report, step);
    let full_name = format!("{}/{name}", visible_line(&report.journey));
    let mut location = json!({ "logicalLocations": [{ "name": name, "fullyQualifiedName": full_name }] });
    if let Some((uri, line)) = places.get(step).or(places.first()) {
        let line = (*line).max(1);
        location["physicalLocation"] = json!({
            "artifactLocation": { "uri": uri_reference(uri) },
            "region": { "startLine": line, "startColumn": 1, "endLine": line, "endColumn": 2 },
        });
    }
    location
}

/// What stays the same from run to run, so that one dependence stays one alert: no seed, no p, no line. GitHub reads
/// this key only, together with the rule.
fn fingerprint(parts: &[&str]) -> Value {
    json!({ "primaryLocationLineHash": format!("{:016x}:1", fnv_1a(&parts.join("\n"))) })
}

/// FNV-1a with 64 bits: the hashers of the standard library may change with its version.
fn fnv_1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A path as a URI reference (RFC 3986): what may not stand in one is encoded. An escape that is there already stays.
fn uri_reference(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'\\' => uri.push('/'),
            b'!' | b'#'..=b';' | b'=' | b'?'..=b'Z' | b'_' | b'a'..=b'z' | b'~' | b'[' | b']' => {
                uri.push(char::from(byte))
            }
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::super::sample::{self, golden};
    use super::*;

    /// What GitHub requires of a rule, and the most characters of some.
    const OF_RULE: [(&str, usize); 4] =
        [("/id", 255), ("/shortDescription/text", 1024), ("/fullDescription/text", 1024), ("/help/text", 4096)];

    /// What GitHub requires of a result.
    const OF_RESULT: [&str; 4] = ["/message/text", "/ruleId", "/level", "/partialFingerprints/primaryLocationLineHash"];

    /// What GitHub requires of a location.
    const OF_LOCATION: [&str; 5] = [
        "/physicalLocation/artifactLocation/uri",
        "/physicalLocation/region/startLine",
        "/physicalLocation/region/startColumn",
        "/physicalLocation/region/endLine",
        "/physicalLocation/region/endColumn",
    ];

    fn places() -> Vec<Place> {
        (0..9).map(|step| ("tests/my journey.toml".to_owned(), 3 + step * 4)).collect()
    }

    fn log(report: &Report, places: &[Place]) -> Value {
        serde_json::from_str(&render(report, places)).unwrap()
    }

    fn is_given(value: &Value, pointer: &str) -> bool {
        match value.pointer(pointer) {
            Some(Value::String(text)) => !text.is_empty(),
            Some(Value::Number(number)) => number.as_u64().is_some_and(|number| number > 0),
            _ => false,
        }
    }

    fn check(log: &Value) {
        assert_eq!(log["version"], "2.1.0");
        assert!(is_given(log, "/$schema") && log["runs"].as_array().unwrap().len() == 1);
        let run = &log["runs"][0];
        assert!(is_given(run, "/tool/driver/name") && run["invocations"][0]["executionSuccessful"].is_boolean());
        let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
        for rule in rules {
            for (pointer, most) in OF_RULE {
                assert!(is_given(rule, pointer), "{pointer}: {rule}");
                assert!(rule.pointer(pointer).unwrap().as_str().unwrap().chars().count() <= most, "{pointer}: {rule}");
            }
            assert!(["error", "warning", "note"].contains(&rule["defaultConfiguration"]["level"].as_str().unwrap()));
        }
        for result in run["results"].as_array().unwrap() {
            assert!(OF_RESULT.iter().all(|pointer| is_given(result, pointer)), "{result}");
            assert_eq!(result["locations"].as_array().unwrap().len(), 1);
            assert!(OF_LOCATION.iter().all(|pointer| is_given(&result["locations"][0], pointer)), "{result}");
            assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()), "{result}");
            let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
            assert_eq!(rules[index]["id"], result["ruleId"]);
        }
    }

    #[test]
    fn it_has_what_the_schema_and_github_require() {
        for (report, results) in [(sample::dependent(), 3), (sample::none_found(), 0), (sample::inconclusive(), 1)] {
            let log = log(&report, &places());
            check(&log);
            assert_eq!(log["runs"][0]["results"].as_array().unwrap().len(), results);
        }
        golden("dependent.sarif", &render(&sample::dependent(), &places()));
        golden("inconclusive.sarif", &render(&sample::inconclusive(), &places()));
    }

    #[test]
    fn a_result_stands_at_its_step_and_leads_to_the_one_it_needs() {
        let log = log(&sample::dependent(), &places());
        let result = &log["runs"][0]["results"][0];
        let place = |location: &Value| location["physicalLocation"]["region"]["startLine"].as_u64();
        assert_eq!((place(&result["locations"][0]), place(&result["relatedLocations"][0])), (Some(11), Some(7)));
        let uri = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
        assert_eq!(uri, "tests/my%20journey.toml");
        let text = result["message"]["text"].as_str().unwrap();
        assert!(text.starts_with("cart needs the replica that served [login](1). Cause: memory ("), "{text}");
        let levels: Vec<&Value> = (0..3).map(|number| &log["runs"][0]["results"][number]["level"]).collect();
        assert_eq!(levels, ["error", "error", "warning"]);
    }

    #[test]
    fn an_audit_that_is_inconclusive_is_a_note_and_a_failed_invocation() {
        let log = log(&sample::inconclusive(), &places());
        assert_eq!(log["runs"][0]["results"][0]["level"], "note");
        assert_eq!(log["runs"][0]["invocations"][0]["executionSuccessful"], false);
    }

    #[test]
    fn a_fingerprint_is_the_same_in_every_run_and_differs_between_findings() {
        let prints = |report: &Report, places: &[Place]| -> Vec<String> {
            let log = log(report, places);
            let results = log["runs"][0]["results"].as_array().unwrap().clone();
            let print =
                |result: &Value| result["partialFingerprints"]["primaryLocationLineHash"].as_str().unwrap().to_owned();
            results.iter().map(print).collect()
        };
        let (report, mut again) = (sample::dependent(), sample::dependent());
        (again.seed, again.took, again.version) = (9, std::time::Duration::ZERO, "0.2.0".to_owned());
        let moved: Vec<Place> = places().into_iter().map(|(uri, line)| (uri, line + 100)).collect();
        if let Verdict::Dependent { dependences } = &mut again.verdict {
            dependences.iter_mut().for_each(|found| (found.witness.p, found.because) = (0.01, String::new()));
        }
        let known = prints(&report, &places());
        assert_eq!(known, prints(&again, &moved));
        assert_eq!(known[0], "5ab34ff4e0cbf71c:1");
        assert!(known[0] != known[1] && known[1] != known[2] && known[0] != known[2]);
    }

    #[test]
    fn without_places_a_result_still_names_its_step() {
        let log = log(&sample::dependent(), &[]);
        let location = &log["runs"][0]["results"][0]["locations"][0];
        assert_eq!(location["logicalLocations"][0]["name"], "cart");
        assert!(location.get("physicalLocation").is_none());
    }

    #[test]
    fn names_with_brackets_are_no_links() {
        let mut report = sample::dependent();
        report.steps[1].name = "[x](http://evil)".to_owned();
        let log = log(&report, &places());
        let text = log["runs"][0]["results"][0]["message"]["text"].as_str().unwrap();
        assert!(text.contains("served [\\[x\\](http://evil)](1)"), "{text}");
        check(&log);
    }
}
