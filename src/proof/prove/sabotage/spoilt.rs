//! A store that misbehaves in one way. Its tokens are those of the store within, with the user's number in front.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Planted, Sabotage};
use crate::prove::store::{Reply, Store, Unavailable, Write};
use crate::trial::history::Value;

/// How old the responses of a cache may be.
const STALE: Duration = Duration::from_millis(300);
/// One session in so many is forgotten: those whose number leaves this remainder.
const FORGOTTEN: (u64, u64) = (1000, 42);
/// One write in so many is not stored.
const LOST_ONE_IN: u64 = 50;
/// One write in so many goes to the replica's memory.
const FIELD_ONE_IN: u64 = 10;

/// One read in so many is in another order.
const REORDERED_ONE_IN: u64 = 50;
/// One read in so many leaves out what was written last.
const FLICKERS_ONE_IN: u64 = 7;

/// How long a write stays in the replica, and how long if it is only acknowledged before the store has it.
const BEHIND: Duration = Duration::from_millis(60);
const EARLY: Duration = Duration::from_millis(20);

/// See the module.
pub(in crate::prove) struct Spoilt<S> {
    store: Arc<S>,
    planted: Planted,
    memory: Arc<Mutex<Memory>>,
}

/// What one replica keeps to itself.
#[derive(Default)]
struct Memory {
    /// What was read, by token, and when.
    cache: HashMap<String, (Instant, Vec<Value>)>,
    /// Writes by user.
    fields: HashMap<String, Vec<Value>>,
    /// Keys that were used.
    keyed: HashSet<String>,
    /// Tokens of sessions that ended here.
    ended: HashSet<String>,
    writes: u64,
    reads: u64,
}

impl<S> Spoilt<S> {
    pub(in crate::prove) fn new(store: S, planted: Planted) -> Self {
        Self { store: Arc::new(store), planted, memory: Arc::default() }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        locked(&self.memory)
    }

    fn is(&self, sabotage: Sabotage) -> bool {
        self.planted.is(sabotage)
    }

    /// What comes of a write without the store, if anything does.
    fn swallow(&self, user: &str, write: Write<'_>) -> bool {
        let mut memory = self.memory();
        memory.writes += 1;
        let is_chosen = |one_in| memory.writes.is_multiple_of(one_in);
        if self.is(Sabotage::LostWrites) && is_chosen(LOST_ONE_IN) {
            return true;
        }
        if self.is(Sabotage::FieldInMemory) && is_chosen(FIELD_ONE_IN) {
            memory.fields.entry(user.to_owned()).or_default().push(write.value);
            return true;
        }
        self.is(Sabotage::KeysInMemory) && write.key.is_some_and(|key| !memory.keyed.insert(key.to_owned()))
    }
}

fn locked(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Store> Spoilt<S> {
    /// Acknowledges a write, and makes it later. Until then this replica alone knows of it.
    fn write_later(&self, user: &str, inner: &str, write: Write<'_>) {
        let (store, memory) = (Arc::clone(&self.store), Arc::clone(&self.memory));
        let (user, inner) = (user.to_owned(), inner.to_owned());
        let (value, key) = (write.value, write.key.map(str::to_owned));
        locked(&memory).fields.entry(user.clone()).or_default().push(value);
        let behind = if self.is(Sabotage::AckedEarly) { EARLY } else { BEHIND };
        tokio::spawn(async move {
            tokio::time::sleep(behind).await;
            // If the store does not take it, it is lost: that is what such replicas do.
            let _ = store.write(&inner, Write { value, key: key.as_deref() }).await;
            if let Some(waiting) = locked(&memory).fields.get_mut(&user) {
                waiting.retain(|known| *known != value);
            }
        });
    }
}

/// Who wrote a value: see [`Journey`](crate::trial::scenario::Journey).
fn user_of(value: Value) -> Value {
    value >> 32
}

/// The user and the token within.
fn parts(token: &str) -> (&str, &str) {
    token.split_once('~').unwrap_or(("", token))
}

fn whole(user: &str, token: &str) -> String {
    format!("{user}~{token}")
}

impl<S: Store> Store for Spoilt<S> {
    async fn begin(&self, user: &str) -> Result<Reply<String>, Unavailable> {
        let Reply { found, trips } = self.store.begin(user).await?;
        let is_forgotten = user.parse().is_ok_and(|number: u64| number % FORGOTTEN.0 == FORGOTTEN.1);
        if let (Some(token), true, true) = (&found, self.is(Sabotage::Forget), is_forgotten) {
            self.store.end(token).await?;
        }
        Ok(Reply::new(found.map(|token| whole(user, &token)), trips))
    }

    async fn read(&self, token: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        if self.is(Sabotage::Stale) || self.is(Sabotage::Cache) {
            let cached = self.memory().cache.get(token).filter(|(at, _)| at.elapsed() <= STALE).cloned();
            if let Some((_, values)) = cached {
                return Ok(Reply::new(Some(values), 0));
            }
        }
        if self.memory().ended.contains(token) {
            return Ok(Reply::new(None, 0));
        }
        let (user, inner) = parts(token);
        let mut reply = self.store.read(inner).await?;
        if let Some(values) = &mut reply.found {
            let mut memory = self.memory();
            memory.reads += 1;
            let count = values.len();
            if self.is(Sabotage::Reordered) && memory.reads.is_multiple_of(REORDERED_ONE_IN) && count > 1 {
                values.swap(count - 2, count - 1);
            }
            if self.is(Sabotage::Flickers) && memory.reads.is_multiple_of(FLICKERS_ONE_IN) {
                values.pop();
            }
            values.extend(memory.fields.get(user).into_iter().flatten());
            memory.cache.insert(token.to_owned(), (Instant::now(), values.clone()));
        }
        Ok(reply)
    }

    async fn write(&self, token: &str, write: Write<'_>) -> Result<Reply<Option<String>>, Unavailable> {
        let (user, inner) = parts(token);
        if self.swallow(user, write) {
            return Ok(Reply::new(Some(None), 0));
        }
        if self.is(Sabotage::RefusesKnown) && write.key.is_some() {
            let Reply { found, trips } = self.store.read(inner).await?;
            if found.is_some_and(|values| values.contains(&write.value)) {
                return Ok(Reply::new(None, trips));
            }
        }
        if self.is(Sabotage::Cache) {
            self.memory().cache.remove(token);
        }
        if self.is(Sabotage::WriteBehind) || self.is(Sabotage::AckedEarly) {
            self.write_later(user, inner, write);
            return Ok(Reply::new(Some(None), 0));
        }
        let takes_all = self.is(Sabotage::Double) || self.is(Sabotage::KeysInMemory);
        let write = Write { key: write.key.filter(|_| !takes_all), ..write };
        let mut reply = self.store.write(inner, write).await?;
        if let (Some(new), true) = (&reply.found, self.is(Sabotage::Double)) {
            reply = self.store.write(new.as_deref().unwrap_or(inner), write).await?;
        }
        reply.found = reply.found.map(|new| new.map(|token| whole(user, &token)));
        Ok(reply)
    }

    async fn look(&self, book: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        let mut reply = self.store.look(book).await?;
        if let Some([.., before, last]) = reply.found.as_deref_mut()
            && self.is(Sabotage::BookReordered)
            && user_of(*before) != user_of(*last)
        {
            std::mem::swap(before, last);
        }
        Ok(reply)
    }

    async fn post(&self, book: &str, value: Value) -> Result<Reply<()>, Unavailable> {
        self.store.post(book, value).await
    }

    async fn end(&self, token: &str) -> Result<Reply<()>, Unavailable> {
        if self.is(Sabotage::LogoutIgnored) {
            return Ok(Reply::new(Some(()), 0));
        }
        if self.is(Sabotage::LogoutLocal) {
            self.memory().ended.insert(token.to_owned());
            return Ok(Reply::new(Some(()), 0));
        }
        self.store.end(parts(token).1).await
    }

    fn token_max(&self) -> usize {
        self.store.token_max()
    }

    fn reload(&self) -> Result<(), Unavailable> {
        self.store.reload()
    }
}
