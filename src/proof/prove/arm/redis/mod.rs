//! Sessions in Redis, which all replicas share: a private one, or that of `--redis`.

pub(super) mod server;

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::{FromRedisValue, Pipeline, RedisError, Script};
use tokio::time::timeout;

use super::predictions::{Keeps, of_stateless};
use super::{Arm, Backing, Prepared, Role, Server};
use crate::prove::NotPossible;
use crate::prove::options::{Options, REDIS_VARIABLE as URL_VARIABLE};
use crate::prove::replica::Replica;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::secret::masked;
use crate::prove::store::{Reply, Store, Unavailable, Write, new_token};
use crate::prove::workspace::Workspace;
use crate::trial::history::Value;
use server::{Home, RedisServer};

/// See the module.
pub(super) const ARM: Arm = Arm {
    name: "redis",
    is_default: true,
    role: Role::Stateless,
    shares: true,
    has_tokens: false,
    serve: |replica| {
        Box::pin(async move {
            let store = Redis::of(&replica, connect_told().await?);
            replica.serve(store).await
        })
    },
    prepare: Some(|options, workspace| Box::pin(prepare(ARM.name, options, workspace))),
    fill: None,
    predict: |report| of_stateless(report, Keeps::InAStore),
};

/// For an arm: finds the Redis that was given, or starts one of its own.
pub(super) async fn prepare(arm: &str, options: &Options, workspace: &Workspace) -> anyhow::Result<Prepared> {
    match find(options, workspace, arm).await? {
        Ok(backing) => {
            let is_given = backing.server.is_none();
            let why = || format!("store-restart of {arm}: the Redis given by --redis is not ours to restart");
            Ok(Prepared { backing: Some(backing), left_out: is_given.then(why) })
        }
        Err(hint) => Ok(Prepared { backing: None, left_out: Some(format!("{arm}: {hint}")) }),
    }
}

/// Finds the Redis that was given, or starts one of our own of this name. Without either: what to do about that.
pub(in crate::prove) async fn find(
    options: &Options,
    workspace: &Workspace,
    name: &str,
) -> anyhow::Result<Result<Backing, &'static str>> {
    if let Some(url) = &options.redis {
        let connected = connect(url).await;
        let shown = masked(url);
        connected.map_err(|error| {
            NotPossible(format!("the Redis of --redis, {shown}: {error}; is it a Redis, and may this machine use it?"))
        })?;
        return Ok(Ok(Backing { variable: Some((URL_VARIABLE, url.clone())), server: None }));
    }
    if RedisServer::program().is_none() {
        return Ok(Err(
            "there is no redis-server on PATH; install it (apt-get install redis-server) or give --redis URL",
        ));
    }
    let server = RedisServer::start(Home::create(workspace, name)?, 0, options.planted).await?;
    let variable = Some((URL_VARIABLE, server.url()));
    let server: Rc<dyn Server> = Rc::new(server);
    Ok(Ok(Backing { variable, server: Some(server) }))
}

/// A replica's connection to the Redis that it was told of in its environment.
pub(in crate::prove) async fn connect_told() -> anyhow::Result<ConnectionManager> {
    Ok(connect(&url_told()?).await?)
}

/// The URL of that Redis, for a connection of another kind.
pub(in crate::prove) fn url_told() -> anyhow::Result<String> {
    std::env::var(URL_VARIABLE).with_context(|| format!("{URL_VARIABLE} holds no URL"))
}

/// Connects, and connects again whenever the connection is lost.
pub(in crate::prove) async fn connect(url: &str) -> Result<ConnectionManager, Unavailable> {
    let client = redis::Client::open(url).map_err(unavailable)?;
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(TIMEOUT))
        .set_response_timeout(Some(TIMEOUT))
        .set_min_delay(Duration::from_millis(10))
        .set_max_delay(Duration::from_millis(100));
    let connected = timeout(CONNECTED_WITHIN, ConnectionManager::new_with_config(client, config)).await;
    connected.map_err(|_| Unavailable("no response in time".into()))?.map_err(unavailable)
}

/// How long Redis may take for a response or a connection.
pub(in crate::prove) const TIMEOUT: Duration = Duration::from_secs(2);
/// How long all tries to connect may take: one that was not heard is made again.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);
/// How long a write may wait for a standby.
const WAIT: Duration = Duration::from_secs(1);
/// How long an unused session is kept.
const LIFETIME_SECONDS: u64 = 3600;

/// The session's keys share a hash tag, so that this works on a cluster too.
fn keys(token: &str) -> [String; 3] {
    [format!("unstick:{{{token}}}:user"), format!("unstick:{{{token}}}:cart"), format!("unstick:{{{token}}}:keys")]
}

/// Appends a value. What bears a key that was used is not appended.
const WRITE: &str = "
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
if ARGV[2] ~= '' and redis.call('SADD', KEYS[3], ARGV[2]) == 0 then return 1 end
redis.call('RPUSH', KEYS[2], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[3])
redis.call('EXPIRE', KEYS[3], ARGV[3])
return 1
";

/// One replica's connections.
pub(super) struct Redis {
    connection: ConnectionManager,
    /// Those over which it writes and waits for a standby, if it does: a connection that waits does nothing else.
    waiting: Vec<ConnectionManager>,
    next: AtomicUsize,
    write: Script,
    planted: Planted,
    /// Stands in the names of books: all runs and all their parts may share one Redis.
    scope: String,
}

impl Redis {
    fn book(&self, book: &str) -> String {
        format!("unstick:book:{}:{book}", self.scope)
    }

    /// The store of a replica.
    pub(super) fn of(replica: &Replica, connection: ConnectionManager) -> Self {
        Self { planted: replica.planted, scope: replica.directory.display().to_string(), ..Self::at(connection) }
    }

    pub(super) fn at(connection: ConnectionManager) -> Self {
        let (waiting, next) = (Vec::new(), AtomicUsize::new(0));
        let (write, planted, scope) = (Script::new(WRITE), Planted::default(), String::new());
        Self { connection, waiting, next, write, planted, scope }
    }

    /// The same that acknowledges a write when a standby has it too, and waits for that over these connections.
    pub(super) fn waiting(self, connections: Vec<ConnectionManager>) -> Self {
        Self { waiting: connections, ..self }
    }

    /// Makes changes; the reply of the one that is not ignored.
    async fn change<T: FromRedisValue>(&self, mut changes: Pipeline) -> Result<T, Unavailable> {
        if self.waiting.is_empty() || self.planted.is(Sabotage::WaitForgotten) {
            let mut connection = self.connection.clone();
            let (reply,) = changes.query_async::<(T,)>(&mut connection).await.map_err(unavailable)?;
            return Ok(reply);
        }
        let mut connection = self.waiting[self.next.fetch_add(1, Relaxed) % self.waiting.len()].clone();
        // On the same connection as the changes: it waits for what came over that one.
        changes.cmd("WAIT").arg(1).arg(WAIT.as_millis() as u64);
        let (reply, standbys) = changes.query_async::<(T, u32)>(&mut connection).await.map_err(unavailable)?;
        if standbys == 0 { Err(Unavailable("no standby has confirmed it".into())) } else { Ok(reply) }
    }
}

/// What a store without atomic steps would do.
impl Redis {
    /// Reads the whole cart and stores it again with one more value: what was written in between is lost.
    async fn write_whole(&self, token: &str, write: Write<'_>) -> Result<Reply<Option<String>>, Unavailable> {
        let [session, cart, _] = keys(token);
        let mut connection = self.connection.clone();
        let both = redis::pipe().exists(session).lrange(&cart, 0, -1).to_owned();
        let (is_known, mut values): (bool, Vec<Value>) =
            both.query_async(&mut connection).await.map_err(unavailable)?;
        if !is_known {
            return Ok(Reply::new(None, 1));
        }
        if write.key.is_none() || !values.contains(&write.value) {
            values.push(write.value);
        }
        let store = redis::pipe().atomic().del(&cart).ignore().rpush(&cart, &values).ignore().to_owned();
        store.query_async::<()>(&mut connection).await.map_err(unavailable)?;
        Ok(Reply::new(Some(None), 2))
    }
}

pub(super) fn unavailable(error: RedisError) -> Unavailable {
    Unavailable(error.to_string())
}

impl Store for Redis {
    async fn begin(&self, user: &str) -> Result<Reply<String>, Unavailable> {
        let token = new_token()?;
        let [session, ..] = keys(&token);
        let mut set = redis::pipe();
        set.cmd("SET").arg(session).arg(user).arg("EX").arg(LIFETIME_SECONDS);
        self.change::<()>(set).await?;
        Ok(Reply::new(Some(token), 1))
    }

    async fn read(&self, token: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        let [session, cart, _] = keys(token);
        let mut connection = self.connection.clone();
        let both = redis::pipe().exists(session).lrange(cart, 0, -1).to_owned();
        let (is_known, values): (bool, Vec<Value>) = both.query_async(&mut connection).await.map_err(unavailable)?;
        Ok(Reply::new(is_known.then_some(values), 1))
    }

    async fn write(&self, token: &str, write: Write<'_>) -> Result<Reply<Option<String>>, Unavailable> {
        if self.planted.is(Sabotage::LostUpdates) {
            return self.write_whole(token, write).await;
        }
        let [session, cart, used] = keys(token);
        if !self.waiting.is_empty() {
            let mut eval = redis::pipe();
            eval.cmd("EVAL").arg(WRITE).arg(3).arg(&[session, cart, used]);
            eval.arg(write.value).arg(write.key.unwrap_or_default()).arg(LIFETIME_SECONDS);
            let is_known: bool = self.change(eval).await?;
            return Ok(Reply::new(is_known.then_some(None), 1));
        }
        let mut connection = self.connection.clone();
        let mut call = self.write.prepare_invoke();
        call.key(session).key(cart).key(used).arg(write.value).arg(write.key.unwrap_or_default()).arg(LIFETIME_SECONDS);
        let is_known: bool = call.invoke_async(&mut connection).await.map_err(unavailable)?;
        Ok(Reply::new(is_known.then_some(None), 1))
    }

    async fn look(&self, book: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        let mut connection = self.connection.clone();
        let read = redis::cmd("LRANGE").arg(self.book(book)).arg(0).arg(-1).to_owned();
        let values: Vec<Value> = read.query_async(&mut connection).await.map_err(unavailable)?;
        Ok(Reply::new(Some(values), 1))
    }

    async fn post(&self, book: &str, value: Value) -> Result<Reply<()>, Unavailable> {
        let book = self.book(book);
        let add = redis::pipe().rpush(&book, value).ignore().expire(&book, LIFETIME_SECONDS as i64).to_owned();
        self.change::<()>(add).await?;
        Ok(Reply::new(Some(()), 1))
    }

    async fn end(&self, token: &str) -> Result<Reply<()>, Unavailable> {
        let mut delete = redis::pipe();
        delete.cmd("DEL").arg(&keys(token));
        let deleted: u32 = self.change(delete).await?;
        Ok(Reply::new((deleted > 0).then_some(()), 1))
    }
}

#[cfg(test)]
pub(in crate::prove::arm) mod testing {
    use super::*;
    use crate::prove::store::testing::skipped;

    /// A server of our own, if it is installed, and where it lives.
    pub(in crate::prove::arm) async fn server(name: &str) -> Option<(Workspace, RedisServer)> {
        if RedisServer::program().is_none() {
            skipped("there is no redis-server");
            return None;
        }
        let workspace = Workspace::named(&format!("{name}-of-{}", std::process::id()), false).unwrap();
        let home = Home::create(&workspace, "redis").unwrap();
        let server = RedisServer::start(home, 0, Planted::NOTHING).await.unwrap();
        Some((workspace, server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::store::testing::{keeps_a_session, keeps_books};

    #[tokio::test]
    async fn it_keeps_a_session_for_all_replicas() {
        let Some((_workspace, server)) = testing::server("redis").await else { return };
        keeps_a_session(Redis::at(connect(&server.url()).await.unwrap())).await;
        keeps_books(Redis::at(connect(&server.url()).await.unwrap())).await;
    }
}
