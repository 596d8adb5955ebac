//! The export of traces.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::counter;
use crate::control::status::Status;

pub(super) fn traces(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let counts = &status.traces;
    let help = "Traced requests whose spans a collector has taken";
    counter("traces_exported", help, counts.taken.load(Relaxed), encoder)?;
    let help = "Traced requests whose spans are lost, by the reason";
    let mut family = encoder.encode_descriptor("traces_dropped", help, None, MetricType::Counter)?;
    for (why, total) in [
        ("busy", status.total(|cell| &cell.traces_dropped)),
        ("full", counts.full.load(Relaxed)),
        ("refused", counts.refused.load(Relaxed)),
        ("unreachable", counts.unreachable.load(Relaxed)),
    ] {
        family.encode_family(&[("why", why)])?.encode_counter::<NoLabelSet, _, u64>(&total, None)?;
    }
    Ok(())
}
