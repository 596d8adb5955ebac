//! A server of the system that a run starts for itself, restarts and ends.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use tokio::net::UnixStream;
use tokio::sync::Mutex;

use crate::prove::process::{Process, Start};

/// How long its start may take.
const READY_WITHIN: Duration = Duration::from_secs(10);

/// A server that runs. Dropping it ends it.
pub(super) struct Daemon {
    start: Start,
    directory: PathBuf,
    /// Where it says that it is ready.
    socket: PathBuf,
    process: Mutex<Process>,
}

impl Daemon {
    /// Starts it, and waits until it can be reached.
    pub(super) async fn start(start: Start, socket: PathBuf) -> anyhow::Result<Self> {
        let directory = socket.parent().unwrap_or(Path::new("/")).to_owned();
        let process = Mutex::new(spawn(&start, &socket).await?);
        Ok(Self { start, directory, socket, process })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Ends it by a signal.
    pub(super) async fn end(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.lock().await.end(signal).await
    }

    /// Starts it again when it has ended.
    pub(super) async fn start_again(&self) -> anyhow::Result<()> {
        let mut process = self.process.lock().await;
        *process = spawn(&self.start, &self.socket).await?;
        Ok(())
    }
}

async fn spawn(start: &Start, socket: &Path) -> anyhow::Result<Process> {
    let mut process = start.spawn().await?;
    process.ready(READY_WITHIN, async || Ok(UnixStream::connect(socket).await.map(drop)?)).await?;
    Ok(process)
}
