//! What an importer has understood, whatever the file was: the parts of `unstick.toml`, and what it left out.

use std::fmt;
use std::rc::Rc;

use serde::Serialize;

use super::value::{Value, shown};

/// Everything that an importer found.
#[derive(Debug, Default, Clone)]
pub struct Imported {
    /// `[listen.NAME]`.
    pub listeners: Vec<Listener>,
    /// `[pool.NAME]`.
    pub pools: Vec<Pool>,
    /// `[[route]]`, in the order in which they are written.
    pub routes: Vec<Route>,
    /// `[errors]`.
    pub errors: Keys,
    /// The other tables of the top: name of the table, and its keys.
    pub tables: Vec<(&'static str, Keys)>,
    /// What has no faithful translation, in the order of the files.
    pub left_out: Vec<LeftOut>,
}

/// Keys of a table with their values, in the order in which they are written. A dotted key is one of a table within.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Keys(pub Vec<(String, Value)>);

/// `[listen.NAME]`.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Its keys, `address` first.
    pub keys: Keys,
}

/// `[pool.NAME]`.
#[derive(Debug, Clone)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// Its keys.
    pub keys: Keys,
}

/// `[[route]]`.
#[derive(Debug, Clone)]
pub struct Route {
    /// Where it was said.
    pub place: Place,
    /// What it was called there, as in `location /api/`.
    pub origin: String,
    /// Names of its listeners; empty means all.
    pub listen: Vec<String>,
    /// Its hosts; empty means all.
    pub host: Vec<String>,
    /// Its path, as unstick writes it: `/x/`, `=/x`, `~^/x`.
    pub path: String,
    /// Its priority; 0 is not written.
    pub priority: i64,
    /// Its conditions, and what is done.
    pub keys: Keys,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, as it was named.
    pub file: Rc<str>,
    /// The line, from 1.
    pub line: usize,
}

/// The part of the output next to which a comment belongs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// The whole file.
    Top,
    /// The listener of this name.
    Listener(String),
    /// The pool of this name.
    Pool(String),
    /// The route with this index.
    Route(usize),
}

/// Something that has no faithful translation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Where it was said.
    #[serde(flatten)]
    pub place: Place,
    /// What was said there.
    pub directive: String,
    /// What differs, or why nothing was made of it.
    pub why: String,
    /// What the operator can do.
    pub what_to_do: String,
    /// Where the comment is written.
    #[serde(skip)]
    pub at: At,
}

/// A file that cannot be read, or that breaks its own grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Unreadable {
    /// The file, as it was named.
    pub file: String,
    /// The line and the column, from 1, where there is one to blame.
    pub at: Option<(usize, usize)>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Keys {
    /// Sets a key, in the place that it has already.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key, value)),
        }
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.0.retain(|(known, _)| known != key);
    }

    /// Sets a key of an inline table.
    pub fn set_in(&mut self, table: &str, key: &str, value: impl Into<Value>) {
        self.inline(table).set(key, value);
    }

    /// The inline table of this name, made if it is not there.
    fn inline(&mut self, table: &str) -> &mut Keys {
        if !matches!(self.get(table), Some(Value::Table(_))) {
            self.set(table, Value::Table(Keys::default()));
        }
        let found = self.0.iter_mut().find_map(|(key, value)| match value {
            Value::Table(keys) if key == table => Some(keys),
            _ => None,
        });
        found.expect("it was set above")
    }

    /// Sets a key of a table in an inline table, as in `request_headers = { set = { x = "1" } }`.
    pub fn set_within(&mut self, outer: &str, inner: &str, key: &str, value: &str) {
        self.inline(outer).set_in(inner, key, value);
    }

    /// Sets the keys that put `to` in place of the prefix `from`. Both are of whole segments.
    pub fn replace_prefix(&mut self, from: &str, to: &str) {
        let bare = |path: &str| {
            let path = path.trim_end_matches('/');
            if path.is_empty() { "/".to_owned() } else { path.to_owned() }
        };
        let (from, to) = (bare(from), bare(to));
        if from == to {
            return;
        }
        if to == "/" {
            self.set("strip_prefix", from);
        } else {
            self.set_in("replace_prefix", "from", from);
            self.set_in("replace_prefix", "to", to);
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Imported {
    /// The keys of a table of the top, made if it is not there.
    pub fn table(&mut self, name: &'static str) -> &mut Keys {
        let at = self.tables.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.tables.push((name, Keys::default()));
            self.tables.len() - 1
        });
        &mut self.tables[at].1
    }

    /// Writes what looks like a reference to the environment so that it means itself, wherever it stands.
    pub(crate) fn escape(&mut self) {
        let of = |keys: &mut Keys| keys.0.iter_mut().for_each(|(_, value)| value.escape());
        self.listeners.iter_mut().for_each(|listener| of(&mut listener.keys));
        self.pools.iter_mut().for_each(|pool| of(&mut pool.keys));
        self.tables.iter_mut().for_each(|(_, keys)| of(keys));
        of(&mut self.errors);
        for route in &mut self.routes {
            of(&mut route.keys);
            let texts = route.host.iter_mut().chain([&mut route.path]);
            texts.for_each(|text| *text = text.replace("${", "$${"));
        }
    }

    /// Pages that all routes to pools have are those of the whole file.
    pub fn share_errors(&mut self) {
        let proxied = |route: &Route| route.keys.get("pool").is_some();
        let mut all = self.routes.iter().filter(|route| proxied(route)).map(|route| route.keys.get("errors"));
        let Some(Some(Value::Table(first))) = all.next() else { return };
        if !all.all(|other| other == Some(&Value::Table(first.clone()))) {
            return;
        }
        self.errors = first.clone();
        self.routes.iter_mut().for_each(|route| route.keys.remove("errors"));
    }

    /// Notes what has no faithful translation. What was said of a place is not said again.
    pub fn leave_out(&mut self, mut left: LeftOut) {
        left.directive = shown(&left.directive);
        left.why = shown(&left.why);
        let is_known =
            |known: &LeftOut| known.place == left.place && known.directive == left.directive && known.why == left.why;
        if !self.left_out.iter().any(is_known) {
            self.left_out.push(left);
        }
    }
}
