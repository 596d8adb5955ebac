//! One replica that takes orders: `POST /order` with the number of the order as body. It takes its time before the
//! effect and after it, as a real one does, so that a kill meets orders on both sides of it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use rusqlite::{Connection, params};

use super::{AFTER, BEFORE};
use crate::prove::arm::Work;
use crate::prove::ledger::KEY;
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::study::part::{PartBody, PartReplica, Responder, Responding, field, text, whole};

/// How long a replica waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);
/// One order in so many is not stored, under sabotage.
const LOST_ONE_IN: u64 = 200;
/// Names an attempt: the order, a dash, and how often it was sent before.
pub(super) const ATTEMPT: &str = "x-attempt";
/// The file of the store, and the beginning of the names of the ledgers.
const STORE: &str = "orders.sqlite";
const LEDGER: &str = "orders-of-";

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS orders (place INTEGER PRIMARY KEY, number INTEGER NOT NULL, key TEXT UNIQUE);
";

/// Serves it.
pub(in crate::prove::study) fn serve(replica: PartReplica) -> Work<'static, ()> {
    Box::pin(async move {
        let path = replica.directory.join(format!("{LEDGER}{}", replica.name));
        let ledger = File::options().create(true).append(true).open(&path);
        let ledger = ledger.with_context(|| path.display().to_string())?;
        let store = Arc::new(Mutex::new(open(&replica.directory)?));
        let planted = replica.planted;
        replica.serve(Orders { store, ledger, planted }).await
    })
}

fn open(directory: &Path) -> anyhow::Result<Connection> {
    let connection = Connection::open(directory.join(STORE))?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A transaction survives the death of any process.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(SCHEMA)?;
    Ok(connection)
}

/// The numbers of all orders that have taken effect, one for each time.
pub(super) fn effects(directory: &Path) -> anyhow::Result<Vec<u64>> {
    let connection = open(directory)?;
    let mut statement = connection.prepare("SELECT number FROM orders ORDER BY place")?;
    let numbers = statement.query_map([], |row| row.get::<_, i64>(0))?;
    Ok(numbers.map(|number| number.map(i64::cast_unsigned)).collect::<rusqlite::Result<_>>()?)
}

struct Orders {
    store: Arc<Mutex<Connection>>,
    ledger: File,
    planted: Planted,
}

impl Orders {
    async fn order(&self, request: Request<Incoming>) -> anyhow::Result<Response<PartBody>> {
        let attempt = field(&request, ATTEMPT).unwrap_or_default().to_owned();
        let key = field(&request, KEY).filter(|_| !self.planted.is(Sabotage::KeysIgnored)).map(str::to_owned);
        let number: u64 = std::str::from_utf8(&whole(request.into_body()).await?)?.parse()?;
        self.write(Reached::Arrived, &attempt);
        tokio::time::sleep(drawn(BEFORE)).await;
        let (store, planted) = (Arc::clone(&self.store), self.planted);
        let done = tokio::task::spawn_blocking(move || {
            let connection = store.lock().unwrap_or_else(PoisonError::into_inner);
            insert(&connection, number, key.as_deref(), planted)
        });
        if done.await?? == 0 && self.planted.is(Sabotage::KeysRefused) {
            return Ok(text(StatusCode::CONFLICT, "this key was used"));
        }
        self.write(Reached::Done, &attempt);
        tokio::time::sleep(drawn(AFTER)).await;
        self.write(Reached::Responds, &attempt);
        Ok(text(StatusCode::NO_CONTENT, ""))
    }

    /// One write: the line is in the kernel's hands before the replica goes on, so SIGKILL loses none.
    fn write(&self, reached: Reached, attempt: &str) {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let line = format!("{} {} {attempt}\n", since.as_nanos(), reached as u8);
        // A full disk is not what this is about.
        let _ = (&self.ledger).write_all(line.as_bytes());
    }
}

/// How many rows it makes.
fn insert(connection: &Connection, number: u64, key: Option<&str>, planted: Planted) -> rusqlite::Result<usize> {
    if planted.is(Sabotage::LostWrites) && number.is_multiple_of(LOST_ONE_IN) {
        return Ok(1);
    }
    // No two orders have the same key. No key at all is never the same as another.
    let sql = "INSERT INTO orders (number, key) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    if planted.is(Sabotage::Double) {
        connection.execute(sql, params![number.cast_signed(), None::<&str>])?;
    }
    connection.execute(sql, params![number.cast_signed(), key])
}

/// A time with this mean, drawn from an exponential distribution, so that orders which began together do not stay
/// together. A kill would meet all of them at the same place.
pub(super) fn drawn(mean: Duration) -> Duration {
    mean.mul_f64(-fastrand::f64().max(f64::MIN_POSITIVE).ln()).min(8 * mean)
}

impl Responder for Orders {
    fn respond(&self, request: Request<Incoming>) -> Responding<'_> {
        Box::pin(async move {
            let result = self.order(request).await;
            result.unwrap_or_else(|error| text(StatusCode::SERVICE_UNAVAILABLE, &format!("{error:#}")))
        })
    }
}

/// How far an attempt has come at a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Reached {
    Arrived,
    Done,
    Responds,
}

/// A line of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: Duration,
    pub(super) reached: Reached,
    /// The order, and how often it was sent before.
    pub(super) attempt: (u64, u32),
}

/// What each replica has written down, by its name.
pub(super) fn ledgers(directory: &Path) -> anyhow::Result<Vec<(String, Vec<Line>)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(LEDGER));
        if let Some(name) = name {
            let text = std::fs::read_to_string(&path)?;
            all.push((name.to_owned(), text.lines().filter_map(parse).collect()));
        }
    }
    Ok(all)
}

fn parse(line: &str) -> Option<Line> {
    let mut words = line.split(' ');
    let at = Duration::from_nanos(words.next()?.parse().ok()?);
    let reached = match words.next()? {
        "0" => Reached::Arrived,
        "1" => Reached::Done,
        _ => Reached::Responds,
    };
    let (order, times) = words.next()?.split_once('-')?;
    Some(Line { at, reached, attempt: (order.parse().ok()?, times.parse().ok()?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledgers_and_effects_are_read_as_they_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = File::create(directory.path().join("orders-of-r1")).unwrap();
        let store = Arc::new(Mutex::new(open(directory.path()).unwrap()));
        let orders = Orders { store, ledger, planted: Planted::NOTHING };
        orders.write(Reached::Arrived, "7-0");
        orders.write(Reached::Responds, "7-1");
        let all = ledgers(directory.path()).unwrap();
        assert_eq!((all.len(), all[0].0.as_str()), (1, "r1"));
        let short: Vec<_> = all[0].1.iter().map(|line| (line.reached, line.attempt)).collect();
        assert_eq!(short, [(Reached::Arrived, (7, 0)), (Reached::Responds, (7, 1))]);
        assert!(effects(directory.path()).unwrap().is_empty());
        let connection = open(directory.path()).unwrap();
        for (number, key, rows) in [(7, Some("a"), 1), (7, Some("a"), 0), (8, None, 1), (8, None, 1)] {
            assert_eq!(insert(&connection, number, key, Planted::NOTHING).unwrap(), rows);
        }
        assert_eq!(effects(directory.path()).unwrap(), [7, 8, 8]);
    }
}
