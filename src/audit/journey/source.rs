//! Where a value stands in a response, as text: `regex:...`, `json:$.path`, `header:Name`, `cookie:name`,
//! `ws:regex:...`; and the parts that are not compared, likewise.

use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use regex::{Regex, RegexBuilder};
use unstick_reading::nearest;

use super::{Ignored, Source};

/// The most bytes of a compiled regular expression.
const REGEX_BYTES_MAX: usize = 1 << 20;

const SOURCES: &str = "\"regex:...\", \"json:$.path\", \"header:Name\", \"cookie:name\" or \"ws:regex:...\"";
const IGNORED: &str = "\"json:$.path\", \"regex:...\", \"header:Name\", \"cookie:name\" or \"body\"";

impl FromStr for Source {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("regex", pattern)) => regex(pattern).map(Self::Regex),
            Some(("json", path)) => path.parse().map(Self::Json),
            Some(("header", name)) => header(name).map(Self::Header),
            Some(("cookie", name)) => cookie(name).map(Self::Cookie),
            Some(("ws", pattern)) => match pattern.strip_prefix("regex:") {
                Some(pattern) => regex(pattern).map(Self::Messages),
                None => Err(format!("messages are searched by a regular expression; write \"ws:regex:{pattern}\"")),
            },
            _ => Err(unknown(text, "where the value stands", &["regex", "json", "header", "cookie", "ws"], SOURCES)),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Regex(regex) => write!(f, "regex:{regex}"),
            Self::Json(path) => write!(f, "json:{path}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Messages(regex) => write!(f, "ws:regex:{regex}"),
        }
    }
}

impl FromStr for Ignored {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "body" => Ok(Self::Body),
            Some(("regex", pattern)) => regex(pattern).map(Self::Regex),
            Some(("json", path)) => path.parse().map(Self::Json),
            Some(("header", name)) => header(name).map(Self::Header),
            Some(("cookie", name)) => cookie(name).map(Self::Cookie),
            _ => Err(unknown(text, "what is ignored", &["json", "regex", "header", "cookie", "body"], IGNORED)),
        }
    }
}

impl fmt::Display for Ignored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json(path) => write!(f, "json:{path}"),
            Self::Regex(regex) => write!(f, "regex:{regex}"),
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Cookie(name) => write!(f, "cookie:{name}"),
            Self::Body => f.write_str("body"),
        }
    }
}

/// What is said of a text whose first word is unknown.
fn unknown(text: &str, what: &str, words: &[&str], all: &str) -> String {
    let (word, rest) = text.split_once(':').unwrap_or((text, ""));
    let help = match nearest(word, words.iter().copied()) {
        Some("body") => "did you mean `body`?".to_owned(),
        Some(near) if !rest.is_empty() => format!("did you mean `{near}:{rest}`?"),
        _ if text.starts_with("$.") || text.starts_with("$[") => format!("write \"json:{text}\""),
        _ => format!("write {all}"),
    };
    // What follows a semicolon would be taken for the help.
    let start = text.split(';').next().unwrap_or_default();
    format!("`{start}` does not say {what}; {help}")
}

/// Compiles a regular expression, of at most 1 MiB when compiled.
///
/// # Errors
/// What is wrong with it, in one line.
pub fn regex(pattern: &str) -> Result<Regex, String> {
    RegexBuilder::new(pattern).size_limit(REGEX_BYTES_MAX).build().map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            "the regular expression is too large; write one that is shorter or repeats less".to_owned()
        }
        error => format!("not a regular expression: {}", reason(&error)),
    })
}

/// The reason alone: the crate draws the expression and points at the place, in several lines.
fn reason(error: &regex::Error) -> String {
    let text = error.to_string();
    let line = text.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
    line.unwrap_or(text.trim()).replace('\n', " ")
}

/// The name of a field.
///
/// # Errors
/// That it is none.
pub(super) fn header(name: &str) -> Result<HeaderName, String> {
    name.trim().parse().map_err(|_| format!("`{name}` is not the name of a header; write one such as \"x-request-id\""))
}

/// The name of a cookie, which is a token (RFC 6265 section 4.1.1); browsers take more than that.
fn cookie(name: &str) -> Result<String, String> {
    let name = name.trim();
    if name.is_empty() || name.contains(['=', ';', ',']) || name.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(format!("`{name}` is not the name of a cookie; write it without its value, as in \"cookie:sid\""));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "regex:a(b)c",
            "json:$.a[0]",
            "header:x-id",
            "cookie:connect.sid",
            "ws:regex:\"(.*?)\"",
            "regex:a:b",
            "json:$",
        ] {
            let source: Source = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(source.to_string(), text);
        }
        for text in ["json:$.a[*].at", "regex:\\d+ms", "header:date", "cookie:_t", "body"] {
            let ignored: Ignored = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(ignored.to_string(), text);
        }
    }

    #[test]
    fn what_is_no_source_says_what_to_write() {
        for (text, part) in [
            ("", "write \"regex:...\""),
            ("$.id", "write \"json:$.id\""),
            ("jason:$.id", "did you mean `json:$.id`?"),
            ("Header:ETag", "did you mean `header:ETag`?"),
            ("json:id", "write \"json:$.id\""),
            ("header:x y", "not the name of a header"),
            ("cookie:a=b", "without its value"),
            ("ws:abc", "write \"ws:regex:abc\""),
            ("regex:a(b", "not a regular expression: unclosed group"),
            ("regex:(?=a)", "look-around, including look-ahead and look-behind, is not supported"),
            ("regex:(\\w{900}){900}", "too large"),
        ] {
            let error = text.parse::<Source>().unwrap_err();
            assert!(error.contains(part) && !error.contains('\n'), "{text}: {error}");
        }
        for (text, part) in
            [("bdy", "did you mean `body`?"), ("everything", "write \"json:$.path\""), ("ws:x", "write")]
        {
            let error = text.parse::<Ignored>().unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
