//! A server of the system that a run starts for itself, and ends.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

/// How long its start and its end may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take when it is dropped, and nothing else can be done meanwhile.
const DROP_DEADLINE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);

/// How a server is started. The socket is where it says that it is ready.
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) directory: PathBuf,
    pub(super) socket: PathBuf,
    /// Who it runs as, if not as this process.
    pub(super) account: Option<Account>,
    /// The signal at which it ends with all processes of its own, whatever they do.
    pub(super) end: Signal,
}

/// A server that runs. Dropping it ends it.
pub(super) struct Daemon {
    start: Start,
    child: Mutex<Child>,
}

impl Daemon {
    /// Starts it, and waits until it can be reached.
    pub(super) async fn start(start: Start) -> anyhow::Result<Self> {
        let child = Mutex::new(start.spawn().await?);
        Ok(Self { start, child })
    }

    pub(super) fn directory(&self) -> &Path {
        &self.start.directory
    }

    pub(super) fn socket(&self) -> &Path {
        &self.start.socket
    }

    /// Ends it by a signal.
    pub(super) async fn end(&self, signal: Signal) -> anyhow::Result<()> {
        let mut child = self.child.lock().await;
        send(&child, signal);
        timeout(DEADLINE, child.wait()).await.with_context(|| format!("{} did not end", self.start.name()))??;
        Ok(())
    }

    /// Starts it again when it has ended.
    pub(super) async fn start_again(&self) -> anyhow::Result<()> {
        let mut child = self.child.lock().await;
        *child = self.start.spawn().await?;
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let (end, child) = (self.start.end, self.child.get_mut());
        send(child, end);
        let deadline = Instant::now() + DROP_DEADLINE;
        while matches!(child.try_wait(), Ok(None)) && Instant::now() < deadline {
            #[expect(clippy::disallowed_methods, reason = "nothing can be awaited here")]
            std::thread::sleep(POLL);
        }
    }
}

/// This fails only if the process has ended already.
fn send(child: &Child, signal: Signal) {
    if let Some(pid) = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())) {
        kill_process(pid, signal).ok();
    }
}

impl Start {
    fn name(&self) -> String {
        self.program.file_name().unwrap_or_default().display().to_string()
    }

    fn log(&self) -> PathBuf {
        self.directory.join(format!("{}.log", self.name()))
    }

    async fn spawn(&self) -> anyhow::Result<Child> {
        let log = std::fs::File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.directory).stdin(Stdio::null());
        command.stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.name()))?;
        let deadline = Instant::now() + DEADLINE;
        while UnixStream::connect(&self.socket).await.is_err() {
            let is_alive = child.try_wait()?.is_none() && Instant::now() < deadline;
            anyhow::ensure!(is_alive, "{} cannot be reached, see {}", self.name(), self.log().display());
            sleep(POLL).await;
        }
        Ok(child)
    }
}

/// A user of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) user: u32,
    pub(super) group: u32,
}

impl Account {
    /// The first of these users that there is: for a server that refuses to run as root. `Ok(None)`: this process is
    /// not root, and the server runs as it does.
    pub(super) fn unprivileged(names: &[&str]) -> anyhow::Result<Option<Self>> {
        if !geteuid().is_root() {
            return Ok(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").context("/etc/passwd")?;
        let found = names.iter().find_map(|name| Self::in_text(&users, name));
        found.map(Some).with_context(|| format!("there is none of the users {}", names.join(", ")))
    }

    fn in_text(users: &str, name: &str) -> Option<Self> {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut ids = line.split(':').skip(2);
        let user = ids.next()?.parse().ok()?;
        Some(Self { user, group: ids.next()?.parse().ok()? })
    }
}

/// A program on PATH, or in one of these folders.
pub(super) fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(folders.iter().cloned());
    all.map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_names() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres2:x:9:9::/:/bin/sh\npostgres:x:101:104:P:/var:/bin/bash\n";
        assert_eq!(Account::in_text(users, "postgres"), Some(Account { user: 101, group: 104 }));
        assert_eq!(Account::in_text(users, "nobody"), None);
    }

    #[test]
    fn programs_are_found() {
        assert!(find("sh", &[]).is_some());
        assert_eq!(find("no-such-program", &["/bin".into()]), None);
    }
}
