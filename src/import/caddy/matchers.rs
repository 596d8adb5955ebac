//! Matchers: `@name`, `/path*` and `*`, and what they ask of a request.

use std::collections::{BTreeMap, HashMap};

use super::conditions::{Joined, Test};
use super::paths;
use super::tree::Line;

/// The most alternatives of one matcher.
const ALTERNATIVES_MAX: usize = 200;
/// What `private_ranges` stands for.
pub(super) const PRIVATE: [&str; 6] =
    ["192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.1/8", "fd00::/8", "::1"];

/// The clients that are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Who {
    Within(Vec<String>),
    Outside(Vec<String>),
}

/// What a matcher asks for: one of `any`, none of `but`, and all of `who`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Matcher {
    pub(super) any: Vec<Test>,
    pub(super) but: Vec<Test>,
    pub(super) who: Vec<Who>,
    /// Whether the peer is meant, and not the client that it names.
    pub(super) is_of_peer: bool,
    /// Why something of it has no translation. The rest is what is known.
    pub(super) unknown: Option<String>,
    /// Its path, if it has just one. Caddy orders directives by that.
    pub(super) path: Option<String>,
}

/// The named matchers that can be seen at a place.
pub(super) type Named = HashMap<String, Matcher>;

impl Default for Matcher {
    /// What every request meets.
    fn default() -> Self {
        let any = vec![Test::default()];
        Self { any, but: Vec::new(), who: Vec::new(), is_of_peer: false, unknown: None, path: None }
    }
}

impl Matcher {
    pub(super) fn of_test(test: Test) -> Self {
        Self { any: vec![test], ..Self::default() }
    }

    fn unknown(why: impl Into<String>) -> Self {
        Self { unknown: Some(why.into()), ..Self::default() }
    }

    /// A matcher that nothing defines.
    pub(super) fn missing(name: &str) -> Self {
        Self::unknown(format!("there is no matcher {name}"))
    }

    /// The matcher of a path, as `/api/*`.
    pub(super) fn of_path(written: &str) -> Self {
        let matcher = match paths::pattern(written) {
            Ok(path) => Self::of_test(Test { path, ..Test::default() }),
            Err(why) => Self::unknown(why),
        };
        Self { path: Some(written.to_owned()), ..matcher }
    }

    /// What meets this matcher and `other`.
    fn and(mut self, other: Self) -> Self {
        let mut any = Vec::new();
        for (one, other) in self.any.iter().flat_map(|one| other.any.iter().map(move |other| (one, other))) {
            match one.and(other) {
                Joined::Never => {}
                Joined::Test(test) => any.push(test),
                Joined::Unknown(why) => {
                    self.unknown.get_or_insert_with(|| why.to_owned());
                    any.push(one.clone());
                }
            }
        }
        if any.len() > ALTERNATIVES_MAX {
            return Self::unknown(format!("it has more than {ALTERNATIVES_MAX} alternatives"));
        }
        self.any = any;
        self.but.extend(other.but);
        self.who.extend(other.who);
        self.is_of_peer |= other.is_of_peer;
        self.unknown = self.unknown.or(other.unknown);
        self
    }

    /// The opposite.
    fn negated(self) -> Self {
        match (&self.unknown, &self.who[..], self.but.is_empty()) {
            (Some(why), ..) => Self::unknown(why.clone()),
            (None, [], true) => Self { but: self.any, ..Self::default() },
            (None, [who], true) if self.any == [Test::default()] => {
                let who = match who.clone() {
                    Who::Within(networks) => Who::Outside(networks),
                    Who::Outside(networks) => Who::Within(networks),
                };
                Self { who: vec![who], is_of_peer: self.is_of_peer, ..Self::default() }
            }
            (None, [], false) if self.any == [Test::default()] => Self { any: self.but, ..Self::default() },
            _ => Self::unknown("`not` of several things at once has no translation"),
        }
    }
}

/// Reads a definition: `@name path /x`, or a block of such lines.
pub(super) fn define(line: &Line, named: &mut Named) {
    let matcher = if line.is_quoted {
        Matcher::unknown("unstick runs no expressions")
    } else {
        let inline = line.args.split_first().map(|(name, args)| Line {
            name: name.clone(),
            args: args.to_vec(),
            block: line.block.clone(),
            is_quoted: false,
            place: line.place.clone(),
        });
        match inline {
            Some(inline) => set(std::slice::from_ref(&inline)),
            None => set(line.lines()),
        }
    };
    named.insert(line.name.clone(), matcher);
}

/// The lines of a set: different matchers must all be met, and of the same one any.
fn set(lines: &[Line]) -> Matcher {
    let mut kinds: Vec<(&str, Vec<&Line>)> = Vec::new();
    for line in lines {
        match kinds.iter_mut().find(|(name, _)| *name == line.name && *name != "not") {
            Some((_, lines)) => lines.push(line),
            None => kinds.push((&line.name, vec![line])),
        }
    }
    let path = kinds.iter().find(|(name, _)| *name == "path").and_then(|(_, lines)| match lines[..] {
        [Line { args, .. }] if args.len() == 1 => args.first().cloned(),
        _ => None,
    });
    let all = kinds.iter().map(|(name, lines)| one(name, lines)).fold(Matcher::default(), Matcher::and);
    Matcher { path, ..all }
}

fn one(name: &str, lines: &[&Line]) -> Matcher {
    let args: Vec<&str> = lines.iter().flat_map(|line| line.args.iter().map(String::as_str)).collect();
    match name {
        "path" => any(args.iter().map(|arg| Matcher::of_path(arg))),
        "path_regexp" => match paths::regular(args.last().copied().unwrap_or_default()) {
            Ok(path) if lines.len() == 1 => Matcher::of_test(Test { path: Some(path), ..Test::default() }),
            Ok(_) => Matcher::unknown("several regular expressions of a path have no translation"),
            Err(why) => Matcher::unknown(why),
        },
        "host" => host(&args),
        "method" => {
            // Others never reach a route: unstick answers 405 to them.
            let methods = args.iter().map(|arg| arg.to_ascii_uppercase());
            let methods: Vec<String> = methods.filter(|method| method != "TRACE" && method != "CONNECT").collect();
            let any = if methods.is_empty() { Vec::new() } else { vec![methods] };
            let test = |method| Test { method: Some(method), ..Test::default() };
            Matcher { any: any.into_iter().map(test).collect(), ..Matcher::default() }
        }
        // Of several lines the last one counts.
        "protocol" => protocol(args.last().copied().unwrap_or_default()),
        "header" => header(lines),
        "header_regexp" => header_regexp(lines),
        "query" => query(&args),
        "remote_ip" => Matcher { is_of_peer: true, ..address(&args) },
        "client_ip" => address(&args),
        "not" => lines.iter().map(|line| negation(line)).fold(Matcher::default(), Matcher::and),
        "expression" => Matcher::unknown("unstick runs no expressions"),
        other => Matcher::unknown(format!("unstick does not test `{other}`")),
    }
}

/// One of several.
fn any(all: impl Iterator<Item = Matcher>) -> Matcher {
    let mut joined = Matcher { any: Vec::new(), ..Matcher::default() };
    for one in all {
        joined.any.extend(one.any);
        joined.unknown = joined.unknown.or(one.unknown);
    }
    joined
}

fn negation(line: &Line) -> Matcher {
    let inline = line.args.split_first().map(|(name, args)| Line {
        name: name.clone(),
        args: args.to_vec(),
        block: None,
        is_quoted: false,
        place: line.place.clone(),
    });
    match inline {
        Some(inline) => set(std::slice::from_ref(&inline)).negated(),
        None => set(line.lines()).negated(),
    }
}

fn host(args: &[&str]) -> Matcher {
    let hosts: Option<Vec<String>> = args.iter().map(|arg| super::sites::host(arg)).collect();
    match hosts {
        Some(hosts) => Matcher::of_test(Test { host: Some(hosts), ..Test::default() }),
        None => Matcher::unknown("a host is a name or *.name"),
    }
}

fn protocol(name: &str) -> Matcher {
    match name {
        "https" | "http" => Matcher::of_test(Test { tls: Some(name == "https"), ..Test::default() }),
        "grpc" => of_header("content-type", "~^application/grpc".to_owned()),
        other => Matcher::unknown(format!("unstick does not test for {other}")),
    }
}

fn of_header(name: &str, wanted: String) -> Matcher {
    Matcher::of_test(Test { header: BTreeMap::from([(name.to_owned(), wanted)]), ..Test::default() })
}

fn header(lines: &[&Line]) -> Matcher {
    let mut fields: Vec<(String, Vec<Matcher>)> = Vec::new();
    for line in lines {
        let (name, wanted) = match line.arg(0).strip_prefix('!') {
            Some(name) => (name.to_ascii_lowercase(), Some("!".to_owned())),
            None => (line.arg(0).to_ascii_lowercase(), expected(line.arg(1))),
        };
        let matcher = match wanted {
            _ if name == "host" => Matcher::unknown("the host is not tested as a header; use `host`"),
            Some(wanted) => of_header(&name, wanted),
            None => Matcher::unknown("the value of a header is compared with a fixed text"),
        };
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(matcher),
            None => fields.push((name, vec![matcher])),
        }
    }
    fields.into_iter().map(|(_, all)| any(all.into_iter())).fold(Matcher::default(), Matcher::and)
}

/// A value with `*` at its ends, as unstick writes it. Nothing if it has placeholders.
fn expected(value: &str) -> Option<String> {
    if value.contains('{') {
        return None;
    }
    let inner = value.trim_matches('*');
    let (starts, ends) = (value.starts_with('*'), value.ends_with('*'));
    let escaped = regex::escape(inner);
    Some(match (starts, ends) {
        _ if value == "*" => "*".to_owned(),
        (false, false) if value.starts_with(['~', '!']) => format!("~^{escaped}$"),
        (false, false) => value.to_owned(),
        (true, true) => format!("~{escaped}"),
        (true, false) => format!("~{escaped}$"),
        (false, true) => format!("~^{escaped}"),
    })
}

fn header_regexp(lines: &[&Line]) -> Matcher {
    let [line] = lines else { return Matcher::unknown("several regular expressions have no translation") };
    let (name, pattern) = match &line.args[..] {
        [name, pattern] | [_, name, pattern] => (name, pattern),
        _ => return Matcher::unknown("this is no header with a regular expression"),
    };
    if regex::Regex::new(pattern).is_err() || name.eq_ignore_ascii_case("host") {
        return Matcher::unknown("this regular expression has no equal that takes linear time");
    }
    of_header(&name.to_ascii_lowercase(), format!("~{pattern}"))
}

fn query(args: &[&str]) -> Matcher {
    let mut names: Vec<(&str, Vec<Matcher>)> = Vec::new();
    for arg in args {
        let (name, value) = arg.split_once('=').unwrap_or((arg, ""));
        let wanted = if value == "*" { Some("*".to_owned()) } else { exactly(value) };
        let matcher = match wanted.filter(|_| !name.is_empty() && !name.contains('{')) {
            Some(wanted) => {
                Matcher::of_test(Test { query: BTreeMap::from([(name.to_owned(), wanted)]), ..Test::default() })
            }
            None => Matcher::unknown("a parameter is compared with a fixed text"),
        };
        match names.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(matcher),
            None => names.push((name, vec![matcher])),
        }
    }
    names.into_iter().map(|(_, all)| any(all.into_iter())).fold(Matcher::default(), Matcher::and)
}

fn exactly(value: &str) -> Option<String> {
    let is_special = value.starts_with(['~', '!', '*']);
    let written = if is_special { format!("~^{}$", regex::escape(value)) } else { value.to_owned() };
    (!value.contains('{')).then_some(written)
}

fn address(args: &[&str]) -> Matcher {
    match networks(args) {
        Some(networks) => Matcher { who: vec![Who::Within(networks)], ..Matcher::default() },
        None => Matcher::unknown("this is no network"),
    }
}

/// The networks, with `private_ranges` written out; nothing if one is none.
pub(super) fn networks(args: &[&str]) -> Option<Vec<String>> {
    let mut all: Vec<String> = Vec::new();
    for arg in args {
        let more: &[&str] = if *arg == "private_ranges" { &PRIVATE } else { std::slice::from_ref(arg) };
        for network in more {
            all.push(network_of(network)?);
        }
    }
    (!all.is_empty()).then_some(all)
}

/// A network, or an address as the network of itself.
fn network_of(text: &str) -> Option<String> {
    let network = text.parse::<ipnet::IpNet>().ok().map(|network| network.trunc());
    let address = || text.parse::<std::net::IpAddr>().ok().map(ipnet::IpNet::from);
    network.or_else(address).map(|network| network.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(matcher: &Matcher) -> String {
        let show = |test: &Test| {
            let mut parts = test.host.clone().unwrap_or_default();
            parts.extend(test.path.as_ref().map(paths::Path::written));
            parts.extend(test.method.as_ref().map(|methods| methods.join(",")));
            parts.extend(test.header.iter().chain(&test.query).map(|(name, value)| format!("{name}={value}")));
            parts.extend(test.tls.map(|tls| format!("tls={tls}")));
            parts.join(" ")
        };
        let list = |tests: &[Test]| tests.iter().map(show).collect::<Vec<_>>().join(" | ");
        let mut out = list(&matcher.any);
        if !matcher.but.is_empty() {
            out.push_str(&format!(" but {}", list(&matcher.but)));
        }
        matcher.who.iter().for_each(|who| out.push_str(&format!(" {who:?}")));
        matcher.unknown.iter().for_each(|why| out.push_str(&format!(" ? {why}")));
        out
    }

    #[test]
    fn matchers_become_tests() {
        for (text, expected) in [
            ("path /a /b*", "~(?i)^/a$ | ~(?i)^/b"),
            ("path /a/*\nmethod get POST", "~(?i)^/a/ GET,POST"),
            ("method TRACE", ""),
            ("path_regexp v ^/v[12]/", "~^/v[12]/"),
            ("path_regexp ^(?!x)", " ? this regular expression has no equal that takes linear time"),
            ("header X-A *b*\nheader X-A c\nheader !X-D", "x-a=~b x-d=! | x-a=c x-d=!"),
            ("header_regexp X-A ^b", "x-a=~^b"),
            ("query a=1 a=2 b=*", "a=1 b=* | a=2 b=*"),
            ("host A.test *.b.test", "a.test *.b.test"),
            ("protocol https", "tls=true"),
            ("protocol https\nprotocol http", "tls=false"),
            ("not path /a /b", " but ~(?i)^/a$ | ~(?i)^/b$"),
            ("not {\nmethod GET\npath /a\n}", " but ~(?i)^/a$ GET"),
            ("not path /a\nnot method GET", " but ~(?i)^/a$ | GET"),
            ("remote_ip 10.0.0.0/8 ::1", r#" Within(["10.0.0.0/8", "::1/128"])"#),
            ("not client_ip 10.0.0.1", r#" Outside(["10.0.0.1/32"])"#),
            ("not {\nremote_ip 10.0.0.1\npath /a\n}", " ? `not` of several things at once has no translation"),
            ("not not path /a", "~(?i)^/a$"),
            ("remote_ip {$A}", " ? this is no network"),
            ("expression x == 1", " ? unstick runs no expressions"),
            ("path /x\nfile", "~(?i)^/x$ ? unstick does not test `file`"),
        ] {
            let text = format!("x.test {{\n@m {{\n{text}\n}}\n}}");
            let file = std::rc::Rc::from(std::path::Path::new("x"));
            let words = super::super::tokens::tokens(&"x".into(), &file, &text).unwrap();
            let blocks = super::super::tree::parse(&words).unwrap();
            let mut named = Named::new();
            define(&blocks[0].lines[0], &mut named);
            assert_eq!(shown(&named["@m"]), expected, "{text}");
        }
    }
}
