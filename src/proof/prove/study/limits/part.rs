//! A service that grants each user so many requests: the count is in the replica's memory, or in Redis.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use http::{Request, StatusCode};
use hyper::body::Incoming;
use redis::Script;
use redis::aio::ConnectionManager;

use super::{LIMIT, Place, USER};
use crate::prove::arm::Work;
use crate::prove::arm::redis::connect_told;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::study::part::{PartReplica, Responder, Responding, field, place, text};

/// How long a count is kept. No trial takes that long.
const WINDOW_SECONDS: i64 = 600;

/// Counts a request; the window begins with the first one.
const COUNT: &str = "
local count = redis.call('INCRBY', KEYS[1], ARGV[2])
if count == tonumber(ARGV[2]) then redis.call('EXPIRE', KEYS[1], ARGV[1]) end
return count
";

/// One replica.
pub(in crate::prove::study) fn serve(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(async move {
        let is_shared = place() == Place::Redis.name();
        let connection = if is_shared { Some(connect_told().await?) } else { None };
        let scope = replica.directory.display().to_string();
        let (count, memory, planted) = (Script::new(COUNT), Mutex::default(), replica.planted);
        replica.serve(Limited { connection, count, memory, scope, planted }).await
    })
}

struct Limited {
    /// Where counts are; `None`: in the memory of this replica.
    connection: Option<ConnectionManager>,
    count: Script,
    memory: Mutex<HashMap<String, u64>>,
    /// Stands in the names of counts: all studies share one Redis.
    scope: String,
    planted: Planted,
}

impl Limited {
    /// Counts a request of a user. The number of requests so far.
    async fn count(&self, user: &str) -> anyhow::Result<u64> {
        let Some(connection) = &self.connection else { return Ok(self.in_memory(user)) };
        let (mut connection, name) = (connection.clone(), format!("unstick:limit:{}:{user}", self.scope));
        if self.planted.is(Sabotage::LimitInMemory) && user.ends_with('7') {
            return Ok(self.in_memory(user));
        }
        if self.planted.is(Sabotage::LimitRaces) {
            // Reads and writes in two steps: what was counted in between is lost.
            let read = redis::cmd("GET").arg(&name).to_owned();
            let known: Option<u64> = read.query_async(&mut connection).await?;
            let count = known.unwrap_or_default() + 1;
            let write = redis::cmd("SET").arg(&name).arg(count).arg("EX").arg(WINDOW_SECONDS).to_owned();
            write.query_async::<()>(&mut connection).await?;
            return Ok(count);
        }
        let each = if self.planted.is(Sabotage::LimitDoubled) { 2 } else { 1 };
        Ok(self.count.key(name).arg(WINDOW_SECONDS).arg(each).invoke_async(&mut connection).await?)
    }

    fn in_memory(&self, user: &str) -> u64 {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let count = memory.entry(user.to_owned()).or_default();
        *count += 1;
        *count
    }
}

impl Responder for Limited {
    fn respond(&self, request: Request<Incoming>) -> Responding<'_> {
        Box::pin(async move {
            let Some(user) = field(&request, USER) else { return text(StatusCode::BAD_REQUEST, "who are you?") };
            match self.count(user).await {
                Ok(..=LIMIT) => text(StatusCode::OK, "here you are"),
                Ok(_) => text(StatusCode::TOO_MANY_REQUESTS, "that is enough"),
                Err(error) => text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")),
            }
        })
    }
}
