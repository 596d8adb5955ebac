//! A private Redis: `redis-server` from the system, on a socket in the run's directory, with its log of writes on disk.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::prove::arm::daemon::{Daemon, Start, find};
use crate::prove::arm::{Server, Work};
use crate::prove::sabotage::{Planted, Sabotage};

/// A Redis that runs. Dropping it ends it.
pub(in crate::prove::arm) struct RedisServer {
    daemon: Daemon,
    planted: Planted,
}

impl RedisServer {
    /// Where `redis-server` is, if it is installed.
    pub(in crate::prove::arm) fn program() -> Option<PathBuf> {
        find("redis-server", &[])
    }

    /// Starts one in this directory, with some more arguments.
    pub(in crate::prove::arm) async fn start(
        directory: PathBuf,
        planted: Planted,
        more: &[&str],
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let (socket, program) = (directory.join("redis.sock"), Self::program().context("there is no redis-server")?);
        let mut arguments: Vec<String> = ["--save", "", "--appendonly", "yes", "--appendfsync", "everysec"]
            .into_iter()
            .chain(["--unixsocketperm", "700", "--unixsocket"])
            .map(str::to_owned)
            .collect();
        arguments.extend([socket.display().to_string(), "--dir".into(), directory.display().to_string()]);
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        let start = Start { program, arguments, directory, socket, account: None, end: Signal::KILL };
        Ok(Self { daemon: Daemon::start(start).await?, planted })
    }

    /// The URL under which replicas reach it.
    pub(in crate::prove::arm) fn url(&self) -> String {
        format!("redis+unix://{}", self.daemon.socket().display())
    }

    /// The process.
    pub(in crate::prove::arm) fn daemon(&self) -> &Daemon {
        &self.daemon
    }
}

impl Server for RedisServer {
    fn restart(&self, pause: Duration) -> Work<'_, ()> {
        Box::pin(async move {
            self.daemon.end(Signal::TERM).await?;
            sleep(pause).await;
            if self.planted.is(Sabotage::StoreEmpty) {
                // If it cannot be removed, nothing is broken, and that is noticed.
                std::fs::remove_dir_all(self.daemon.directory().join("appendonlydir")).ok();
            }
            self.daemon.start_again().await
        })
    }
}
