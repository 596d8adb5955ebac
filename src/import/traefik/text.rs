//! Texts, times and regular expressions of Traefik as unstick writes them.

use regex::RegexBuilder;

/// The most bytes of a compiled regular expression, and how deep its groups may be nested: what unstick takes.
const PATTERN_BYTES_MAX: usize = 256 * 1024;
const NEST_MAX: u32 = 50;

/// A text of a file: `${` means nothing there.
pub(super) fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

/// A text of a compose file, which refers to the environment as unstick does: `${NAME}`, `${NAME:-default}`. `$NAME` is
/// the same as `${NAME}`, and `$$` is a dollar.
pub(super) fn interpolated(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if let Some(next) = after.strip_prefix('$') {
            out.push_str(if next.starts_with('{') { "$$" } else { "$" });
            rest = next;
        } else if let Some((inner, next)) = after.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            let end = inner.find(|c| !is_name(c)).unwrap_or(inner.len());
            let (name, form) = inner.split_at(end);
            match form.strip_prefix(":-").or_else(|| form.strip_prefix('-')) {
                Some(default) => out.push_str(&format!("${{{name}:-{default}}}")),
                // Both refuse what is not set.
                None if form.trim_start_matches(':').starts_with('?') => out.push_str(&format!("${{{name}}}")),
                None => out.push_str(&format!("${{{inner}}}")),
            }
            rest = next;
        } else {
            let end = after.find(|c| !is_name(c)).unwrap_or(after.len());
            let (name, next) = after.split_at(end);
            out.push_str(&if name.is_empty() { "$".to_owned() } else { format!("${{{name}}}") });
            rest = next;
        }
    }
    out + rest
}

/// Whether a text refers to the environment, so that nobody knows yet what it is.
pub(super) fn refers(text: &str) -> bool {
    text.replace("$${", "").contains("${")
}

/// A text that becomes a template, such as the value of a header: braces begin a name of unstick's, and one that is
/// meant is written twice. References to the environment stay.
///
/// # Errors
/// Why it cannot be sent.
pub(super) fn template(text: &str) -> Result<String, &'static str> {
    if !text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        return Err("what is not visible ASCII cannot be sent in a header");
    }
    let mut out = String::new();
    let mut rest = text.trim();
    while let Some(c) = rest.chars().next() {
        let length = match rest.find('}') {
            _ if rest.starts_with("$${") => {
                out.push_str("$${{");
                3
            }
            Some(end) if rest.starts_with("${") => {
                out.push_str(&rest[..=end]);
                end + 1
            }
            _ => {
                out.push(c);
                if matches!(c, '{' | '}') {
                    out.push(c);
                }
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    Ok(out)
}

/// What no URL may contain is percent-encoded. What is encoded already has capital digits.
pub(super) fn encoded(path: &str) -> String {
    let mut out = String::new();
    let bytes = path.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        let is_digit = |back: usize| at >= back && bytes[at - back] == b'%' && byte.is_ascii_hexdigit();
        match byte {
            _ if is_digit(1) || is_digit(2) => out.push(char::from(byte.to_ascii_uppercase())),
            b'!'..=b'~' if !matches!(byte, b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' | b'\\') => {
                out.push(char::from(*byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// Whether unstick takes it as a regular expression.
pub(super) fn is_regex(text: &str) -> bool {
    compiled(text).is_some()
}

/// Whether a regular expression is found in a text.
pub(super) fn is_found(pattern: &str, text: &str) -> bool {
    compiled(pattern).is_some_and(|regex| regex.is_match(text))
}

fn compiled(text: &str) -> Option<regex::Regex> {
    RegexBuilder::new(text).size_limit(PATTERN_BYTES_MAX).nest_limit(NEST_MAX).build().ok()
}

/// A duration in milliseconds, as Go writes them: `1m30s`, `1.5s`, `500ms`. A number alone is in seconds.
pub(super) fn time(text: &str) -> Option<u64> {
    if let Ok(seconds) = text.parse::<u64>() {
        return seconds.checked_mul(1000);
    }
    let (mut rest, mut total) = (text.trim(), 0.0);
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let factor = match unit {
            "ns" => 1e-6,
            "us" | "µs" => 1e-3,
            "ms" => 1.0,
            "s" => 1000.0,
            "m" => 60_000.0,
            "h" => 3_600_000.0,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * factor;
        rest = after;
    }
    // More than a thousand years is nobody's duration.
    (total < 4e13).then_some(total.ceil() as u64)
}

/// A number of bytes as unstick writes it.
pub(super) fn size(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_of_a_compose_file_are_those_of_unstick() {
        for (text, expected) in [
            ("Host(`${DOMAIN}`)", "Host(`${DOMAIN}`)"),
            ("$HOST.test", "${HOST}.test"),
            ("${A:-b}.${C-d}", "${A:-b}.${C:-d}"),
            ("${A:?set it}", "${A}"),
            ("a$$b $${1} $$1", "a$b $${1} $1"),
            ("5$ or $", "5$ or $"),
        ] {
            assert_eq!(interpolated(text), expected);
        }
        assert!(refers("${A}") && !refers("$${1}") && !refers("$1"));
    }

    #[test]
    fn braces_that_are_meant_are_doubled() {
        for (text, expected) in [
            ("{\"a\": 1}", Ok("{{\"a\": 1}}")),
            ("${TOKEN:-x} {y}", Ok("${TOKEN:-x} {{y}}")),
            ("$${a}", Ok("$${{a}}")),
            (" a ", Ok("a")),
            ("é", Err(())),
            ("a\nb", Err(())),
        ] {
            assert_eq!(template(text).as_deref().map_err(|_| ()), expected);
        }
    }

    #[test]
    fn units() {
        for (text, expected) in [
            ("10", Some(10_000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("500ms", Some(500)),
            ("10us", Some(1)),
            ("0s", Some(0)),
            ("", None),
            ("1d", None),
            ("x", None),
            ("9999999999999999h", None),
        ] {
            assert_eq!(time(text), expected, "{text}");
        }
        assert_eq!((size(10 << 20), size(1_000_000)), ("10MiB".to_owned(), "1000000B".to_owned()));
        assert_eq!(encoded("/a b/é+:@%2f%5b"), "/a%20b/%C3%A9+:@%2F%5B");
    }
}
