//! The list of sabotages: what each breaks, where that shows, and which predictions must not hold then.

mod files;
mod jobs;
mod proxy;
mod replica;
mod rooms;
mod stickiness;
mod store;
mod study;

use std::fmt;
use std::str::FromStr;

use super::Sabotage;
use crate::prove::options::by_name;

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The proxy, or what it is told.
    Proxy,
    /// The code of replicas that keep nothing.
    Replica,
    /// A store of sessions.
    Store,
    /// The users.
    Client,
    /// The judge.
    Judge,
    /// A control group that must lose sessions.
    Control,
}

/// One line of the list.
#[derive(Debug, Clone, Copy)]
pub struct Entry {
    /// The sabotage.
    pub sabotage: Sabotage,
    /// As it is written on the command line.
    pub name: &'static str,
    /// What it breaks.
    pub subject: Subject,
    /// What it does.
    pub what: &'static str,
    /// The smallest run that contains its subject.
    pub arguments: &'static str,
    /// The predictions one of which must be broken at least. None: the run must be inconclusive.
    pub breaks: &'static [&'static str],
}

const fn entry(
    subject: Subject,
    sabotage: Sabotage,
    [name, what, arguments]: [&'static str; 3],
    breaks: &'static [&'static str],
) -> Entry {
    Entry { sabotage, name, subject, what, arguments, breaks }
}

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    let studies =
        study::LIST.iter().chain(&files::LIST).chain(&rooms::LIST).chain(&jobs::LIST).chain(&stickiness::LIST);
    proxy::LIST.iter().chain(&replica::LIST).chain(&store::LIST).chain(studies)
}

/// The list for programs.
pub fn as_json() -> serde_json::Value {
    let line = |entry: &Entry| {
        let Entry { name, subject, what, arguments, breaks, .. } = entry;
        let subject = format!("{subject:?}").to_lowercase();
        serde_json::json!({ "name": name, "subject": subject, "what": what, "arguments": arguments, "breaks": breaks })
    };
    all().map(line).collect()
}

/// An entry that is shown by its name.
#[derive(Clone, Copy)]
struct Name(Entry);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl Sabotage {
    /// Its first line of the list.
    pub fn entry(self) -> &'static Entry {
        all().find(|entry| entry.sabotage == self).expect("every sabotage is listed")
    }
}

impl FromStr for Sabotage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        by_name("sabotages", &all().copied().map(Name).collect::<Vec<_>>(), text).map(|Name(entry)| entry.sabotage)
    }
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.entry().name)
    }
}
