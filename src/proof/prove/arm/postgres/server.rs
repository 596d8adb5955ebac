//! A private PostgreSQL: the programs of the system's package, a cluster of its own, a socket in a directory that only
//! its user may enter. It writes its log to disk before it commits (`fsync` is on, as it is where sessions matter).

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::prove::arm::daemon::{Account, Daemon, Start, find};
use crate::prove::arm::{Server, Work};
use crate::prove::workspace::Workspace;

/// How many connections it takes: those of 20 replicas, and of some that are about to end.
const CONNECTIONS_MAX: u32 = 64;
/// How long it may take to make a cluster.
const MADE_WITHIN: Duration = Duration::from_secs(60);
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
        let directory = workspace.directory_of(name, account.map(|account| (account.user, account.group)))?;
        let data = directory.join("data").display().to_string();
        let mut command = Command::new(program("initdb").context("there is no initdb")?);
        command.args(["--username=unstick", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", "--pgdata"]);
        command.arg(&data).current_dir(&directory).stdin(Stdio::null()).kill_on_drop(true);
        if let Some(account) = account {
            command.uid(account.user).gid(account.group);
        }
        let made = timeout(MADE_WITHIN, command.output()).await.context("initdb did not end")??;
        anyhow::ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let folder = directory.display().to_string();
        let settings = [
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={folder}"),
            format!("port={PORT}"),
            format!("max_connections={CONNECTIONS_MAX}"),
            "shared_buffers=32MB".to_owned(),
        ];
        let mut arguments = vec!["-D".to_owned(), data];
        arguments.extend(settings.into_iter().flat_map(|setting| ["-c".to_owned(), setting]));
        let program = program("postgres").context("there is no postgres")?;
        let socket = directory.join(format!(".s.PGSQL.{PORT}"));
        // With SIGTERM it would wait for its clients.
        let start = Start { program, arguments, directory, socket, account, end: Signal::QUIT };
        Ok(Self { daemon: Daemon::start(start).await? })
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
