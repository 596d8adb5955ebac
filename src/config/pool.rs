//! One `[pool.NAME]` of the file.

use std::ops::RangeInclusive;
use std::time::Duration;

use unstick_reading::{Section, Value, one_of};

use super::backend::Backends;
use super::health;
use super::key::{self, Change, Key, Kind, Shown, keys};
use super::kinds::{FilePath, Number, Optional, Parsed, Share, Switch, Table, Text, Time, Word, list};
use super::model::{
    ATTEMPTS_MAX, CertificateFiles, Eject, HealthCheck, Pool, Probe, Protocol, ProxyVersion, Queue, Retry, UpstreamTls,
};
use super::values;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const SOME_TIME: RangeInclusive<Duration> = Duration::from_millis(1)..=HOUR;
const EJECTION: RangeInclusive<Duration> = Duration::from_millis(10)..=DAY;

const PROTOCOLS: &[(&str, Protocol)] =
    &[("http1", Protocol::Http1), ("h2c", Protocol::H2c), ("https", Protocol::Https)];
const PROXY_PROTOCOLS: &[(&str, Option<ProxyVersion>)] =
    &[("off", None), ("v1", Some(ProxyVersion::V1)), ("v2", Some(ProxyVersion::V2))];

/// Every key of a pool.
const KEYS: &[Key<Pool>] = keys!(Pool {
    balance: Parsed,
    backends: Backends,
    fail_open_below: Share,
    reload_guard: Switch,
    retry: Table(RETRY),
    max_requests: Number(0..=1_000_000),
    queue: Table(QUEUE),
    eject: Table(EJECT),
    protocol: Word(PROTOCOLS),
    proxy_protocol: Word(PROXY_PROTOCOLS),
    tls: Table(TLS),
    via: Switch,
    slow_start: Time(Duration::ZERO..=HOUR),
    health: Optional(Table(health::KEYS)),
});

const RETRY: &[Key<Retry>] = keys!(Retry {
    attempts: Number(1..=ATTEMPTS_MAX as u64),
    attempt_timeout: Time(Duration::ZERO..=DAY),
    on_status: UnwellStatuses,
    budget: Share,
    budget_per_second: Number(0..=1_000_000),
});

const QUEUE: &[Key<Queue>] = keys!(Queue { size: Number(0..=1_000_000), timeout: Time(SOME_TIME) });

const EJECT: &[Key<Eject>] =
    keys!(Eject { failures: Number(0..=1000), duration: Time(EJECTION), max_duration: Time(EJECTION), share: Share });

const TLS: &[Key<UpstreamTls>] = keys!(UpstreamTls {
    ca: Optional(FilePath),
    server_name: Optional(Text(values::server_name)),
    certificate: CertificateAndKey,
});

/// Reads a pool; `None` if it cannot be one, for reasons that were reported.
pub(super) fn read(section: &Section<'_>) -> Option<Pool> {
    let mut pool = Pool::default();
    key::read(section, KEYS, &mut pool);
    section.finish();
    if let Some(protocol) = protocol(section) {
        check_protocol(section, &pool, protocol);
    }
    if pool.backends.is_empty() {
        let message = format!("{} has no backends", section.name);
        section.missing("backends", section.span.clone(), &message, "add backends = [\"127.0.0.1:3000\"]");
        return None;
    }
    Some(pool)
}

/// What the endpoints speak; `None` if what is written makes no sense: then nothing else is held against it.
fn protocol(section: &Section<'_>) -> Option<Protocol> {
    match section.get("protocol") {
        Some(value) => one_of(value.value.as_str()?, PROTOCOLS).ok(),
        None => Some(Protocol::default()),
    }
}

/// Reports what does not go together with the protocol of the endpoints.
fn check_protocol(section: &Section<'_>, pool: &Pool, protocol: Protocol) {
    if let (Some(value), true) = (section.get("tls"), protocol != Protocol::Https) {
        value.report(
            format!("{} is for protocol = \"https\"", value.key),
            Some("add protocol = \"https\" to the pool".into()),
        );
    }
    if let (Some(_), Protocol::H2c, Some(value)) = (pool.proxy_protocol, protocol, section.get("proxy_protocol")) {
        let help = "remove one of the two: a connection of HTTP/2 serves many clients, and the header names one";
        value.report(format!("{} in a pool with protocol = \"h2c\"", value.key), Some(help.into()));
    }
    if let (Some(HealthCheck { probe: Probe::Grpc { .. }, .. }), Protocol::Http1) = (&pool.health, protocol)
        && let Some(value) = section.section("health").and_then(|health| health.get("kind"))
    {
        let help = "add protocol = \"h2c\" or \"https\" to the pool: gRPC needs HTTP/2";
        value.report(format!("{} is \"grpc\" in a pool that speaks HTTP/1.1", value.key), Some(help.into()));
    }
}

/// `cert` and `key`, both or neither.
struct CertificateAndKey;

impl Kind<Option<CertificateFiles>> for CertificateAndKey {
    fn read(&self, section: &Section<'_>, _: &'static str) -> Option<Option<CertificateFiles>> {
        let [cert, key] = ["cert", "key"].map(|name| FilePath.read(section, name));
        for (has, other, name) in [(&cert, &key, "key"), (&key, &cert, "cert")] {
            if has.is_some() && other.is_none() {
                let message = format!("{} has no {name}", section.name);
                section.missing(name, section.span.clone(), &message, "a certificate and its key belong together");
            }
        }
        Some(cert.zip(key).map(|(cert, key)| CertificateFiles { cert, key }))
    }

    fn show(&self, _: &str, value: &Option<CertificateFiles>, shown: &mut Shown) {
        if let Some(CertificateFiles { cert, key }) = value {
            FilePath.show("cert", cert, shown);
            FilePath.show("key", key, shown);
        }
    }
}

/// Statuses that only an unwell replica gives.
pub(super) struct UnwellStatuses;

impl Kind<Vec<u16>> for UnwellStatuses {
    fn read(&self, section: &Section<'_>, key: &'static str) -> Option<Vec<u16>> {
        let written = section.get(key)?.array()?;
        Some(written.iter().filter_map(unwell_status).collect())
    }

    fn show(&self, key: &str, value: &Vec<u16>, shown: &mut Shown) {
        shown.add(key, list(value.iter().map(u16::to_string)));
    }
}

fn unwell_status(value: &Value<'_>) -> Option<u16> {
    let status = value.integer().filter(|status| matches!(status, 502..=504));
    if status.is_none() {
        let help = "any other status is the application's own response, which another replica would give too";
        value.report("on_status is a list of 502, 503, 504", Some(help.into()));
    }
    status.map(|status| status as u16)
}

impl Pool {
    /// The keys that differ in `next`.
    pub fn changes(&self, next: &Self) -> Vec<Change> {
        key::changes(KEYS, self, next)
    }
}
