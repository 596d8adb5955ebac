//! What endpoints count, and what they are like.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::metrics::Counter;
use crate::pool::endpoint::EndpointCell;
use crate::pool::health::Health;
use crate::pool::{Member, Pool};

/// A counter of an endpoint, its name and its help text.
type EndpointMetric = (&'static str, &'static str, fn(&EndpointCell) -> &Counter);
/// A number that describes an endpoint, its name and its help text.
type EndpointGauge = (&'static str, &'static str, fn(&Member) -> f64);

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

pub(super) fn endpoints(pools: &[Arc<Pool>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
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
