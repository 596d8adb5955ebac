//! What a route asks of a request, and what two such tests are together.

use std::collections::BTreeMap;

use super::paths::{Both, Path};
use crate::imported::Keys;
use crate::value::one_or_more;

/// All of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Test {
    /// One of these hosts.
    pub(super) host: Option<Vec<String>>,
    pub(super) path: Option<Path>,
    /// One of these methods.
    pub(super) method: Option<Vec<String>>,
    /// Header fields, by name, with what unstick writes for them.
    pub(super) header: BTreeMap<String, String>,
    /// The same for parameters of the query.
    pub(super) query: BTreeMap<String, String>,
    /// Whether the connection is TLS.
    pub(super) tls: Option<bool>,
}

/// What two tests are together.
#[derive(Debug)]
pub(super) enum Joined {
    /// No request meets both.
    Never,
    Test(Test),
    /// It cannot be said, for this reason.
    Unknown(&'static str),
}

impl Test {
    /// What meets this test and `other`.
    pub(super) fn and(&self, other: &Self) -> Joined {
        let mut both = self.clone();
        both.path = match (&self.path, &other.path) {
            (Some(one), Some(other)) => match one.and(other) {
                Both::Never => return Joined::Never,
                Both::Path(path) => Some(path),
                Both::Unknown => return Joined::Unknown("a route has one path, and these two are not one"),
            },
            (one, other) => one.clone().or_else(|| other.clone()),
        };
        both.host = common(&self.host, &other.host, |one, other| below(one, other).or_else(|| below(other, one)));
        both.method = common(&self.method, &other.method, |one, other| (one == other).then(|| one.clone()));
        both.tls = self.tls.or(other.tls);
        let is_empty = |list: &Option<Vec<String>>| list.as_ref().is_some_and(Vec::is_empty);
        if is_empty(&both.host) || is_empty(&both.method) || self.tls.zip(other.tls).is_some_and(|(a, b)| a != b) {
            return Joined::Never;
        }
        for (own, others) in [(&mut both.header, &other.header), (&mut both.query, &other.query)] {
            for (name, wanted) in others {
                match own.get(name).map(|known| join(known, wanted)) {
                    None | Some(Join::Second) => _ = own.insert(name.clone(), wanted.clone()),
                    Some(Join::First) => {}
                    Some(Join::Never) => return Joined::Never,
                    Some(Join::Unknown) => return Joined::Unknown("a route tests a header or a parameter once"),
                }
            }
        }
        Joined::Test(both)
    }

    /// Whether every request that meets this test meets `other`, as far as can be told.
    pub(super) fn is_within(&self, other: &Self) -> bool {
        let is_part = |own: &BTreeMap<String, String>, others: &BTreeMap<String, String>| {
            others.iter().all(|(name, wanted)| {
                own.get(name).is_some_and(|known| known == wanted || wanted == "*" && known != "!")
            })
        };
        let is_path = match (&self.path, &other.path) {
            (_, None) => true,
            (Some(own), Some(other)) => own.is_within(other),
            (None, Some(_)) => false,
        };
        is_path
            && is_one_of(&self.host, &other.host, |own, other| below(own, other).is_some())
            && is_one_of(&self.method, &other.method, |own, other| own == other)
            && (other.tls.is_none() || self.tls == other.tls)
            && is_part(&self.header, &other.header)
            && is_part(&self.query, &other.query)
    }

    /// Writes its conditions besides host, path and listener.
    pub(super) fn write(&self, keys: &mut Keys) {
        if let Some(method) = &self.method {
            keys.set("method", one_or_more(method));
        }
        for (table, tests) in [("header", &self.header), ("query", &self.query)] {
            tests.iter().for_each(|(name, wanted)| keys.set_in(table, name, wanted.as_str()));
        }
    }

    /// How many conditions unstick counts, by which it orders the routes of a path.
    pub(super) fn count(&self) -> usize {
        usize::from(self.method.is_some()) + self.header.len() + self.query.len()
    }
}

/// `one`, if it is `other` or a host below `*.other`.
fn below(one: &String, other: &String) -> Option<String> {
    let is_below =
        one == other || other.strip_prefix('*').is_some_and(|end| one.ends_with(end) && one.len() > end.len());
    is_below.then(|| one.clone())
}

fn common(
    one: &Option<Vec<String>>,
    other: &Option<Vec<String>>,
    both: impl Fn(&String, &String) -> Option<String>,
) -> Option<Vec<String>> {
    let (Some(one), Some(other)) = (one, other) else { return one.clone().or_else(|| other.clone()) };
    let mut all: Vec<String> = one.iter().flat_map(|one| other.iter().filter_map(|other| both(one, other))).collect();
    all.sort_unstable();
    all.dedup();
    Some(all)
}

fn is_one_of(
    own: &Option<Vec<String>>,
    others: &Option<Vec<String>>,
    is_it: impl Fn(&String, &String) -> bool,
) -> bool {
    match (own, others) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(own), Some(others)) => own.iter().all(|own| others.iter().any(|other| is_it(own, other))),
    }
}

enum Join {
    Never,
    First,
    Second,
    Unknown,
}

/// Two values that unstick writes for one header: which of them says more.
fn join(one: &str, other: &str) -> Join {
    match (one, other) {
        (one, other) if one == other => Join::First,
        ("!", _) | (_, "!") => Join::Never,
        (_, "*") => Join::First,
        ("*", _) => Join::Second,
        _ => Join::Unknown,
    }
}
