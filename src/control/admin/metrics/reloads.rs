//! The config in use, and the reloads.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::{gauge, since_epoch, truth};
use crate::control::status::{State, Status};
use crate::metrics::{CoarseHistogram, HistogramSum};

pub(super) fn reloads(status: &Status, state: &State, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let last = state.reloads.last_of_config();
    let is_ok = last.is_none_or(|reload| reload.result.is_ok());
    let tried_at = last.map_or(0.0, |reload| since_epoch(reload.at));
    let applied_at = since_epoch(state.config_applied.unwrap_or(status.started));
    let (refuses_certificates, detached) = (state.reloads.refuses_certificates(), state.detached.len());
    let took = status.reload_last_took().as_secs_f64();
    for (name, help, value) in [
        ("config_applied_timestamp_seconds", "When the config in use was applied: the start, or a reload", applied_at),
        ("reload_last_success", "1 if the last reload of the config was applied", truth(is_ok)),
        ("reload_last_timestamp_seconds", "When the config was last reloaded or refused; 0 before the first", tried_at),
        ("reload_last_duration_seconds", "From the start of the last reload until it was applied or refused", took),
        (
            "pool_certificates_refused",
            "1 if replaced TLS files of a pool cannot be used; the old ones stay in use",
            truth(refuses_certificates),
        ),
        (
            "config_files_detached",
            "Files of the config that were replaced outside of their mount, so that no edit is seen",
            detached as f64,
        ),
    ] {
        gauge(name, help, value, encoder)?;
    }
    let mut family = encoder.encode_descriptor("reloads", "Reloads by their result", None, MetricType::Counter)?;
    for (result, counter) in [("applied", &status.reloads_applied), ("refused", &status.reloads_refused)] {
        let labels = [("result", result)];
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&counter.load(Relaxed), None)?;
    }
    durations(status, encoder)
}

fn durations(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "From the start of a reload until it was applied or refused; the resolution of a name is none";
    let sum = HistogramSum::of(std::iter::once(&status.reload_durations));
    let (buckets, count) = (CoarseHistogram::bounded(&sum), sum.buckets.iter().sum());
    let mut metric = encoder.encode_descriptor("reload_duration_seconds", help, None, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(sum.sum_seconds, count, &buckets, None)
}
