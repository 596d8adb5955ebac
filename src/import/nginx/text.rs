//! nginx's variables in the names that unstick knows: `$host` is `{host}`.

use super::scope::Scope;
use crate::value::{escaped_braces, with_sample};

/// The parts of a text: literal, or the name of a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Literal(String),
    Variable(String),
}

/// Takes a text apart. `$` before what is no name stays.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        literal.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let (name, next) = match after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((name, next)) => (name, next),
            None => {
                let length = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len());
                // A capture has one digit.
                let length = if after.starts_with(|c: char| c.is_ascii_digit()) { 1 } else { length };
                after.split_at(length)
            }
        };
        if name.is_empty() {
            literal.push('$');
        } else {
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Variable(name.to_owned()));
        }
        rest = next;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    parts
}

/// Replaces the variables that a `set` has given a value without variables.
pub(super) fn resolved(text: &str, scope: &Scope<'_>) -> String {
    let mut out = String::new();
    for part in parts(text) {
        match part {
            Part::Literal(literal) => out.push_str(&literal),
            Part::Variable(name) => match scope.variable(&name).filter(|value| !value.contains('$')) {
                Some(value) => out.push_str(value),
                None => out.push_str(&format!("${{{name}}}")),
            },
        }
    }
    out
}

/// The same of a redirect, in which `$uri` is the path.
///
/// # Errors
/// Why there is none for it.
pub(super) fn target(text: &str, scope: &Scope<'_>) -> Result<String, String> {
    let mut whole = String::new();
    for part in parts(&resolved(text, scope)) {
        match part {
            Part::Literal(literal) => whole.push_str(&literal),
            Part::Variable(name) if matches!(name.as_str(), "uri" | "document_uri") => whole.push_str(PATH),
            Part::Variable(name) => whole.push_str(&format!("${{{name}}}")),
        }
    }
    template(&whole, scope).map(|target| target.replace(PATH_WRITTEN, "{path}"))
}

/// Stands for the path while a target is made.
const PATH: &str = "{path}";
/// What becomes of that.
const PATH_WRITTEN: &str = "{{path}}";

/// The text in unstick's names.
///
/// # Errors
/// Why there are none for it.
pub(super) fn template(text: &str, scope: &Scope<'_>) -> Result<String, String> {
    let mut out = String::new();
    let parts = parts(&resolved(text, scope));
    let mut at = 0;
    while let Some(part) = parts.get(at) {
        at += 1;
        match part {
            Part::Literal(literal) if !with_sample(literal, "x").bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
                return Err("what is not visible ASCII cannot be sent in a header".to_owned());
            }
            // Braces begin a name of unstick's. One that is meant is written twice.
            Part::Literal(literal) => out.push_str(&escaped_braces(literal)),
            Part::Variable(name) => {
                let next = parts.get(at);
                let is_query = |name: &str| matches!(name, "args" | "query_string");
                if name == "is_args" && matches!(next, Some(Part::Variable(next)) if is_query(next)) {
                    out.push_str("{?query}");
                    at += 1;
                } else {
                    out.push_str(&variable(name, scope)?);
                }
            }
        }
    }
    Ok(out.trim().to_owned())
}

fn variable(name: &str, scope: &Scope<'_>) -> Result<String, String> {
    let known = match name {
        "host" | "http_host" => "{host}",
        "scheme" => "{scheme}",
        "request_uri" => "{path}{?query}",
        "remote_addr" | "realip_remote_addr" => "{client_ip}",
        "request_id" => "{request_id}",
        "server_name" => {
            let name = scope.one("server_name").map_or("", |names| names.arg(0));
            let is_plain = !name.is_empty() && name != "_" && !name.starts_with(['~', '*', '.']);
            return if is_plain { Ok(name.to_owned()) } else { Err("$server_name is no plain name here".to_owned()) };
        }
        _ => return Err(format!("unstick has no value for ${name}")),
    };
    Ok(known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::grammar;
    use super::*;

    #[test]
    fn variables_become_names() {
        let tree = grammar::parse("x", "server_name a.test b.test; set $up app; set $odd $up;").unwrap();
        let scope = Scope::new(&tree);
        for (text, expected) in [
            ("https://$host$request_uri", Ok("https://{host}{path}{?query}")),
            ("https://${host}/x$is_args$args", Ok("https://{host}/x{?query}")),
            ("$scheme://$server_name/", Ok("{scheme}://a.test/")),
            ("$remote_addr, $request_id", Ok("{client_ip}, {request_id}")),
            ("http://$up:80", Ok("http://app:80")),
            ("5$ or $", Ok("5$ or $")),
            ("$odd", Err("$odd")),
            ("/x$1", Err("$1")),
            ("$args", Err("$args")),
            ("{\"a\": 1}", Ok("{{\"a\": 1}}")),
            ("caf\u{e9}", Err("visible ASCII")),
        ] {
            match (template(text, &scope), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
                (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
            }
        }
    }
}
