//! Sessions in PostgreSQL, which all replicas share: a private one, or that of `--postgres`. Each replica has few
//! connections, and each step is one statement: a transaction of its own.

mod server;

use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row};

use super::predictions::{Keeps, of_stateless};
use super::{Arm, Backing, Prepared, Role, Server};
use crate::prove::NotPossible;
use crate::prove::options::{Options, POSTGRES_VARIABLE as URL_VARIABLE};
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::secret::masked;
use crate::prove::store::{Reply, Store, Unavailable, Write, new_token};
use crate::prove::workspace::Workspace;
use crate::trial::history::Value;
use server::PostgresServer;

/// See the module.
pub(super) const ARM: Arm = Arm {
    name: "postgres",
    is_default: false,
    role: Role::Stateless,
    shares: true,
    has_tokens: false,
    serve: |replica| {
        Box::pin(async move {
            let scope = replica.directory.display().to_string();
            let store = Postgres { planted: replica.planted, scope, ..Postgres::told()? };
            replica.serve(store).await
        })
    },
    prepare: Some(|options, workspace| Box::pin(prepare(options, workspace))),
    fill: None,
    predict: |report| of_stateless(report, Keeps::InAStore),
};

/// Connections of a replica at most. A server that has no more than it needs is what makes others wait.
const CONNECTIONS: usize = 2;
/// How long PostgreSQL may take for a response or a connection.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long a server that has just been started may refuse connections.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// What is said of a URL that is none.
const URL_HINT: &str = "write postgres://USER:PASSWORD@HOST/DATABASE, with %40 for @ and %2F for / in a password";
/// How long the creation of the tables may take, and the removal of what is old.
const MADE_WITHIN: Duration = Duration::from_secs(10);
const READY_POLL: Duration = Duration::from_millis(20);

/// What is older than an hour was left by a run before, where the server is not ours.
const SCHEMA: &str = "
CREATE SCHEMA IF NOT EXISTS unstick_prove;
SET search_path TO unstick_prove;
CREATE TABLE IF NOT EXISTS sessions (token text PRIMARY KEY, name text NOT NULL, begun timestamptz DEFAULT now());
CREATE TABLE IF NOT EXISTS lines (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    token text NOT NULL REFERENCES sessions ON DELETE CASCADE,
    value bigint NOT NULL,
    key text,
    UNIQUE (token, key)
);
CREATE TABLE IF NOT EXISTS entries (
    place bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    book text NOT NULL,
    value bigint NOT NULL,
    begun timestamptz DEFAULT now()
);
CREATE INDEX IF NOT EXISTS lines_by_token ON lines (token, place);
CREATE INDEX IF NOT EXISTS entries_by_book ON entries (book, place);
DELETE FROM sessions WHERE begun < now() - interval '1 hour';
DELETE FROM entries WHERE begun < now() - interval '1 hour';
";

/// Tables without a log are empty after a crash.
const UNLOGGED: &str = "
ALTER TABLE unstick_prove.lines SET UNLOGGED;
ALTER TABLE unstick_prove.sessions SET UNLOGGED;
ALTER TABLE unstick_prove.entries SET UNLOGGED;
";

const BEGIN: &str = "INSERT INTO unstick_prove.sessions (token, name) VALUES ($1, $2)";
const READ: &str = "
SELECT ARRAY(SELECT value FROM unstick_prove.lines WHERE token = $1 ORDER BY place)
FROM unstick_prove.sessions WHERE token = $1";
/// No two keys of a session are the same. No key at all is never the same as another. While the session is being ended
/// this waits, and finds none.
const WRITE: &str = "
WITH session AS (SELECT token FROM unstick_prove.sessions WHERE token = $1 FOR KEY SHARE),
     line AS (INSERT INTO unstick_prove.lines (token, value, key) SELECT token, $2, $3 FROM session
              ON CONFLICT (token, key) DO NOTHING)
SELECT token FROM session";
const LOOK: &str = "SELECT ARRAY(SELECT value FROM unstick_prove.entries WHERE book = $1 ORDER BY place)";
const POST: &str = "INSERT INTO unstick_prove.entries (book, value) VALUES ($1, $2)";
const END: &str = "DELETE FROM unstick_prove.sessions WHERE token = $1 RETURNING token";

/// Finds a PostgreSQL, and makes the tables.
async fn prepare(options: &Options, workspace: &Workspace) -> anyhow::Result<Prepared> {
    let backing = match find(options, workspace, "postgres").await? {
        Ok(backing) => backing,
        Err(hint) => return Ok(Prepared { backing: None, left_out: Some(format!("postgres: {hint}")) }),
    };
    execute(&backing, SCHEMA).await?;
    if options.planted.is(Sabotage::PostgresUnlogged) {
        execute(&backing, UNLOGGED).await?;
    }
    let is_foreign = backing.server.is_none();
    let left_out =
        is_foreign.then_some("store-restart of postgres: the server given by --postgres is not ours to restart");
    Ok(Prepared { backing: Some(backing), left_out: left_out.map(str::to_owned) })
}

/// The PostgreSQL that was given, or a private one in a folder of this name; without either, what to do about that.
pub(in crate::prove) async fn find(
    options: &Options,
    workspace: &Workspace,
    name: &str,
) -> anyhow::Result<Result<Backing, &'static str>> {
    if let Some(url) = &options.postgres {
        if url.parse::<tokio_postgres::Config>().is_err() {
            // The error has parts of it, which may be a password.
            return Err(NotPossible(format!("the URL of --postgres is not one of PostgreSQL; {URL_HINT}")).into());
        }
        return Ok(Ok(Backing { variable: Some((URL_VARIABLE, url.clone())), server: None }));
    }
    if !PostgresServer::is_installed() {
        return Ok(Err("there is no initdb on PATH or below /usr/lib/postgresql; install it (apt-get install \
                       postgresql) or give --postgres URL"));
    }
    let server = PostgresServer::start(workspace, name).await?;
    let variable = Some((URL_VARIABLE, server.url()));
    let server: Rc<dyn Server> = Rc::new(server);
    Ok(Ok(Backing { variable, server: Some(server) }))
}

/// Executes statements, in a server that may just be starting.
pub(in crate::prove) async fn execute(backing: &Backing, statements: &str) -> anyhow::Result<()> {
    let url = backing.variable.as_ref().map(|(_, url)| url.as_str()).unwrap_or_default();
    let executed = execute_at(url, statements).await;
    Ok(executed.map_err(|error| match &backing.server {
        Some(_) => NotPossible(format!("the private PostgreSQL: {error}")),
        None => {
            let hint = "does it run, and may this user create a schema there?";
            NotPossible(format!("the PostgreSQL of --postgres, {}: {error}; {hint}", masked(url)))
        }
    })?)
}

async fn execute_at(url: &str, statements: &str) -> Result<(), Unavailable> {
    let begun = tokio::time::Instant::now();
    let client = loop {
        match connect(url).await {
            Ok(client) => break client,
            Err(error) if error.is_of_server && begun.elapsed() < READY_WITHIN => sleep(READY_POLL).await,
            Err(error) => return Err(error.unavailable),
        }
    };
    let done = timeout(MADE_WITHIN, client.batch_execute(statements)).await;
    done.map_err(|_| Unavailable("no response to the creation of tables in time".into()))?.map_err(unavailable)
}

/// Why there is no connection.
struct Refused {
    unavailable: Unavailable,
    /// Whether the server has said so: it may be starting.
    is_of_server: bool,
}

async fn connect(url: &str) -> Result<Client, Refused> {
    let connected = timeout(TIMEOUT, tokio_postgres::connect(url, NoTls)).await;
    match connected {
        Ok(Ok((client, connection))) => {
            // It ends with the client, and what goes wrong in it is told to whoever asks.
            tokio::spawn(connection);
            Ok(client)
        }
        Ok(Err(error)) => {
            let is_of_server = error.as_db_error().is_some();
            Err(Refused { unavailable: unavailable(error), is_of_server })
        }
        Err(_) => Err(Refused { unavailable: Unavailable("no connection in time".into()), is_of_server: false }),
    }
}

fn unavailable(error: tokio_postgres::Error) -> Unavailable {
    // What the server said, which the error's own text leaves out.
    let reason = error.as_db_error().map(|error| format!(": {}", error.message()));
    Unavailable(format!("{error}{}", reason.unwrap_or_default()))
}

pub(in crate::prove) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// One replica's connections.
pub(in crate::prove) struct Postgres {
    url: String,
    connections: [Mutex<Option<Client>>; CONNECTIONS],
    next: AtomicUsize,
    planted: Planted,
    /// Connections that are not used again, under sabotage.
    leaked: Mutex<Vec<Client>>,
    /// Stands in the names of books: all parts of a run share one database.
    scope: String,
}

impl Postgres {
    fn at(url: String) -> Self {
        let (connections, next, leaked) = (Default::default(), AtomicUsize::new(0), Mutex::default());
        Self { url, connections, next, planted: Planted::default(), leaked, scope: String::new() }
    }

    /// That of which this replica was told in its environment.
    pub(in crate::prove) fn told() -> anyhow::Result<Self> {
        Ok(Self::at(std::env::var(URL_VARIABLE).with_context(|| format!("{URL_VARIABLE} holds no URL"))?))
    }

    fn book(&self, book: &str) -> String {
        format!("{}/{book}", self.scope)
    }

    /// The rows of a statement. It waits for a connection, and opens one where one was lost.
    pub(in crate::prove) async fn ask(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Unavailable> {
        let place = self.next.fetch_add(1, Relaxed) % CONNECTIONS;
        let mut connection = self.connections[place].lock().await;
        if self.planted.is(Sabotage::PostgresLeaks) {
            self.leaked.lock().await.extend(connection.take());
        }
        let client = match connection.take().filter(|client| !client.is_closed()) {
            Some(client) => client,
            None => connect(&self.url).await.map_err(|refused| refused.unavailable)?,
        };
        // One that has not responded in time, or whose request is dropped, is not used again.
        let rows = timeout(TIMEOUT, client.query_typed(statement, parameters)).await;
        let rows = rows.map_err(|_| Unavailable("no response in time".into()))?.map_err(unavailable)?;
        *connection = Some(client);
        Ok(rows)
    }
}

/// The values of a row that is one array.
fn values(row: &Row) -> Vec<Value> {
    row.get::<_, Vec<i64>>(0).into_iter().map(i64::cast_unsigned).collect()
}

impl Store for Postgres {
    async fn begin(&self, user: &str) -> Result<Reply<String>, Unavailable> {
        let token = new_token()?;
        self.ask(BEGIN, &[(&token, Type::TEXT), (&user, Type::TEXT)]).await?;
        Ok(Reply::new(Some(token), 1))
    }

    async fn read(&self, token: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        let rows = self.ask(READ, &[(&token, Type::TEXT)]).await?;
        Ok(Reply::new(rows.first().map(values), 1))
    }

    async fn write(&self, token: &str, write: Write<'_>) -> Result<Reply<Option<String>>, Unavailable> {
        let value = write.value.cast_signed();
        let parameters: [Parameter<'_>; 3] = [(&token, Type::TEXT), (&value, Type::INT8), (&write.key, Type::TEXT)];
        let rows = self.ask(WRITE, &parameters).await?;
        Ok(Reply::new(rows.first().map(|_| None), 1))
    }

    async fn look(&self, book: &str) -> Result<Reply<Vec<Value>>, Unavailable> {
        let rows = self.ask(LOOK, &[(&self.book(book), Type::TEXT)]).await?;
        Ok(Reply::new(rows.first().map(values), 1))
    }

    async fn post(&self, book: &str, value: Value) -> Result<Reply<()>, Unavailable> {
        self.ask(POST, &[(&self.book(book), Type::TEXT), (&value.cast_signed(), Type::INT8)]).await?;
        Ok(Reply::new(Some(()), 1))
    }

    async fn end(&self, token: &str) -> Result<Reply<()>, Unavailable> {
        let rows = self.ask(END, &[(&token, Type::TEXT)]).await?;
        Ok(Reply::new(rows.first().map(|_| ()), 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::store::testing::{keeps_a_session, keeps_books, skipped};

    #[tokio::test]
    async fn it_keeps_a_session_for_all_replicas_and_after_a_crash_of_the_store() {
        if !PostgresServer::is_installed() {
            return skipped("there is no PostgreSQL");
        }
        let workspace = Workspace::named(&format!("postgres-of-{}", std::process::id()), false).unwrap();
        let server = PostgresServer::start(&workspace, "postgres").await.unwrap();
        execute_at(&server.url(), SCHEMA).await.unwrap();
        execute_at(&server.url(), SCHEMA).await.unwrap();
        keeps_a_session(Postgres::at(server.url())).await;
        keeps_books(Postgres::at(server.url())).await;
        let (one, other) = (Postgres::at(server.url()), Postgres::at(server.url()));
        let token = one.begin("1").await.unwrap().found.unwrap();
        one.write(&token, Write { value: 7, key: None }).await.unwrap().found.unwrap();
        server.restart(Duration::ZERO).await.unwrap();
        let read = || async { other.read(&token).await.ok()?.found };
        let begun = tokio::time::Instant::now();
        let mut found = read().await;
        while found.is_none() && begun.elapsed() < READY_WITHIN {
            found = read().await;
        }
        assert_eq!(found.unwrap(), [7]);
        assert_eq!(one.read(&token).await.unwrap().found.unwrap(), [7], "lost connections are opened again");
        other.end(&token).await.unwrap();
        assert!(one.read(&token).await.unwrap().found.is_none());
        let all = workspace.all();
        assert!(all.iter().all(|directory| directory.exists()));
        drop(server);
        drop(workspace);
        assert!(all.iter().all(|directory| !directory.exists()), "nothing is left behind");
    }
}
