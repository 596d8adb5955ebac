//! What was imported as the text of `unstick.toml`. What was left out is a comment where it would have been.

use super::imported::{At, Imported, Keys, LeftOut};
use super::value::{Value, bare, one_or_more, shown};

/// The widest line of a comment, in characters.
const COLUMNS_MAX: usize = 118;

/// The whole file. `from` names what was imported.
pub fn toml(imported: &Imported, from: &str) -> String {
    let mut out = String::new();
    comment(
        &mut out,
        &format!("Made by `unstick import` from {}. Read it, then: unstick check -c FILE", one_line(from)),
    );
    out.push_str(&left_out(imported, &At::Top));
    for listener in &imported.listeners {
        let notes = left_out(imported, &At::Listener(listener.name.clone()));
        table(&mut out, &format!("listen.{}", bare(&listener.name)), &listener.keys, &notes);
    }
    for (index, route) in imported.routes.iter().enumerate() {
        out.push_str(&format!("\n# {}: {}\n[[route]]\n", route.place, one_line(&route.origin)));
        for (key, names) in [("listen", &route.listen), ("host", &route.host)] {
            if !names.is_empty() {
                line(&mut out, key, &one_or_more(names));
            }
        }
        line(&mut out, "path", &Value::from(route.path.as_str()));
        if route.priority != 0 {
            line(&mut out, "priority", &Value::Number(route.priority));
        }
        route.keys.0.iter().for_each(|(key, value)| line(&mut out, key, value));
        out.push_str(&left_out(imported, &At::Route(index)));
    }
    for pool in &imported.pools {
        let notes = left_out(imported, &At::Pool(pool.name.clone()));
        table(&mut out, &format!("pool.{}", bare(&pool.name)), &pool.keys, &notes);
    }
    if !imported.errors.is_empty() {
        table(&mut out, "errors", &imported.errors, "");
    }
    imported.tables.iter().for_each(|(name, keys)| table(&mut out, name, keys, ""));
    out
}

/// A table with its comments, and the tables in it: a dotted key is one of those.
fn table(out: &mut String, name: &str, keys: &Keys, notes: &str) {
    let (inner, own): (Vec<_>, Vec<_>) = keys.0.iter().partition(|(key, _)| key.contains('.'));
    out.push_str(&format!("\n[{name}]\n"));
    own.iter().for_each(|(key, value)| line(out, key, value));
    out.push_str(notes);
    let mut tables: Vec<(&str, Keys)> = Vec::new();
    for (key, value) in inner {
        let (table, key) = key.split_once('.').unwrap_or_default();
        match tables.iter_mut().find(|(known, _)| *known == table) {
            Some((_, keys)) => keys.set(key, value.clone()),
            None => tables.push((table, Keys(vec![(key.to_owned(), value.clone())]))),
        }
    }
    tables.iter().for_each(|(inner, keys)| self::table(out, &format!("{name}.{}", bare(inner)), keys, ""));
}

fn line(out: &mut String, key: &str, value: &Value) {
    out.push_str(&format!("{} = {value}\n", bare(key)));
}

/// The comments of what was left out there.
fn left_out(imported: &Imported, at: &At) -> String {
    let mut out = String::new();
    for LeftOut { place, directive, why, what_to_do, .. } in imported.left_out.iter().filter(|left| left.at == *at) {
        let parts = [directive, why, what_to_do].map(|part| one_line(part));
        comment(&mut out, &format!("{place}: {}", parts.join("; ")));
    }
    out
}

/// A comment, in as many lines as it needs.
fn comment(out: &mut String, text: &str) {
    let mut width = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if width == 0 {
            out.push_str("# ");
            width = 2;
        } else if width + 1 + length > COLUMNS_MAX {
            out.push_str("\n#   ");
            width = 4;
        } else {
            out.push(' ');
            width += 1;
        }
        out.push_str(word);
        width += length;
    }
    out.push('\n');
}

/// The text without line ends and other control bytes: a comment ends with its line.
pub(super) fn one_line(text: &str) -> String {
    shown(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
