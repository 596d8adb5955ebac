//! Orders and reports in Redis: a stream is the queue, its consumer group knows which worker has what. An order and its
//! place in the queue are one step; so are a report and that it was sent out, once for each order.

use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use redis::Script;
use redis::aio::ConnectionManager;
use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};

use super::desk::{Reports, State};
use super::queue::{Begun, LEASE, Order, Queue};
use crate::prove::sabotage::{Planted, Sabotage};

/// How long everything is kept at most, in a Redis that is not ours alone.
const LIFETIME_SECONDS: u64 = 3600;
/// The consumer group.
const GROUP: &str = "workers";

/// KEYS: ids by key, the count of ids, numbers by id, the queue. ARGV: key, number, lifetime.
const ORDER: &str = "
local old = ARGV[1] ~= '' and redis.call('HGET', KEYS[1], ARGV[1])
if old then return old end
local id = 'report-' .. redis.call('INCR', KEYS[2])
if ARGV[1] ~= '' then redis.call('HSET', KEYS[1], ARGV[1], id) end
redis.call('HSET', KEYS[3], id, ARGV[2])
redis.call('XADD', KEYS[4], '*', 'id', id, 'number', ARGV[2])
for _, one in ipairs(KEYS) do redis.call('EXPIRE', one, ARGV[3]) end
return id
";

/// KEYS: reports by id, what was sent out. ARGV: id, report, lifetime, when it is sent out.
const FINISH: &str = "
local is_first = redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])
if ARGV[4] == 'always' or ARGV[4] == 'once' and is_first == 1 then redis.call('RPUSH', KEYS[2], ARGV[1]) end
for _, one in ipairs(KEYS) do redis.call('EXPIRE', one, ARGV[3]) end
return is_first
";

/// See the module. Each worker has one of its own, since it waits on its connection.
pub(super) struct Stream {
    connection: ConnectionManager,
    order: Script,
    finish: Script,
    /// Stands in the names of everything: all runs may share one Redis.
    scope: String,
    planted: Planted,
    /// What was ordered here, under sabotage.
    own: Mutex<HashSet<String>>,
}

impl Stream {
    /// Makes the queue if there is none.
    pub(super) async fn open(connection: ConnectionManager, scope: String, planted: Planted) -> anyhow::Result<Self> {
        let (order, finish) = (Script::new(ORDER), Script::new(FINISH));
        let queue = Self { connection, order, finish, scope, planted, own: Mutex::default() };
        let create =
            redis::cmd("XGROUP").arg("CREATE").arg(queue.key("queue")).arg(GROUP).arg("0").arg("MKSTREAM").to_owned();
        match create.query_async::<()>(&mut queue.connection.clone()).await {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(error.into()),
            _ => Ok(queue),
        }
    }

    fn key(&self, part: &str) -> String {
        format!("unstick:{{{}}}:{part}", self.scope)
    }
}

impl Queue for Stream {
    async fn next(&self, worker: &str, within: Duration) -> anyhow::Result<Option<Order>> {
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(GROUP).arg(worker).arg("COUNT").arg(1).arg("BLOCK").arg(within.as_millis() as u64);
        if self.planted.is(Sabotage::AckedBeforeWork) {
            // The group does not keep what it gives out: as if it were acknowledged at once.
            read.arg("NOACK");
        }
        read.arg("STREAMS").arg(self.key("queue")).arg(">");
        let reply: Option<StreamReadReply> = read.query_async(&mut self.connection.clone()).await?;
        let entry = reply.and_then(|reply| reply.keys.into_iter().next()?.ids.into_iter().next());
        Ok(entry.and_then(|entry| order(&entry)))
    }

    async fn take_over(&self, worker: &str) -> anyhow::Result<Option<Order>> {
        if self.planted.is(Sabotage::NeverTakenOver) {
            return Ok(None);
        }
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim
            .arg(self.key("queue"))
            .arg(GROUP)
            .arg(worker)
            .arg(LEASE.as_millis() as u64)
            .arg("0-0")
            .arg("COUNT")
            .arg(1);
        let reply: StreamAutoClaimReply = claim.query_async(&mut self.connection.clone()).await?;
        Ok(reply.claimed.first().and_then(order))
    }

    async fn begin(&self, order: &Order, worker: &str) -> anyhow::Result<()> {
        let note = redis::pipe()
            .rpush(self.key("begun"), format!("{} {worker}", order.id))
            .ignore()
            .expire(self.key("begun"), LIFETIME_SECONDS as i64)
            .ignore()
            .to_owned();
        Ok(note.query_async(&mut self.connection.clone()).await?)
    }

    async fn finish(&self, order: &Order, report: u64) -> anyhow::Result<bool> {
        let sends = match self.planted {
            planted if planted.is(Sabotage::SentAgain) => "always",
            planted if planted.is(Sabotage::SentSeparately) => "later",
            _ => "once",
        };
        let mut call = self.finish.prepare_invoke();
        call.key(self.key("reports")).key(self.key("sent"));
        call.arg(&order.id).arg(report).arg(LIFETIME_SECONDS).arg(sends);
        Ok(call.invoke_async(&mut self.connection.clone()).await?)
    }

    async fn send(&self, order: &Order) -> anyhow::Result<()> {
        let send = redis::cmd("RPUSH").arg(self.key("sent")).arg(&order.id).to_owned();
        Ok(send.query_async(&mut self.connection.clone()).await?)
    }

    async fn acknowledge(&self, order: &Order) -> anyhow::Result<()> {
        let done = redis::cmd("XACK").arg(self.key("queue")).arg(GROUP).arg(&order.place).to_owned();
        Ok(done.query_async(&mut self.connection.clone()).await?)
    }
}

fn order(entry: &StreamId) -> Option<Order> {
    Some(Order { place: entry.id.clone(), id: entry.get("id")?, number: entry.get("number")? })
}

impl Reports for Stream {
    async fn order(&self, key: Option<&str>, number: u64) -> anyhow::Result<String> {
        let key = key.filter(|_| !self.planted.is(Sabotage::OrderedAgain));
        let mut call = self.order.prepare_invoke();
        call.key(self.key("ids")).key(self.key("count")).key(self.key("numbers")).key(self.key("queue"));
        call.arg(key.unwrap_or_default()).arg(number).arg(LIFETIME_SECONDS);
        let id: String = call.invoke_async(&mut self.connection.clone()).await?;
        if let (true, Ok(mut own)) = (self.planted.is(Sabotage::OrdersInMemory), self.own.lock()) {
            own.insert(id.clone());
        }
        Ok(id)
    }

    async fn state(&self, id: &str) -> anyhow::Result<State> {
        let is_foreign = |own: &Mutex<HashSet<String>>| own.lock().is_ok_and(|own| !own.contains(id));
        if self.planted.is(Sabotage::OrdersInMemory) && is_foreign(&self.own) {
            return Ok(State::Unknown);
        }
        let both = redis::pipe().hexists(self.key("numbers"), id).hget(self.key("reports"), id).to_owned();
        let (is_known, report): (bool, Option<u64>) = both.query_async(&mut self.connection.clone()).await?;
        Ok(match report {
            Some(report) => State::Ready(report),
            None if is_known => State::Waiting,
            None => State::Unknown,
        })
    }

    async fn sent(&self) -> anyhow::Result<Vec<String>> {
        let read = redis::cmd("LRANGE").arg(self.key("sent")).arg(0).arg(-1).to_owned();
        Ok(read.query_async(&mut self.connection.clone()).await?)
    }

    async fn begun(&self) -> anyhow::Result<Vec<Begun>> {
        let read = redis::cmd("LRANGE").arg(self.key("begun")).arg(0).arg(-1).to_owned();
        let lines: Vec<String> = read.query_async(&mut self.connection.clone()).await?;
        let begun = |line: &String| {
            let (id, worker) = line.split_once(' ')?;
            Some(Begun { id: id.to_owned(), worker: worker.to_owned(), at_us: None })
        };
        Ok(lines.iter().filter_map(begun).collect())
    }
}
