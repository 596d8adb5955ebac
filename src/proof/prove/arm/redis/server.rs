//! A private Redis: `redis-server` from the system, on a socket in the run's directory, with its log of writes on disk.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use crate::prove::arm::{Server, Work};
use crate::prove::sabotage::{Planted, Sabotage};

/// How long its start and its end may take.
const DEADLINE: Duration = Duration::from_secs(10);

/// A Redis that runs. Dropping it kills it.
pub(in crate::prove::arm) struct RedisServer {
    directory: PathBuf,
    child: Mutex<Child>,
    planted: Planted,
}

impl RedisServer {
    /// Whether `redis-server` is on PATH.
    pub(super) fn is_installed() -> bool {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|directory| directory.join("redis-server").is_file())
    }

    /// Starts one in this directory.
    pub(super) async fn start(directory: PathBuf, planted: Planted) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
        let child = Mutex::new(spawn(&directory).await?);
        Ok(Self { directory, child, planted })
    }

    /// The URL under which replicas reach it.
    pub(in crate::prove::arm) fn url(&self) -> String {
        format!("redis+unix://{}", socket(&self.directory).display())
    }
}

impl Server for RedisServer {
    fn restart(&self, pause: Duration) -> Work<'_, ()> {
        Box::pin(async move {
            let mut child = self.child.lock().await;
            if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
                kill_process(pid, Signal::TERM).ok();
            }
            timeout(DEADLINE, child.wait()).await.context("redis-server did not end")??;
            sleep(pause).await;
            if self.planted.is(Sabotage::StoreEmpty) {
                // If it cannot be removed, nothing is broken, and that is noticed.
                std::fs::remove_dir_all(self.directory.join("appendonlydir")).ok();
            }
            *child = spawn(&self.directory).await?;
            Ok(())
        })
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join("redis.sock")
}

async fn spawn(directory: &Path) -> anyhow::Result<Child> {
    let log = std::fs::File::options().create(true).append(true).open(directory.join("redis.log"))?;
    let child = Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--appendonly", "yes", "--appendfsync", "everysec"])
        .args(["--unixsocketperm", "700"])
        .arg("--unixsocket")
        .arg(socket(directory))
        .arg("--dir")
        .arg(directory)
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .context("cannot start redis-server")?;
    let deadline = Instant::now() + DEADLINE;
    while UnixStream::connect(socket(directory)).await.is_err() {
        anyhow::ensure!(
            Instant::now() < deadline,
            "redis-server cannot be reached, see {}",
            directory.join("redis.log").display()
        );
        sleep(Duration::from_millis(10)).await;
    }
    Ok(child)
}
