//! The rules of routers: ``Host(`a.test`) && (PathPrefix(`/x`) || !Method(`GET`))``, of version 3 and of version 2.

/// How deep parentheses may be nested.
const DEPTH_MAX: usize = 50;
/// The most alternatives that a rule may have.
const ALTERNATIVES_MAX: usize = 200;
/// The most tests of all alternatives together.
const TESTS_MAX: usize = 5_000;
/// The longest rule, in bytes.
const BYTES_MAX: usize = 32 * 1024;

/// What a matcher looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matcher {
    ClientIp,
    Method,
    Host,
    HostRegexp,
    Path,
    PathPrefix,
    PathRegexp,
    Header,
    HeaderRegexp,
    Query,
    QueryRegexp,
}

/// The names of matchers, those of version 2 too.
const MATCHERS: &[(&str, Matcher)] = &[
    ("ClientIP", Matcher::ClientIp),
    ("Method", Matcher::Method),
    ("Host", Matcher::Host),
    ("HostHeader", Matcher::Host),
    ("HostRegexp", Matcher::HostRegexp),
    ("Path", Matcher::Path),
    ("PathPrefix", Matcher::PathPrefix),
    ("PathRegexp", Matcher::PathRegexp),
    ("Header", Matcher::Header),
    ("Headers", Matcher::Header),
    ("HeaderRegexp", Matcher::HeaderRegexp),
    ("HeadersRegexp", Matcher::HeaderRegexp),
    ("Query", Matcher::Query),
    ("QueryRegexp", Matcher::QueryRegexp),
];

/// One test of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) matcher: Matcher,
    /// Its value; with that of a header or a parameter of the query first its name.
    pub(super) values: Vec<String>,
    /// Whether it must not hold.
    pub(super) is_negated: bool,
}

/// The alternatives of a rule: a request must meet all tests of one of them.
///
/// # Errors
/// What is wrong with the rule.
pub(super) fn alternatives(rule: &str) -> Result<Vec<Vec<Leaf>>, NoRule> {
    if rule.len() > BYTES_MAX {
        return Err(NoRule::TooLarge(format!("it is longer than {BYTES_MAX} bytes")));
    }
    let mut parser = Parser { rest: rule, depth: 0 };
    let tree = parser.any()?;
    match parser.rest.trim_start() {
        "" => spread(&tree, false),
        rest => Err(NoRule::Broken(format!("`{}` is not expected here", shortened(rest)))),
    }
}

/// Why a rule has no alternatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoRule {
    /// It breaks the grammar, so that it is none for Traefik either.
    Broken(String),
    /// It is too large.
    TooLarge(String),
}

impl From<String> for NoRule {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

/// A rule as it is written.
enum Tree {
    Leaf(Leaf),
    All(Vec<Tree>),
    Any(Vec<Tree>),
    Not(Box<Tree>),
}

struct Parser<'r> {
    rest: &'r str,
    depth: usize,
}

impl Parser<'_> {
    fn takes(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        let after = rest.strip_prefix(token);
        self.rest = after.unwrap_or(rest);
        after.is_some()
    }

    fn any(&mut self) -> Result<Tree, NoRule> {
        let mut parts = vec![self.all()?];
        while self.takes("||") {
            parts.push(self.all()?);
        }
        Ok(Tree::Any(parts))
    }

    fn all(&mut self) -> Result<Tree, NoRule> {
        let mut parts = vec![self.one()?];
        while self.takes("&&") {
            parts.push(self.one()?);
        }
        Ok(Tree::All(parts))
    }

    fn one(&mut self) -> Result<Tree, NoRule> {
        let mut is_negated = false;
        while self.takes("!") {
            is_negated = !is_negated;
        }
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(NoRule::TooLarge(format!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        let tree = if self.takes("(") {
            let inner = self.any()?;
            if !self.takes(")") {
                return Err("a `(` is not closed".to_owned().into());
            }
            inner
        } else {
            self.matcher()?
        };
        self.depth -= 1;
        Ok(if is_negated { Tree::Not(Box::new(tree)) } else { tree })
    }

    fn matcher(&mut self) -> Result<Tree, String> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() {
            return Err(format!("a matcher is expected before `{}`", shortened(rest)));
        }
        let known = MATCHERS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        let (name, matcher) = known.ok_or_else(|| format!("there is no matcher `{name}` for HTTP"))?;
        self.rest = after;
        if !self.takes("(") {
            return Err(format!("`{name}` needs a `(`"));
        }
        let mut values = vec![self.value()?];
        while self.takes(",") {
            values.push(self.value()?);
        }
        if !self.takes(")") {
            return Err(format!("the `(` of `{name}` is not closed"));
        }
        if values.iter().any(String::is_empty) {
            return Err(format!("`{name}` has an empty value"));
        }
        leaves(name, *matcher, values)
    }

    /// A text in backquotes or in double quotes.
    fn value(&mut self) -> Result<String, String> {
        let rest = self.rest.trim_start();
        if let Some((text, after)) = rest.strip_prefix('`').and_then(|inner| inner.split_once('`')) {
            self.rest = after;
            return Ok(text.to_owned());
        }
        let inner =
            rest.strip_prefix('"').ok_or_else(|| format!("a value in backquotes is due at `{}`", shortened(rest)))?;
        let mut text = String::new();
        let mut chars = inner.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &inner[at + 1..];
                    return Ok(text);
                }
                '\\' => match chars.next() {
                    Some((_, escaped @ ('"' | '\\'))) => text.push(escaped),
                    Some((_, 't')) => text.push('\t'),
                    _ => return Err("this escape is not known".to_owned()),
                },
                c => text.push(c),
            }
        }
        Err("a quote is not closed".to_owned())
    }
}

/// The tests of a matcher. In version 2 it may have several values, of which one must fit.
fn leaves(name: &str, matcher: Matcher, values: Vec<String>) -> Result<Tree, String> {
    let leaf = |values: Vec<String>| Tree::Leaf(Leaf { matcher, values, is_negated: false });
    let each = |values: Vec<String>| values.into_iter().map(|value| leaf(vec![value])).collect();
    match matcher {
        Matcher::Header | Matcher::HeaderRegexp if values.len() == 2 => Ok(leaf(values)),
        Matcher::Header | Matcher::HeaderRegexp => Err(format!("`{name}` has a name and a value")),
        // Version 2 writes `Query("a=b", "c=d")`, which all must fit.
        Matcher::Query if values.iter().all(|value| value.contains('=')) => {
            Ok(Tree::All(values.iter().map(|value| leaf(value.splitn(2, '=').map(str::to_owned).collect())).collect()))
        }
        Matcher::Query | Matcher::QueryRegexp if values.len() <= 2 => Ok(leaf(values)),
        Matcher::Query | Matcher::QueryRegexp => Err(format!("`{name}` has a name and a value")),
        Matcher::PathRegexp if values.len() > 1 => Err(format!("`{name}` has one value")),
        _ => Ok(Tree::Any(each(values))),
    }
}

/// The alternatives of a tree, or of its opposite.
fn spread(tree: &Tree, is_negated: bool) -> Result<Vec<Vec<Leaf>>, NoRule> {
    let (parts, is_all) = match tree {
        Tree::Leaf(leaf) => return Ok(vec![vec![Leaf { is_negated: leaf.is_negated ^ is_negated, ..leaf.clone() }]]),
        Tree::Not(tree) => return spread(tree, !is_negated),
        Tree::All(parts) => (parts, !is_negated),
        Tree::Any(parts) => (parts, is_negated),
    };
    let mut found: Vec<Vec<Leaf>> = if is_all { vec![Vec::new()] } else { Vec::new() };
    for part in parts {
        let more = spread(part, is_negated)?;
        let count = if is_all { found.len().saturating_mul(more.len()) } else { found.len() + more.len() };
        if count > ALTERNATIVES_MAX {
            return Err(NoRule::TooLarge(format!("it has more than {ALTERNATIVES_MAX} alternatives")));
        }
        if is_all {
            let pairs = found.iter().flat_map(|one| more.iter().map(move |other| [&one[..], &other[..]].concat()));
            found = pairs.collect();
        } else {
            found.extend(more);
        }
        if found.iter().map(Vec::len).sum::<usize>() > TESTS_MAX {
            return Err(NoRule::TooLarge(format!("its alternatives have more than {TESTS_MAX} tests")));
        }
    }
    Ok(found)
}

/// The beginning of a text.
fn shortened(text: &str) -> String {
    text.chars().take(20).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The alternatives, written shortly.
    fn shown(rule: &str) -> Result<String, NoRule> {
        let leaf = |leaf: &Leaf| {
            let sign = if leaf.is_negated { "!" } else { "" };
            format!("{sign}{:?}({})", leaf.matcher, leaf.values.join(","))
        };
        let all = |tests: &Vec<Leaf>| tests.iter().map(leaf).collect::<Vec<_>>().join(" ");
        Ok(alternatives(rule)?.iter().map(all).collect::<Vec<_>>().join(" | "))
    }

    #[test]
    fn rules_are_read() {
        for (rule, expected) in [
            ("Host(`a.test`)", "Host(a.test)"),
            ("host(\"a.test\")&&PATHPREFIX(`/x`)", "Host(a.test) PathPrefix(/x)"),
            ("Host(`a`) || Host(`b`) && Path(`/c`)", "Host(a) | Host(b) Path(/c)"),
            ("(Host(`a`) || Host(`b`)) && Path(`/c`)", "Host(a) Path(/c) | Host(b) Path(/c)"),
            ("Host(`a`, `b`)", "Host(a) | Host(b)"),
            ("!(Host(`a`) && Path(`/b`))", "!Host(a) | !Path(/b)"),
            ("!!Host(`a`)", "Host(a)"),
            ("!(Host(`a`) || !Path(`/b`))", "!Host(a) Path(/b)"),
            ("Header(`X`, `1`) && Headers(`Y`, `2`)", "Header(X,1) Header(Y,2)"),
            ("Query(`a`)", "Query(a)"),
            ("Query(`a`, `b`)", "Query(a,b)"),
            ("Query(`a=b`, `c=d`)", "Query(a,b) Query(c,d)"),
            ("PathRegexp(\"^/a\\\\.b\")", "PathRegexp(^/a\\.b)"),
            ("ClientIP(`10.0.0.0/8`, `::1`)", "ClientIp(10.0.0.0/8) | ClientIp(::1)"),
        ] {
            assert_eq!(shown(rule).as_deref(), Ok(expected), "{rule}");
        }
    }

    #[test]
    fn what_is_no_rule_is_told() {
        let many = ["(Host(`a`) || Host(`b`))"; 8].join(" && ");
        let wide = format!("({}) && {}", ["Host(`a`)"; 150].join(" || "), ["Path(`/b`)"; 50].join(" && "));
        let deep = format!("{}Host(`a`){}", "(".repeat(60), ")".repeat(60));
        for (rule, part) in [
            ("", "a matcher is expected"),
            ("Host(`a`", "is not closed"),
            ("Host(`a`) Path(`/b`)", "`Path(`/b`)` is not expected"),
            ("Host(a)", "a value in backquotes is due"),
            ("Host()", "a value in backquotes is due"),
            ("Host(``)", "an empty value"),
            ("Host(\"a)", "a quote is not closed"),
            ("HostSNI(`a`)", "no matcher `HostSNI`"),
            ("Header(`a`)", "a name and a value"),
            ("(Host(`a`)", "a `(` is not closed"),
            (&many, "more than 200 alternatives"),
            (&wide, "more than 5000 tests"),
            (&deep, "nested deeper"),
            (&"!".repeat(40_000), "longer than"),
        ] {
            let (NoRule::Broken(error) | NoRule::TooLarge(error)) = shown(rule).unwrap_err();
            assert!(error.contains(part), "{rule}: {error}");
        }
    }
}
