//! `/status`: a serialisable mirror of the run-time state.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::access_log::rfc3339;
use crate::config::address::Address;
use crate::control::detached::ADVICE;
use crate::control::status::{LastReload, Status};
use crate::metrics::OUTCOMES;
use crate::pool::health::passive::Admission;
use crate::pool::{Member, Pool};

/// The whole of `/status`. The names of its fields are the keys of the JSON.
#[derive(Debug, Serialize)]
pub(super) struct StatusView {
    version: &'static str,
    started: String,
    ready: bool,
    connections: usize,
    workers: Vec<WorkerView>,
    listeners: Vec<ListenerView>,
    routes: Vec<RouteView>,
    pools: Vec<PoolView>,
    reloads: ReloadsView,
    config: ConfigView,
}

#[derive(Debug, Serialize)]
struct WorkerView {
    connections: usize,
    accepted: u64,
    handed_over: u64,
}

#[derive(Debug, Serialize)]
struct ListenerView {
    name: String,
    address: Address,
}

#[derive(Debug, Serialize)]
struct RouteView {
    host: Vec<String>,
    path: String,
    /// All of its conditions, as the log names it.
    route: String,
    /// Where its requests may go; empty if the proxy responds itself.
    pools: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PoolView {
    name: String,
    balance: &'static str,
    /// Which endpoints get traffic: `healthy`, `fail-open`, `unknown`.
    mode: &'static str,
    health_check: bool,
    requests: std::collections::BTreeMap<&'static str, u64>,
    retries: u64,
    /// The number of requests that wait for an endpoint with room.
    waiting: usize,
    endpoints: Vec<EndpointView>,
    /// Endpoints that were removed and are still draining.
    draining: Vec<DrainingView>,
}

#[derive(Debug, Serialize)]
struct EndpointView {
    address: Address,
    backend: String,
    /// The verdict of the probes: `healthy`, `unhealthy`, `unchecked`.
    state: &'static str,
    /// Why the last probe failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// The share that live traffic allows it: `full`, `returning`, `ejected`.
    admission: &'static str,
    /// Verdicts in a row that contradict `state`, which changes after `fall` or `rise` of them.
    streak: u32,
    /// What the config wants it to do: `ready`, `drain`, `down`, `held`.
    wanted: &'static str,
    weight: u32,
    in_flight: u32,
    requests: u64,
    failures: u64,
    connects: u64,
    /// How long unused connections are kept: as configured, or for less time because the endpoint closes earlier.
    idle_limit_ms: f64,
    latency_ms: f64,
}

#[derive(Debug, Serialize)]
struct DrainingView {
    address: Address,
    in_flight: u32,
}

#[derive(Debug, Serialize)]
struct ReloadsView {
    applied: u64,
    refused: u64,
    last: Option<ReloadView>,
}

#[derive(Debug, Serialize)]
struct ReloadView {
    at: String,
    trigger: &'static str,
    ok: bool,
    message: String,
}

#[derive(Debug, Serialize)]
struct ConfigView {
    /// The files of the config, the first one first.
    files: Vec<String>,
    /// Files whose edits cannot be seen.
    detached: Vec<String>,
    /// What to do about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<&'static str>,
}

impl StatusView {
    pub(super) fn of(status: &Status) -> Self {
        use std::sync::atomic::Ordering::Relaxed;
        let snapshot = status.shared.load();
        let state = status.state().clone();
        let workers = status.cells.iter().enumerate().map(|(number, cell)| WorkerView {
            connections: status.loads.of(number),
            accepted: cell.accepted.value(),
            handed_over: cell.handed_over.value(),
        });
        let shown = |what: &dyn Display| state.secrets.mask(&what.to_string());
        let routes = snapshot.routes.list().iter().map(|route| RouteView {
            host: route.host.iter().map(|host| shown(host)).collect(),
            path: shown(&route.path),
            route: shown(route),
            pools: route.pools().map(str::to_owned).collect(),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            started: rfc3339(status.started),
            ready: status.is_ready.load(Relaxed),
            connections: status.loads.total(),
            workers: workers.collect(),
            listeners: state.listeners.into_iter().map(|(name, address)| ListenerView { name, address }).collect(),
            routes: routes.collect(),
            pools: snapshot.pools.iter().map(|pool| PoolView::of(pool, snapshot.timeouts.upstream_idle)).collect(),
            reloads: ReloadsView {
                applied: status.reloads_applied.load(Relaxed),
                refused: status.reloads_refused.load(Relaxed),
                last: state.last_reload.map(ReloadView::of),
            },
            config: ConfigView::of(&state.config_files, &state.detached),
        }
    }
}

impl PoolView {
    fn of(pool: &Pool, upstream_idle: Duration) -> Self {
        let cells = &pool.shared.cells;
        let requests = |index: usize| cells.iter().map(|cell| cell.requests(index).value()).sum();
        Self {
            name: pool.name.to_string(),
            balance: pool.config.balance.name(),
            mode: pool.mode().name(),
            health_check: pool.config.health.is_some(),
            requests: OUTCOMES.iter().enumerate().map(|(index, name)| (*name, requests(index))).collect(),
            waiting: pool.shared.queue.waiting(),
            retries: cells.iter().map(|cell| cell.retries.value()).sum(),
            draining: pool
                .shared
                .draining()
                .into_iter()
                .map(|(address, in_flight)| DrainingView { address, in_flight })
                .collect(),
            endpoints: pool.members.iter().map(|member| EndpointView::of(member, pool, upstream_idle)).collect(),
        }
    }
}

impl EndpointView {
    fn of(member: &Member, pool: &Pool, upstream_idle: Duration) -> Self {
        let endpoint = &member.endpoint;
        let (reason, streak) = endpoint.update_health(|machine| (machine.reason().to_owned(), machine.streak()));
        Self {
            address: endpoint.address.clone(),
            backend: member.backend.to_string(),
            state: endpoint.health().name(),
            reason,
            admission: match endpoint.passive().admission(pool.config.slow_start) {
                Admission::Full => "full",
                Admission::Returning(_) => "returning",
                Admission::Ejected(_) => "ejected",
            },
            streak,
            wanted: member.state.name(),
            weight: member.weight,
            in_flight: endpoint.in_flight(),
            requests: endpoint.total(|cell| &cell.attempts),
            failures: endpoint.total(|cell| &cell.failures),
            connects: endpoint.total(|cell| &cell.connects),
            idle_limit_ms: endpoint.idle_limit().at_most(upstream_idle, Instant::now()).as_secs_f64() * 1e3,
            latency_ms: (endpoint.latency().recorded().as_secs_f64() * 1e6).round() / 1e3,
        }
    }
}

impl ConfigView {
    fn of(files: &[PathBuf], detached: &[PathBuf]) -> Self {
        let [files, detached] = [files, detached].map(|files| files.iter().map(|file| file.display().to_string()));
        let (files, detached): (_, Vec<_>) = (files.collect(), detached.collect());
        Self { files, advice: (!detached.is_empty()).then_some(ADVICE), detached }
    }
}

impl ReloadView {
    fn of(reload: LastReload) -> Self {
        let ok = reload.result.is_ok();
        let message = reload.result.unwrap_or_else(|why| why);
        Self { at: rfc3339(reload.at), trigger: reload.trigger, ok, message }
    }
}
