//! What a fragment becomes, and what is told of it.

use std::fs;

use unstick_import::{Kind, import, report, write};

use super::reader;

/// What is written and what is told, without the summary.
pub(crate) fn imported(kind: Kind, text: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("other.conf");
    fs::write(&file, text).unwrap();
    let imported = import(&file, kind, None).unwrap_or_else(|error| panic!("{text}: {error}"));
    let toml = write::toml(&imported, "other.conf");
    let _: toml::Table = toml.parse().unwrap_or_else(|error| panic!("{error}\n{toml}"));
    let problems = reader::problems(&toml);
    assert!(problems.is_empty(), "{problems:?}\n{toml}");
    let told = report::text(&imported);
    let told = told.trim_end().rsplit_once('\n').map_or(String::new(), |(told, _)| told.to_owned());
    (toml, told)
}

/// Checks rows of (fragment, parts of what is written, a part of what is told or nothing).
pub(crate) fn check_of(kind: Kind, around: fn(&str) -> String, rows: &[(&str, &[&str], &str)]) {
    for (fragment, written, told) in rows {
        let (toml, report) = imported(kind, &around(fragment));
        for part in *written {
            assert!(toml.contains(part), "{fragment}: no `{part}` in\n{toml}");
        }
        match *told {
            "" => assert_eq!(report, "", "{fragment}"),
            part => assert!(report.contains(part), "{fragment}: no `{part}` in\n{report}"),
        }
    }
}
