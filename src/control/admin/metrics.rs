//! `/metrics`: every metric, declared once with its help text, in OpenMetrics text.
//!
//! What a lock protects is gathered first, by the control thread, with the snapshot that belongs to it. The rest is
//! written by a thread that may be stopped for long ([`super::renderer`]): it holds no lock of ours meanwhile.

mod endpoints;
mod pools;
mod rates;
mod reloads;
mod traces;
mod workers;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::control::status::{State, Status};
use crate::listen::tls::Validity;
use crate::metrics::{Counter, WorkerCell};
use crate::proxy::cause::Cause;
use crate::snapshot::Snapshot;
use endpoints::endpoints;
use pools::pools;
use rates::rates;
use reloads::reloads;
use traces::traces;
use workers::workers;

/// The version of this program. A package sets the variable when it is built, so that it says the commit too.
const VERSION: &str = match option_env!("UNSTICK_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// What one scrape shows, as far as a lock protects it, with the way to the rest.
#[derive(Debug, Clone)]
pub(super) struct Exposition(Arc<Gathered>);

#[derive(Debug)]
struct Gathered {
    status: Arc<Status>,
    /// The secrets in `state` are those of this one, so that none of it is shown.
    snapshot: Arc<Snapshot>,
    state: State,
    certificates: Vec<Certificates>,
}

/// The certificates of a listener.
#[derive(Debug, Clone)]
struct Certificates {
    listener: String,
    in_use: Vec<Validity>,
    is_refused: bool,
}

impl Exposition {
    /// Gathers it.
    pub(super) fn of(status: &Arc<Status>) -> Self {
        let state = status.state().clone();
        let certificates = state.tls.iter().map(|(listener, tls)| Certificates {
            listener: listener.clone(),
            in_use: tls.certificates(),
            is_refused: tls.refused().is_some(),
        });
        let (certificates, snapshot) = (certificates.collect(), status.shared.load());
        Self(Arc::new(Gathered { status: Arc::clone(status), snapshot, state, certificates }))
    }

    /// The text, in OpenMetrics. It takes no lock.
    pub(super) fn render(&self) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("unstick");
        registry.register_collector(Box::new(self.clone()));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// A counter of a worker, its name and its help text.
type WorkerMetric = (&'static str, &'static str, fn(&WorkerCell) -> &Counter);

const WORKER_METRICS: [WorkerMetric; 9] = [
    ("accepted_connections", "Client connections accepted", |cell| &cell.accepted),
    ("handed_over_connections", "Client connections given to a worker that had fewer", |cell| &cell.handed_over),
    ("refused_connections", "Client connections closed because their address has too many", |cell| {
        &cell.connections_refused
    }),
    ("accept_errors", "Failed attempts to accept a connection", |cell| &cell.accept_errors),
    ("local_responses", "Requests answered by their route itself: respond and redirect", |cell| &cell.local),
    ("refused_requests", "Requests that reached no pool: no route, or not valid", |cell| &cell.refused),
    ("access_log_dropped", "Access-log lines dropped because the queue was full", |cell| &cell.access_log_dropped),
    ("explain_dropped", "Requests that are not explained because too many came at once", |cell| &cell.stories_dropped),
    ("panics", "Connections that ended in a panic; each is a bug", |cell| &cell.panics),
];

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let (Gathered { status, snapshot, state, certificates }, encoder) = (&*self.0, &mut encoder);
        process(status, encoder)?;
        listeners(&state.listener_sockets, encoder)?;
        workers(status, encoder)?;
        reloads(status, state, encoder)?;
        refused(status, encoder)?;
        for (name, help, counter) in WORKER_METRICS {
            self::counter(name, help, status.total(counter), encoder)?;
        }
        own_responses(status, encoder)?;
        let help = "Access-log lines that could not be written, because the disk was full, say";
        counter("access_log_lost", help, status.access_log_lost.load(Relaxed), encoder)?;
        traces(status, encoder)?;
        self::certificates(certificates, encoder)?;
        rates(&snapshot.limiters, &state.secrets, encoder)?;
        pools(&snapshot.pools, &state.overrides, encoder)?;
        endpoints(&snapshot.pools, encoder)
    }
}

fn process(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    for (name, help, value) in [
        ("ready", "1 if requests are welcome", truth(status.is_ready.load(Relaxed))),
        ("connections", "Client connections that are open", status.loads.total() as f64),
        (
            "connections_parked",
            "Client connections that are parked: idle, their buffers given back",
            status.parked() as f64,
        ),
        ("start_timestamp_seconds", "When the process started", since_epoch(status.started)),
    ] {
        gauge(name, help, value, encoder)?;
    }
    let mut family = encoder.encode_descriptor("build_info", "1, with the version", None, MetricType::Gauge)?;
    family.encode_family(&[("version", VERSION)])?.encode_gauge(&1.0)
}

fn listeners(sockets: &[(String, usize)], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "Listening sockets of a listener";
    let mut family = encoder.encode_descriptor("listener_sockets", help, None, MetricType::Gauge)?;
    for (listener, count) in sockets {
        family.encode_family(&[("listener", &**listener)])?.encode_gauge(&(*count as f64))?;
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

fn refused(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "Requests to the admin port that were refused, by why";
    let mut family = encoder.encode_descriptor("admin_refused", help, None, MetricType::Counter)?;
    for (why, count) in status.refused.all() {
        family.encode_family(&[("why", why)])?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    Ok(())
}

fn certificates(all: &[Certificates], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "When a certificate expires";
    let mut family =
        encoder.encode_descriptor("certificate_not_after_timestamp_seconds", help, None, MetricType::Gauge)?;
    for Certificates { listener, in_use, .. } in all {
        for certificate in in_use {
            let labels = [("listener", &**listener), ("file", &*certificate.file)];
            family.encode_family(&labels)?.encode_gauge(&since_epoch(certificate.not_after))?;
        }
    }
    let help = "1 if new certificate files of a listener cannot be used; the old ones stay in use";
    let mut family = encoder.encode_descriptor("certificates_refused", help, None, MetricType::Gauge)?;
    for Certificates { listener, is_refused, .. } in all {
        family.encode_family(&[("listener", &**listener)])?.encode_gauge(&truth(*is_refused))?;
    }
    Ok(())
}

fn since_epoch(at: std::time::SystemTime) -> f64 {
    at.duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn truth(is_true: bool) -> f64 {
    f64::from(u8::from(is_true))
}

/// A gauge without labels.
fn gauge(name: &str, help: &str, value: f64, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
}

/// A counter without labels.
fn counter(name: &str, help: &str, total: u64, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    metric.encode_counter::<NoLabelSet, _, u64>(&total, None)
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::control::reload::Instance;
    use crate::control::requests::Requests;
    use crate::listen::Loads;
    use crate::proxy::story;
    use crate::snapshot::SharedSnapshot;

    /// A snapshot with one pool of this name.
    fn snapshot(name: &str) -> Arc<Snapshot> {
        let listener = "[listen.web]\naddress = \"127.0.0.1:0\"\n";
        let text = format!("{listener}[pool.{name}]\nbackends = [\"127.0.0.1:1\"]\n");
        Instance::simulated(crate::config::parse("test.toml", &text).unwrap()).unwrap().shared.load()
    }

    /// Otherwise it could show a secret that the reload has brought, and that is not yet known as one.
    #[test]
    fn a_page_shows_what_was_there_when_it_was_asked_for() {
        let shared = Arc::new(SharedSnapshot::new(snapshot("before")));
        let requests = Requests::new(story::channel().1.told);
        let cells = crate::metrics::cells(1).into();
        let (loads, orders) = (Loads::new(1), mpsc::channel(1).0);
        let status = Arc::new(Status::new(Arc::clone(&shared), loads, cells, Arc::default(), requests, orders));
        let exposition = Exposition::of(&status);
        shared.swap(snapshot("after"));
        let page = exposition.render().unwrap();
        assert!(page.contains("pool=\"before\"") && !page.contains("pool=\"after\""), "{page}");
    }
}
