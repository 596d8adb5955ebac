//! What a request must meet, and how two such tests combine.

use ipnet::IpNet;

/// What a request must meet: all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Test {
    /// Any of these hosts; `*.name` are those below a name.
    pub(super) host: Vec<String>,
    pub(super) path: Option<PathTest>,
    pub(super) method: Vec<String>,
    pub(super) header: Vec<(String, String)>,
    pub(super) query: Vec<(String, String)>,
    /// Which sockets of the frontend, in their order; all if absent.
    pub(super) sockets: Option<Vec<bool>>,
    pub(super) source: Option<Source>,
    pub(super) excess: Option<Excess>,
    /// The backend that has no server that is well.
    pub(super) dead: Option<String>,
    /// None of these may hold.
    pub(super) but: Vec<Test>,
    /// What is not quite the same about it.
    pub(super) told: Vec<&'static str>,
}

/// Where the client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) is_inside: bool,
    pub(super) networks: Vec<IpNet>,
}

/// More requests than this were counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Excess {
    /// The number of the counter, as in `track-sc0`.
    pub(super) counter: char,
    pub(super) above: i64,
    /// The section with the table, if another one has it.
    pub(super) table: Option<String>,
}

/// What a path must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PathTest {
    Exact(String),
    /// It begins with these bytes.
    Begins(String),
    /// This regular expression is found in it.
    Regex(String),
}

impl PathTest {
    /// The path of a route.
    pub(super) fn written(&self) -> String {
        let is_plain = |path: &str| path.ends_with('/') && !path.contains(['*', '{', '?', '#']);
        match self {
            Self::Exact(path) => format!("={path}"),
            // A prefix of characters that ends with a slash is one of segments, too.
            Self::Begins(path) if is_plain(path) => path.clone(),
            Self::Begins(path) => format!("~^{}", regex::escape(path)),
            Self::Regex(pattern) => format!("~{pattern}"),
        }
    }

    fn fits(&self, path: &str) -> bool {
        match self {
            Self::Exact(own) => own == path,
            Self::Begins(own) => path.starts_with(own),
            Self::Regex(pattern) => regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(path)),
        }
    }

    /// Paths that fit both. No path at all is `Ok(None)`.
    fn and(&self, other: &Self) -> Result<Option<Self>, String> {
        match (self, other) {
            (Self::Exact(path), test) | (test, Self::Exact(path)) => {
                Ok(test.fits(path).then(|| Self::Exact(path.clone())))
            }
            (Self::Begins(one), Self::Begins(other)) => {
                let (short, long) = if one.len() < other.len() { (one, other) } else { (other, one) };
                Ok(long.starts_with(short.as_str()).then(|| Self::Begins(long.clone())))
            }
            (one, other) if one == other => Ok(Some(one.clone())),
            (Self::Begins(begin), test @ Self::Regex(pattern)) | (test @ Self::Regex(pattern), Self::Begins(begin)) => {
                let literal = beginning(pattern);
                match literal.starts_with(begin) {
                    true => Ok(Some(test.clone())),
                    false if begin.starts_with(&literal) => {
                        behind(begin, pattern).map(|pattern| Some(Self::Regex(pattern))).ok_or(TWICE.to_owned())
                    }
                    false => Ok(None),
                }
            }
            _ => Err(TWICE.to_owned()),
        }
    }

    fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Begins(own), Self::Begins(path)) => path.starts_with(own),
            (own, Self::Exact(path)) => own.fits(path),
            (own, other) => own == other,
        }
    }
}

/// What every path begins with in which a regular expression is found.
fn beginning(pattern: &str) -> String {
    let (mut literal, mut chars) = (String::from("/"), pattern.chars().peekable());
    if chars.next() != Some('^') || pattern.contains('|') || chars.next() != Some('/') {
        return literal;
    }
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => chars.next().filter(|c| !c.is_ascii_alphanumeric()),
            c if "[](){}.*+?^$".contains(c) => None,
            c => Some(c),
        };
        let is_repeated = chars.peek().is_some_and(|next| "*+?{".contains(*next));
        match c.filter(|_| !is_repeated) {
            Some(c) => literal.push(c),
            None => break,
        }
    }
    literal
}

/// `\.js$` behind `/static/`: the paths that begin with a text, and in whose rest a regular expression is found.
/// Nothing if it may be found partly in the text.
fn behind(begin: &str, pattern: &str) -> Option<String> {
    let (flags, bare) = pattern.strip_prefix("(?i)").map_or(("?", pattern), |bare| ("?i", bare));
    let first = match bare.strip_prefix('\\') {
        Some(escaped) => escaped.chars().next().filter(|c| !c.is_ascii_alphanumeric()),
        None => bare.chars().next().filter(|c| c.is_ascii_alphanumeric() || "/-_".contains(*c)),
    }?;
    let is_within = begin.chars().any(|c| c.eq_ignore_ascii_case(&first));
    let is_repeated = bare.trim_start_matches('\\').chars().nth(1).is_some_and(|next| "*?{".contains(next));
    (!is_within && !is_repeated && !bare.contains('|')).then(|| format!("^{}.*({flags}:{bare})", regex::escape(begin)))
}

const TWICE: &str = "two tests of the same thing are one too many for a route";

impl Test {
    /// What requests must meet that meet both. Nothing, if none can.
    ///
    /// # Errors
    /// Why a route cannot ask for both.
    pub(super) fn and(&self, other: &Self) -> Result<Option<Self>, String> {
        let path = match (&self.path, &other.path) {
            (Some(one), Some(other)) => match one.and(other)? {
                Some(path) => Some(path),
                None => return Ok(None),
            },
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        let (Some(host), Some(method)) = (hosts(&self.host, &other.host), listed(&self.method, &other.method)) else {
            return Ok(None);
        };
        let (Some(header), Some(query)) = (values(&self.header, &other.header)?, values(&self.query, &other.query)?)
        else {
            return Ok(None);
        };
        let sockets = match (&self.sockets, &other.sockets) {
            (Some(one), Some(other)) => Some(one.iter().zip(other).map(|(one, other)| *one && *other).collect()),
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        if sockets.as_ref().is_some_and(|sockets: &Vec<bool>| !sockets.contains(&true)) {
            return Ok(None);
        }
        let source = match (&self.source, &other.source) {
            (Some(one), Some(other)) => Some(one.and(other)?),
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        let mut but = self.but.clone();
        but.extend(other.but.iter().filter(|test| !self.but.contains(test)).cloned());
        let mut told = self.told.clone();
        told.extend(other.told.iter().filter(|why| !self.told.contains(why)));
        let (excess, dead) = (one_of(&self.excess, &other.excess)?, one_of(&self.dead, &other.dead)?);
        Ok(Some(Self { host, path, method, header, query, sockets, source, excess, dead, but, told }))
    }

    /// What requests must meet that do not meet this one. Nothing, if all do.
    ///
    /// # Errors
    /// Why a route cannot ask for it.
    pub(super) fn opposite(&self) -> Result<Option<Self>, String> {
        let of = |test: Self| Ok(Some(test));
        if *self == Self::default() {
            return Ok(None);
        }
        if let Some(sockets) = &self.sockets
            && *self == (Self { sockets: Some(sockets.clone()), ..Self::default() })
        {
            return of(Self { sockets: Some(sockets.iter().map(|is_in| !is_in).collect()), ..Self::default() });
        }
        if let Some(Source { is_inside, networks }) = &self.source
            && *self == (Self { source: self.source.clone(), ..Self::default() })
        {
            let source = Source { is_inside: !is_inside, networks: networks.clone() };
            return of(Self { source: Some(source), ..Self::default() });
        }
        if let [(name, expected)] = &self.header[..]
            && *self == (Self { header: self.header.clone(), ..Self::default() })
            && let Some(opposite) = [("*", "!"), ("!", "*")].iter().find(|(known, _)| known == expected)
        {
            return of(Self { header: vec![(name.clone(), opposite.1.to_owned())], ..Self::default() });
        }
        if self.is_plain() {
            return of(Self { but: vec![self.clone()], ..Self::default() });
        }
        Err("a route has no condition that must not hold".to_owned())
    }

    /// Whether a route can ask for all of it.
    pub(super) fn is_plain(&self) -> bool {
        *self == self.plain()
    }

    /// The part that a route can ask for.
    pub(super) fn plain(&self) -> Self {
        Self { source: None, excess: None, dead: None, but: Vec::new(), ..self.clone() }
    }

    /// Whether all requests that meet the other one meet this one. `false` if that is not known.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let is_in = |own: &[String], other: &[String]| {
            own.is_empty() || !other.is_empty() && other.iter().all(|one| own.contains(one))
        };
        let has = |own: &[(String, String)], other: &[(String, String)]| own.iter().all(|test| other.contains(test));
        let sockets = match (&self.sockets, &other.sockets) {
            (None, _) => true,
            (Some(own), Some(other)) => other.iter().zip(own).all(|(other, own)| *own || !other),
            (Some(own), None) => !own.contains(&false),
        };
        self.is_plain()
            && is_in(&self.host, &other.host)
            && self.path.as_ref().is_none_or(|own| other.path.as_ref().is_some_and(|path| own.covers(path)))
            && is_in(&self.method, &other.method)
            && has(&self.header, &other.header)
            && has(&self.query, &other.query)
            && sockets
    }
}

impl Source {
    fn and(&self, other: &Self) -> Result<Self, String> {
        match (self.is_inside, other.is_inside) {
            _ if self == other => Ok(self.clone()),
            (false, false) => {
                let networks = [&self.networks[..], &other.networks[..]].concat();
                Ok(Self { is_inside: false, networks: IpNet::aggregate(&networks) })
            }
            _ => Err(TWICE.to_owned()),
        }
    }
}

fn one_of<T: Clone + PartialEq>(one: &Option<T>, other: &Option<T>) -> Result<Option<T>, String> {
    match (one, other) {
        (Some(one), Some(other)) if one != other => Err(TWICE.to_owned()),
        (one, other) => Ok(one.clone().or_else(|| other.clone())),
    }
}

/// What is in both lists, of which an empty one has everything.
fn listed(one: &[String], other: &[String]) -> Option<Vec<String>> {
    if one.is_empty() || other.is_empty() {
        return Some([one, other].concat());
    }
    let both: Vec<String> = one.iter().filter(|name| other.contains(name)).cloned().collect();
    (!both.is_empty()).then_some(both)
}

/// The same of hosts: a wildcard has those below it.
fn hosts(one: &[String], other: &[String]) -> Option<Vec<String>> {
    if one.is_empty() || other.is_empty() {
        return Some([one, other].concat());
    }
    let has = |all: &[String], host: &str| {
        let mut all = all.iter();
        all.any(|own| own == host || own.strip_prefix('*').is_some_and(|end| host.ends_with(end)))
    };
    let mut both: Vec<String> = one.iter().filter(|host| has(other, host)).cloned().collect();
    both.extend(other.iter().filter(|host| !one.contains(host) && has(one, host)).cloned());
    (!both.is_empty()).then_some(both)
}

type Values = Vec<(String, String)>;

/// Fields or parameters that meet both tests; `Ok(None)` if none can.
fn values(one: &Values, other: &Values) -> Result<Option<Values>, String> {
    let mut both = one.clone();
    for (name, expected) in other {
        let Some((_, known)) = both.iter_mut().find(|(known, _)| known == name) else {
            both.push((name.clone(), expected.clone()));
            continue;
        };
        match (known.as_str(), expected.as_str()) {
            (known, expected) if known == expected => {}
            ("!", _) | (_, "!") => return Ok(None),
            ("*", expected) => *known = expected.to_owned(),
            (_, "*") => {}
            _ => return Err(TWICE.to_owned()),
        }
    }
    Ok(Some(both))
}
