//! A replica that takes orders and has workers, with a queue in Redis or orders in its memory.

use tokio::task::JoinSet;

use super::desk::{Holds, open};
use super::memory::InMemory;
use super::queue::Queue;
use super::worker::{WORK, Worker};
use crate::prove::arm::Work;
use crate::prove::arm::redis::connect_told;
use crate::prove::study::part::PartReplica;

/// Workers of each replica.
pub(super) const WORKERS: usize = 2;

/// One replica whose queue is in Redis.
pub(in crate::prove::study) fn in_redis(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(async move {
        let (scope, planted, holds) = (replica.directory.display().to_string(), replica.planted, Holds::default());
        // They end with this.
        let mut workers = JoinSet::new();
        for number in 0..WORKERS {
            let queue = Queue::open(connect_told().await?, scope.clone(), planted).await?;
            let (name, hold) = (format!("{}-{number}", replica.name), holds.orders.clone());
            workers.spawn(Worker { queue, name, hold, planted }.run());
        }
        let queue = Queue::open(connect_told().await?, scope, planted).await?;
        open(replica, queue, holds).await
    })
}

/// One replica whose orders are in its memory.
pub(in crate::prove::study) fn in_memory(replica: PartReplica) -> Work<'static, ()> {
    let reports = InMemory::new(&replica.name, WORK);
    Box::pin(open(replica, reports, Holds::default()))
}
