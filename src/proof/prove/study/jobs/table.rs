//! Orders and reports in PostgreSQL. A row of a table is an order's place in the queue; a worker that takes it has it
//! for the time of a lease. `FOR UPDATE SKIP LOCKED` gives a free row to one worker, and nobody waits for it. An order
//! and its place are one statement, and so are a report and that it was sent out: each is one transaction.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::desk::{Reports, State};
use super::queue::{Begun, LEASE, Order, Queue};
use crate::prove::arm::postgres::Postgres;
use crate::prove::sabotage::{Planted, Sabotage};

/// Pause of a worker that finds no free row.
const AGAIN: Duration = Duration::from_millis(25);
/// How often an order is looked for that another replica was storing under the same key.
const LOOKS: usize = 5;

/// What is older than an hour was left by a run before, where the server is not ours.
pub(super) const SCHEMA: &str = "
CREATE SCHEMA IF NOT EXISTS unstick_jobs;
SET search_path TO unstick_jobs;
CREATE TABLE IF NOT EXISTS orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    scope text NOT NULL,
    key text,
    number bigint NOT NULL,
    report bigint,
    made timestamptz DEFAULT now(),
    UNIQUE (scope, key)
);
CREATE TABLE IF NOT EXISTS queue (
    id bigint PRIMARY KEY REFERENCES orders ON DELETE CASCADE,
    scope text NOT NULL,
    until timestamptz
);
CREATE TABLE IF NOT EXISTS begun (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bigint NOT NULL REFERENCES orders ON DELETE CASCADE,
    worker text NOT NULL,
    at timestamptz NOT NULL
);
CREATE TABLE IF NOT EXISTS sent (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id bigint NOT NULL REFERENCES orders ON DELETE CASCADE
);
DELETE FROM orders WHERE made < now() - interval '1 hour';
";

/// $1: scope, $2: key, $3: number.
const ORDER: &str = "
WITH made AS (INSERT INTO unstick_jobs.orders (scope, key, number) VALUES ($1, $2, $3)
              ON CONFLICT (scope, key) DO NOTHING RETURNING id),
     queued AS (INSERT INTO unstick_jobs.queue (id, scope) SELECT id, $1 FROM made)
SELECT id FROM made UNION ALL SELECT id FROM unstick_jobs.orders WHERE scope = $1 AND key = $2";

/// $1: scope, $2: worker, $3: the lease in milliseconds. A row that another one is taking is skipped; one whose lease
/// was renewed since this statement began is looked at again, and is not free any more.
const TAKE: &str = "
WITH free AS (SELECT id FROM unstick_jobs.queue
              WHERE scope = $1 AND (until IS NULL OR until < clock_timestamp())
              ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED),
     taken AS (UPDATE unstick_jobs.queue SET until = clock_timestamp() + $3 * interval '1 millisecond'
               FROM free WHERE queue.id = free.id RETURNING queue.id, until),
     noted AS (INSERT INTO unstick_jobs.begun (id, worker, at)
               SELECT id, $2, until - $3 * interval '1 millisecond' FROM taken)
SELECT id, number FROM taken JOIN unstick_jobs.orders USING (id)";

/// Under sabotage: two statements, between which others may take the same row. $1: scope; then $1: id, $2: worker, $3:
/// the lease.
const LOOK: &str = "
SELECT id, number FROM unstick_jobs.queue JOIN unstick_jobs.orders USING (id, scope)
WHERE scope = $1 AND (until IS NULL OR until < clock_timestamp()) ORDER BY id LIMIT 1";
const TAKE_UNLOCKED: &str = "
WITH taken AS (UPDATE unstick_jobs.queue SET until = clock_timestamp() + $3 * interval '1 millisecond'
               WHERE id = $1 RETURNING id, until)
INSERT INTO unstick_jobs.begun (id, worker, at)
SELECT id, $2, until - $3 * interval '1 millisecond' FROM taken";

/// Under sabotage. $1: scope, $2: worker.
const TAKE_OUT: &str = "
WITH free AS (SELECT id FROM unstick_jobs.queue WHERE scope = $1 ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED),
     taken AS (DELETE FROM unstick_jobs.queue USING free WHERE queue.id = free.id RETURNING queue.id),
     noted AS (INSERT INTO unstick_jobs.begun (id, worker, at) SELECT id, $2, clock_timestamp() FROM taken)
SELECT id, number FROM taken JOIN unstick_jobs.orders USING (id)";

/// $1: id, $2: report.
const FINISH: &str = "
WITH done AS (UPDATE unstick_jobs.orders SET report = $2 WHERE id = $1 AND report IS NULL RETURNING id),
     sent AS (INSERT INTO unstick_jobs.sent (id) SELECT id FROM done)
SELECT id FROM done";

const ACKNOWLEDGE: &str = "DELETE FROM unstick_jobs.queue WHERE id = $1";
const STATE: &str = "SELECT report FROM unstick_jobs.orders WHERE id = $1";
const SENT: &str = "
SELECT id FROM unstick_jobs.sent JOIN unstick_jobs.orders USING (id) WHERE scope = $1 ORDER BY place";
const BEGUN: &str = "
SELECT id, worker, (extract(epoch FROM at) * 1000000)::bigint
FROM unstick_jobs.begun JOIN unstick_jobs.orders USING (id) WHERE scope = $1 ORDER BY at";

/// See the module.
pub(super) struct Table {
    postgres: Arc<Postgres>,
    /// Stands in every row: all runs may share one database.
    scope: String,
    planted: Planted,
}

impl Table {
    pub(super) fn of(postgres: Arc<Postgres>, scope: String, planted: Planted) -> Self {
        Self { postgres, scope, planted }
    }

    /// Takes a free row, if there is one.
    async fn take(&self, worker: &str) -> anyhow::Result<Option<Order>> {
        let (scope, name) = ((&self.scope as _, Type::TEXT), (&worker as _, Type::TEXT));
        if self.planted.is(Sabotage::DeletedBeforeWork) {
            return Ok(self.postgres.ask(TAKE_OUT, &[scope, name]).await?.first().map(order));
        }
        let is_endless = self.planted.is(Sabotage::LeaseEndless);
        let lease = if is_endless { 3_600_000 } else { LEASE.as_millis() as i64 };
        if !self.planted.is(Sabotage::QueueUnlocked) {
            let rows = self.postgres.ask(TAKE, &[scope, name, (&lease, Type::INT8)]).await?;
            return Ok(rows.first().map(order));
        }
        let rows = self.postgres.ask(LOOK, &[scope]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let id: i64 = row.get(0);
        self.postgres.ask(TAKE_UNLOCKED, &[(&id, Type::INT8), name, (&lease, Type::INT8)]).await?;
        Ok(Some(order(row)))
    }
}

/// A row of an id and a number.
fn order(row: &Row) -> Order {
    let (id, number): (i64, i64) = (row.get(0), row.get(1));
    Order { place: id.to_string(), id: named(id), number: number.cast_unsigned() }
}

fn named(id: i64) -> String {
    format!("report-{id}")
}

fn number_of(id: &str) -> Option<i64> {
    id.strip_prefix("report-")?.parse().ok()
}

impl Queue for Table {
    /// Also what somebody has had for too long.
    async fn next(&self, worker: &str, within: Duration) -> anyhow::Result<Option<Order>> {
        let until = Instant::now() + within;
        loop {
            let order = self.take(worker).await?;
            if order.is_some() || Instant::now() > until {
                return Ok(order);
            }
            sleep(AGAIN).await;
        }
    }

    /// See [`next`](Self::next).
    async fn take_over(&self, _: &str) -> anyhow::Result<Option<Order>> {
        Ok(None)
    }

    /// Written down when it was taken.
    async fn begin(&self, _: &Order, _: &str) -> anyhow::Result<()> {
        Ok(())
    }

    async fn finish(&self, order: &Order, report: u64) -> anyhow::Result<bool> {
        let (id, report): (i64, i64) = (order.place.parse()?, report.cast_signed());
        let rows = self.postgres.ask(FINISH, &[(&id, Type::INT8), (&report, Type::INT8)]).await?;
        Ok(!rows.is_empty())
    }

    /// It is sent out with its report, always.
    async fn send(&self, _: &Order) -> anyhow::Result<()> {
        Ok(())
    }

    async fn acknowledge(&self, order: &Order) -> anyhow::Result<()> {
        let id: i64 = order.place.parse()?;
        self.postgres.ask(ACKNOWLEDGE, &[(&id, Type::INT8)]).await?;
        Ok(())
    }
}

impl Reports for Table {
    async fn order(&self, key: Option<&str>, number: u64) -> anyhow::Result<String> {
        let number = number.cast_signed();
        // One that is being stored with the same key is waited for; this statement does not see it, the next one does.
        for _ in 0..LOOKS {
            let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] =
                [(&self.scope, Type::TEXT), (&key, Type::TEXT), (&number, Type::INT8)];
            if let Some(row) = self.postgres.ask(ORDER, &parameters).await?.first() {
                return Ok(named(row.get(0)));
            }
        }
        anyhow::bail!("an order with the key {} can neither be stored nor found", key.unwrap_or_default())
    }

    async fn state(&self, id: &str) -> anyhow::Result<State> {
        let Some(number) = number_of(id) else { return Ok(State::Unknown) };
        let rows = self.postgres.ask(STATE, &[(&number, Type::INT8)]).await?;
        let report = rows.first().map(|row| row.get::<_, Option<i64>>(0));
        Ok(match report {
            None => State::Unknown,
            Some(None) => State::Waiting,
            Some(Some(report)) => State::Ready(report.cast_unsigned()),
        })
    }

    async fn sent(&self) -> anyhow::Result<Vec<String>> {
        let rows = self.postgres.ask(SENT, &[(&self.scope, Type::TEXT)]).await?;
        Ok(rows.iter().map(|row| named(row.get(0))).collect())
    }

    async fn begun(&self) -> anyhow::Result<Vec<Begun>> {
        let rows = self.postgres.ask(BEGUN, &[(&self.scope, Type::TEXT)]).await?;
        let begun = |row: &Row| {
            let at_us = u64::try_from(row.get::<_, i64>(2)).context("a time before 1970")?;
            Ok(Begun { id: named(row.get(0)), worker: row.get(1), at_us: Some(at_us) })
        };
        rows.iter().map(begun).collect()
    }
}
