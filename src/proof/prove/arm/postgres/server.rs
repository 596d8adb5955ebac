//! A private PostgreSQL: the programs of the system's package, a cluster of its own, a socket in a directory that only
//! its user may enter. It writes its log to disk before it commits (`fsync` is on, as it is where sessions matter).

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::prove::account::Account;
use crate::prove::arm::daemon::Daemon;
use crate::prove::arm::{Server, Work};
use crate::prove::process::{Start, find};
use crate::prove::workspace::Workspace;

/// How many connections it takes: those of 20 replicas, and of some that are about to end.
const CONNECTIONS_MAX: u32 = 64;
/// How long it may take to make a cluster.
const MADE_WITHIN: Duration = Duration::from_secs(60);
/// How a cluster is made; where, comes last.
const MAKE: [&str; 6] =
    ["--username=unstick", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata"];
/// The name of its port, which a socket has too.
const PORT: &str = "5432";

/// A PostgreSQL that runs. Dropping it ends it.
pub(super) struct PostgresServer {
    daemon: Daemon,
}

/// A program of PostgreSQL. Distributions keep them out of PATH, in a folder for each version.
fn program(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort_unstable();
    folders.reverse();
    find(name, &folders)
}

impl PostgresServer {
    pub(super) fn is_installed() -> bool {
        program("initdb").is_some() && program("postgres").is_some()
    }

    /// Makes a cluster in a folder of this name, and starts it.
    pub(super) async fn start(workspace: &Workspace, name: &str) -> anyhow::Result<Self> {
        let account = Account::unprivileged(&["postgres", "nobody"]).context("PostgreSQL refuses to run as root")?;
        let directory = workspace.directory_of(name, account)?;
        let data = directory.join("data").display().to_string();
        let mut start = Start {
            program: program("initdb").context("there is no initdb")?,
            arguments: MAKE.into_iter().map(str::to_owned).chain([data.clone()]).collect(),
            directory: Some(directory.clone()),
            log: directory.join("postgres.log"),
            logs_output: true,
            account,
            end: Signal::KILL,
            lifeline: Rc::clone(workspace.lifeline()),
        };
        let mut initdb = start.spawn().await?;
        let made = initdb.wait(MADE_WITHIN).await?;
        anyhow::ensure!(made.success(), "initdb: {made}{}", initdb.said());
        let settings = [
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={}", directory.display()),
            format!("port={PORT}"),
            format!("max_connections={CONNECTIONS_MAX}"),
            "shared_buffers=32MB".to_owned(),
            // In the directory, so that nothing outside of it is left after a kill.
            "dynamic_shared_memory_type=mmap".to_owned(),
        ];
        start.program = program("postgres").context("there is no postgres")?;
        start.arguments = vec!["-D".to_owned(), data];
        start.arguments.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        // With SIGTERM it would wait for its clients.
        start.end = Signal::QUIT;
        let socket = directory.join(format!(".s.PGSQL.{PORT}"));
        Ok(Self { daemon: Daemon::start(start, socket).await? })
    }

    /// How replicas reach it.
    pub(super) fn url(&self) -> String {
        format!("host={} port={PORT} user=unstick dbname=postgres", self.daemon.directory().display())
    }
}

impl Server for PostgresServer {
    /// As after a crash: it stops at once, and recovers from its log.
    fn restart(&self, pause: Duration) -> Work<'_, ()> {
        Box::pin(async move {
            self.daemon.end(Signal::QUIT).await?;
            sleep(pause).await;
            self.daemon.start_again().await
        })
    }
}
