//! Paths that a matcher asks for. Caddy compares them in any case; `*` at an end is any text, not only whole segments.

use std::fmt::Write as _;

/// What a path must be. Texts are in small letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// `/x`
    Exact(String),
    /// `/x*`
    Prefix(String),
    /// `*.x`
    Suffix(String),
    /// A regular expression, and whether it takes any case.
    Regex(String, bool),
}

/// What two paths are together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Both {
    /// No path is both.
    Never,
    /// This one.
    Path(Path),
    /// It cannot be said.
    Unknown,
}

/// The path of a matcher; `None` if it is any path.
///
/// # Errors
/// Why it has no translation.
pub(super) fn pattern(written: &str) -> Result<Option<Path>, String> {
    let text = written.to_ascii_lowercase();
    if text.contains('{') {
        return Err("a path of a route has no placeholders".to_owned());
    }
    if text.contains(['%', '[', '\\']) {
        return Err(format!("`{written}` has no translation: a path is compared in its normal form"));
    }
    let (stars, marks) = (text.matches('*').count(), text.contains('?'));
    let inner = text.trim_matches('*');
    Ok(Some(match stars {
        _ if inner.is_empty() || text == "/*" => return Ok(None),
        0 if !marks => Path::Exact(text),
        1 if !marks && text.ends_with('*') => Path::Prefix(inner.to_owned()),
        1 if !marks && text.starts_with('*') => Path::Suffix(inner.to_owned()),
        2 if !marks && text.starts_with('*') && text.ends_with('*') => {
            Path::Regex(format!("(?i){}", literal(inner)), true)
        }
        _ => Path::Regex(format!("(?i)^{}$", glob(&text)), true),
    }))
}

/// `path_regexp`.
///
/// # Errors
/// Why it has no translation.
pub(super) fn regular(written: &str) -> Result<Path, String> {
    if regex::Regex::new(written).is_err() {
        return Err("this regular expression has no equal that takes linear time".to_owned());
    }
    Ok(Path::Regex(written.to_owned(), false))
}

/// `*` is anything within a segment, `?` one character of it.
fn glob(text: &str) -> String {
    let mut out = String::new();
    for part in text.split_inclusive(['*', '?']) {
        out.push_str(&literal(part.trim_end_matches(['*', '?'])));
        match part.chars().next_back() {
            Some('*') => out.push_str("[^/]*"),
            Some('?') => out.push_str("[^/]"),
            _ => {}
        }
    }
    out
}

/// The text as a regular expression for a path in its normal form, in which other bytes are encoded.
fn literal(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*:@+,;=/".contains(&byte);
    let mut encoded = String::new();
    for byte in text.bytes() {
        if is_plain(byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    regex::escape(&encoded)
}

impl Path {
    /// The path as unstick writes it.
    pub(super) fn written(&self) -> String {
        let is_plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit() || b"/-._".contains(&byte));
        match self {
            Self::Exact(text) if is_plain(text) => format!("={text}"),
            Self::Prefix(text) if is_plain(text) && text.ends_with('/') => text.clone(),
            Self::Exact(text) => format!("~(?i)^{}$", literal(text)),
            Self::Prefix(text) => format!("~(?i)^{}", literal(text)),
            Self::Suffix(text) => format!("~(?i){}$", literal(text)),
            Self::Regex(text, _) => format!("~{text}"),
        }
    }

    /// Whether every path of this one is one of `other`, as far as can be told.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        self == other
            || match (self, other) {
                (Self::Exact(text) | Self::Prefix(text), Self::Prefix(prefix)) => text.starts_with(prefix),
                (Self::Exact(text), Self::Suffix(end)) | (Self::Suffix(text), Self::Suffix(end)) => text.ends_with(end),
                (Self::Exact(text), Self::Regex(pattern, _)) => fits(text, pattern, other) == Some(true),
                (Self::Regex(pattern, _), Self::Prefix(prefix)) => {
                    begin(pattern).is_some_and(|begin| begin.starts_with(prefix))
                }
                _ => false,
            }
    }

    /// What is this one and `other` too.
    pub(super) fn and(&self, other: &Self) -> Both {
        if self.is_within(other) {
            return Both::Path(self.clone());
        }
        if other.is_within(self) {
            return Both::Path(other.clone());
        }
        match (self, other) {
            (Self::Exact(_), Self::Exact(_) | Self::Prefix(_) | Self::Suffix(_))
            | (Self::Prefix(_) | Self::Suffix(_), Self::Exact(_))
            | (Self::Prefix(_), Self::Prefix(_))
            | (Self::Suffix(_), Self::Suffix(_)) => Both::Never,
            (Self::Exact(text), regex @ Self::Regex(pattern, _))
            | (regex @ Self::Regex(pattern, _), Self::Exact(text)) => {
                if fits(text, pattern, regex) == Some(false) {
                    Both::Never
                } else {
                    Both::Unknown
                }
            }
            (Self::Prefix(prefix), Self::Suffix(end)) | (Self::Suffix(end), Self::Prefix(prefix)) => {
                let overlaps = (1..=end.len()).any(|n| end.is_char_boundary(n) && prefix.ends_with(&end[..n]));
                let both = format!("(?i)^{}.*{}$", literal(prefix), literal(end));
                if overlaps { Both::Unknown } else { Both::Path(Self::Regex(both, true)) }
            }
            (Self::Prefix(prefix), Self::Regex(pattern, _)) | (Self::Regex(pattern, _), Self::Prefix(prefix)) => {
                let is_apart = |begin: String| !begin.starts_with(&**prefix) && !prefix.starts_with(&begin);
                if begin(pattern).is_some_and(is_apart) { Both::Never } else { Both::Unknown }
            }
            _ => Both::Unknown,
        }
    }

    /// The same path, before a prefix was stripped from it. Nothing if that cannot be said.
    pub(super) fn below(&self, stripped: &str) -> Option<Self> {
        match self {
            Self::Exact(text) => Some(Self::Exact(format!("{stripped}{text}"))),
            Self::Prefix(text) => Some(Self::Prefix(format!("{stripped}{text}"))),
            Self::Suffix(end) if !end.starts_with('/') => Some(self.clone()),
            Self::Suffix(_) | Self::Regex(..) => None,
        }
    }
}

/// Whether a text fits a regular expression; nothing if that depends on the case.
fn fits(text: &str, pattern: &str, regex: &Path) -> Option<bool> {
    let is_caseless = matches!(regex, Path::Regex(_, true)) || !text.contains(|c: char| c.is_ascii_alphabetic());
    let compiled = regex::Regex::new(pattern).ok()?;
    is_caseless.then(|| compiled.is_match(text))
}

/// The text, in small letters, that everything begins with which fits a regular expression.
fn begin(pattern: &str) -> Option<String> {
    if pattern.contains('|') {
        return None;
    }
    let rest = pattern.strip_prefix("(?i)").unwrap_or(pattern).strip_prefix('^')?;
    let (mut out, mut chars) = (String::new(), rest.chars().peekable());
    while let Some(c) = chars.next() {
        let literal = match c {
            '\\' => chars.next().filter(|c| !c.is_ascii_alphanumeric())?,
            c if c.is_ascii_alphanumeric() || "/-_%,;:@=&~!'\"<>#".contains(c) => c,
            _ => break,
        };
        if chars.peek().is_some_and(|next| "?*+{".contains(*next)) {
            break;
        }
        out.push(literal.to_ascii_lowercase());
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Path {
        match text.strip_prefix('~') {
            Some(regex) => regular(regex).unwrap(),
            None => pattern(text).unwrap().unwrap(),
        }
    }

    #[test]
    fn patterns_are_those_of_caddy() {
        for (text, expected) in [
            ("/Api/*", "~(?i)^/api/"),
            ("/api*", "~(?i)^/api"),
            ("/api", "~(?i)^/api$"),
            ("/", "=/"),
            ("/1/*", "/1/"),
            ("*.php", r"~(?i)\.php$"),
            ("*/x/*", "~(?i)/x/"),
            ("/a/*/b", "~(?i)^/a/[^/]*/b$"),
            ("/a?c", "~(?i)^/a[^/]c$"),
            ("/a b", "~(?i)^/a%20b$"),
        ] {
            assert_eq!(path(text).written(), expected, "{text}");
        }
        assert_eq!((pattern("*"), pattern("/*")), (Ok(None), Ok(None)));
        assert!(pattern("/{x}").is_err() && pattern("/a%2Fb").is_err() && pattern("/[ab]").is_err());
        assert!(regular("^(?!x)").is_err());
    }

    #[test]
    fn two_paths_are_one_or_none() {
        for (one, other, expected) in [
            ("/a/*", "/a/b", "~(?i)^/a/b$"),
            ("/a/*", "/A/b/*", "~(?i)^/a/b/"),
            ("/a/*", "/b/*", "never"),
            ("/a/*", "/a", "never"),
            ("/a/*", "*.js", r"~(?i)^/a/.*\.js$"),
            ("/a/*", "*/a/x", "unknown"),
            ("/a/*", "~^/a/v[12]/", "~^/a/v[12]/"),
            ("/a/*", "~^/ab?", "unknown"),
            ("/b/*", "~^/a/v[12]/", "never"),
            ("/a/b.js", "*.js", r"~(?i)^/a/b\.js$"),
            ("/a/b", "*.js", "never"),
            ("/a/1", "~^/A/", "unknown"),
            ("/1", "~^/[12]$", "=/1"),
            ("~^/a", "~^/b", "unknown"),
        ] {
            let shown = |both: Both| match both {
                Both::Never => "never".to_owned(),
                Both::Unknown => "unknown".to_owned(),
                Both::Path(path) => path.written(),
            };
            assert_eq!(shown(path(one).and(&path(other))), expected, "{one} and {other}");
            assert_eq!(shown(path(other).and(&path(one))), expected, "{other} and {one}");
        }
        assert_eq!(path("/x/*").below("/api").unwrap().written(), "~(?i)^/api/x/");
    }
}
