//! ACLs, and the expressions that combine them: what a route must ask for.

use std::collections::HashMap;

use ipnet::IpNet;

use super::fields::{caseless, cookie, field, parameter, regular};
use super::grammar::Line;
use super::sockets::Socket;
use super::test::{Excess, PathTest, Source, Test};

/// ACLs by name: each line of one is an alternative, or says why it cannot be translated.
pub(super) type Acls = HashMap<String, Vec<Result<Test, String>>>;

/// What an expression may name.
#[derive(Clone, Copy)]
pub(super) struct Known<'a> {
    pub(super) acls: &'a Acls,
    pub(super) sockets: &'a [Socket],
}

/// Adds an `acl` line.
pub(super) fn define(acls: &mut Acls, line: &Line, sockets: &[Socket]) {
    let found = alternatives(line.words.get(2..).unwrap_or_default(), sockets);
    let tests = found.map_or_else(|why| vec![Err(why)], |tests| tests.into_iter().map(Ok).collect());
    acls.entry(line.word(1).to_owned()).or_default().extend(tests);
}

/// What an expression such as `is_api !{ ssl_fc } || is_admin` asks for, in alternatives: none if it never holds.
///
/// # Errors
/// Why it cannot be said.
pub(super) fn expression(words: &[String], known: Known<'_>) -> Result<Vec<Test>, String> {
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
                    alternatives(&inner, known.sockets)?
                }
                name => named(name, known.acls)?,
            };
            let tests = if std::mem::take(&mut is_negated) { negated(&tests)? } else { tests };
            if found.len() * tests.len() > ALTERNATIVES_MAX {
                return Err("this has too many alternatives".to_owned());
            }
            let pairs = found.iter().flat_map(|one| tests.iter().map(move |other| one.and(other)));
            found = pairs.filter_map(Result::transpose).collect::<Result<_, _>>()?;
        }
        all.extend(found);
    }
    Ok(all)
}

/// The most alternatives of an expression: each is a route.
const ALTERNATIVES_MAX: usize = 200;

/// What `unless` asks for: none of the alternatives.
///
/// # Errors
/// Why it cannot be said.
pub(super) fn negated(tests: &[Test]) -> Result<Vec<Test>, String> {
    let mut all = Test::default();
    for test in tests {
        let Some(opposite) = test.opposite()? else { return Ok(Vec::new()) };
        let Some(both) = all.and(&opposite)? else { return Ok(Vec::new()) };
        all = both;
    }
    Ok(vec![all])
}

fn named(name: &str, acls: &Acls) -> Result<Vec<Test>, String> {
    let method = |method: Vec<&str>| {
        Ok(vec![Test { method: method.into_iter().map(str::to_owned).collect(), ..Test::default() }])
    };
    match acls.get(name) {
        Some(tests) => tests.iter().cloned().collect(),
        None => match name {
            "TRUE" | "HTTP" => Ok(vec![Test::default()]),
            "FALSE" => Ok(Vec::new()),
            "LOCALHOST" => source(&["127.0.0.1/8".to_owned(), "::1".to_owned()]),
            "METH_GET" => method(vec!["GET", "HEAD"]),
            "METH_POST" => method(vec!["POST"]),
            "METH_HEAD" | "METH_PUT" | "METH_DELETE" | "METH_OPTIONS" => method(vec![&name["METH_".len()..]]),
            "METH_TRACE" | "METH_CONNECT" => Ok(Vec::new()),
            _ => Err(format!("there is no acl {name}")),
        },
    }
}

/// A criterion taken apart: `hdr_beg(host) -i -m beg a b`.
pub(super) struct Criterion<'a> {
    /// As it is written.
    written: &'a str,
    /// Its name without `req.` and without the way of matching.
    pub(super) base: &'a str,
    pub(super) argument: &'a str,
    pub(super) matching: &'a str,
    pub(super) is_caseless: bool,
    values: Vec<String>,
}

impl<'a> Criterion<'a> {
    fn of(words: &'a [String]) -> Result<Self, String> {
        let (written, rest) = words.split_first().ok_or("this test is empty")?;
        let (name, argument) =
            written.split_once('(').map_or((written.as_str(), ""), |(name, rest)| (name, rest.trim_end_matches(')')));
        let name = name.strip_prefix("req.").or_else(|| name.strip_prefix("req")).unwrap_or(name);
        let (base, suffix) = split(name.trim_start_matches('.'));
        let mut found = Self { written, base, argument, matching: suffix, is_caseless: false, values: Vec::new() };
        let mut rest = rest.iter();
        while let Some(word) = rest.next() {
            match word.as_str() {
                "-i" if found.values.is_empty() => found.is_caseless = true,
                "-m" if found.values.is_empty() => found.matching = rest.next().map_or("", String::as_str),
                "--" if found.values.is_empty() => {}
                flag if found.values.is_empty() && flag.starts_with('-') => {
                    return Err(format!("`{flag}` has no translation"));
                }
                value => found.values.push(value.to_owned()),
            }
        }
        Ok(found)
    }

    /// Any of the values, each as a test of its own.
    pub(super) fn each(&self, test: impl Fn(&str) -> Result<Test, String>) -> Result<Vec<Test>, String> {
        self.values.iter().map(|value| test(value)).collect()
    }
}

/// `path_beg` is `path` and `beg`. Names that have an underline of their own are whole.
fn split(name: &str) -> (&str, &str) {
    const WHOLE: [&str; 5] = ["ssl_fc", "dst_port", "url_param", "always_true", "always_false"];
    let is_rate = name.contains("http_req_rate");
    match name.split_once('_') {
        Some(parts) if !is_rate && !WHOLE.contains(&name) => parts,
        _ => (name, ""),
    }
}

/// The alternatives of `path_beg -i /a /b`.
fn alternatives(words: &[String], sockets: &[Socket]) -> Result<Vec<Test>, String> {
    let criterion = Criterion::of(words)?;
    let Criterion { base, argument, matching, is_caseless, .. } = criterion;
    match base {
        "always_true" => Ok(vec![Test::default()]),
        "always_false" => Ok(Vec::new()),
        "ssl_fc" => Ok(of_sockets(sockets, |(_, is_tls, _)| *is_tls)),
        "dst_port" => {
            let ports: Vec<u16> = criterion.values.iter().filter_map(|value| value.parse().ok()).collect();
            if ports.len() != criterion.values.len() || sockets.iter().any(|(.., port)| port.is_none()) {
                return Err("this is no port of a listener that is known here".to_owned());
            }
            Ok(of_sockets(sockets, |(.., port)| port.is_some_and(|port| ports.contains(&port))))
        }
        "src" if matching.is_empty() => source(&criterion.values),
        "path" if matching == "len" => length(&criterion.values),
        "path" => criterion.each(|value| path(value, matching, is_caseless)),
        // A query is part of it. A beginning without one is that of the path.
        "url" if matching == "beg" && !criterion.values.iter().any(|value| value.contains('?')) => {
            criterion.each(|value| path(value, matching, is_caseless))
        }
        // Others never reach a route: unstick answers 405 to them.
        "method" => {
            let values = criterion.values.into_iter();
            let method: Vec<String> = values.filter(|name| !["TRACE", "CONNECT"].contains(&name.as_str())).collect();
            Ok(if method.is_empty() { Vec::new() } else { vec![Test { method, ..Test::default() }] })
        }
        "hdr" if argument.eq_ignore_ascii_case("host") => host(&criterion.values, matching),
        "hdr" | "fhdr" if !argument.contains(',') && !argument.is_empty() => field(&criterion),
        "cook" if !argument.is_empty() => cookie(&criterion),
        "url_param" | "urlp" if !argument.contains(',') && !argument.is_empty() => parameter(&criterion),
        "nbsrv" if !argument.is_empty() && matches!(criterion.values.join(" ").as_str(), "lt 1" | "eq 0" | "0") => {
            Ok(vec![Test { dead: Some(argument.to_owned()), ..Test::default() }])
        }
        rate if rate.contains("http_req_rate") => excess(&criterion),
        _ => Err(format!("unstick does not test {}", criterion.written)),
    }
}

fn of_sockets(sockets: &[Socket], is_meant: impl Fn(&Socket) -> bool) -> Vec<Test> {
    let meant: Vec<bool> = sockets.iter().map(is_meant).collect();
    match (meant.contains(&true), meant.contains(&false)) {
        (false, _) => Vec::new(),
        (true, false) => vec![Test::default()],
        (true, true) => vec![Test { sockets: Some(meant), ..Test::default() }],
    }
}

fn source(values: &[String]) -> Result<Vec<Test>, String> {
    let network = |text: &String| {
        let address = text.parse().map(IpNet::from as fn(std::net::IpAddr) -> IpNet);
        let found = address.or_else(|_| text.parse()).map_err(|_| format!("{text} is no network"));
        found.map(|network| network.trunc())
    };
    let networks: Vec<IpNet> = values.iter().map(network).collect::<Result<_, _>>()?;
    let source = Source { is_inside: true, networks: IpNet::aggregate(&networks) };
    Ok(vec![Test { source: Some(source), ..Test::default() }])
}

/// `sc_http_req_rate(0) gt 10`, `sc0_http_req_rate`, `src_http_req_rate(table)`.
fn excess(criterion: &Criterion<'_>) -> Result<Vec<Test>, String> {
    let unknown = || format!("unstick does not test {} {}", criterion.written, criterion.values.join(" "));
    let name = criterion.written.split('(').next().unwrap_or_default();
    let mut arguments = criterion.argument.split(',').filter(|argument| !argument.is_empty());
    let counter = match name.strip_suffix("_http_req_rate") {
        Some("sc") => arguments.next().and_then(|number| number.chars().next()),
        Some("src") => Some('s'),
        Some(name) => name.strip_prefix("sc").and_then(|number| number.chars().next()),
        None => None,
    };
    let above = match &criterion.values[..] {
        [word, number] if word == "gt" => number.parse().ok(),
        [word, number] if word == "ge" => number.parse::<i64>().ok().map(|number| number - 1),
        _ => None,
    };
    let (Some(counter), Some(above)) = (counter, above.filter(|above| *above > 0)) else { return Err(unknown()) };
    let table = arguments.next().map(str::to_owned);
    Ok(vec![Test { excess: Some(Excess { counter, above, table }), ..Test::default() }])
}

/// Whether there is a code of a character that needs none, or one in small letters.
fn has_plain_code(value: &str) -> bool {
    value.match_indices('%').filter_map(|(at, _)| value.get(at + 1..at + 3)).any(|code| {
        let byte = u8::from_str_radix(code, 16).ok();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*:@".contains(&byte);
        byte.is_some_and(is_plain) || byte.is_some() && code != code.to_ascii_uppercase()
    })
}

/// `path_len gt 400`.
fn length(values: &[String]) -> Result<Vec<Test>, String> {
    let least = match values {
        [word, number] if word == "gt" => number.parse::<u16>().ok().map(|number| number.saturating_add(1)),
        [word, number] if word == "ge" => number.parse().ok(),
        _ => None,
    };
    let least = least.filter(|least| *least <= 1000).ok_or("a length of a path is at least so many bytes here")?;
    Ok(vec![Test { path: Some(PathTest::Regex(format!("^.{{{least}}}"))), ..Test::default() }])
}

fn path(value: &str, matching: &str, is_caseless: bool) -> Result<Test, String> {
    if value.contains("//") || !value.bytes().all(|byte| (b'!'..=b'~').contains(&byte)) || has_plain_code(value) {
        return Err("unstick compares paths in their normal form, and none has this".to_owned());
    }
    let path = match matching {
        // Every path does.
        "beg" if value == "/" => return Ok(Test::default()),
        "" | "str" if !is_caseless => PathTest::Exact(value.to_owned()),
        "beg" if !is_caseless => PathTest::Begins(value.to_owned()),
        "dir" => {
            let directory = regex::escape(value.trim_matches('/'));
            PathTest::Regex(format!("{}(^|/){directory}(/|$)", caseless(is_caseless)))
        }
        matching => {
            let matching = if matching.is_empty() { "str" } else { matching };
            PathTest::Regex(regular(value, matching, is_caseless)?)
        }
    };
    Ok(Test { path: Some(path), ..Test::default() })
}

fn host(values: &[String], matching: &str) -> Result<Vec<Test>, String> {
    let name = |value: &String| value.split(':').next().unwrap_or_default().to_ascii_lowercase();
    let is_name = |value: &String| name(value).bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if !values.iter().all(is_name) {
        return Err("a host is a name or *.name".to_owned());
    }
    let below = || values.iter().map(name).flat_map(|name| [name.clone(), format!("*.{name}")]).collect();
    let mut told = Vec::new();
    let host: Vec<String> = match matching {
        "" | "str" => values.iter().map(name).collect(),
        "end" if !values.iter().any(|value| value.starts_with('.')) => {
            told.push("HAProxy takes hosts that end so, unstick the name and all below it");
            below()
        }
        "dom" => {
            told.push("HAProxy takes hosts in which these labels are, unstick the name and all below it");
            below()
        }
        "end" if values.iter().all(|value| value.starts_with('.')) => {
            values.iter().map(|value| format!("*{}", value.to_ascii_lowercase())).collect()
        }
        other => return Err(format!("a host is a name or *.name; `{other}` has no translation")),
    };
    Ok(vec![Test { host, told, ..Test::default() }])
}

#[cfg(test)]
mod tests {
    use super::super::grammar;
    use super::*;

    /// A test in one line.
    fn shown(test: &Test) -> String {
        let mut parts = vec![test.host.join(","), test.method.join(",")];
        parts.insert(1, test.path.as_ref().map_or(String::new(), PathTest::written));
        parts.extend(test.header.iter().chain(&test.query).map(|(name, value)| format!("{name}={value}")));
        parts.extend(test.sockets.as_ref().map(|sockets| format!("sockets={sockets:?}")));
        let source = |Source { is_inside, networks }: &Source| format!("inside={is_inside} {networks:?}");
        parts.extend(test.source.as_ref().map(source));
        parts.extend(test.excess.as_ref().map(|excess| format!("above={}/{}", excess.counter, excess.above)));
        parts.extend(test.dead.as_ref().map(|pool| format!("dead={pool}")));
        parts.extend(test.but.iter().map(|but| format!("but({})", shown(but))));
        parts.retain(|part| !part.is_empty());
        parts.join(" ")
    }

    #[test]
    fn tests_become_conditions() {
        let sockets = [("http".to_owned(), false, Some(80)), ("https".to_owned(), true, Some(443))];
        let text = "frontend f\n acl here src 10.0.0.1\n acl here src 10.0.0.2\n acl ab path /a\n acl ab path /b";
        let sections = grammar::parse("x", text).unwrap();
        let mut acls = Acls::new();
        sections[0].lines.iter().for_each(|line| define(&mut acls, line, &sockets));
        for (text, expected) in [
            ("{ path /x }", "=/x"),
            ("{ path_beg / } METH_PUT", "PUT"),
            ("{ path_beg /api/ /v2 }", "/api/ | ~^/v2"),
            ("{ path_end -i .js }", r"~(?i)\.js$"),
            ("{ path -m reg ^/v[12]/ }", "~^/v[12]/"),
            ("{ hdr(host) -i A.test b.test } { path_beg /x/ }", "a.test,b.test /x/"),
            ("{ hdr_end(host) .a.test }", "*.a.test"),
            ("{ hdr_dom(host) a.test }", "a.test,*.a.test"),
            ("{ hdr_end(host) -i a.test b.test }", "a.test,*.a.test,b.test,*.b.test"),
            ("{ path_len gt 400 }", "~^.{401}"),
            ("{ hdr_end(host) .a.test } { hdr(host) b.a.test c.test }", "b.a.test"),
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
            ("!{ hdr(x-key) -m found }", "x-key=!"),
            ("{ cook(a) b }", r"cookie=~(^|;)\s*a\s*=\s*(?:b)\s*(;|$)"),
            ("{ url_param(a) b }", "a=b"),
            ("!{ ssl_fc }", "sockets=[true, false]"),
            ("{ ssl_fc } !{ ssl_fc }", ""),
            ("{ dst_port 443 }", "sockets=[false, true]"),
            ("{ dst_port 80 443 } { path /x }", "=/x"),
            ("METH_GET", "GET,HEAD"),
            ("METH_PUT", "PUT"),
            ("METH_GET METH_PUT", ""),
            ("{ method TRACE }", ""),
            ("METH_TRACE or { path /x }", "=/x"),
            ("{ method POST } || { path /y }", "POST | =/y"),
            ("! { path /x }", "but(=/x)"),
            ("!ab METH_PUT", "PUT but(=/a) but(=/b)"),
            ("{ src 10.0.0.0/8 }", "inside=true [10.0.0.0/8]"),
            ("!here", "inside=false [10.0.0.1/32, 10.0.0.2/32]"),
            ("{ src -f /list }", "? `-f` has no translation"),
            ("{ sc_http_req_rate(0) gt 10 }", "above=0/10"),
            ("{ sc1_http_req_rate ge 10 }", "above=1/9"),
            ("{ nbsrv(app) lt 1 }", "dead=app"),
            ("{ nbsrv(app) lt 2 }", "? unstick does not test nbsrv(app)"),
            ("{ path /x } { path /y }", ""),
            ("{ path_beg /x } { path /xy }", "=/xy"),
            ("{ path_beg /x } { path_beg /x/y }", "~^/x/y"),
            ("{ path_end .js } { path_beg /x }", r"~^/x.*(?:\.js$)"),
            ("{ path_end -i .js } { path_beg /x }", r"~^/x.*(?i:\.js$)"),
            ("{ path_end .js } { path_beg /x.j }", "? two tests of the same thing are one too many for a route"),
            ("{ path_reg ^/x/\\d } { path_beg /x }", r"~^/x/\d"),
            ("{ path_reg ^/xy*z } { path_beg /y }", ""),
            ("{ path_reg ^/xy*z } { path_beg /xy }", "? two tests of the same thing are one too many for a route"),
            ("{ path_sub // }", "? unstick compares paths in their normal form, and none has this"),
            ("{ path_sub %2e%2E }", "? unstick compares paths in their normal form, and none has this"),
            ("{ path_sub %2F }", "~%2F"),
            ("nobody", "? there is no acl nobody"),
            ("{ path_reg ^(?!x) }", "? this regular expression has no equal that takes linear time"),
        ] {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            let shown = match expression(&words, Known { acls: &acls, sockets: &sockets }) {
                Ok(tests) => tests.iter().map(shown).collect::<Vec<_>>().join(" | "),
                Err(why) => format!("? {why}"),
            };
            assert_eq!(shown, expected, "{text}");
        }
    }
}
