//! What workers have to do.

use std::fmt;
use std::fs;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::control::status::Status;

/// Each worker by its number. What it has used of a CPU is read from the kernel, so it costs the worker nothing.
pub(super) fn workers(status: &Status, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "Client connections of a worker";
    let mut family = encoder.encode_descriptor("worker_connections", help, None, MetricType::Gauge)?;
    for worker in 0..status.cells.len() {
        let labels = [("worker", worker.to_string())];
        family.encode_family(&labels)?.encode_gauge(&(status.loads.of(worker) as f64))?;
    }
    let help = "Time that a worker has been on a CPU; 1 per second is all that there is";
    let mut family = encoder.encode_descriptor("worker_cpu_seconds", help, None, MetricType::Counter)?;
    for (worker, cell) in status.cells.iter().enumerate() {
        let labels = [("worker", worker.to_string())];
        // A worker that has not begun yet has used nothing.
        let seconds = cpu_seconds(cell.thread.value()).unwrap_or_default();
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&seconds, None)?;
    }
    Ok(())
}

/// How long a thread of this process has been on a CPU; `None` if the kernel does not say.
fn cpu_seconds(thread: u64) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).ok()?;
    let ns: u64 = stat.split(' ').next()?.parse().ok()?;
    Some(ns as f64 / 1e9)
}
