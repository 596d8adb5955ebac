//! Sessions in a database that all replicas share: one SQLite file with a write-ahead log.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::predictions::{Keeps, of_stateless};
use super::{Arm, Role};
use crate::prove::store::{Reply, Store, Unavailable, Write, new_token};
use crate::trial::history::Value;

/// See the module.
pub(in crate::prove) const ARM: Arm = Arm {
    name: "database",
    is_default: true,
    role: Role::Stateless,
    shares: true,
    has_tokens: false,
    serve: |replica| {
        Box::pin(async move {
            let file = replica.directory.join("sessions.sqlite");
            let store = Database::open(&file).with_context(|| file.display().to_string())?;
            replica.serve(store).await
        })
    },
    prepare: None,
    fill: None,
    predict: |report| of_stateless(report, Keeps::InAStore),
};

/// How long a replica waits for another one's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(4);

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS sessions (token TEXT PRIMARY KEY, user TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lines (place INTEGER PRIMARY KEY, token TEXT NOT NULL, value INTEGER NOT NULL, key TEXT);
CREATE UNIQUE INDEX IF NOT EXISTS lines_by_key ON lines (token, key);
CREATE TABLE IF NOT EXISTS entries (place INTEGER PRIMARY KEY, book TEXT NOT NULL, value INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS entries_by_book ON entries (book);
";

/// One replica's connection.
#[derive(Debug, Clone)]
struct Database {
    connection: Arc<Mutex<Connection>>,
}

impl Database {
    /// Opens the file, and makes it if it is not there.
    fn open(file: &Path) -> Result<Self, Unavailable> {
        let open = || {
            let connection = Connection::open(file)?;
            connection.busy_timeout(BUSY_TIMEOUT)?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // A transaction survives the death of any process. If the machine dies, the last ones may be lost.
            connection.pragma_update(None, "synchronous", "NORMAL")?;
            connection.execute_batch(SCHEMA)?;
            Ok(connection)
        };
        let connection = open().map_err(unavailable)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Runs `work` on a thread where waiting for a lock delays no other request.
    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<Reply<T>> + Send + 'static,
    ) -> Result<Reply<T>, Unavailable> {
        let connection = Arc::clone(&self.connection);
        let task =
            tokio::task::spawn_blocking(move || work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner)));
        task.await.map_err(|error| Unavailable(error.to_string()))?.map_err(unavailable)
    }
}

fn unavailable(error: rusqlite::Error) -> Unavailable {
    Unavailable(error.to_string())
}

fn is_known(connection: &Connection, token: &str) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT 1 FROM sessions WHERE token = ?1")?;
    Ok(statement.query_row([token], |_| Ok(())).optional()?.is_some())
}

impl Store for Database {
    async fn begin(&self, user: &str) -> Result<Reply<String>, Unavailable> {
        let (token, user) = (new_token()?, user.to_owned());
        self.with(move |connection| {
            connection.prepare_cached("INSERT INTO sessions VALUES (?1, ?2)")?.execute([&token, &user])?;
            Ok(Reply::new(Some(token), 1))
        })
        .await
    }

    async fn read(&self, token: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        let token = token.to_owned();
        self.with(move |connection| {
            if !is_known(connection, &token)? {
                return Ok(Reply::new(None, 1));
            }
            let mut statement = connection.prepare_cached("SELECT value FROM lines WHERE token = ?1 ORDER BY place")?;
            let values = statement.query_map([&token], |row| row.get::<_, i64>(0))?;
            let values = values.map(|value| value.map(i64::cast_unsigned)).collect::<rusqlite::Result<_>>()?;
            Ok(Reply::new(Some(values), 2))
        })
        .await
    }

    async fn write(&self, token: &str, write: Write<'_>) -> Result<Reply<Option<String>>, Unavailable> {
        let (token, value, key) = (token.to_owned(), write.value.cast_signed(), write.key.map(str::to_owned));
        self.with(move |connection| {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if !is_known(&transaction, &token)? {
                return Ok(Reply::new(None, 1));
            }
            // No two keys of a session are the same. No key at all is never the same as another.
            let sql = "INSERT INTO lines (token, value, key) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
            transaction.prepare_cached(sql)?.execute(params![token, value, key])?;
            transaction.commit()?;
            Ok(Reply::new(Some(None), 2))
        })
        .await
    }

    async fn look(&self, book: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        let book = book.to_owned();
        self.with(move |connection| {
            let mut statement =
                connection.prepare_cached("SELECT value FROM entries WHERE book = ?1 ORDER BY place")?;
            let values = statement.query_map([&book], |row| row.get::<_, i64>(0))?;
            let values = values.map(|value| value.map(i64::cast_unsigned)).collect::<rusqlite::Result<_>>()?;
            Ok(Reply::new(Some(values), 1))
        })
        .await
    }

    async fn post(&self, book: &str, value: Value) -> Result<Reply<()>, Unavailable> {
        let (book, value) = (book.to_owned(), value.cast_signed());
        self.with(move |connection| {
            let sql = "INSERT INTO entries (book, value) VALUES (?1, ?2)";
            connection.prepare_cached(sql)?.execute(params![book, value])?;
            Ok(Reply::new(Some(()), 1))
        })
        .await
    }

    async fn end(&self, token: &str) -> Result<Reply<()>, Unavailable> {
        let token = token.to_owned();
        self.with(move |connection| {
            let ended = connection.prepare_cached("DELETE FROM sessions WHERE token = ?1")?.execute([&token])?;
            Ok(Reply::new((ended > 0).then_some(()), 1))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::store::testing::{keeps_a_session, keeps_books};

    #[tokio::test]
    async fn it_keeps_a_session_for_all_replicas() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("sessions.sqlite");
        keeps_a_session(Database::open(&file).unwrap()).await;
        keeps_books(Database::open(&file).unwrap()).await;
        let (one, other) = (Database::open(&file).unwrap(), Database::open(&file).unwrap());
        let token = one.begin("1").await.unwrap().found.unwrap();
        assert!(other.read(&token).await.unwrap().found.is_some(), "replicas share the file");
        other.end(&token).await.unwrap();
        assert!(one.read(&token).await.unwrap().found.is_none());
    }
}
