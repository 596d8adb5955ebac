//! What pools count, and what they are like.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use tokio::time::Instant;

use crate::control::overrides::Overrides;
use crate::metrics::{Buckets, Counter, HistogramSum, OUTCOMES, PoolCell, RETRY_CAUSES};
use crate::pool::health::Health;
use crate::pool::{Member, MemberState, Mode, Pool};

/// A counter of a pool, its name and its help text.
type PoolMetric = (&'static str, &'static str, fn(&PoolCell) -> &Counter);

const POOL_COUNTERS: [PoolMetric; 1] =
    [("retries_refused", "Requests not repeated because the retry budget was used up", |cell| &cell.retries_refused)];

/// What an endpoint of a pool may be doing.
const STATES: [&str; 7] = ["ready", "unchecked", "unhealthy", "ejected", "draining", "down", "held"];

pub(super) fn pools(
    pools: &[Arc<Pool>],
    overrides: &Overrides,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    requests(pools, encoder)?;
    retries(pools, encoder)?;
    states(pools, encoder)?;
    times(pools, encoder)?;
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
    let help = "Endpoints whose state or weight an operator has set over what the file says";
    let mut family = encoder.encode_descriptor("pool_overrides", help, None, MetricType::Gauge)?;
    for pool in pools {
        let count = overrides.of_pool(&pool.name).count() as f64;
        family.encode_family(&[("pool", &*pool.name)])?.encode_gauge(&count)?;
    }
    Ok(())
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

fn retries(pools: &[Arc<Pool>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "Attempts after the first of a request, by why the one before had failed";
    let mut family = encoder.encode_descriptor("retries", help, None, MetricType::Counter)?;
    for pool in pools {
        for (index, cause) in RETRY_CAUSES.iter().enumerate() {
            let labels = [("pool", &*pool.name), ("cause", cause)];
            let total = sum(pool, |cell| cell.retries(index));
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
        }
    }
    Ok(())
}

fn states(pools: &[Arc<Pool>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let (help, now) = ("Endpoints of a pool by their state; each is counted once", Instant::now());
    let mut family = encoder.encode_descriptor("pool_endpoints", help, None, MetricType::Gauge)?;
    for pool in pools {
        for state in STATES {
            let labels = [("pool", &*pool.name), ("state", state)];
            let count = pool.members.iter().filter(|member| state_of(member, now) == state).count();
            family.encode_family(&labels)?.encode_gauge(&(count as f64))?;
        }
    }
    Ok(())
}

/// One of [`STATES`].
fn state_of(member: &Member, now: Instant) -> &'static str {
    match (member.state, member.endpoint.health()) {
        (MemberState::Drain, _) => "draining",
        (MemberState::Down, _) => "down",
        (MemberState::Held, _) => "held",
        (MemberState::Ready, Health::Unhealthy) => "unhealthy",
        (MemberState::Ready, _) if member.endpoint.passive().is_ejected(now) => "ejected",
        (MemberState::Ready, Health::Unchecked) => "unchecked",
        (MemberState::Ready, Health::Healthy) => "ready",
    }
}

fn sum(pool: &Pool, counter: impl Fn(&PoolCell) -> &Counter) -> u64 {
    pool.shared.cells.iter().map(|cell| counter(cell).value()).sum()
}

fn times(pools: &[Arc<Pool>], encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "From a request's head to the end of the response";
    durations("request_duration_seconds", help, pools, |cell| &cell.duration, encoder)?;
    let help = "From the end of a request to the response head";
    durations("first_byte_duration_seconds", help, pools, |cell| &cell.first_byte, encoder)?;
    let help = "Opening a connection to an endpoint, TLS included";
    durations("connect_duration_seconds", help, pools, |cell| &cell.connect, encoder)?;
    let help = "TLS handshakes with endpoints";
    durations("tls_handshake_duration_seconds", help, pools, |cell| &cell.tls_handshake, encoder)?;
    let help = "Requests that waited because every endpoint was full: how long";
    durations("queue_duration_seconds", help, pools, |cell| &cell.queued, encoder)
}

fn durations<const N: usize, const FIRST: u32, const STEP: u32>(
    name: &str,
    help: &str,
    pools: &[Arc<Pool>],
    times: fn(&PoolCell) -> &Buckets<N, FIRST, STEP>,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for pool in pools {
        let sum = HistogramSum::of(pool.shared.cells.iter().map(|cell| times(cell)));
        let buckets = Buckets::<N, FIRST, STEP>::bounded(&sum);
        let count = sum.buckets.iter().sum();
        let labels = [("pool", &*pool.name)];
        family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum.sum_seconds, count, &buckets, None)?;
    }
    Ok(())
}
