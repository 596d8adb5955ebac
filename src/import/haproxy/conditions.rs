//! ACLs, and the expressions that combine them: what a route must ask for.

use std::collections::HashMap;

use super::grammar::Line;

/// What a request must meet: all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Test {
    /// Any of these hosts.
    pub(super) host: Vec<String>,
    pub(super) path: Option<String>,
    pub(super) method: Vec<String>,
    pub(super) header: Vec<(String, String)>,
    pub(super) tls: Option<bool>,
}

/// ACLs by name: each line of one is an alternative, or says why it cannot be translated.
pub(super) type Acls = HashMap<String, Vec<Result<Test, String>>>;

/// Adds an `acl` line.
pub(super) fn define(acls: &mut Acls, line: &Line) {
    let found = alternatives(line.words.get(2..).unwrap_or_default());
    let tests = found.map_or_else(|why| vec![Err(why)], |tests| tests.into_iter().map(Ok).collect());
    acls.entry(line.word(1).to_owned()).or_default().extend(tests);
}

/// The alternatives of an expression such as `is_api !{ ssl_fc } || is_admin`.
///
/// # Errors
/// Why there are none.
pub(super) fn expression(words: &[String], acls: &Acls) -> Result<Vec<Test>, String> {
    let mut all = Vec::new();
    for part in words.split(|word| word == "||" || word == "or") {
        let mut found = vec![Test::default()];
        let mut words = part.iter();
        let mut is_negated = false;
        while let Some(word) = words.next() {
            let bare = word.trim_start_matches('!');
            is_negated ^= (word.len() - bare.len()) % 2 == 1;
            let tests = match bare {
                "" => continue,
                "{" => {
                    let inner: Vec<String> = words.by_ref().take_while(|word| *word != "}").cloned().collect();
                    alternatives(&inner)?
                }
                name => named(name, acls)?,
            };
            let tests = if std::mem::take(&mut is_negated) { negated(&tests)? } else { tests };
            let pairs = found.iter().flat_map(|one| tests.iter().map(move |other| both(one, other)));
            found = pairs.collect::<Result<_, _>>()?;
        }
        all.extend(found);
    }
    Ok(all)
}

fn named(name: &str, acls: &Acls) -> Result<Vec<Test>, String> {
    let method = |method: Vec<&str>| {
        Ok(vec![Test { method: method.into_iter().map(str::to_owned).collect(), ..Test::default() }])
    };
    match acls.get(name) {
        Some(tests) => tests.iter().cloned().collect(),
        None => match name {
            "TRUE" | "HTTP" => Ok(vec![Test::default()]),
            "METH_GET" => method(vec!["GET", "HEAD"]),
            "METH_POST" => method(vec!["POST"]),
            "METH_HEAD" | "METH_PUT" | "METH_DELETE" | "METH_OPTIONS" => method(vec![&name["METH_".len()..]]),
            "METH_TRACE" | "METH_CONNECT" => Ok(Vec::new()),
            _ => Err(format!("there is no acl {name}")),
        },
    }
}

/// The opposite. Only that of TLS can be said.
fn negated(tests: &[Test]) -> Result<Vec<Test>, String> {
    match tests {
        [Test { tls: Some(tls), .. }] if tests[0] == (Test { tls: Some(*tls), ..Test::default() }) => {
            Ok(vec![Test { tls: Some(!tls), ..Test::default() }])
        }
        _ => Err("a route has no condition that must not hold".to_owned()),
    }
}

fn both(one: &Test, other: &Test) -> Result<Test, String> {
    let twice = || "two tests of the same thing are one too many for a route".to_owned();
    if !one.host.is_empty() && !other.host.is_empty()
        || one.path.is_some() && other.path.is_some()
        || !one.method.is_empty() && !other.method.is_empty()
        || one.tls.is_some() && other.tls.is_some() && one.tls != other.tls
        || one.header.iter().any(|(name, _)| other.header.iter().any(|(known, _)| known == name))
    {
        return Err(twice());
    }
    Ok(Test {
        host: [&one.host[..], &other.host[..]].concat(),
        path: one.path.clone().or_else(|| other.path.clone()),
        method: [&one.method[..], &other.method[..]].concat(),
        header: [&one.header[..], &other.header[..]].concat(),
        tls: one.tls.or(other.tls),
    })
}

/// The alternatives of `path_beg -i /a /b`.
fn alternatives(words: &[String]) -> Result<Vec<Test>, String> {
    let (criterion, rest) = words.split_first().ok_or("this test is empty")?;
    let (name, argument) =
        criterion.split_once('(').map_or((criterion.as_str(), ""), |(name, rest)| (name, rest.trim_end_matches(')')));
    let name = name.strip_prefix("req.").or_else(|| name.strip_prefix("req")).unwrap_or(name).trim_start_matches('.');
    let (mut values, mut is_caseless, mut matching) = (Vec::new(), false, None);
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        match word.as_str() {
            "-i" if values.is_empty() => is_caseless = true,
            "-m" if values.is_empty() => matching = rest.next().map(String::as_str),
            "--" if values.is_empty() => {}
            flag if values.is_empty() && flag.starts_with('-') => return Err(format!("`{flag}` has no translation")),
            value => values.push(value.to_owned()),
        }
    }
    let (base, suffix) = name.split_once('_').unwrap_or((name, ""));
    let matching = matching.unwrap_or(suffix);
    match base {
        "ssl" if name == "ssl_fc" => Ok(vec![Test { tls: Some(true), ..Test::default() }]),
        "path" => values.iter().map(|value| path(value, matching, is_caseless)).collect(),
        // Others never reach a route: unstick answers 405 to them.
        "method" => {
            values.retain(|method| !["TRACE", "CONNECT"].contains(&method.as_str()));
            let test = Test { method: values, ..Test::default() };
            Ok(if test.method.is_empty() { Vec::new() } else { vec![test] })
        }
        "hdr" if argument.eq_ignore_ascii_case("host") => host(&values, matching),
        "hdr" | "fhdr" if !argument.contains(',') && !argument.is_empty() => {
            let name = argument.to_ascii_lowercase();
            let test = |expected: String| Test { header: vec![(name.clone(), expected)], ..Test::default() };
            if matching == "found" {
                return Ok(vec![test("*".to_owned())]);
            }
            let expected = |value: &String| match base {
                "fhdr" => pattern(value, matching, is_caseless),
                _ => element(value, matching, is_caseless),
            };
            values.iter().map(|value| expected(value).map(&test)).collect()
        }
        _ => Err(format!("unstick does not test {criterion}")),
    }
}

fn path(value: &str, matching: &str, is_caseless: bool) -> Result<Test, String> {
    let path = match matching {
        "" | "str" if !is_caseless => format!("={value}"),
        // A prefix of characters that ends with a slash is one of segments, too.
        "beg" if !is_caseless && value.ends_with('/') && !value.contains(['*', '{', '?', '#']) => value.to_owned(),
        "dir" => format!("~{}(^|/){}(/|$)", caseless(is_caseless), regex::escape(value.trim_matches('/'))),
        matching => {
            let matching = if matching.is_empty() { "str" } else { matching };
            format!("~{}", regular(value, matching, is_caseless)?)
        }
    };
    Ok(Test { path: Some(path), ..Test::default() })
}

fn pattern(value: &str, matching: &str, is_caseless: bool) -> Result<String, String> {
    match matching {
        "" | "str" if !is_caseless && !value.starts_with(['~', '*', '!']) => Ok(value.to_owned()),
        "" => Ok(format!("~{}", regular(value, "str", is_caseless)?)),
        matching => Ok(format!("~{}", regular(value, matching, is_caseless)?)),
    }
}

/// The same for each element of a list with commas: so `hdr` compares, and `fhdr` whole fields.
fn element(value: &str, matching: &str, is_caseless: bool) -> Result<String, String> {
    const BEGIN: &str = r"(^|,)\s*";
    const END: &str = r"\s*(,|$)";
    let escaped = regex::escape(value);
    let found = match matching {
        "" | "str" => format!("{BEGIN}{escaped}{END}"),
        "beg" => format!("{BEGIN}{escaped}"),
        "end" => format!("{escaped}{END}"),
        "reg" => {
            let (begin, rest) = value.strip_prefix('^').map_or(("", value), |rest| (BEGIN, rest));
            let ends = rest.ends_with('$') && !rest.ends_with("\\$");
            let rest = if ends { &rest[..rest.len() - 1] } else { rest };
            if rest.replace("[^", "").replace("\\^", "").replace("\\$", "").contains(['^', '$']) {
                return Err("`hdr` compares each element of a list, and this has anchors within; see `fhdr`".to_owned());
            }
            format!("{begin}{rest}{}", if ends { END } else { "" })
        }
        other => return Ok(format!("~{}", regular(value, other, is_caseless)?)),
    };
    Ok(format!("~{}", regular(&found, "reg", is_caseless)?))
}

fn caseless(is_caseless: bool) -> &'static str {
    if is_caseless { "(?i)" } else { "" }
}

/// A regular expression that finds the same.
fn regular(value: &str, matching: &str, is_caseless: bool) -> Result<String, String> {
    let escaped = regex::escape(value);
    let found = match matching {
        "str" => format!("^{escaped}$"),
        "beg" => format!("^{escaped}"),
        "end" => format!("{escaped}$"),
        "sub" => escaped,
        "reg" => value.to_owned(),
        other => return Err(format!("`{other}` has no translation")),
    };
    let found = format!("{}{found}", caseless(is_caseless));
    let is_linear = regex::Regex::new(&found).is_ok();
    is_linear.then_some(found).ok_or_else(|| "this regular expression has no equal that takes linear time".to_owned())
}

fn host(values: &[String], matching: &str) -> Result<Vec<Test>, String> {
    let name = |value: &String| value.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let host: Vec<String> = match matching {
        "" | "str" => values.iter().map(name).collect(),
        "end" if values.iter().all(|value| value.starts_with('.')) => {
            values.iter().map(|value| format!("*{}", value.to_ascii_lowercase())).collect()
        }
        other => return Err(format!("a host is a name or *.name; `{other}` has no translation")),
    };
    Ok(vec![Test { host, ..Test::default() }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_become_conditions() {
        for (text, expected) in [
            ("{ path /x }", "=/x"),
            ("{ path_beg /api/ /v2 }", "/api/ | ~^/v2"),
            ("{ path_end -i .js }", r"~(?i)\.js$"),
            ("{ path -m reg ^/v[12]/ }", "~^/v[12]/"),
            ("{ hdr(host) -i A.test b.test } { path_beg /x/ }", "a.test,b.test /x/"),
            ("{ hdr_end(host) .a.test }", "*.a.test"),
            ("{ req.hdr(x-canary) 1 }", r"x-canary=~(^|,)\s*1\s*(,|$)"),
            ("{ req.hdr(x-a) -i b.c }", r"x-a=~(?i)(^|,)\s*b\.c\s*(,|$)"),
            ("{ hdr_beg(x-a) b }", r"x-a=~(^|,)\s*b"),
            ("{ hdr_reg(x-a) ^b|c$ }", r"x-a=~(^|,)\s*b|c\s*(,|$)"),
            ("{ hdr_sub(x-a) b }", "x-a=~b"),
            (
                "{ hdr_reg(x-a) (^b|c) }",
                "? `hdr` compares each element of a list, and this has anchors within; see `fhdr`",
            ),
            ("{ req.fhdr(x-a) b }", "x-a=b"),
            ("{ hdr(x-key) -m found }", "x-key=*"),
            ("!{ ssl_fc }", "tls=false"),
            ("METH_GET", "GET,HEAD"),
            ("METH_PUT", "PUT"),
            ("{ method TRACE }", ""),
            ("METH_TRACE or { path /x }", "=/x"),
            ("{ method POST } || { path /y }", "POST | =/y"),
            ("! { path /x }", "? a route has no condition that must not hold"),
            ("{ src 10.0.0.0/8 }", "? unstick does not test src"),
            ("{ path /x } { path /y }", "? two tests of the same thing are one too many for a route"),
            ("nobody", "? there is no acl nobody"),
            ("{ path_reg ^(?!x) }", "? this regular expression has no equal that takes linear time"),
        ] {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let show = |test: &Test| {
                let mut parts = vec![test.host.join(","), test.path.clone().unwrap_or_default(), test.method.join(",")];
                parts.extend(test.header.iter().map(|(name, value)| format!("{name}={value}")));
                parts.extend(test.tls.map(|tls| format!("tls={tls}")));
                parts.retain(|part| !part.is_empty());
                parts.join(" ")
            };
            let shown = match expression(&words, &Acls::new()) {
                Ok(tests) => tests.iter().map(show).collect::<Vec<_>>().join(" | "),
                Err(why) => format!("? {why}"),
            };
            assert_eq!(shown, expected, "{text}");
        }
    }
}
