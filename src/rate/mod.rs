//! Rate limits of routes, over all workers together.
//!
//! A [`Limiter`] belongs to one route. It counts all requests of the route together, those of each client address, or
//! those of each value of a header field. `rule` decides (pure), `word`, `set` and `table` keep what is known of each
//! client, `limiters` finds what a route had before a reload.
//!
//! - No lock and no other thread is waited for. A decision reads one cache line and changes eight bytes of it.
//! - Never more than the rule is let through, however many threads decide at once. It is more only if the table is at
//!   its bound, see [`BYTES_MAX`] and [`BYTES_ALL_MAX`]: then some client is forgotten, which is counted. And two
//!   clients are taken for one with a probability of 1 to 30 million, where the table is full.
//! - Of an address or a value only a hash is kept, with a key that each process draws. So nobody can choose
//!   addresses or values that meet in one set, or that count as those of another client.

mod limiters;
mod memory;
mod rule;
mod set;
mod table;
mod word;

use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use crossbeam_utils::CachePadded;
use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

pub use limiters::{Limiters, Wanted};
pub use memory::{BYTES_ALL_MAX, Memory};
pub use rule::{Moment, RetryAfter, Rule, Verdict};
pub use table::{BYTES_MAX, PLACES_MAX};

use crate::fields::looks_like;
use crate::metrics::{self, Counter, RateCell};
use crate::net::network_of;
use crate::pool::clock::since_epoch_ns;
use crate::sync::AtomicU64;
use set::Decided;
use table::Table;

/// What a rate is counted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Per {
    /// All requests of the route together.
    Route,
    /// The client's address: one of IPv4, or a /64 of IPv6.
    Address,
    /// The value of this field. A request without it, or with several of them, is counted by its address.
    Header(HeaderName),
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route => f.write_str("route"),
            Self::Address => f.write_str("address"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// The hash of a client's address. All rules of a process have the same for it.
#[derive(Debug, Clone, Copy)]
pub struct HashedAddress(u64);

/// Whose request it is. Only its hash is kept.
enum Client<'a> {
    V4(u32),
    /// The upper half of the address.
    V6(u64),
    Value(&'a [u8]),
}

/// As few steps as tell all clients apart: the lengths differ, and a value has no byte that is 0.
impl Hash for Client<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Self::V4(address) => state.write_u64(u64::from(*address)),
            Self::V6(network) => {
                state.write_u64(*network);
                state.write_u8(1);
            }
            Self::Value(value) => {
                state.write(value);
                state.write_u8(0);
            }
        }
    }
}

impl Client<'_> {
    fn at(address: IpAddr) -> Self {
        match network_of(address) {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(network) => Self::V6((network.to_bits() >> 64) as u64),
        }
    }
}

/// The rate limit of one route.
#[derive(Debug)]
pub struct Limiter {
    per: Per,
    rule: Rule,
    counts: Arc<Counts>,
    /// The key of the hashes in `counts`.
    key: RandomState,
    cells: Arc<[CachePadded<RateCell>]>,
}

#[derive(Debug)]
enum Counts {
    Route(CachePadded<AtomicU64>),
    Clients(Table),
}

impl Limiter {
    /// A limiter that has seen nobody, with counters for `workers` workers.
    pub fn new(per: Per, rule: Rule, workers: usize, memory: &Memory) -> Self {
        let counts = Arc::new(match per {
            Per::Route => Counts::Route(CachePadded::default()),
            Per::Address | Per::Header(_) => Counts::Clients(Table::new(memory)),
        });
        Self { per, rule, counts, key: memory.key.clone(), cells: metrics::cells(workers).into() }
    }

    /// Decides about a request of `client` with these fields, on the thread of `worker`, and counts it.
    ///
    /// # Errors
    /// The request is over the limit, and nothing of the limit is used. The error says how long the client has to wait.
    pub fn decide(
        &self,
        worker: usize,
        client: HashedAddress,
        fields: &HeaderMap,
        now: Instant,
    ) -> Result<(), RetryAfter> {
        let now = self.rule.moment(since_epoch_ns(now));
        let decided = match &*self.counts {
            Counts::Route(tat) => Decided { result: decide_alone(tat, &self.rule, now), has_evicted: false },
            Counts::Clients(table) => table.decide(self.hash(client, fields), &self.rule, now),
        };
        self.count(worker, decided);
        decided.result
    }

    /// What the rate is counted by.
    pub fn per(&self) -> &Per {
        &self.per
    }

    /// Requests that were within the rate, over all workers.
    pub fn allowed(&self) -> u64 {
        self.total(|cell| &cell.allowed)
    }

    /// Requests that were over the rate, over all workers.
    pub fn refused(&self) -> u64 {
        self.total(|cell| &cell.refused)
    }

    /// How often a client was forgotten before its bucket was full again, because the table was at its bound.
    pub fn evicted(&self) -> u64 {
        self.total(|cell| &cell.evicted)
    }

    /// The memory that the counts take, in bytes: at most [`BYTES_MAX`].
    pub fn bytes(&self) -> usize {
        match &*self.counts {
            Counts::Route(tat) => size_of_val(tat),
            Counts::Clients(table) => table.bytes(),
        }
    }

    /// The hash of an address. A connection may keep it.
    pub fn hashed(&self, address: IpAddr) -> HashedAddress {
        HashedAddress(self.key.hash_one(Client::at(address)))
    }

    fn hash(&self, HashedAddress(address): HashedAddress, fields: &HeaderMap) -> u64 {
        let value = match &self.per {
            Per::Header(name) => only_value(fields, name),
            Per::Route | Per::Address => None,
        };
        value.map_or(address, |value| self.key.hash_one(Client::Value(value)))
    }

    fn count(&self, worker: usize, decided: Decided) {
        let Some(cell) = self.cells.get(worker) else { return };
        let counter = if decided.result.is_ok() { &cell.allowed } else { &cell.refused };
        counter.add(1);
        if decided.has_evicted {
            cell.evicted.add(1);
        }
    }

    fn total(&self, counter: impl Fn(&RateCell) -> &Counter) -> u64 {
        self.cells.iter().map(|cell| counter(cell).value()).sum()
    }
}

/// The value of the field `name`. With several of them, `X_Api_Key` beside `X-Api-Key` included, a client could choose
/// which one we count by and which one the replica reads.
fn only_value<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let alike = |(known, _): &(&HeaderName, _)| *known == name || looks_like(known.as_str(), name.as_str());
    let mut values = fields.iter().filter(alike).map(|(_, value)| value);
    let only = values.next().filter(|_| values.next().is_none());
    only.map(|value| value.as_bytes())
}

fn decide_alone(tat: &AtomicU64, rule: &Rule, now: Moment) -> Result<(), RetryAfter> {
    let mut refused = None;
    let decide = |tat| match rule.decide(tat, now) {
        Verdict::Allowed { tat } => Some(tat),
        Verdict::Refused(wait) => {
            refused = Some(wait);
            None
        }
    };
    _ = tat.fetch_update(AcqRel, Acquire, decide);
    refused.map_or(Ok(()), Err)
}

#[cfg(test)]
mod models;

#[cfg(test)]
mod tests;
