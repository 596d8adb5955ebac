//! Which file imports which, according to the `use` lines and the paths in every file.

use std::collections::{BTreeMap, BTreeSet};

use super::{File, before_tests};

/// The path of a file from the root of its crate.
fn inner(path: &str) -> &str {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    inner.strip_prefix("proof/").unwrap_or(inner)
}

/// The room of a file: its folder in its crate, or its own name if it has no folder.
pub(super) fn room_of(path: &str) -> &str {
    inner(path).split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// The module of a file, from the root of its crate.
fn module_of(path: &str) -> Vec<&str> {
    inner(path).trim_end_matches(".rs").split('/').filter(|part| *part != "mod").collect()
}

/// The imports between rooms that no wall allows.
pub(super) fn arrows(files: &[File], rooms: &[&str], guests: &[(&str, &[&str])], leaves: &[&str]) -> Vec<String> {
    let place = |room: &str| rooms.iter().position(|known| *known == room);
    let mut found = Vec::new();
    for (path, text) in files.iter().filter(|(path, _)| room_of(path) != "lib") {
        let from = room_of(path);
        for target in targets(path, text) {
            let to = target[0].as_str();
            if to == from || place(to).is_none() {
                continue;
            }
            let guest = guests.iter().find(|(guest, _)| *guest == from);
            let is_allowed = match guest {
                Some((_, allowed)) => allowed.contains(&to),
                None => !leaves.contains(&from) && place(from) < place(to),
            };
            if !is_allowed {
                found.push(format!("{path}: {from} -> {to} ({})", target.join("::")));
            }
        }
    }
    found
}

/// The rooms that import each other, directly or through others.
pub(super) fn circles(files: &[File]) -> Vec<String> {
    let mut graph: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, text) in files.iter().filter(|(path, _)| room_of(path) != "lib") {
        let from = room_of(path);
        let rooms = targets(path, text).into_iter().map(|mut target| target.swap_remove(0)).filter(|to| to != from);
        graph.entry(from).or_default().extend(rooms);
    }
    let reachable = |start: &str| {
        let (mut seen, mut ahead) = (BTreeSet::new(), vec![start.to_owned()]);
        while let Some(room) = ahead.pop() {
            for next in graph.get(room.as_str()).into_iter().flatten() {
                if seen.insert(next.clone()) {
                    ahead.push(next.clone());
                }
            }
        }
        seen
    };
    graph.keys().filter(|room| reachable(room).contains(**room)).map(|room| format!("{room} reaches itself")).collect()
}

/// The paths within the two crates that a file names outside its tests, from the root of their crate.
fn targets(path: &str, text: &str) -> Vec<Vec<String>> {
    let (module, code) = (module_of(path), without_comments(before_tests(text)));
    let is_binary = matches!(room_of(path), "main" | "cli");
    let mut found = Vec::new();
    for root in [if is_binary { "unstick::" } else { "crate::" }, "unstick_proof::"] {
        for (start, _) in code.match_indices(root) {
            if code[..start].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            found.extend(leaves(&code[start + root.len()..]));
        }
    }
    for (start, _) in code.match_indices("super::") {
        if code[..start].ends_with("super::") {
            continue;
        }
        let ups = code[start..].split("::").take_while(|part| *part == "super").count();
        let base: Vec<String> = module[..module.len().saturating_sub(ups)].iter().map(ToString::to_string).collect();
        for leaf in leaves(&code[start + ups * "super::".len()..]) {
            found.push([base.clone(), leaf].concat());
        }
    }
    found.retain(|target| !target.is_empty());
    found
}

/// The paths that begin here: one, or all of a list in braces (only the first level, which names the room).
fn leaves(rest: &str) -> Vec<Vec<String>> {
    let word = |text: &str| -> String { text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect() };
    let Some(list) = rest.strip_prefix('{') else {
        return vec![
            rest.split("::").map_while(|part| Some(word(part)).filter(|word| !word.is_empty())).take(3).collect(),
        ];
    };
    let (mut depth, mut start, mut found) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let name = word(list[start..at].trim_start());
                found.extend((!name.is_empty()).then(|| vec![name]));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    found
}

fn without_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}
