//! The file from top to bottom: text to [`Config`], or everything that is wrong with it.

use std::collections::BTreeSet;
use std::path::Path;

use toml::de::DeTable;
use unstick_reading::{Problems, Section, Sink, Synonyms, document, fill, join_documents};

use super::include::{self, Pattern};
use super::key::{self, Change, Key, keys};
use super::kinds::{Number, Table};
use super::limits::{LIMITS, TIMEOUTS};
use super::model::Config;
use super::outside::World;
use super::route::Pools;
use super::route_actions::Pages;
use super::{admin, affinity, dns, explain, listener, log, pool, route, traces};

/// Every key that is neither of a listener nor of a route nor of a pool.
const KEYS: &[Key<Config>] = keys!(Config {
    workers: Number(0..=256),
    timeouts: Table(TIMEOUTS),
    limits: Table(LIMITS),
    log: Table(log::KEYS),
    admin: Table(admin::KEYS),
    errors: Pages,
    dns: Table(dns::KEYS),
    explain: Table(explain::KEYS),
    traces: Table(traces::KEYS),
});

/// Spellings from other products, and what they are called here.
const FOREIGN: Synonyms = &[
    ("servers", "backends"),
    ("server", "backends"),
    ("upstreams", "backends"),
    ("upstream", "pool"),
    ("upstream", "backends"),
    ("service", "pool"),
    ("backend", "pool"),
    ("targets", "backends"),
    ("endpoints", "backends"),
    ("bind", "address"),
    ("port", "address"),
    ("listener", "listen"),
    ("frontend", "listen"),
    ("algorithm", "balance"),
    ("lb", "balance"),
    ("lb_policy", "balance"),
    ("policy", "balance"),
    ("healthcheck", "health"),
    ("uri", "path"),
    ("prefix", "path"),
];

/// What was read, if nothing is wrong.
pub(super) struct Read<T> {
    pub(super) config: Config,
    /// Every key that there is, for the test of the reference file.
    pub(super) known: BTreeSet<String>,
    /// What else was made of the document.
    pub(super) more: T,
}

/// Makes something else of the document of all files.
pub(super) type More<T> = fn(&DeTable<'_>, &Sink<'_>) -> T;

/// Reads a text, and the files that it includes, whose patterns come back.
pub(super) fn read<T>(
    file_name: &str,
    text: &str,
    world: &dyn World,
    more: More<T>,
) -> (Vec<Pattern>, Result<Read<T>, Problems>) {
    let mut sink = Sink::new(file_name, text, FOREIGN).advised_by(affinity::advice);
    let mut whole = document(&sink, 0);
    fill(whole.table.get_mut(), &sink, world);
    let reported = sink.count();
    let patterns = include::patterns(&Section::new("", "", whole.table.get_ref(), whole.table.span(), &sink));
    let included = include::read(&patterns, Path::new(file_name), world);
    let patterns = patterns.into_iter().map(|(pattern, _)| pattern).collect();
    // What a file would have said, which could not be read, is not missing.
    whole.is_readable &= sink.count() == reported;
    for file in &included {
        sink.add(&file.name, &file.text);
    }
    for nth in 1..=included.len() {
        let mut part = document(&sink, nth);
        include::refuse(&mut part, &sink);
        fill(part.table.get_mut(), &sink, world);
        join_documents(&mut whole, part, &sink);
    }
    let config = if whole.is_readable {
        config(&Section::new("", "", whole.table.get_ref(), whole.table.span(), &sink))
    } else {
        None
    };
    let read = match config {
        Some(mut config) if sink.is_clean() => {
            config.secrets = sink.secrets().clone();
            let more = more(whole.table.get_ref(), &sink);
            Ok(Read { config, known: sink.into_known(), more })
        }
        _ => Err(sink.into_problems()),
    };
    (patterns, read)
}

fn config(top: &Section<'_>) -> Option<Config> {
    let listeners = listener::read_all(top);
    let pools: Pools = top
        .named("pool")
        .into_iter()
        .map(|(name, section)| (name, (pool::read(&section), section.span.clone())))
        .collect();
    let names: Vec<String> = top.named("listen").into_iter().map(|(name, _)| name).collect();
    let routes = route::read_all(top, &pools, &names);
    let mut config = Config::default();
    key::read(top, KEYS, &mut config);
    // It was obeyed before.
    top.get("include");
    top.finish();
    listener::check_admin(top, &listeners, &config.admin);
    admin::check(top, &config.admin);
    top.missing("listen", 0..0, "there is no listener", "add [listen.web] with address = \"0.0.0.0:8080\"");
    // A proxy that only redirects needs none.
    if routes.is_empty() || routes.iter().any(|route| route.pools().next().is_some()) {
        top.missing("pool", 0..0, "there is no pool", "add [pool.app] with backends = [\"127.0.0.1:3000\"]");
    }
    if pools.len() > 1 {
        let message = "there are several pools, but no route says which requests go to which";
        top.missing("route", 0..0, message, "add [[route]] with host or path, and pool");
    }
    (config.listeners, config.routes) = (listeners, routes);
    config.pools = pools.into_iter().map(|(name, (pool, _))| Some((name, pool?))).collect::<Option<_>>()?;
    Some(config)
}

impl Config {
    /// The keys that differ in `next`, but for those of listeners, routes and pools.
    pub fn changes(&self, next: &Self) -> Vec<Change> {
        key::changes(KEYS, self, next)
    }
}
