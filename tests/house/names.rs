//! The names that ARCHITECTURE.md mentions, in backticks, and whether each exists.

use super::File;

/// The names that do not exist. A name is a file, a folder, a test (`file::test`), a key of the config (`table.key`),
/// or a path of the program (`Type::function`, `function`). Words with other characters are samples and are not
/// checked.
pub(super) fn missing(text: &str, code: &[File], config: &[File]) -> Vec<String> {
    let mut in_sample = false;
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        in_sample ^= line.starts_with("```");
        if in_sample {
            continue;
        }
        for name in line.split('`').skip(1).step_by(2) {
            if !exists(name, code, config) {
                found.push(format!("ARCHITECTURE.md:{}: `{name}`", number + 1));
            }
        }
    }
    found
}

fn exists(name: &str, code: &[File], config: &[File]) -> bool {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_:./".contains(c);
    if !name.chars().all(is_name) || name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '/') {
        return true;
    }
    if name.ends_with(".rs") || name.ends_with('/') || name.contains('/') {
        let is_below = |(path, _): &File| path == name || path.ends_with(&format!("/{name}")) || path.contains(name);
        return code.iter().any(is_below) || std::path::Path::new(name).exists();
    }
    if name.contains('.') {
        let key = name.rsplit('.').next().unwrap_or_default();
        let is_key = |line: &str| {
            let line = line.trim_start_matches(['#', ' ']);
            line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
                || line.starts_with('[') && line.contains(key)
        };
        return config.iter().any(|(_, text)| text.lines().any(is_key)) || std::path::Path::new(name).exists();
    }
    let parts: Vec<&str> = name.split("::").collect();
    let Some((last, before)) = parts.split_last() else { return false };
    let stands_in = |(path, text): &File, part: &str| {
        has_word(text, part) || path.split(['/', '.']).any(|component| component == part)
    };
    code.iter().any(|file| has_word(&file.1, last) && before.iter().all(|part| stands_in(file, part)))
}

fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_part(text[..at].chars().next_back()) && !is_part(text[at + word.len()..].chars().next())
    })
}
