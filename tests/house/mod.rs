//! The walls of the house: which room may call which, what a room may hold, how long lines and files may be, and that
//! every name that ARCHITECTURE.md mentions exists.
//!
//! Each wall is a pure function of (path, text), so that a planted violation shows that it can fail (`planted`).

mod imports;
mod names;
mod planted;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use imports::{arrows, circles, room_of};

/// A file of the tree: its path from the root, and its text.
type File = (String, String);

/// The rooms from top to bottom. An import points down this list, never up.
const ROOMS: [&str; 29] = [
    "main",
    "cli",
    "audit",
    "import",
    "prove",
    "demo",
    "app",
    "sim",
    "control",
    "worker",
    "listen",
    "proxy",
    "link",
    "snapshot",
    "rate",
    "pool",
    "net",
    "access_log",
    "telemetry",
    "metrics",
    "sync",
    "deadlines",
    "fields",
    "resources",
    "config",
    "reading",
    "trial",
    "replica",
    "uplot",
];

/// Rooms that use the proxy only as a process with a file (a crate of their own, `src/proof`), or through `app`: (room,
/// what it may import).
const GUESTS: [(&str, &[&str]); 4] = [
    ("prove", &["trial", "replica"]),
    ("trial", &[]),
    ("replica", &[]),
    ("demo", &["app", "config", "replica", "telemetry"]),
];

/// Rooms that import nothing of the crate.
const LEAVES: [&str; 8] = ["config", "metrics", "deadlines", "fields", "reading", "resources", "sync", "uplot"];

/// The rooms that all threads share. Nothing in them may be bound to one thread.
const SHARED: [&str; 3] = ["src/pool/", "src/rate/", "src/snapshot/"];

/// The rooms on the path of a request. Nothing in them waits for another thread.
const REQUEST_WAY: [&str; 5] = ["src/listen/", "src/proxy/", "src/link/", "src/rate/", "src/worker.rs"];

/// The locks that are allowed there, and why.
const LOCKS: [(&str, &str); 2] = [
    ("src/listen/permits.rs", "taken once per connection, only with limits.connections_per_address"),
    ("src/listen/tls.rs", "taken when certificates are replaced, and by rustls when it makes a ticket"),
];

/// The longest line, in characters.
const COLUMNS_MAX: usize = 120;

/// The longest file, in lines before its tests.
const LINES_MAX: usize = 350;

/// The most files in `src/` that belong to no room.
const LOOSE_MAX: usize = 9;

#[test]
fn imports_point_down_and_never_in_a_circle() {
    let files = tree(&["src"], &["rs"]);
    assert_none(arrows(&files, &ROOMS, &GUESTS, &LEAVES));
    assert_none(circles(&files));
}

#[test]
fn what_threads_share_is_not_bound_to_one() {
    assert_none(uses(&tree(&["src"], &["rs"]), &SHARED, &["Rc", "RefCell", "Cell"], &[]));
}

#[test]
fn nothing_on_the_way_of_a_request_waits_for_another_thread() {
    let files = tree(&["src"], &["rs"]);
    assert_none(uses(&files, &REQUEST_WAY, &["Mutex", "RwLock", "Condvar"], &LOCKS));
    let is_needed = |(path, _): &&(&str, &str)| uses(&files, &[path], &["Mutex", "RwLock", "Condvar"], &[]).is_empty();
    let superfluous: Vec<_> = LOCKS.iter().filter(is_needed).collect();
    assert!(superfluous.is_empty(), "no lock any more: {superfluous:?}");
}

#[test]
fn lines_and_files_are_short() {
    let code = tree(&["src", "tests", "benches"], &["rs", "py"]);
    assert_none(wide(&code));
    assert_none(wide(&tree(&["."], &["md"])));
    assert_none(long(&tree(&["src"], &["rs"])));
}

#[test]
fn few_files_stand_in_no_room() {
    let files = tree(&["src"], &["rs"]);
    let loose: Vec<&str> =
        files.iter().map(|(path, _)| &**path).filter(|path| path.matches('/').count() == 1).collect();
    assert!(loose.len() <= LOOSE_MAX, "{} loose files: {loose:?}", loose.len());
    let rooms: BTreeSet<&str> = files.iter().map(|(path, _)| room_of(path)).collect();
    let unknown: Vec<_> = rooms.iter().filter(|room| **room != "lib" && !ROOMS.contains(room)).collect();
    assert!(unknown.is_empty(), "rooms without a place in the order: {unknown:?}");
}

#[test]
fn what_the_architecture_names_exists() {
    let text = fs::read_to_string("ARCHITECTURE.md").unwrap();
    assert_none(names::missing(&text, &tree(&["src", "tests"], &["rs"]), &tree(&["config"], &["toml"])));
}

/// The files below `folders` with one of these endings, without hidden folders and build results.
fn tree(folders: &[&str], endings: &[&str]) -> Vec<File> {
    let mut files = Vec::new();
    let mut folders: Vec<_> = folders.iter().map(|folder| Path::new(folder).to_owned()).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
                let path_text = path.to_string_lossy().trim_start_matches("./").to_owned();
                files.push((path_text, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(!files.is_empty(), "nothing is looked at");
    files.sort();
    files
}

#[track_caller]
fn assert_none(violations: Vec<String>) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

/// The text of a file up to its unit tests.
fn before_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod ").next().unwrap_or_default()
}

/// The places where files in `rooms` use one of `types`, outside comments and tests.
fn uses(files: &[File], rooms: &[&str], types: &[&str], allowed: &[(&str, &str)]) -> Vec<String> {
    let is_in_room = |(path, _): &&File| rooms.iter().any(|room| path.starts_with(room));
    let is_allowed = |(path, _): &&File| allowed.iter().any(|(file, _)| path == file);
    let mut found = Vec::new();
    for (path, text) in files.iter().filter(is_in_room).filter(|file| !is_allowed(file)) {
        for (number, line) in before_tests(text).lines().enumerate() {
            let code = line.split("//").next().unwrap_or_default();
            let is_word =
                |word: &&&str| code.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == **word);
            found.extend(types.iter().filter(is_word).map(|word| format!("{path}:{}: {word}", number + 1)));
        }
    }
    found
}

/// Lines that are too wide. In documents tables, links and samples may be wider.
fn wide(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in files {
        let mut in_sample = false;
        for (number, line) in text.lines().enumerate() {
            let is_prose = path.ends_with(".md");
            in_sample ^= is_prose && line.trim_start().starts_with("```");
            let is_excepted =
                is_prose && (in_sample || line.starts_with('|') || line.contains("](") || line.contains("://"));
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !is_excepted {
                found.push(format!("{path}:{}: {columns} columns", number + 1));
            }
        }
    }
    found
}

/// Files that are too long before their tests.
fn long(files: &[File]) -> Vec<String> {
    let lines = files.iter().map(|(path, text)| (path, before_tests(text).lines().count()));
    lines.filter(|(_, lines)| *lines > LINES_MAX).map(|(path, lines)| format!("{path}: {lines} lines")).collect()
}
