//! Places where secrets stand, by the syntax around them: fields of HTTP, queries and forms, JSON, HTML, multipart.

use std::ops::Range;
use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

use super::names::{is_secret, is_secret_in_query};
use super::{Kind, is_plain};

/// One that is compiled once. The patterns are constants, so they compile.
type Pattern = LazyLock<Option<Regex>>;

/// A field on a line of its own: name, value.
static FIELD: Pattern = LazyLock::new(|| Regex::new(r"(?m)^[ \t]*([A-Za-z0-9_-]+):[ \t]*([^\r\n]*)").ok());

/// A pair in a field of cookies: name, value.
static COOKIE: Pattern = LazyLock::new(|| Regex::new(r#"([^=;,\s"\[\]]+)=([^;,\s]*)"#).ok());

/// Credentials within a line.
static CREDENTIALS: Pattern = LazyLock::new(|| {
    Regex::new(r#"(?i)(?:\bauthorization["']?\s*[:=]\s*["']?(?:[a-z]+[ \t]+)?|\bbearer[ \t]+)([a-z0-9._~+/=-]{8,})"#)
        .ok()
});

/// The password in a URL.
static USERINFO: Pattern = LazyLock::new(|| Regex::new(r"://[^/\s:@]*:([^/\s@]+)@").ok());

/// A parameter: what stands before it, name, value.
static PARAMETER: Pattern = LazyLock::new(|| {
    Regex::new(r#"(^|[?&;,#\s"'(<>{\[])([A-Za-z0-9_.%\[\]$-]+)\s?=\s?("[^"]*|'[^']*|[^&#\s"'<>;,)]*)"#).ok()
});

/// A key of JSON or JavaScript with a string, a number or an array of such.
static KEY: Pattern = LazyLock::new(|| {
    Regex::new(
        r#"["']?([\w.$-]+)["']?\s*:\s*(?:"((?:[^"\\]|\\.)*)|'((?:[^'\\]|\\.)*)|(-?[0-9][0-9.eE+-]*)|\[([^\[\]{}]*))"#,
    )
    .ok()
});

/// A key in JSON that stands in a string: name, value.
static ESCAPED_KEY: Pattern =
    LazyLock::new(|| Regex::new(r#"\\+"([^"\\]+)\\+"\s*:\s*(?:\\+"([^"\\]*)|(-?[0-9][0-9.eE+-]*))"#).ok());

/// A tag of HTML that has a name and a value.
static TAG: Pattern = LazyLock::new(|| Regex::new(r"(?is)<(?:input|meta|button|option)\b[^>]*").ok());

/// An attribute: name, value in its quotes.
static ATTRIBUTE: Pattern =
    LazyLock::new(|| Regex::new(r#"(?s)([A-Za-z-]+)\s*=\s*(?:"([^"]*)|'([^']*)|([^\s"'>]+))"#).ok());

/// A part of a multipart form: name, value.
static PART: Pattern = LazyLock::new(|| {
    Regex::new(r#"(?i)form-data;[^\r\n]*?\bname="?([^";\r\n]+)[^\r\n]*(?:\r?\n[^\r\n]+)*?\r?\n\r?\n([^\r\n]*)"#).ok()
});

/// Keys below one that sounds like a secret which hold it themselves.
const HOLDERS: [&str; 5] = ["id", "key", "value", "data", "raw"];

/// How deep JSON is looked into.
const DEPTH_MAX: usize = 64;

/// Where secrets stand in a text.
pub(super) fn find(text: &str, kind: Kind) -> Vec<Range<usize>> {
    let mut spans = fields(text, kind);
    // What has only small letters is a word: "bearer tokens".
    let is_word = |span: &Range<usize>| text[span.clone()].chars().all(|character| character.is_ascii_lowercase());
    spans.extend(each(&CREDENTIALS, text).filter_map(|found| group(&found, 1)).filter(|span| !is_word(span)));
    spans.extend(each(&USERINFO, text).filter_map(|found| group(&found, 1)));
    for found in each(&PARAMETER, text) {
        let is_query = matches!(&found[1], "?" | "&" | "#");
        if is_secret(&found[2]) || (is_query && is_secret_in_query(&found[2])) {
            spans.extend(group(&found, 3).map(|span| without_quote(text, span)));
        }
    }
    for pattern in [&KEY, &ESCAPED_KEY, &PART] {
        for found in each(pattern, text).filter(|found| is_secret(&found[1])) {
            spans.extend((2..found.len()).filter_map(|place| group(&found, place)));
        }
    }
    spans.extend(each(&TAG, text).filter_map(|found| group(&found, 0)).flat_map(|tag| of_tag(text, tag)));
    spans.retain(|span| !is_plain(&text[span.clone()]));
    spans
}

/// Secrets in JSON that stand deeper than their names: `"session": {"id": "..."}`.
pub(super) fn nested(text: &str) -> Vec<String> {
    let body = text.split_once("\n\n").map_or(text, |(_, body)| body);
    let mut secrets = Vec::new();
    if let Ok(json) = serde_json::from_str::<Value>(body) {
        below(&json, Below::Plain, DEPTH_MAX, &mut secrets);
    }
    secrets
}

/// What the keys above a value say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Below {
    Plain,
    /// The next key above sounds like a secret.
    Secret,
}

fn below(json: &Value, above: Below, depth: usize, secrets: &mut Vec<String>) {
    if depth == 0 {
        return;
    }
    match json {
        Value::String(text) if above == Below::Secret => secrets.push(text.clone()),
        Value::Array(all) => all.iter().for_each(|value| below(value, above, depth - 1, secrets)),
        Value::Object(map) => map.iter().for_each(|(key, value)| {
            let is_holder = above == Below::Secret && HOLDERS.contains(&key.to_ascii_lowercase().as_str());
            let above = if is_holder || is_secret(key) { Below::Secret } else { Below::Plain };
            below(value, above, depth - 1, secrets);
        }),
        Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => {}
    }
}

/// Values of fields on lines of their own. In a sentence that begins like a field, more than one word follows.
fn fields(text: &str, kind: Kind) -> Vec<Range<usize>> {
    let mut spans = Vec::new();
    for found in each(&FIELD, text) {
        let (name, Some(value)) = (found[1].to_ascii_lowercase(), group(&found, 2)) else { continue };
        match name.as_str() {
            "cookie" => spans.extend(pairs(text, value)),
            // What follows the first pair are attributes.
            "set-cookie" => spans.extend(pairs(text, value).into_iter().take(1)),
            _ if kind == Kind::Prose && text[value.clone()].trim().contains(' ') => {}
            // The scheme may be read.
            "authorization" | "proxy-authorization" => {
                let scheme = text[value.clone()].find(' ').map_or(0, |blank| blank + 1);
                spans.push(value.start + scheme..value.end);
            }
            _ if is_secret(&name) => spans.push(value),
            _ => {}
        }
    }
    spans
}

/// Values of the cookies in a part of a text.
fn pairs(text: &str, part: Range<usize>) -> Vec<Range<usize>> {
    let moved = |span: Range<usize>| span.start + part.start..span.end + part.start;
    each(&COOKIE, &text[part.clone()]).filter_map(|found| group(&found, 2)).map(moved).collect()
}

/// Values of a tag whose name sounds like a secret, or that is a field for a password.
fn of_tag(text: &str, tag: Range<usize>) -> Vec<Range<usize>> {
    let mut values = Vec::new();
    let mut is_of_secret = false;
    for found in each(&ATTRIBUTE, &text[tag.clone()]) {
        let Some(value) = (2..found.len()).find_map(|place| group(&found, place)) else { continue };
        let span = value.start + tag.start..value.end + tag.start;
        match found[1].to_ascii_lowercase().as_str() {
            "name" | "id" | "property" | "http-equiv" => is_of_secret |= is_secret(&text[span]),
            "type" => is_of_secret |= text[span].eq_ignore_ascii_case("password"),
            "value" | "content" => values.push(span),
            _ => {}
        }
    }
    if is_of_secret { values } else { Vec::new() }
}

fn each<'a>(pattern: &'static Pattern, text: &'a str) -> impl Iterator<Item = Captures<'a>> {
    pattern.iter().flat_map(move |pattern| pattern.captures_iter(text))
}

fn group(found: &Captures<'_>, place: usize) -> Option<Range<usize>> {
    found.get(place).map(|group| group.range()).filter(|span| !span.is_empty())
}

/// A span without the quote with which it begins.
fn without_quote(text: &str, span: Range<usize>) -> Range<usize> {
    let quotes = text[span.clone()].starts_with(['"', '\'']);
    span.start + usize::from(quotes)..span.end
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The text with its secrets in brackets.
    fn shown(text: &str) -> String {
        let mut spans = find(text, Kind::Outcome);
        spans.sort_by_key(|span| (span.start, span.end));
        spans.dedup();
        let mut shown = String::new();
        let mut end = 0;
        for span in spans.into_iter().filter(|span| !span.is_empty()) {
            shown.push_str(&format!("{}[{}]", &text[end.min(span.start)..span.start], &text[span.clone()]));
            end = span.end;
        }
        shown + &text[end..]
    }

    #[test]
    fn secrets_are_found_where_they_stand() {
        let cases = [
            ("set-cookie: theme=dark; Path=/; HttpOnly", "set-cookie: theme=[dark]; Path=/; HttpOnly"),
            ("cookie: a=1; b=2", "cookie: a=[1]; b=[2]"),
            ("authorization: Bearer abc.def", "authorization: Bearer [abc.def]"),
            ("Authorization: rawvalue", "Authorization: [rawvalue]"),
            ("GET /poll?transport=polling&sid={{sid}}", "GET /poll?transport=polling&sid={{sid}}"),
            ("authorization: Bearer {{token}}", "authorization: Bearer {{token}}"),
            ("x-api-key: k1", "x-api-key: [k1]"),
            ("GET /reset?token=abc&page=2", "GET /reset?token=[abc]&page=2"),
            ("/cb?state=s1&code=c1#access_token=t1", "/cb?state=[s1]&code=[c1]#access_token=[t1]"),
            ("user=ann&password=p%40ss", "user=ann&password=[p%40ss]"),
            ("{\"user\":\"ann\",\"apiKey\": \"k\\\"1\"}", "{\"user\":\"ann\",\"apiKey\": \"[k\\\"1]\"}"),
            ("{\"otp\": 123456, \"code\": 404}", "{\"otp\": [123456], \"code\": 404}"),
            ("{\"text\":\"{\\\"token\\\":\\\"abc\\\"}\"}", "{\"text\":\"{\\\"token\\\":\\\"[abc]\\\"}\"}"),
            ("{\"jwt\":\"cut off her", "{\"jwt\":\"[cut off her]"),
            ("var csrfToken = 'x'; f({ secret: 'y' })", "var csrfToken = '[x]'; f({ secret: '[y]' })"),
            (
                "<input type=\"hidden\" name=\"csrf\" value=\"v1\">",
                "<input type=\"hidden\" name=\"csrf\" value=\"[v1]\">",
            ),
            ("<input value='v2' name='_token'/>", "<input value='[v2]' name='_token'/>"),
            ("<meta name=csrf-token content=v3>", "<meta name=csrf-token content=[v3]>"),
            ("<input name=\"user\" value=\"ann\">", "<input name=\"user\" value=\"ann\">"),
            (
                "form-data; name=\"password\"\r\n\r\nhunter2\r\n--x",
                "form-data; name=\"password\"\r\n\r\n[hunter2]\r\n--x",
            ),
            ("redis://user:pw1@host/0", "redis://user:[pw1]@host/0"),
            ("cause: memory (lost when A is killed)", "cause: memory (lost when A is killed)"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn sentences_are_not_taken_for_fields() {
        let sentences = [
            "Mcp-Session-Id: the session lives in one process",
            "authorization: bearer tokens are signed with a key per process",
            "set-cookie connect.sid: express-session keeps sessions in memory",
        ];
        for text in sentences {
            assert_eq!(find(text, Kind::Prose), Vec::<Range<usize>>::new(), "{text}");
        }
        assert_eq!(find("x-csrf-token: abc", Kind::Prose), vec![14..17]);
    }

    #[test]
    fn secrets_below_a_name_are_found() {
        let cases: [(&str, &[&str]); 4] = [
            ("{\"session\":{\"id\":\"s1\",\"user\":\"ann\"}}", &["s1"]),
            ("200\n\n{\"tokens\":[\"t1\",{\"value\":\"t2\"}]}", &["t1", "t2"]),
            ("{\"a\":{\"b\":{\"password\":\"p\"}}}", &["p"]),
            ("{\"id\":\"7\"}", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(nested(text), expected, "{text}");
        }
    }
}
