//! One `[pool.NAME]` of the file.

use std::num::NonZeroUsize;
use std::time::Duration;

use toml::de::DeValue;

use super::model::{
    ATTEMPTS_MAX, Backend, BackendAddress, BackendState, CertificateFiles, Eject, HealthCheck, Pool, Probe, Protocol,
    ProxyVersion, Queue, Retry, UpstreamTls,
};
use super::section::one_of;
use super::section::path;
use super::section::{Section, Value};
use super::{defaults, values};

/// Reads a pool; `None` if it cannot be one, for reasons that were reported.
pub(super) fn read(section: &Section<'_>) -> Option<Pool> {
    let balance = section.parsed("balance", str::parse);
    let backends = backends(section);
    let fail_open_below = section.share("fail_open_below");
    let reload_guard = section.boolean("reload_guard");
    let retry = section.section("retry").map(|section| retry(&section)).unwrap_or_default();
    let max_requests = section.integer("max_requests", 0..=1_000_000).filter(|&most| most != 0);
    let queue = section.section("queue").map(|section| queue(&section)).unwrap_or_default();
    let eject = section.section("eject").map(|section| eject(&section)).unwrap_or_default();
    let protocol = section.parsed("protocol", |text| {
        let protocols = [Protocol::Http1, Protocol::H2c, Protocol::Https];
        one_of(text, &[("http1", protocols[0]), ("h2c", protocols[1]), ("https", protocols[2])])
    });
    // Unknown if what is written makes no sense: then nothing else is held against it.
    let known = protocol.or_else(|| section.get("protocol").is_none().then(Protocol::default));
    let versions = [("off", None), ("v1", Some(ProxyVersion::V1)), ("v2", Some(ProxyVersion::V2))];
    let proxy_protocol = section.parsed("proxy_protocol", |text| one_of(text, &versions)).flatten();
    let tls = section.section("tls").map(|section| tls(&section));
    let slow_start = section.duration("slow_start", Duration::ZERO..=Duration::from_secs(3600));
    let health = section.section("health").map(|section| health(&section, known));
    section.finish();
    if let (Some(value), true) = (section.get("tls"), known.is_some_and(|known| known != Protocol::Https)) {
        value.report(
            format!("{} is for protocol = \"https\"", value.key),
            Some("add protocol = \"https\" to the pool".into()),
        );
    }
    if let (Some(_), Some(Protocol::H2c), Some(value)) = (proxy_protocol, known, section.get("proxy_protocol")) {
        let help = "remove one of the two: a connection of HTTP/2 serves many clients, and the header names one";
        value.report(format!("{} in a pool with protocol = \"h2c\"", value.key), Some(help.into()));
    }
    if backends.is_empty() {
        let message = format!("{} has no backends", section.name);
        section.missing("backends", section.span.clone(), &message, "add backends = [\"127.0.0.1:3000\"]");
        return None;
    }
    Some(Pool {
        balance: balance.unwrap_or_default(),
        backends,
        health: health.flatten(),
        fail_open_below: fail_open_below.unwrap_or(defaults::FAIL_OPEN_BELOW),
        reload_guard: reload_guard.unwrap_or(true),
        retry,
        max_requests: max_requests.map(|most| most as u32),
        queue,
        eject,
        slow_start: slow_start.unwrap_or(defaults::SLOW_START),
        protocol: known.unwrap_or_default(),
        tls: tls.unwrap_or_default(),
        proxy_protocol,
    })
}

fn tls(section: &Section<'_>) -> UpstreamTls {
    let ca = path(section, "ca");
    let server_name = section.parsed("server_name", values::server_name);
    let (cert, key) = (path(section, "cert"), path(section, "key"));
    section.finish();
    for (has, other, name) in [(&cert, &key, "key"), (&key, &cert, "cert")] {
        if has.is_some() && other.is_none() {
            let message = format!("{} has no {name}", section.name);
            section.missing(name, section.span.clone(), &message, "a certificate and its key belong together");
        }
    }
    let certificate = cert.zip(key).map(|(cert, key)| CertificateFiles { cert, key });
    UpstreamTls { ca, server_name, certificate }
}

fn queue(section: &Section<'_>) -> Queue {
    let default = Queue::default();
    let queue = Queue {
        size: section.integer("size", 0..=1_000_000).map_or(default.size, |size| size as usize),
        timeout: section
            .duration("timeout", Duration::from_millis(1)..=Duration::from_secs(3600))
            .unwrap_or(default.timeout),
    };
    section.finish();
    queue
}

fn eject(section: &Section<'_>) -> Eject {
    let default = Eject::default();
    let duration = |key, default| {
        section.duration(key, Duration::from_millis(10)..=Duration::from_secs(86_400)).unwrap_or(default)
    };
    let eject = Eject {
        failures: section.integer("failures", 0..=1000).map_or(default.failures, |count| count as u32),
        duration: duration("duration", default.duration),
        max_duration: duration("max_duration", default.max_duration),
        share: section.share("share").unwrap_or(default.share),
    };
    section.finish();
    eject
}

fn retry(section: &Section<'_>) -> Retry {
    let default = Retry::default();
    let attempts = section.integer("attempts", 1..=ATTEMPTS_MAX as u64);
    let attempt_timeout = section.duration("attempt_timeout", Duration::ZERO..=Duration::from_secs(86_400));
    let on_status = section.get("on_status").and_then(|value| value.array()).unwrap_or_default();
    let retry = Retry {
        attempts: attempts.and_then(|attempts| NonZeroUsize::new(attempts as usize)).unwrap_or(default.attempts),
        attempt_timeout: attempt_timeout.filter(|timeout| !timeout.is_zero()),
        on_status: on_status.iter().filter_map(status_of_an_unwell_replica).collect(),
        budget: section.share("budget").unwrap_or(default.budget),
        budget_per_second: section
            .integer("budget_per_second", 0..=1_000_000)
            .map_or(default.budget_per_second, |count| count as u32),
    };
    section.finish();
    retry
}

fn status_of_an_unwell_replica(value: &Value<'_>) -> Option<u16> {
    let status = value.integer().filter(|status| matches!(status, 502..=504));
    if status.is_none() {
        let help = "any other status is the application's own response, which another replica would give too";
        value.report("on_status is a list of 502, 503, 504", Some(help.into()));
    }
    status.map(|status| status as u16)
}

/// Both forms: `backends = [...]` and `[[pool.NAME.backend]]`.
fn backends(section: &Section<'_>) -> Vec<Backend> {
    let mut backends: Vec<(Backend, usize)> = Vec::new();
    let mut add = |backend: Backend, value: &Value<'_>| {
        let line = value.sink.place(value.span.start).0;
        if let Some((_, first)) = backends.iter().find(|(other, _)| other.address == backend.address) {
            let help = "remove one of the two; weight = 2 gives a backend twice the traffic".to_owned();
            value.report(format!("{} is in this pool already, in line {first}", backend.address), Some(help));
        }
        backends.push((backend, line));
    };
    let mut written = Vec::new();
    for key in ["backends", "backend"] {
        written.extend(section.get(key).and_then(|value| value.array()).unwrap_or_default());
    }
    for element in written {
        if let Some(backend) = backend(&element) {
            add(backend, &element);
        }
    }
    backends.into_iter().map(|(backend, _)| backend).collect()
}

/// A string or a table. What is wrong with it was reported; a stand-in keeps the pool from seeming empty.
fn backend(value: &Value<'_>) -> Option<Backend> {
    let plain = |address| Backend { address, weight: defaults::WEIGHT, state: BackendState::Ready };
    match value.value {
        DeValue::String(_) => Some(plain(value.parsed(values::backend_address).unwrap_or_else(|| stand_in(value)))),
        DeValue::Table(table) => {
            let section = Section::new(&value.key, "pool.*.backend", table, value.span.clone(), value.sink);
            let address = section.get("address");
            let weight = section.integer("weight", 1..=256);
            let state = section.parsed("state", |text| {
                let states = [BackendState::Ready, BackendState::Drain, BackendState::Down];
                one_of(text, &[("ready", states[0]), ("drain", states[1]), ("down", states[2])])
            });
            section.finish();
            let Some(address) = address else {
                let help = "add address = \"127.0.0.1:3000\"";
                section.missing("address", value.span.clone(), "this backend has no address", help);
                return Some(plain(stand_in(value)));
            };
            Some(Backend {
                address: address.parsed(values::backend_address).unwrap_or_else(|| stand_in(value)),
                weight: weight.map_or(defaults::WEIGHT, |weight| weight as u16),
                state: state.unwrap_or_default(),
            })
        }
        _ => {
            value.wrong_type("\"host:port\" or a table with address");
            Some(plain(stand_in(value)))
        }
    }
}

/// An address that nobody can have written, different for each place in the file.
fn stand_in(value: &Value<'_>) -> BackendAddress {
    BackendAddress::Name { host: format!("?{}", value.span.start), port: 0 }
}

/// What a probe does.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Http,
    Tcp,
    Grpc,
}

fn health(section: &Section<'_>, protocol: Option<Protocol>) -> Option<HealthCheck> {
    let kinds = [("http", Kind::Http), ("tcp", Kind::Tcp), ("grpc", Kind::Grpc)];
    let kind = section.parsed("kind", |text| one_of(text, &kinds)).unwrap_or(Kind::Http);
    let [path, host, status, body, service] =
        ["path", "host", "status", "body", "service"].map(|key| (key, section.get(key)));
    let duration = |key, default, least| section.duration(key, least..=Duration::from_secs(3600)).unwrap_or(default);
    let interval = duration("interval", defaults::HEALTH_INTERVAL, Duration::from_millis(10));
    let timeout = duration("timeout", defaults::HEALTH_TIMEOUT, Duration::from_millis(1));
    let rise = section.integer("rise", 1..=100).map_or(defaults::HEALTH_RISE, |count| count as u32);
    let fall = section.integer("fall", 1..=100).map_or(defaults::HEALTH_FALL, |count| count as u32);
    section.finish();
    let mean_nothing = |keys: &[&(&str, Option<Value<'_>>)], kind: &str, other: &str| {
        for (key, value) in keys {
            if let Some(value) = value {
                let message = format!("`{key}` does not apply to a health check of kind \"{kind}\"");
                value.report(message, Some(format!("leave it out, or write kind = \"{other}\"")));
            }
        }
    };
    let probe = match kind {
        Kind::Http => {
            mean_nothing(&[&service], "http", "grpc");
            let ranges = status.1.map(|value| statuses(&value)).unwrap_or_default();
            Probe::Http {
                path: path
                    .1
                    .and_then(|value| value.parsed(values::origin_form))
                    .unwrap_or_else(|| defaults::HEALTH_PATH.into()),
                host: host.1.and_then(|value| value.parsed(values::host_field)),
                status: values::status_ranges(ranges)
                    .unwrap_or(super::model::StatusRanges(vec![defaults::HEALTH_STATUS])),
                body: body.1.and_then(|value| value.string().map(str::to_owned)).filter(|text| !text.is_empty()),
            }
        }
        Kind::Tcp => {
            mean_nothing(&[&path, &host, &status, &body], "tcp", "http");
            mean_nothing(&[&service], "tcp", "grpc");
            Probe::Tcp
        }
        Kind::Grpc => {
            mean_nothing(&[&path, &host, &status, &body], "grpc", "http");
            if let (Some(Protocol::Http1), Some(value)) = (protocol, section.get("kind")) {
                let help = "add protocol = \"h2c\" or \"https\" to the pool: gRPC needs HTTP/2";
                value.report(format!("{} is \"grpc\" in a pool that speaks HTTP/1.1", value.key), Some(help.into()));
            }
            Probe::Grpc { service: service.1.and_then(|value| value.string().map(str::to_owned)).unwrap_or_default() }
        }
    };
    Some(HealthCheck { probe, interval, timeout, rise, fall })
}

/// `200`, `"200-399"`, or a list of such.
fn statuses(value: &Value<'_>) -> Vec<(u16, u16)> {
    match value.value {
        DeValue::Array(codes) if codes.is_empty() => {
            value.report(format!("{} accepts no status", value.key), Some("write \"200-399\"".into()));
            Vec::new()
        }
        DeValue::Array(_) => value.array().unwrap_or_default().iter().filter_map(status).collect(),
        _ => status(value).into_iter().collect(),
    }
}

fn status(value: &Value<'_>) -> Option<(u16, u16)> {
    match value.value {
        DeValue::Integer(code) => {
            let range = value.integer().and_then(|code| values::status_range(&code.to_string()).ok());
            if range.is_none() {
                value.report(format!("{}: {code} is not an HTTP status", value.key), None);
            }
            range
        }
        _ => value.parsed(values::status_range),
    }
}
