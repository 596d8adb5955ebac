//! The file from top to bottom: text to [`Config`], or everything that is wrong with it.

use std::collections::BTreeSet;

use unstick_reading::{Problems, Section, Sink, Synonyms, document};

use super::key::{self, Change, Key, keys};
use super::kinds::{Number, Table};
use super::limits::{LIMITS, TIMEOUTS};
use super::model::Config;
use super::route::Pools;
use super::{admin, affinity, dns, listener, log, pool, route};

/// Every key that is neither of a listener nor of a route nor of a pool.
const KEYS: &[Key<Config>] = keys!(Config {
    workers: Number(0..=256),
    timeouts: Table(TIMEOUTS),
    limits: Table(LIMITS),
    log: Table(log::KEYS),
    admin: Table(admin::KEYS),
    dns: Table(dns::KEYS),
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

/// Reads a text; also tells every key that there is, for the test of the reference file.
pub(super) fn read(file_name: &str, text: &str) -> Result<(Config, BTreeSet<String>), Problems> {
    let sink = Sink::new(file_name, text, FOREIGN).advised_by(affinity::advice);
    let document = document(&sink, 0);
    let config = if document.is_readable {
        config(&Section::new("", "", document.table.get_ref(), document.table.span(), &sink))
    } else {
        None
    };
    match config {
        Some(config) if sink.is_clean() => Ok((config, sink.into_known())),
        _ => Err(sink.into_problems()),
    }
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
    top.finish();
    listener::check_admin(top, &listeners, config.admin.address);
    top.missing("listen", 0..0, "there is no listener", "add [listen.web] with address = \"0.0.0.0:8080\"");
    top.missing("pool", 0..0, "there is no pool", "add [pool.app] with backends = [\"127.0.0.1:3000\"]");
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
