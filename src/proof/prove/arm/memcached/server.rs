//! A private memcached: the program of the system, on a socket in a directory that only its user may enter, with little
//! memory.

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
use crate::prove::sabotage::{Planted, Sabotage};
use crate::prove::workspace::Workspace;

/// How much it may keep, and how much under sabotage.
pub(super) const MEMORY_MIB: u64 = 8;
const PLENTY_MIB: u64 = 256;

/// A memcached that runs. Dropping it ends it.
pub(super) struct MemcachedServer {
    daemon: Daemon,
    planted: Planted,
}

impl MemcachedServer {
    pub(super) fn program() -> Option<PathBuf> {
        find("memcached", &["/usr/bin".into(), "/usr/sbin".into()])
    }

    pub(super) async fn start(workspace: &Workspace, planted: Planted) -> anyhow::Result<Self> {
        let account = Account::unprivileged(&["memcache", "memcached", "nobody"]);
        let account = account.context("memcached refuses to run as root")?;
        let directory = workspace.directory_of("memcached", account)?;
        let memory = if planted.is(Sabotage::MemoryPlenty) { PLENTY_MIB } else { MEMORY_MIB };
        let socket = directory.join("memcached.sock");
        let arguments = ["-s", &socket.display().to_string(), "-a", "700", "-m", &memory.to_string(), "-t", "1"];
        let start = Start {
            program: Self::program().context("there is no memcached")?,
            arguments: arguments.map(str::to_owned).to_vec(),
            log: directory.join("memcached.log"),
            directory: Some(directory),
            logs_output: true,
            account,
            end: Signal::KILL,
            lifeline: Rc::clone(workspace.lifeline()),
        };
        Ok(Self { daemon: Daemon::start(start, socket).await?, planted })
    }

    /// How replicas reach it.
    pub(super) fn address(&self) -> String {
        self.daemon.socket().display().to_string()
    }
}

impl Server for MemcachedServer {
    fn restart(&self, pause: Duration) -> Work<'_, ()> {
        Box::pin(async move {
            if self.planted.is(Sabotage::CacheSurvives) {
                return Ok(());
            }
            self.daemon.end(Signal::TERM).await?;
            sleep(pause).await;
            self.daemon.start_again().await
        })
    }
}
