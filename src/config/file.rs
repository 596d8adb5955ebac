//! The file from top to bottom: text to [`Config`], or everything that is wrong with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::{DeTable, Error};

use super::model::{
    AccessLog, AccessLogFormat, Config, HostPattern, Level, Limits, Log, LogFormat, PathPattern, Pool, Route, Timeouts,
};
use super::problem::{Problems, Sink, did_you_mean};
use super::section::{Section, one_of, strings};
use super::{defaults, listener, pool, values};

/// No wait lasts longer than a day.
const DURATION_MAX: Duration = Duration::from_secs(24 * 3600);
const SOME_TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=DURATION_MAX;
const ANY_TIME: RangeInclusive<Duration> = Duration::ZERO..=DURATION_MAX;

/// Reads a text; also tells every key that there is, for the test of the reference file.
pub(super) fn read(file_name: &str, text: &str) -> Result<(Config, BTreeSet<String>), Problems> {
    let sink = Sink::new(file_name, text);
    let (document, errors) = DeTable::parse_recoverable(text);
    syntax(&errors, text, &sink);
    // What a broken line hides would be reported as missing: check the meaning only of what can be read.
    let config = if errors.iter().all(is_duplicate) {
        config(&Section::new("", "", document.get_ref(), document.span(), &sink))
    } else {
        None
    };
    match config {
        Some(config) if sink.is_clean() => Ok((config, sink.known.into_inner())),
        _ => Err(sink.into_problems()),
    }
}

/// Whether a key is there twice. The first one was read, so the rest of the file means what it says.
fn is_duplicate(error: &Error) -> bool {
    error.message() == "duplicate key"
}

/// Reports syntax errors. Of several in one line only the first: the others follow from it.
fn syntax(errors: &[Error], text: &str, sink: &Sink<'_>) {
    let mut last_line = 0;
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let (line, _) = sink.place(span.start);
        if is_duplicate(error) {
            let key = text.get(span.clone()).unwrap_or_default();
            sink.report(span, format!("`{key}` is already defined"), Some("remove one of the two".into()));
        } else if line != last_line {
            last_line = line;
            sink.report(span, error.message(), None);
        }
    }
}

fn config(top: &Section<'_>) -> Option<Config> {
    let workers = top.integer("workers", 0..=256);
    let listeners = listener::read_all(top);
    let pools = pools(top);
    let routes = routes(top, &pools);
    let timeouts = top.section("timeouts").map(|section| timeouts(&section));
    let limits = top.section("limits").map(|section| limits(&section));
    let log = top.section("log").map(|section| log(&section));
    let admin = admin(top);
    let dns_servers = top.section("dns").map(|section| dns(&section));
    top.finish();
    top.missing("listen", 0..0, "there is no listener", "add [listen.web] with address = \"0.0.0.0:8080\"");
    top.missing("pool", 0..0, "there is no pool", "add [pool.app] with backends = [\"127.0.0.1:3000\"]");
    if pools.len() > 1 {
        let message = "there are several pools, but no route says which requests go to which";
        top.missing("route", 0..0, message, "add [[route]] with host or path, and pool");
    }
    Some(Config {
        workers: workers.and_then(|count| NonZeroUsize::new(count as usize)),
        listeners,
        routes,
        pools: pools.into_iter().map(|(name, (pool, _))| Some((name, pool?))).collect::<Option<_>>()?,
        timeouts: timeouts.unwrap_or_default(),
        limits: limits.unwrap_or_default(),
        log: log.unwrap_or_default(),
        admin,
        dns_servers: dns_servers.unwrap_or_default(),
    })
}

/// The pools by name, with the place of each; one that is not valid is there too, so that routes may name it.
type Pools = BTreeMap<String, (Option<Pool>, Range<usize>)>;

fn pools(top: &Section<'_>) -> Pools {
    let sections = top.named("pool");
    sections.into_iter().map(|(name, section)| (name, (pool::read(&section), section.span.clone()))).collect()
}

fn routes(top: &Section<'_>, pools: &Pools) -> Vec<Route> {
    let sections = top.each("route");
    let only_pool = if pools.len() == 1 { pools.keys().next() } else { None };
    if sections.is_empty() {
        let route =
            |pool: &String| Route { host: HostPattern::Any, path: PathPattern::Prefix("/".into()), pool: pool.clone() };
        return only_pool.into_iter().map(route).collect();
    }
    let mut routes: Vec<(Route, usize)> = Vec::new();
    for section in sections {
        let host = section.parsed_or("host", HostPattern::Any, values::host_pattern);
        let path = section.parsed_or("path", PathPattern::Prefix("/".into()), values::path_pattern);
        let pool = pool_of(&section, pools, only_pool);
        section.finish();
        if only_pool.is_none() {
            section.missing("pool", section.span.clone(), "this route names no pool", "add pool = \"...\"");
        }
        let (Some(host), Some(path), Some(pool)) = (host, path, pool) else { continue };
        let line = section.sink.place(section.span.start).0;
        if let Some((_, first)) = routes.iter().find(|(other, _)| other.host == host && other.path == path) {
            let message = format!("this route is for the same host and path as the one in line {first}");
            section.sink.report(section.span.clone(), message, None);
        }
        routes.push((Route { host, path, pool }, line));
    }
    for (name, (_, span)) in pools {
        if top.sink.is_clean() && !routes.iter().any(|(route, _)| route.pool == *name) {
            let help = "name it in a [[route]], or remove it".to_owned();
            top.sink.report(span.clone(), format!("no route leads to pool `{name}`"), Some(help));
        }
    }
    routes.into_iter().map(|(route, _)| route).collect()
}

fn pool_of(section: &Section<'_>, pools: &Pools, only_pool: Option<&String>) -> Option<String> {
    let Some(value) = section.get("pool") else { return only_pool.cloned() };
    let name = value.string()?;
    if !pools.contains_key(name) {
        let known = || pools.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        let help =
            did_you_mean(name, pools.keys().map(String::as_str)).unwrap_or_else(|| format!("known pools: {}", known()));
        value.report(format!("there is no pool `{name}`"), Some(help));
        return None;
    }
    Some(name.to_owned())
}

fn timeouts(section: &Section<'_>) -> Timeouts {
    let default = Timeouts::default();
    let some = |key, default| section.duration(key, SOME_TIME).unwrap_or(default);
    let timeouts = Timeouts {
        tls_handshake: some("tls_handshake", default.tls_handshake),
        request_head: some("request_head", default.request_head),
        request_body: some("request_body", default.request_body),
        connect: some("connect", default.connect),
        response_head: some("response_head", default.response_head),
        response_body: some("response_body", default.response_body),
        client_write: some("client_write", default.client_write),
        client_idle: some("client_idle", default.client_idle),
        h2_ping: some("h2_ping", default.h2_ping),
        upstream_idle: some("upstream_idle", default.upstream_idle),
        tunnel_idle: some("tunnel_idle", default.tunnel_idle),
        tunnel: section.duration("tunnel", ANY_TIME).filter(|timeout| !timeout.is_zero()),
        request: section.duration("request", ANY_TIME).filter(|timeout| !timeout.is_zero()),
        drain: section.duration("drain", ANY_TIME).unwrap_or(default.drain),
    };
    section.finish();
    timeouts
}

fn limits(section: &Section<'_>) -> Limits {
    let default = Limits::default();
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let limits = Limits {
        connections: section.integer("connections", 1..=10_000_000).map_or(default.connections, size),
        connections_per_address: section
            .integer("connections_per_address", 0..=10_000_000)
            .and_then(|most| NonZeroUsize::new(size(most))),
        request_head: section.size("request_head", 8 << 10..=1 << 20).map_or(default.request_head, size),
        h2_streams: section.integer("h2_streams", 1..=10_000).map_or(default.h2_streams, |count| count as u32),
        h2_window: section.size("h2_window", 16 << 10..=16 << 20).map_or(default.h2_window, |size| size as u32),
        request_fields: section.integer("request_fields", 1..=10_000).map_or(default.request_fields, size),
        request_body: section.size("request_body", 0..=u64::MAX).filter(|&bytes| bytes != 0),
        replay: section.size("replay", 0..=16 * 1024 * 1024).map_or(default.replay, size),
        idle_per_endpoint: section.integer("idle_per_endpoint", 0..=100_000).map_or(default.idle_per_endpoint, size),
    };
    section.finish();
    limits
}

fn log(section: &Section<'_>) -> Log {
    let default = Log::default();
    let level = section.parsed("level", |text| {
        one_of(
            text,
            &[
                ("error", Level::Error),
                ("warn", Level::Warn),
                ("warning", Level::Warn),
                ("info", Level::Info),
                ("debug", Level::Debug),
                ("trace", Level::Trace),
            ],
        )
    });
    let format = section.parsed("format", |text| {
        one_of(text, &[("auto", LogFormat::Auto), ("text", LogFormat::Text), ("json", LogFormat::Json)])
    });
    let target = section.parsed_or("access", None, values::access_target).flatten();
    let access_format = section.parsed("access_format", |text| {
        one_of(text, &[("json", AccessLogFormat::Json), ("common", AccessLogFormat::Common)])
    });
    let queue = section.integer("access_queue", 1..=1_000_000);
    section.finish();
    let access = target.map(|to| AccessLog {
        to,
        format: access_format.unwrap_or(AccessLogFormat::Json),
        queue: queue.map_or(defaults::ACCESS_QUEUE, |queue| queue as usize),
    });
    Log { level: level.unwrap_or(default.level), format: format.unwrap_or(default.format), access }
}

fn admin(top: &Section<'_>) -> Option<SocketAddr> {
    let parse = |text: &str| if text == "off" { Ok(None) } else { values::listen_address(text).map(Some) };
    let section = top.section("admin");
    let written = section.as_ref().and_then(|section| {
        let address = section.parsed("address", parse);
        section.finish();
        address
    });
    written.unwrap_or_else(|| values::listen_address(defaults::ADMIN).ok())
}

fn dns(section: &Section<'_>) -> Vec<SocketAddr> {
    let servers = strings(section, "servers", values::dns_server);
    section.finish();
    servers
}
