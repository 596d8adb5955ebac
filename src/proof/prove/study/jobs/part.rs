//! A replica that takes orders and has workers, with a queue in Redis, one in PostgreSQL, or orders in its memory.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::desk::{Holds, open};
use super::memory::InMemory;
use super::queue::Queue;
use super::stream::Stream;
use super::table::Table;
use super::worker::{WORK, Worker};
use crate::prove::arm::Work;
use crate::prove::arm::postgres::Postgres;
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
            let queue = Stream::open(connect_told().await?, scope.clone(), planted).await?;
            workers.spawn(worker(&replica, number, queue, &holds).run());
        }
        let queue = Stream::open(connect_told().await?, scope, planted).await?;
        open(replica, queue, holds).await
    })
}

/// One replica whose queue is a table. All of it shares a few connections.
pub(in crate::prove::study) fn in_postgres(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(async move {
        let (scope, holds, postgres) =
            (replica.directory.display().to_string(), Holds::default(), Arc::new(Postgres::told()?));
        let table = || Table::of(Arc::clone(&postgres), scope.clone(), replica.planted);
        // They end with this.
        let mut workers = JoinSet::new();
        for number in 0..WORKERS {
            workers.spawn(worker(&replica, number, table(), &holds).run());
        }
        let table = table();
        open(replica, table, holds).await
    })
}

/// One replica whose orders are in its memory.
pub(in crate::prove::study) fn in_memory(replica: PartReplica) -> Work<'static, ()> {
    let reports = InMemory::new(&replica.name, WORK);
    Box::pin(open(replica, reports, Holds::default()))
}

fn worker<Q: Queue>(replica: &PartReplica, number: usize, queue: Q, holds: &Holds) -> Worker<Q> {
    let (name, hold) = (format!("{}-{number}", replica.name), Arc::clone(&holds.orders));
    Worker { queue, name, hold, planted: replica.planted }
}
