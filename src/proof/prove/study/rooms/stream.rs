//! Rooms in Redis. A message is added to the stream of its room and published in one step, so that it is published in
//! the order of the ids, and nothing is published that is not kept. Those who are there hear what is published; those
//! who come back read the stream after the last id that they have seen.
//!
//! Redis promises nothing about what is published: a replica whose connection breaks misses it. Ids have no gaps, so
//! who reads them knows when something is missing, and reads it from the stream.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use redis::aio::{ConnectionManager, PubSub};
use redis::streams::StreamRangeReply;
use redis::{Client, Script};
use tokio::sync::broadcast::Receiver;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::store::{Present, Rooms, Said};
use crate::prove::arm::redis::{TIMEOUT, connect_told, url_told};
use crate::prove::sabotage::{Planted, Sabotage};

/// How long everything is kept at most, in a Redis that is not ours alone.
const LIFETIME_SECONDS: u64 = 3600;
/// Pause before the next try to hear again what is published.
const AGAIN: Duration = Duration::from_millis(50);
/// One message in so many is not kept, under sabotage.
const NOT_KEPT_ONE_IN: u32 = 5;

/// KEYS: the stream, the count of ids, what was said under which key. ARGV: sender, number, channel, room, lifetime,
/// whether it is kept, whether its key counts.
const SAY: &str = "
local key = ARGV[1] .. '-' .. ARGV[2]
local old = ARGV[7] == '1' and redis.call('HGET', KEYS[3], key)
if old then return tonumber(old) end
local id = redis.call('INCR', KEYS[2])
if ARGV[6] == '1' then redis.call('XADD', KEYS[1], id .. '-0', 'from', ARGV[1], 'number', ARGV[2]) end
redis.call('HSET', KEYS[3], key, id)
for _, one in ipairs(KEYS) do redis.call('EXPIRE', one, ARGV[5]) end
redis.call('PUBLISH', ARGV[3], ARGV[4] .. ' ' .. id .. ' ' .. ARGV[1] .. ' ' .. ARGV[2])
return id
";

/// See the module.
pub(super) struct InRedis {
    connection: ConnectionManager,
    say: Script,
    /// Stands in the names of everything: all runs may share one Redis.
    scope: String,
    present: Arc<Present>,
    planted: Planted,
    /// The task that hears what is published. It ends with this.
    _ear: JoinSet<()>,
}

impl InRedis {
    /// Hears what is published from now on.
    pub(super) async fn connect(scope: String, planted: Planted) -> anyhow::Result<Self> {
        let (client, connection) = (Client::open(url_told()?)?, connect_told().await?);
        let (channel, present) = (channel(&scope), Arc::new(Present::default()));
        let heard = subscribe(&client, &channel).await?;
        let mut ear = JoinSet::new();
        ear.spawn(hear(client, channel, heard, Arc::clone(&present)));
        Ok(Self { connection, say: Script::new(SAY), scope, present, planted, _ear: ear })
    }

    fn key(&self, room: &str, part: &str) -> String {
        format!("unstick:{{{}:{room}}}:{part}", self.scope)
    }
}

fn channel(scope: &str) -> String {
    format!("unstick:{scope}:said")
}

async fn subscribe(client: &Client, channel: &str) -> redis::RedisResult<PubSub> {
    let connected = timeout(TIMEOUT, client.get_async_pubsub()).await;
    let mut heard = connected.map_err(std::io::Error::from)??;
    heard.subscribe(channel).await?;
    Ok(heard)
}

/// Tells those who are here what is published. What is missed while the connection is broken, members read.
async fn hear(client: Client, channel: String, mut heard: PubSub, present: Arc<Present>) {
    loop {
        while let Some(message) = heard.on_message().next().await {
            let text: String = message.get_payload().unwrap_or_default();
            if let Some((room, said)) = parse(&text) {
                present.tell(room, said);
            }
        }
        heard = loop {
            sleep(AGAIN).await;
            if let Ok(heard) = subscribe(&client, &channel).await {
                break heard;
            }
        };
    }
}

/// What was published: room, id, sender, number.
fn parse(text: &str) -> Option<(&str, Said)> {
    let mut words = text.split(' ');
    let room = words.next()?;
    let id = words.next()?.parse().ok()?;
    let (from, number) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some((room, Said { id, from, number }))
}

impl Rooms for InRedis {
    async fn say(&self, room: &str, from: u32, number: u32) -> anyhow::Result<u64> {
        let is_kept = !(self.planted.is(Sabotage::PublishedOnly) && number % NOT_KEPT_ONE_IN == 1);
        let has_key = !self.planted.is(Sabotage::SaidAgain);
        let mut call = self.say.prepare_invoke();
        call.key(self.key(room, "said")).key(self.key(room, "ids")).key(self.key(room, "keys"));
        call.arg(from).arg(number).arg(channel(&self.scope)).arg(room).arg(LIFETIME_SECONDS);
        call.arg(u8::from(is_kept)).arg(u8::from(has_key));
        Ok(call.invoke_async(&mut self.connection.clone()).await?)
    }

    async fn after(&self, room: &str, id: u64) -> anyhow::Result<Vec<Said>> {
        let read = redis::cmd("XRANGE").arg(self.key(room, "said")).arg(format!("({id}-0")).arg("+").to_owned();
        let found: StreamRangeReply = read.query_async(&mut self.connection.clone()).await?;
        let said = found.ids.iter().filter_map(|entry| {
            let id = entry.id.split_once('-')?.0.parse().ok()?;
            Some(Said { id, from: entry.get("from")?, number: entry.get("number")? })
        });
        Ok(said.collect())
    }

    fn live(&self, room: &str) -> Receiver<Said> {
        self.present.hear(room)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_can_be_read() {
        assert_eq!(parse("a 7 3 12"), Some(("a", Said { id: 7, from: 3, number: 12 })));
        assert_eq!(parse("a 7 3"), None);
        assert_eq!(parse(""), None);
    }
}
