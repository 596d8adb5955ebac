//! docs/import.md says what the importers do.

#![cfg(test)]

use std::fs;
use std::path::Path;

use unstick_import::{markdown, tables};

#[test]
fn the_tables_are_those_that_the_importers_follow() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/import.md");
    let mut text = fs::read_to_string(&path).unwrap();
    for (name, words) in tables() {
        let (begin, end) = (format!("<!-- words of {name} -->\n"), format!("<!-- end of {name} -->\n"));
        let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("no {begin}"));
        let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no {end}"));
        text = format!("{before}{begin}{}{end}{after}", markdown(words));
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &text).unwrap();
    }
    assert!(text == fs::read_to_string(&path).unwrap(), "BLESS=1 cargo test -p unstick-import writes the tables anew");
}

#[test]
fn each_word_is_there_once() {
    for (name, words) in tables() {
        let mut seen: Vec<&str> = words.iter().map(|word| word.name).collect();
        seen.sort_unstable();
        let count = seen.len();
        seen.dedup();
        assert_eq!(seen.len(), count, "a word of {name} is there twice");
    }
}
