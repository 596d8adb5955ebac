//! What endpoints count, and what they are like.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::truth;
use crate::metrics::{CoarseHistogram, Counter};
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
        truth(member.endpoint.health() == Health::Healthy)
    }),
    ("endpoint_latency_seconds", "Recent time to the response head", |member| {
        member.endpoint.latency().recorded().as_secs_f64()
    }),
];

/// A member of a pool, and its labels.
struct Labelled<'a> {
    member: &'a Member,
    pool: &'a str,
    address: String,
}

impl<'a> Labelled<'a> {
    fn of(pool: &'a Pool, member: &'a Member) -> Self {
        Self { member, pool: &pool.name, address: member.endpoint.address.to_string() }
    }

    fn labels(&self) -> [(&'static str, &str); 2] {
        [("pool", self.pool), ("endpoint", &self.address)]
    }
}

pub(super) fn endpoints(pools: &[Arc<Pool>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let members = pools.iter().flat_map(|pool| pool.members.iter().map(move |member| Labelled::of(pool, member)));
    let members: Vec<Labelled<'_>> = members.collect();
    for (name, help, counter) in ENDPOINT_METRICS {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for of in &members {
            let total = of.member.endpoint.total(counter);
            family.encode_family(&of.labels())?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
        }
    }
    for (name, help, value) in ENDPOINT_GAUGES {
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for of in &members {
            family.encode_family(&of.labels())?.encode_gauge(&value(of.member))?;
        }
    }
    first_bytes(&members, encoder)
}

fn first_bytes(members: &[Labelled<'_>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let (name, help) = ("endpoint_first_byte_duration_seconds", "From the end of a request to the response head");
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for of in members {
        let sum = of.member.endpoint.first_bytes();
        let (buckets, count) = (CoarseHistogram::bounded(&sum), sum.buckets.iter().sum());
        let labels = of.labels();
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum.sum_seconds, count, &buckets, None)?;
    }
    Ok(())
}
