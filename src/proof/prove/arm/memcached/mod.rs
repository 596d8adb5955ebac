//! Sessions in memcached, which all replicas share: a private one, or that of `--memcached`. A session is one item, and
//! a write replaces it only if nobody else has meanwhile (compare and swap).
//!
//! It is a cache, so it may forget: everything when it is started again, and what was unused the longest when it is
//! full. Both are shown as what they cost.

mod client;
mod full;
mod server;

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::exchanges::exchanges;
use super::predictions::{Keeps, effects, of_stateless, recovered};
use super::{Arm, Backing, Prepared, Role, Server};
use crate::prove::NotPossible;
use crate::prove::cell::CellReport;
use crate::prove::event::Event;
use crate::prove::measures::sessions;
use crate::prove::options::{MEMCACHED_VARIABLE as VARIABLE, Options};
use crate::prove::replica::Replica;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::secret::masked;
use crate::prove::store::{Reply, Store, Unavailable, Write, new_token};
use crate::prove::theory::Prediction;
use crate::prove::workspace::Workspace;
use crate::trial::history::{History, StepOutcome, Value};
use crate::trial::judge::Fact;
use client::{Client, Item};
use server::MemcachedServer;

/// See the module.
pub(super) const ARM: Arm = Arm {
    name: "memcached",
    is_default: false,
    role: Role::Stateless,
    shares: true,
    has_tokens: false,
    serve: |replica| {
        Box::pin(async move {
            let address = std::env::var(VARIABLE).with_context(|| format!("{VARIABLE} holds no address"))?;
            let store = Memcached::of(&replica, address)?;
            replica.serve(store).await
        })
    },
    prepare: Some(|options, workspace| Box::pin(prepare(options, workspace))),
    fill: Some(|filling| full::fill(filling)),
    predict,
};

/// Connections of a replica at most.
const CONNECTIONS: usize = 2;
/// How often a write is tried while others write the same.
const TRIES: u32 = 64;

/// Finds the memcached that was given, or starts one of our own.
async fn prepare(options: &Options, workspace: &Workspace) -> anyhow::Result<Prepared> {
    if let Some(address) = &options.memcached {
        let asked = async { Client::connect(address).await?.get("unstick:hello").await };
        asked.await.map_err(|error| {
            let shown = masked(address);
            NotPossible(format!("the memcached of --memcached, {shown}: {error}; does it run there, without TLS?"))
        })?;
        let left_out = "store-restart and full of memcached: the one given by --memcached is not ours";
        let variable = Some((VARIABLE, address.clone()));
        let backing = Some(Backing { variable, server: None });
        return Ok(Prepared { backing, left_out: Some(left_out.into()) });
    }
    if MemcachedServer::program().is_none() {
        let hint = "memcached: it is not on PATH; install it (apt-get install memcached) or give --memcached ADDRESS";
        return Ok(Prepared { backing: None, left_out: Some(hint.into()) });
    }
    let server = MemcachedServer::start(workspace, options.planted).await?;
    let variable = Some((VARIABLE, server.address()));
    let server: Rc<dyn Server> = Rc::new(server);
    Ok(Prepared { backing: Some(Backing { variable, server: Some(server) }), left_out: None })
}

/// What a store does, until it is started again or full: then it has forgotten all sessions, or those that nobody used.
fn predict(report: &CellReport) -> Vec<Prediction> {
    let cost = match report.event {
        Event::StoreRestart => {
            let (crossing, lost) = report.crossing;
            Prediction::share("sessions lost (a cost)", lost, crossing, 1.0).shown_by(survivor(&report.history))
        }
        Event::Full => {
            let (gone, idle) = report.history.count(full::EVICTED).unwrap_or_default();
            let note = format!("{idle} sessions are idle, others fill the cache; {} are there then", idle - gone);
            Prediction::share(full::EVICTED, gone, idle, full::share()).shown_by([Fact::Note(note)])
        }
        _ => return of_stateless(report, Keeps::InAStore),
    };
    let mut predictions = effects(report);
    predictions.extend(exchanges(report));
    predictions.extend((report.event == Event::StoreRestart).then(|| recovered(report)));
    predictions.push(cost);
    predictions
}

/// A session that was there before the cache was started again, and after it.
fn survivor(history: &History) -> Vec<Fact> {
    let Some(restart) = history.incidents.last() else { return Vec::new() };
    let there = sessions(history).into_values().find_map(|steps| {
        let begun = steps.first().filter(|step| step.ended < restart.at)?;
        let used = steps.iter().rfind(|step| matches!(step.outcome, StepOutcome::Values(_)))?;
        (used.sent > restart.done).then(|| vec![Fact::from(*begun), Fact::from(*used)])
    });
    there.unwrap_or_default()
}

/// What an item says.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Cart {
    user: String,
    values: Vec<Value>,
    /// Of the writes that bore one.
    keys: Vec<String>,
}

impl Cart {
    fn of(item: &Item) -> Result<Self, Unavailable> {
        serde_json::from_slice(&item.value).map_err(|error| Unavailable(error.to_string()))
    }

    fn text(&self) -> Result<Vec<u8>, Unavailable> {
        serde_json::to_vec(self).map_err(|error| Unavailable(error.to_string()))
    }

    fn add(&mut self, write: Write<'_>) {
        if write.key.is_none_or(|key| !self.keys.iter().any(|known| known == key)) {
            self.values.push(write.value);
            self.keys.extend(write.key.map(str::to_owned));
        }
    }
}

/// One replica's connections.
struct Memcached {
    address: String,
    connections: [Mutex<Option<Client>>; CONNECTIONS],
    next: AtomicUsize,
    planted: Planted,
    /// Stands in the names of books: all parts of a run share one memcached.
    scope: String,
}

fn session(token: &str) -> String {
    format!("unstick:session:{token}")
}

impl Memcached {
    fn of(replica: &Replica, address: String) -> anyhow::Result<Self> {
        // A name of the fleet without blanks: no path is one.
        Ok(Self { planted: replica.planted, scope: replica.key()?, ..Self::at(address) })
    }

    fn at(address: String) -> Self {
        let (connections, next, planted) = (Default::default(), AtomicUsize::new(0), Planted::default());
        Self { address, connections, next, planted, scope: "all".into() }
    }

    /// Does something over one of the connections. One over which something went wrong is not used again.
    async fn with<T>(&self, work: impl AsyncFnOnce(&mut Client) -> Result<T, Unavailable>) -> Result<T, Unavailable> {
        let mut connection = self.connections[self.next.fetch_add(1, Relaxed) % CONNECTIONS].lock().await;
        let mut client = match connection.take() {
            Some(client) => client,
            None => Client::connect(&self.address).await?,
        };
        let done = work(&mut client).await?;
        *connection = Some(client);
        Ok(done)
    }

    /// Adds to an item, which is there or is made. How often memcached was asked, if there is one.
    async fn add(&self, key: String, write: Write<'_>, makes: bool) -> Result<Reply<()>, Unavailable> {
        let blindly = self.planted.is(Sabotage::CasIgnored);
        self.with(async |client| {
            for attempt in 1..=TRIES {
                let item = client.get(&key).await?;
                let stored = match item {
                    None if !makes => return Ok(Reply::new(None, 2 * attempt - 1)),
                    None => {
                        let mut cart = Cart::default();
                        cart.add(write);
                        client.add(&key, &cart.text()?).await?
                    }
                    Some(item) => {
                        let mut cart = Cart::of(&item)?;
                        cart.add(write);
                        let text = cart.text()?;
                        if blindly {
                            client.set(&key, &text).await?
                        } else {
                            client.swap(&key, &text, item.unique).await?
                        }
                    }
                };
                if stored {
                    return Ok(Reply::new(Some(()), 2 * attempt));
                }
            }
            Err(Unavailable("too many write the same".into()))
        })
        .await
    }
}

impl Store for Memcached {
    async fn begin(&self, user: &str) -> Result<Reply<String>, Unavailable> {
        let token = new_token()?;
        let cart = Cart { user: user.to_owned(), ..Cart::default() }.text()?;
        self.with(async |client| client.add(&session(&token), &cart).await).await?;
        Ok(Reply::new(Some(token), 1))
    }

    async fn read(&self, token: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        let item = self.with(async |client| client.get(&session(token)).await).await?;
        let cart = item.as_ref().map(Cart::of).transpose()?;
        Ok(Reply::new(cart.map(|cart| cart.values), 1))
    }

    async fn write(&self, token: &str, write: Write<'_>) -> Result<Reply<Option<String>>, Unavailable> {
        let Reply { found, trips } = self.add(session(token), write, false).await?;
        Ok(Reply::new(found.map(|()| None), trips))
    }

    async fn look(&self, book: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        let key = format!("unstick:book:{}:{book}", self.scope);
        let item = self.with(async |client| client.get(&key).await).await?;
        let cart = item.as_ref().map(Cart::of).transpose()?;
        Ok(Reply::new(Some(cart.unwrap_or_default().values), 1))
    }

    async fn post(&self, book: &str, value: Value) -> Result<Reply<()>, Unavailable> {
        self.add(format!("unstick:book:{}:{book}", self.scope), Write { value, key: None }, true).await
    }

    async fn end(&self, token: &str) -> Result<Reply<()>, Unavailable> {
        let is_gone = self.with(async |client| client.delete(&session(token)).await).await?;
        Ok(Reply::new(is_gone.then_some(()), 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::store::testing::{keeps_a_session, keeps_books, skipped};

    #[tokio::test]
    async fn it_keeps_a_session_for_all_replicas_and_no_write_at_once_is_lost() {
        if MemcachedServer::program().is_none() {
            return skipped("there is no memcached");
        }
        let workspace = Workspace::named(&format!("memcached-of-{}", std::process::id()), false).unwrap();
        let server = MemcachedServer::start(&workspace, Planted::NOTHING).await.unwrap();
        let replica = || Memcached::at(server.address());
        keeps_a_session(replica()).await;
        keeps_books(replica()).await;
        let (one, other) = (replica(), replica());
        let token = one.begin("1").await.unwrap().found.unwrap();
        let write = |value| Write { value, key: None };
        let writes = async |store: &Memcached, from: u64| {
            for value in from..from + 50 {
                store.write(&token, write(value)).await.unwrap().found.unwrap();
            }
        };
        tokio::join!(writes(&one, 0), writes(&other, 50));
        let mut values = other.read(&token).await.unwrap().found.unwrap();
        values.sort_unstable();
        assert!(values.into_iter().eq(0..100));
        server.restart(std::time::Duration::ZERO).await.unwrap();
        // The first one over each connection learns that it is closed.
        for _ in 0..CONNECTIONS {
            one.read(&token).await.ok();
        }
        assert!(one.read(&token).await.unwrap().found.is_none(), "it is a cache");
        let all = workspace.all();
        drop((server, workspace));
        assert!(all.iter().all(|directory| !directory.exists()), "nothing is left behind");
    }
}
