//! One database for all replicas, here a folder, which each replica reads through a copy of its own.
//!
//! A copy has what was there when its process started, and what the process itself wrote. What others write comes after
//! some time, or never. The time is counted from each write, so that it does not matter when a run begins.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::http::{Asked, Responding, data, no_such_page, nothing};
use super::store::{Store, is_name, random_name};

/// A cache that lags shows writes of others after this time.
const LAG: Duration = Duration::from_secs(2);

/// When writes of others are seen.
#[derive(Debug, Clone, Copy)]
pub(super) enum Seen {
    AtOnce,
    AfterLag,
    Never,
}

/// What a process sees of the database.
pub(super) struct LocalCopy {
    database: Store,
    seen: Seen,
    process: String,
    started: Duration,
}

/// A value as it lies in the database.
#[derive(Serialize, Deserialize)]
struct Entry {
    by: String,
    at: Duration,
    value: String,
}

impl LocalCopy {
    pub(super) fn new(database: Store, seen: Seen) -> Self {
        Self { database, seen, process: random_name(), started: now() }
    }

    fn write(&self, name: &str, value: &str) -> io::Result<()> {
        let entry = Entry { by: self.process.clone(), at: now(), value: value.to_owned() };
        self.database.put(name, &serde_json::to_vec(&entry)?)
    }

    fn read(&self, name: &str) -> io::Result<Option<String>> {
        let Some(entry) = self.database.get(name)? else { return Ok(None) };
        let entry: Entry = serde_json::from_slice(&entry)?;
        let is_in_copy = match self.seen {
            Seen::AtOnce => true,
            Seen::AfterLag => now().saturating_sub(entry.at) >= LAG,
            Seen::Never => false,
        };
        let is_known = is_in_copy || entry.by == self.process || entry.at <= self.started;
        Ok(is_known.then_some(entry.value))
    }
}

/// By the clock of the host, which all processes have in common.
fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `PUT /notes/NAME` and `GET /notes/NAME`.
pub(super) fn notes(copy: &LocalCopy, asked: &Asked) -> Responding {
    values(copy, asked, "notes", &Value::Null)
}

/// `PUT /settings/NAME` and `GET /settings/NAME`, which is `plain` until it is changed.
pub(super) fn settings(copy: &LocalCopy, asked: &Asked) -> Responding {
    values(copy, asked, "settings", &"plain".into())
}

fn values(copy: &LocalCopy, asked: &Asked, folder: &str, default: &Value) -> Responding {
    let (first, name) = match asked.path().as_slice() {
        [first, name] if is_name(name) => ((*first).to_owned(), format!("{folder}-{name}")),
        _ => return no_such_page(),
    };
    match *asked.method() {
        _ if first != folder => no_such_page(),
        Method::PUT => {
            copy.write(&name, asked.text().unwrap_or_default())?;
            nothing()
        }
        Method::GET => {
            let value = copy.read(&name)?.map_or_else(|| default.clone(), Value::from);
            data(StatusCode::OK, &json!({ "value": value }))
        }
        _ => no_such_page(),
    }
}
