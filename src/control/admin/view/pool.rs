//! The pools and their endpoints, as `/status` shows them.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::access_log::rfc3339;
use crate::config::address::Address;
use crate::control::overrides::{Override, Overrides, word};
use crate::control::status::Status;
use crate::metrics::OUTCOMES;
use crate::pool::health::passive::{Admission, Ejection};
use crate::pool::{Member, Pool};

#[derive(Debug, Serialize)]
pub(super) struct PoolView {
    name: String,
    balance: &'static str,
    /// Which endpoints get traffic: `healthy`, `fail-open`, `unknown`.
    mode: &'static str,
    health_check: bool,
    requests: BTreeMap<&'static str, u64>,
    retries: u64,
    /// The number of requests that wait for an endpoint with room.
    waiting: usize,
    endpoints: Vec<EndpointView>,
    /// Endpoints that were removed and are still draining.
    draining: Vec<DrainingView>,
    /// Addresses of which something is set, and that no entry leads to now.
    absent: Vec<AbsentView>,
}

#[derive(Debug, Serialize)]
struct EndpointView {
    address: Address,
    backend: String,
    /// The verdict of the probes: `healthy`, `unhealthy`, `unchecked`.
    state: &'static str,
    /// When the verdict of the probes last changed; absent before the first one, and without probes.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Why the last probe failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// The share that live traffic allows it: `full`, `returning`, `ejected`.
    admission: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ejection: Option<EjectionView>,
    /// Verdicts in a row that contradict `state`, which changes after `fall` or `rise` of them.
    streak: u32,
    /// What the config wants it to do, or an operator: `ready`, `drain`, `down`, `held`.
    wanted: &'static str,
    weight: u32,
    /// What an operator has set over what the file says.
    #[serde(rename = "override")]
    set: Option<OverrideView>,
    /// The share of new requests that follows from the weights of those that take requests now.
    fair_share: f64,
    in_flight: u32,
    requests: u64,
    failures: u64,
    /// Responses with a status of 500 or more.
    responses_5xx: u64,
    connects: u64,
    /// How long unused connections are kept: as configured, or for less time because the endpoint closes earlier.
    idle_limit_ms: f64,
    latency_ms: f64,
}

#[derive(Debug, Serialize)]
struct EjectionView {
    since: String,
    until: String,
}

#[derive(Debug, Serialize)]
struct OverrideView {
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weight: Option<u16>,
    since: String,
    /// Who has set it: an address, or `unix`.
    by: String,
}

#[derive(Debug, Serialize)]
struct DrainingView {
    address: Address,
    in_flight: u32,
}

#[derive(Debug, Serialize)]
struct AbsentView {
    address: Address,
    /// The entry of the file.
    backend: String,
    #[serde(rename = "override")]
    set: OverrideView,
}

impl AbsentView {
    fn all(pool: &Pool, overrides: &Overrides) -> Vec<Self> {
        let there: HashSet<&Address> = pool.members.iter().map(|member| &member.endpoint.address).collect();
        let absent = overrides.of_pool(&pool.name).filter(|(address, _)| !there.contains(address));
        let view = |(address, set): (&Address, &Override)| {
            let (address, backend) = (address.clone(), set.entry.address.clone());
            Self { address, backend, set: OverrideView::from(set) }
        };
        absent.map(view).collect()
    }
}

impl PoolView {
    pub(super) fn of(pool: &Pool, overrides: &Overrides, upstream_idle: Duration) -> Self {
        let cells = &pool.shared.cells;
        let requests = |index: usize| cells.iter().map(|cell| cell.requests(index).value()).sum();
        let fair_shares = pool.fair_shares(Instant::now());
        let members = pool.members.iter().zip(fair_shares);
        Self {
            name: pool.name.to_string(),
            balance: pool.config.balance.name(),
            mode: pool.mode().name(),
            health_check: pool.config.health.is_some(),
            requests: OUTCOMES.iter().enumerate().map(|(index, name)| (*name, requests(index))).collect(),
            waiting: pool.shared.queue.waiting(),
            retries: cells.iter().map(|cell| cell.retries_count()).sum(),
            draining: pool
                .shared
                .draining()
                .into_iter()
                .map(|(address, in_flight)| DrainingView { address, in_flight })
                .collect(),
            absent: AbsentView::all(pool, overrides),
            endpoints: members
                .map(|(member, share)| EndpointView::of(member, share, (pool, overrides), upstream_idle))
                .collect(),
        }
    }
}

impl EndpointView {
    fn of(member: &Member, fair_share: f64, (pool, overrides): (&Pool, &Overrides), upstream_idle: Duration) -> Self {
        let (endpoint, now) = (&member.endpoint, Instant::now());
        let (reason, streak, since) =
            endpoint.update_health(|machine| (machine.reason().to_owned(), machine.streak(), machine.since()));
        Self {
            address: endpoint.address.clone(),
            backend: member.backend.to_string(),
            state: endpoint.health().name(),
            since: since.map(rfc3339),
            reason,
            admission: match endpoint.passive().admission(pool.config.slow_start) {
                Admission::Full => "full",
                Admission::Returning(_) => "returning",
                Admission::Ejected(_) => "ejected",
            },
            ejection: endpoint.passive().ejection(now).map(|ejection| EjectionView::of(ejection, now)),
            streak,
            wanted: member.state.name(),
            weight: member.weight,
            set: OverrideView::of(member, pool, overrides),
            fair_share: (fair_share * 1e4).round() / 1e4,
            in_flight: endpoint.in_flight(),
            requests: endpoint.total(|cell| &cell.attempts),
            failures: endpoint.total(|cell| &cell.failures),
            responses_5xx: endpoint.total(|cell| &cell.errors),
            connects: endpoint.total(|cell| &cell.connects),
            idle_limit_ms: endpoint.idle_limit().at_most(upstream_idle, now).as_secs_f64() * 1e3,
            latency_ms: (endpoint.latency().recorded().as_secs_f64() * 1e6).round() / 1e3,
        }
    }
}

impl OverrideView {
    fn of(member: &Member, pool: &Pool, overrides: &Overrides) -> Option<Self> {
        overrides.of(&pool.name, &member.endpoint.address).map(Self::from)
    }
}

impl From<&Override> for OverrideView {
    fn from(set: &Override) -> Self {
        let (state, weight) = (set.state.map(word), set.weight);
        Self { state, weight, since: rfc3339(set.since), by: set.by.clone() }
    }
}

/// What holds for an endpoint now, for whoever has set something of it.
pub(in crate::control::admin) fn endpoint_as_set(
    status: &Status,
    pool: &str,
    endpoint: &str,
) -> Option<Map<String, Value>> {
    let (snapshot, overrides) = (status.shared.load(), Arc::clone(&status.state().overrides));
    let pool = snapshot.pool(pool)?;
    let member = pool.members.iter().find(|member| member.endpoint.address.to_string() == endpoint)?;
    let set = serde_json::to_value(OverrideView::of(member, pool, &overrides)).ok()?;
    Some(Map::from_iter([
        ("pool".to_owned(), pool.name.as_ref().into()),
        ("endpoint".to_owned(), endpoint.into()),
        ("wanted".to_owned(), member.state.name().into()),
        ("weight".to_owned(), member.weight.into()),
        ("override".to_owned(), set),
    ]))
}

impl EjectionView {
    fn of(ejection: Ejection, now: Instant) -> Self {
        let Ejection { begin, end } = ejection;
        let wall = SystemTime::now();
        let [since, until] = [
            wall.checked_sub(now.saturating_duration_since(begin)),
            wall.checked_add(end.saturating_duration_since(now)),
        ];
        let text = |at: Option<SystemTime>| rfc3339(whole_seconds(at.unwrap_or(wall)));
        Self { since: text(since), until: text(until) }
    }
}

/// The nearest whole second: two clocks are compared, and the result must not differ from one look to the next.
fn whole_seconds(at: SystemTime) -> SystemTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs_f64().round() as u64)
}
