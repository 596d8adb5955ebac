//! HAProxy's expressions in the names that unstick knows: `%[src]` is `{client_ip}`.

use super::sockets::Socket;
use crate::value::{escaped_braces, reference};

/// The text in unstick's names.
///
/// # Errors
/// Why there are none for it.
pub(super) fn template(text: &str, sockets: &[Socket]) -> Result<String, &'static str> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        out.push_str(&escaped_braces(&rest[..at]));
        let after = &rest[at + 1..];
        if let Some(next) = after.strip_prefix('%') {
            out.push('%');
            rest = next;
        } else if let Some((expression, next)) = after.strip_prefix('[').and_then(bracketed) {
            // `?%[query]` has no `?` if there is no query, but HAProxy's has.
            if expression == "query" && out.ends_with('?') {
                out.pop();
                out.push_str("{?query}");
            } else {
                out.push_str(&value(expression, sockets)?);
            }
            rest = next;
        } else {
            let (name, next) = after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
            out.push_str(match name {
                "ci" => "{client_ip}",
                "HU" => "{path}{?query}",
                "HP" => "{path}",
                "ID" => "{request_id}",
                _ => return Err(NONE),
            });
            rest = next;
        }
    }
    out.push_str(&escaped_braces(rest));
    Ok(out.trim().to_owned())
}

const NONE: &str = "unstick has no value for this expression";

/// What stands before the bracket that closes, and what comes behind it.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let mut depth = 0_i32;
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ']' if depth <= 0 => return Some((&text[..at], &text[at + 1..])),
            _ => {}
        }
    }
    None
}

fn value(expression: &str, sockets: &[Socket]) -> Result<String, &'static str> {
    let lower = expression.to_ascii_lowercase();
    let known = match lower.as_str() {
        "src" => "{client_ip}",
        "hdr(host)" | "req.hdr(host)" | "req.hdr(host),field(1,:)" | "hdr(host),field(1,:)" => "{host}",
        "path" => "{path}",
        "url" | "pathq" | "capture.req.uri" => "{path}{?query}",
        "unique-id" => "{request_id}",
        "dst_port" => match sockets {
            [(_, _, Some(port))] => return Ok(port.to_string()),
            _ => return Err("the port is different for each listener"),
        },
        _ => {
            let named = expression.strip_prefix("env(").and_then(|name| name.strip_suffix(')'));
            return named.map(|name| reference(name, None)).ok_or(NONE);
        }
    };
    Ok(known.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_names() {
        let sockets = [("http".to_owned(), false, Some(80))];
        for (text, expected) in [
            ("https://%[hdr(host)]%[capture.req.uri]", Ok("https://{host}{path}{?query}")),
            ("https://%[req.hdr(Host),field(1,:)]%HU", Ok("https://{host}{path}{?query}")),
            ("/x?%[query]", Ok("/x{?query}")),
            ("%[src]:%[dst_port] 100%%", Ok("{client_ip}:80 100%")),
            ("{a}", Ok("{{a}}")),
            ("%[path,regsub(^/a/,/)]", Err(NONE)),
            ("%ST", Err(NONE)),
        ] {
            assert_eq!(template(text, &sockets).as_deref(), expected.as_deref(), "{text}");
        }
    }
}
