//! Caddy's placeholders in the names that unstick knows: `{uri}` is `{path}{?query}`.

/// Whether the path of a request is still that of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Paths {
    Same,
    Changed,
}

/// The parts of a text: literal, or the name of a placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(String),
    Name(String),
    /// A reference to the environment, which stays as it is.
    Environment(String),
}

fn parts(text: &str) -> Vec<Part> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
    while let Some(at) = rest.find(['{', '\\']) {
        literal.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if rest[at..].starts_with('\\') {
            let is_brace = after.starts_with(['{', '}']);
            literal.push_str(if is_brace { &after[..1] } else { "\\" });
            rest = if is_brace { &after[1..] } else { after };
        } else if let Some((part, next)) = placeholder(after) {
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
            rest = next;
        } else {
            literal.push('{');
            rest = after;
        }
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        parts.push(Part::Literal(literal));
    }
    parts
}

/// What follows a brace: a name or a reference, and the text after it. Nothing if it is a brace only.
fn placeholder(after: &str) -> Option<(Part, &str)> {
    let (inner, next) = after.split_once('}')?;
    if inner.starts_with('$') {
        return Some((Part::Environment(format!("{{{inner}}}")), next));
    }
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-?%[]*/".contains(&byte);
    let is_whole = !inner.is_empty() && inner.bytes().all(is_name);
    is_whole.then(|| (Part::Name(inner.to_owned()), next))
}

/// The text if it has no placeholders, with escaped braces as they are meant.
///
/// # Errors
/// The first placeholder.
pub(super) fn fixed(text: &str) -> Result<String, String> {
    let mut out = String::new();
    for part in parts(text) {
        match part {
            Part::Literal(literal) | Part::Environment(literal) => out.push_str(&literal),
            Part::Name(name) => match name.strip_prefix("env.") {
                Some(variable) => out.push_str(&format!("{{${variable}}}")),
                None => return Err(format!("a fixed text has no placeholders, such as {{{name}}}")),
            },
        }
    }
    Ok(out)
}

/// The text in unstick's names.
///
/// # Errors
/// Why there are none for it.
pub(super) fn template(text: &str, paths: Paths) -> Result<String, String> {
    let mut out = String::new();
    let parts = parts(text);
    for (at, part) in parts.iter().enumerate() {
        match part {
            Part::Literal(literal) if !literal.bytes().all(|byte| (b' '..=b'~').contains(&byte)) => {
                return Err("what is not visible ASCII cannot be sent in a header".to_owned());
            }
            Part::Literal(literal) => {
                // `?{query}` is one thing: unstick writes no `?` without a query.
                let is_query = |next: &Part| matches!(next, Part::Name(name) if is_query(name));
                let literal = match literal.strip_suffix('?').filter(|_| parts.get(at + 1).is_some_and(is_query)) {
                    Some(before) => before,
                    None => literal,
                };
                out.push_str(&literal.replace('{', "{{").replace('}', "}}"));
            }
            Part::Environment(reference) => out.push_str(reference),
            Part::Name(name) if is_query(name) => {
                let has_mark =
                    matches!(at.checked_sub(1).map(|at| &parts[at]), Some(Part::Literal(text)) if text.ends_with('?'));
                if !has_mark {
                    return Err("unstick writes a query with its `?`, as {?query}".to_owned());
                }
                out.push_str("{?query}");
            }
            Part::Name(name) => out.push_str(&known(name, paths)?),
        }
    }
    Ok(out.trim().to_owned())
}

fn is_query(name: &str) -> bool {
    matches!(name, "query" | "http.request.uri.query" | "orig_query" | "http.request.orig_uri.query")
}

fn known(name: &str, paths: Paths) -> Result<String, String> {
    let is_same = paths == Paths::Same;
    let known = match name {
        "host" | "http.request.host" | "hostport" | "http.request.hostport" => "{host}",
        "scheme" | "http.request.scheme" => "{scheme}",
        "uri" | "http.request.uri" if is_same => "{path}{?query}",
        "path" | "http.request.uri.path" if is_same => "{path}",
        "uri" | "path" | "http.request.uri" | "http.request.uri.path" => {
            return Err(format!("{{{name}}} is the changed path here, and unstick has that of the client only"));
        }
        "orig_uri" | "http.request.orig_uri" => "{path}{?query}",
        "orig_path" | "http.request.orig_uri.path" => "{path}",
        "?query" | "http.request.uri.prefixed_query" | "orig_?query" | "http.request.orig_uri.prefixed_query" => {
            "{?query}"
        }
        "remote_host" | "http.request.remote.host" | "client_ip" | "http.vars.client_ip" => "{client_ip}",
        "uuid" | "http.request.uuid" => "{request_id}",
        _ => match name.strip_prefix("env.") {
            Some(variable) => return Ok(format!("{{${variable}}}")),
            None => return Err(format!("unstick has no value for {{{name}}}")),
        },
    };
    Ok(known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_become_names() {
        for (text, expected) in [
            ("https://{host}{uri}", Ok("https://{host}{path}{?query}")),
            ("https://www.{host}{http.request.uri}", Ok("https://www.{host}{path}{?query}")),
            ("{path}?{query}", Ok("{path}{?query}")),
            ("{orig_path}{?query}", Ok("{path}{?query}")),
            ("{scheme} {remote_host} {env.A_B} {$C:d}", Ok("{scheme} {client_ip} {$A_B} {$C:d}")),
            (r#"{"a": \{b\}}"#, Ok(r#"{{"a": {{b}}}}"#)),
            ("{re.x.1}", Err("no value for {re.x.1}")),
            ("a{query}", Err("with its `?`")),
            ("caf\u{e9}", Err("visible ASCII")),
        ] {
            match (template(text, Paths::Same), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected),
                (Err(found), Err(part)) => assert!(found.contains(part), "{text}: {found}"),
                (found, expected) => panic!("{text}: {found:?} instead of {expected:?}"),
            }
        }
        assert!(template("{uri}", Paths::Changed).is_err() && template("{orig_uri}", Paths::Changed).is_ok());
        assert_eq!(fixed(r#"{"a":1}"#).as_deref(), Ok(r#"{"a":1}"#));
        assert!(fixed("hello {host}").is_err());
    }
}
