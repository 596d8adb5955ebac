//! What the rates of routes count.

use std::collections::HashMap;
use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::config::Secrets;
use crate::rate::{Limiter, Limiters};

/// A counter of a rate, its name and its help text.
type RateMetric = (&'static str, &'static str, fn(&Limiter) -> u64);

const RATE_METRICS: [RateMetric; 3] = [
    ("rate_allowed", "Requests within the rate of their route", Limiter::allowed),
    ("rate_refused", "Requests over the rate of their route", Limiter::refused),
    ("rate_evicted", "Clients that were forgotten because a rate has as many as it may have", Limiter::evicted),
];

pub(super) fn rates(
    limiters: &Limiters,
    secrets: &Secrets,
    encoder: &mut DescriptorEncoder<'_>,
) -> Result<(), fmt::Error> {
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
