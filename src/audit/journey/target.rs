//! Request lines and targets, as people write them.

use http::Method;
use http::uri::PathAndQuery;
use unstick_reading::did_you_mean;

use super::template::{fill, gaps};

/// The methods that journeys have. Any other token is one too.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// `METHOD /target`
pub(super) fn request_line(text: &str) -> Result<(Method, String), String> {
    let text = text.trim();
    let (method, rest) = match text.split_once(' ') {
        Some((method, rest)) => (method, rest.trim_start()),
        None if text.starts_with('/') => return Err(format!("the method is missing; write \"GET {text}\"")),
        None if text.contains("://") => return Err(whole_url(text, "GET ")),
        None => return Err("a request is a method and a target; write \"GET /path\"".to_owned()),
    };
    let upper = method.to_ascii_uppercase();
    if method != upper && METHODS.contains(&&*upper) {
        return Err(format!("methods are written in capitals; write \"{upper} {rest}\""));
    }
    if upper == "CONNECT" || upper == "TRACE" {
        return Err(format!("no page of an application responds to {upper}; write another method"));
    }
    let known: Method = method.parse().map_err(|_| format!("`{method}` is not a method; write \"GET /path\""))?;
    if !METHODS.contains(&method)
        && let Some(help) = did_you_mean(method, METHODS.into_iter())
    {
        return Err(format!("unknown method `{method}`; {help}"));
    }
    read(rest).map(|target| (known, target)).map_err(|error| error.replace("write \"", &format!("write \"{upper} ")))
}

/// A target in origin form, or a gap that brings one. What no URL may contain is percent-encoded, as browsers do.
pub(super) fn read(text: &str) -> Result<String, String> {
    if text.contains("://") && !text.starts_with(['/', '{']) {
        return Err(whole_url(text, ""));
    }
    if !text.starts_with('/') && gaps(text).next().is_none_or(|gap| gap.range.start != 0) {
        return Err(format!("a target begins with a slash; write \"/{text}\""));
    }
    if text.contains(char::is_whitespace) && fill(text, |_| Some(String::new())).is_ok_and(|bare| bare.contains(' ')) {
        let encoded = text.split_whitespace().collect::<Vec<_>>().join("%20");
        return Err(format!("a target has no spaces; write \"{encoded}\""));
    }
    if text.contains('#') {
        let bare = text.split('#').next().unwrap_or_default();
        return Err(format!("what follows `#` is never sent; write \"{bare}\""));
    }
    let encoded = encode(text);
    // What a gap at the beginning brings begins with a slash, or its host is taken off.
    let sample = fill(&encoded, |_| Some("x".to_owned())).unwrap_or_default();
    match format!("/{}", sample.trim_start_matches('/')).parse::<PathAndQuery>() {
        Ok(_) => Ok(encoded),
        Err(_) => {
            Err("this cannot be the target of a request; write letters of other kinds percent-encoded".to_owned())
        }
    }
}

/// The two parts of a target, which let other letters stand as they are (RFC 3986 sections 3.3 and 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TargetPart {
    /// Before the first `?`.
    Path,
    /// After it.
    Query,
}

/// The target with its gaps filled. A value at its beginning may be a whole URL, as `Location` has it: its path is
/// taken. In any other value what cannot stand there is percent-encoded; a path in a path stays one, and what is
/// encoded already stays as it is.
///
/// # Errors
/// The name of the first value that there is not.
pub fn fill_target(text: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut filled, mut end) = (String::with_capacity(text.len()), 0);
    for gap in gaps(text) {
        filled.push_str(text.get(end..gap.range.start).unwrap_or_default());
        let value = value(gap.name).ok_or_else(|| gap.name.to_owned())?;
        let part = if filled.contains('?') { TargetPart::Query } else { TargetPart::Path };
        let encoded =
            if gap.range.start == 0 { encode(&path_of(&value)).replace(' ', "%20") } else { encode_in(&value, part) };
        filled.push_str(&encoded);
        end = gap.range.end;
    }
    filled.push_str(text.get(end..).unwrap_or_default());
    Ok(filled)
}

/// The target that a URL or a part of one leads to, in origin form.
pub(super) fn path_of(location: &str) -> String {
    let bare = location.split('#').next().unwrap_or_default();
    let after = bare.split_once("://").map(|(_, rest)| rest).or_else(|| bare.strip_prefix("//"));
    let path = match after {
        Some(rest) => rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => bare,
    };
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

/// Percent-encodes what would end a value in this part of a target, or cannot stand there.
pub(super) fn encode_in(text: &str, part: TargetPart) -> String {
    let mut encoded = String::with_capacity(text.len());
    for (at, byte) in text.bytes().enumerate() {
        let is_plain = match byte {
            b'%' => text.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
            b'+' | b'&' => part == TargetPart::Path,
            b'?' => part == TargetPart::Query,
            byte => byte.is_ascii_alphanumeric() || b"-._~!$'()*,;:@/=".contains(&byte),
        };
        if is_plain { encoded.push(char::from(byte)) } else { encoded.push_str(&format!("%{byte:02X}")) }
    }
    encoded
}

/// What is said of a URL with scheme and host: every replica gets the same target.
fn whole_url(url: &str, before: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find(['/', '?']).and_then(|at| rest.get(at..)).unwrap_or("/");
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!(
        "the replicas have addresses of their own; write only the path, \"{before}{slash}{path}\" \
         (--host changes the Host)"
    )
}

/// Percent-encodes what RFC 3986 lets no URL contain.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'"' | b'<' | b'>' | b'`' | b'\\' | b'^' | b'|' => encoded.push_str(&format!("%{byte:02X}")),
            0x21..=0x7e => encoded.push(char::from(byte)),
            b' ' => encoded.push(' '),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_lines() {
        for (text, method, target) in [
            ("GET /", "GET", "/"),
            ("  POST   /a?b=c&d=%20 ", "POST", "/a?b=c&d=%20"),
            ("PROPFIND /dav/", "PROPFIND", "/dav/"),
            ("GET {{next}}", "GET", "{{next}}"),
            ("GET {{ next }}&x={{y}}", "GET", "{{ next }}&x={{y}}"),
            ("GET /orders/{{id}}", "GET", "/orders/{{id}}"),
            ("GET /café?q=\"x\"", "GET", "/caf%C3%A9?q=%22x%22"),
            ("GET /r?to=http://x/", "GET", "/r?to=http://x/"),
        ] {
            let read = request_line(text);
            assert_eq!(read, Ok((method.parse().unwrap(), target.to_owned())), "{text}");
            let again = format!("{method} {target}");
            assert_eq!(request_line(&again), read, "{text}");
        }
    }

    #[test]
    fn targets_are_filled() {
        let value = |name: &str| {
            let value = match name {
                "url" => "http://a.b:3000/orders/1?x=\"#top",
                "path" => "/orders/1",
                "bare" => "orders/1",
                "token" => "a/b+c d=",
                "odd" => "50%?&é%3D#",
                _ => return None,
            };
            Some(value.to_owned())
        };
        for (text, expected) in [
            ("/a", Ok("/a")),
            ("{{url}}", Ok("/orders/1?x=%22")),
            ("{{path}}/items?t={{token}}", Ok("/orders/1/items?t=a/b%2Bc%20d=")),
            ("{{bare}}", Ok("/orders/1")),
            ("/x/{{token}}", Ok("/x/a/b+c%20d=")),
            ("/x/{{odd}}?{{odd}}", Ok("/x/50%25%3F&%C3%A9%3D%23?50%25?%26%C3%A9%3D%23")),
            ("/x/{{no}}", Err("no")),
            ("{{no}}", Err("no")),
        ] {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(fill_target(text, value), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_request_line_says_what_to_write() {
        for (text, part) in [
            ("", "write \"GET /path\""),
            ("/cart", "write \"GET /cart\""),
            ("get /cart", "write \"GET /cart\""),
            ("GTE /cart", "did you mean `GET`?"),
            ("GET cart", "write \"GET /cart\""),
            ("GET x{{a}}", "write \"GET /x{{a}}\""),
            ("GET http://localhost:3000/cart?x", "write only the path, \"/cart?x\" (--host changes the Host)"),
            ("http://localhost:3000", "write only the path, \"GET /\""),
            ("POST https://a.b?x", "\"/?x\""),
            ("GET /a b", "write \"GET /a%20b\""),
            ("GET /a#top", "write \"GET /a\""),
            ("CONNECT /", "responds to CONNECT"),
            ("G(T /", "is not a method"),
        ] {
            let error = request_line(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
