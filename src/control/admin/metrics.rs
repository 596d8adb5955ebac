//! `/metrics`: every metric, declared once with its help text, in OpenMetrics text.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::config::Secrets;
use crate::control::status::Status;
use crate::metrics::{Counter, Histogram, HistogramSum, OUTCOMES, PoolCell, WorkerCell};
use crate::pool::endpoint::EndpointCell;
use crate::pool::health::Health;
use crate::pool::{Member, Mode, Pool};
use crate::proxy::cause::Cause;
use crate::rate::{Limiter, Limiters};

/// Renders the text of one scrape, in OpenMetrics.
pub(super) fn render(status: &Arc<Status>) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("unstick");
    registry.register_collector(Box::new(Exposition(Arc::clone(status))));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Exposition(Arc<Status>);

/// A counter of a worker, its name and its help text.
type WorkerMetric = (&'static str, &'static str, fn(&WorkerCell) -> &Counter);
/// A counter of a rate, its name and its help text.
type RateMetric = (&'static str, &'static str, fn(&Limiter) -> u64);
/// A counter of an endpoint, its name and its help text.
type EndpointMetric = (&'static str, &'static str, fn(&EndpointCell) -> &Counter);
/// A number that describes an endpoint, its name and its help text.
type EndpointGauge = (&'static str, &'static str, fn(&Member) -> f64);

/// A counter of a pool, its name and its help text.
type PoolMetric = (&'static str, &'static str, fn(&PoolCell) -> &Counter);

const POOL_COUNTERS: [PoolMetric; 2] = [
    ("retries", "Attempts after the first of a request", |cell| &cell.retries),
    ("retries_refused", "Requests not repeated because the retry budget was used up", |cell| &cell.retries_refused),
];

const WORKER_METRICS: [WorkerMetric; 8] = [
    ("accepted_connections", "Client connections accepted", |cell| &cell.accepted),
    ("handed_over_connections", "Client connections given to a worker that had fewer", |cell| &cell.handed_over),
    ("refused_connections", "Client connections closed because their address has too many", |cell| {
        &cell.connections_refused
    }),
    ("accept_errors", "Failed attempts to accept a connection", |cell| &cell.accept_errors),
    ("local_responses", "Requests answered by their route itself: respond and redirect", |cell| &cell.local),
    ("refused_requests", "Requests that reached no pool: no route, or not valid", |cell| &cell.refused),
    ("access_log_dropped", "Access-log lines dropped because the queue was full", |cell| &cell.access_log_dropped),
    ("panics", "Connections that ended in a panic; each is a bug", |cell| &cell.panics),
];

const ENDPOINT_METRICS: [EndpointMetric; 4] = [
    ("endpoint_attempts", "Attempts begun on an endpoint", |cell| &cell.attempts),
    ("endpoint_failures", "Attempts that failed by the endpoint's fault", |cell| &cell.failures),
    ("endpoint_5xx", "Responses of an endpoint with a status of 500 or more", |cell| &cell.errors),
    ("endpoint_connects", "Connections opened to an endpoint", |cell| &cell.connects),
];

const ENDPOINT_GAUGES: [EndpointGauge; 3] = [
    ("endpoint_in_flight", "Requests in flight on an endpoint", |member| f64::from(member.endpoint.in_flight())),
    ("endpoint_healthy", "1 if the last verdicts on an endpoint are good", |member| {
        f64::from(u8::from(member.endpoint.health() == Health::Healthy))
    }),
    ("endpoint_latency_seconds", "Recent time to the response head", |member| {
        member.endpoint.latency().recorded().as_secs_f64()
    }),
];

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (status, encoder) = (&self.0, &mut encoder);
        let snapshot = status.shared.load();
        process(status, encoder)?;
        for (name, help, counter) in WORKER_METRICS {
            let total = status.total(counter);
            encoder
                .encode_descriptor(name, help, None, MetricType::Counter)?
                .encode_counter::<NoLabelSet, _, u64>(&total, None)?;
        }
        own_responses(status, encoder)?;
        let help = "Access-log lines that could not be written, because the disk was full, say";
        encoder
            .encode_descriptor("access_log_lost", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&status.access_log_lost.load(Relaxed), None)?;
        certificates(status, encoder)?;
        rates(&snapshot.limiters, &status.state().secrets.clone(), encoder)?;
        requests(&snapshot.pools, encoder)?;
        durations(&snapshot.pools, encoder)?;
        pools(&snapshot.pools, encoder)?;
        endpoints(&snapshot.pools, encoder)
    }
}

fn process(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let (reload_ok, reload_at, detached) = {
        let state = status.state();
        let last = state.reloads.last();
        let (is_ok, at) =
            (last.is_none_or(|reload| reload.result.is_ok()), last.map_or(0.0, |last| since_epoch(last.at)));
        (is_ok, at, state.detached.len())
    };
    for (name, help, value) in [
        ("ready", "1 if requests are welcome", f64::from(u8::from(status.is_ready.load(Relaxed)))),
        ("connections", "Client connections that are open", status.loads.total() as f64),
        (
            "connections_parked",
            "Client connections that are parked: idle, their buffers given back",
            status.parked() as f64,
        ),
        ("reload_last_success", "1 if the last reload was applied", f64::from(u8::from(reload_ok))),
        ("reload_last_timestamp_seconds", "When the last reload was tried; 0 before the first", reload_at),
        (
            "config_files_detached",
            "Files of the config that were replaced outside of their mount, so that no edit is seen",
            detached as f64,
        ),
        ("start_timestamp_seconds", "When the process started", since_epoch(status.started)),
    ] {
        encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)?;
    }
    let mut family = encoder.encode_descriptor("reloads", "Reloads by their result", None, MetricType::Counter)?;
    for (result, counter) in [("applied", &status.reloads_applied), ("refused", &status.reloads_refused)] {
        let labels = [("result", result)];
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&counter.load(Relaxed), None)?;
    }
    Ok(())
}

fn own_responses(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "Responses that unstick made itself, by cause and, of a request that is not valid, by rule";
    let mut family = encoder.encode_descriptor("own_responses", help, None, MetricType::Counter)?;
    for (index, cause) in Cause::all().enumerate() {
        let labels = [("cause", cause.name()), ("rule", cause.rule().unwrap_or_default())];
        let total = status.total(|cell| cell.own_responses.of(index));
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
    }
    Ok(())
}

const RATE_METRICS: [RateMetric; 3] = [
    ("rate_allowed", "Requests within the rate of their route", Limiter::allowed),
    ("rate_refused", "Requests over the rate of their route", Limiter::refused),
    ("rate_evicted", "Clients that were forgotten because a rate has as many as it may have", Limiter::evicted),
];

fn rates(limiters: &Limiters, secrets: &Secrets, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut sorted: Vec<(&str, &Limiter)> = limiters.iter().collect();
    if sorted.is_empty() {
        return Ok(());
    }
    sorted.sort_unstable_by_key(|(route, _)| *route);
    let sorted = shown(sorted, secrets);
    for (name, help, counter) in RATE_METRICS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (route, limiter) in &sorted {
            let per = limiter.per().to_string();
            let labels = [("route", route.as_str()), ("per", per.as_str())];
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&counter(limiter), None)?;
        }
    }
    let mut family = encoder.encode_descriptor("rate_bytes", "Memory of a rate", None, MetricType::Gauge)?;
    for (route, limiter) in &sorted {
        family.encode_family(&[("route", route.as_str())])?.encode_gauge(&(limiter.bytes() as f64))?;
    }
    Ok(())
}

/// Routes without their secrets. Those that look alike then are numbered, since no two series may have the same labels.
fn shown<'l>(routes: Vec<(&str, &'l Limiter)>, secrets: &Secrets) -> Vec<(String, &'l Limiter)> {
    let mut seen: HashMap<String, usize> = HashMap::new();
    let shown = |(route, limiter)| {
        let route = secrets.mask(route);
        let count = seen.entry(route.clone()).and_modify(|count| *count += 1).or_insert(1);
        (if *count == 1 { route } else { format!("{route} ({count})") }, limiter)
    };
    routes.into_iter().map(shown).collect()
}

fn certificates(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let listeners = status.state().tls.clone();
    let help = "When a certificate expires";
    let mut family =
        encoder.encode_descriptor("certificate_not_after_timestamp_seconds", help, None, MetricType::Gauge)?;
    for (listener, tls) in &listeners {
        for certificate in tls.certificates() {
            let labels = [("listener", &**listener), ("file", &*certificate.file)];
            family.encode_family(&labels)?.encode_gauge(&since_epoch(certificate.not_after))?;
        }
    }
    let help = "1 if new certificate files of a listener cannot be used; the old ones stay in use";
    let mut family = encoder.encode_descriptor("certificates_refused", help, None, MetricType::Gauge)?;
    for (listener, tls) in &listeners {
        let is_refused = f64::from(u8::from(tls.refused().is_some()));
        family.encode_family(&[("listener", &**listener)])?.encode_gauge(&is_refused)?;
    }
    Ok(())
}

fn since_epoch(at: std::time::SystemTime) -> f64 {
    at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn requests(pools: &[Arc<Pool>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "Requests by pool and outcome: status class, cut (the response broke off), client_gone";
    let mut family = encoder.encode_descriptor("requests", help, None, MetricType::Counter)?;
    for pool in pools {
        for (index, outcome) in OUTCOMES.iter().enumerate() {
            let labels = [("pool", &*pool.name), ("outcome", outcome)];
            let total = sum(pool, |cell| cell.requests(index));
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
        }
    }
    Ok(())
}

fn sum(pool: &Pool, counter: impl Fn(&PoolCell) -> &Counter) -> u64 {
    pool.shared.cells.iter().map(|cell| counter(cell).value()).sum()
}

fn durations(pools: &[Arc<Pool>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "From a request's head to the end of the response";
    let mut family = encoder.encode_descriptor("request_duration_seconds", help, None, MetricType::Histogram)?;
    for pool in pools {
        let histogram = HistogramSum::of(pool.shared.cells.iter().map(|cell| &cell.duration));
        let buckets = Histogram::bounded(&histogram);
        let count = histogram.buckets.iter().sum();
        let labels = [("pool", &*pool.name)];
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(histogram.sum_seconds, count, &buckets, None)?;
    }
    Ok(())
}

fn pools(pools: &[Arc<Pool>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    for (name, help, counter) in POOL_COUNTERS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for pool in pools {
            let total = sum(pool, counter);
            family.encode_family(&[("pool", &*pool.name)])?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
        }
    }
    let help = "Times an endpoint was ejected because of failures in a row";
    let mut family = encoder.encode_descriptor("ejections", help, None, MetricType::Counter)?;
    for pool in pools {
        let total = pool.shared.ejections.load(Relaxed);
        family.encode_family(&[("pool", &*pool.name)])?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
    }
    let help = "1 if too few endpoints are healthy, so that all of them get requests";
    let mut family = encoder.encode_descriptor("pool_fail_open", help, None, MetricType::Gauge)?;
    for pool in pools {
        let is_open = f64::from(u8::from(pool.mode() == Mode::FailOpen));
        family.encode_family(&[("pool", &*pool.name)])?.encode_gauge(&is_open)?;
    }
    Ok(())
}

fn endpoints(pools: &[Arc<Pool>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let members = || pools.iter().flat_map(|pool| pool.members.iter().map(move |member| (pool, member)));
    for (name, help, counter) in ENDPOINT_METRICS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (pool, member) in members() {
            let address = member.endpoint.address.to_string();
            let labels = [("pool", &*pool.name), ("endpoint", &address)];
            let total = member.endpoint.total(counter);
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
        }
    }
    for (name, help, value) in ENDPOINT_GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (pool, member) in members() {
            let address = member.endpoint.address.to_string();
            let labels = [("pool", &*pool.name), ("endpoint", &address)];
            family.encode_family(&labels)?.encode_gauge(&value(member))?;
        }
    }
    Ok(())
}
