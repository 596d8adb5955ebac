//! A report as JSON. Every key is documented in docs/audit-report.md.

use super::Report;

/// A report as JSON for people and machines, with a line feed at the end.
pub fn render(report: &Report) -> String {
    // Only maps with keys that are no strings, and writers, can fail; a report has neither.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;

    use serde_json::Value;

    use super::super::sample::{self, golden};
    use super::*;

    fn all() -> [Report; 3] {
        [sample::dependent(), sample::none_found(), sample::inconclusive()]
    }

    /// The paths of all keys, as in `steps[].name`.
    fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                found.insert(path.clone());
                paths(value, &path, found);
            }),
            Value::Array(all) => all.iter().for_each(|value| paths(value, &format!("{path}[]"), found)),
            _ => {}
        }
    }

    #[test]
    fn the_schema_is_the_first_key_and_everything_can_be_read_back() {
        for report in all() {
            let text = render(&report);
            assert!(text.starts_with("{\n  \"schema\": 1,\n"), "{text}");
            let again: Report = serde_json::from_str(&text).unwrap();
            assert_eq!(render(&again), text);
        }
        golden("dependent.json", &render(&sample::dependent()));
    }

    #[test]
    fn every_key_is_documented_and_every_documented_key_exists() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit-report.md");
        let text = fs::read_to_string(file).unwrap();
        let keys = text.split("Classes of causes").next().unwrap_or_default();
        let rows = keys.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
        let documented: BTreeSet<String> = rows.map(|(path, _)| path.to_owned()).collect();
        let mut found = BTreeSet::new();
        for report in all() {
            paths(&serde_json::to_value(&report).unwrap(), "", &mut found);
        }
        assert!(found.len() > 50, "{found:?}");
        assert_eq!(found.difference(&documented).collect::<Vec<_>>(), Vec::<&String>::new(), "not documented");
        assert_eq!(documented.difference(&found).collect::<Vec<_>>(), Vec::<&String>::new(), "not there");
    }

    #[test]
    fn names_of_causes_are_those_of_the_document() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/audit-report.md");
        let text = fs::read_to_string(file).unwrap();
        for cause in super::super::words::CAUSES {
            let name = serde_json::to_string(&cause).unwrap().replace('"', "`");
            assert!(text.contains(&name), "{name}");
        }
    }
}
