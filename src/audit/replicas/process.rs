//! One replica as a process: `sh -c`, in a group of its own, with its output read.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::lifeline::Lifeline;
use super::living::{Family, MARK};
use super::tail::{Stream, Tail};

/// The shell waits for a line before it becomes the command, and ends if none comes: the lifeline knows of the group
/// before the application begins.
const GATE: &str = r#"read -r go && exec sh -c "$0" </dev/null"#;
/// How long processes may take to end after SIGKILL. Only one that waits for a disk takes any time.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked whether they have ended.
const KILL_POLL: Duration = Duration::from_millis(5);
/// How long is waited for the rest of what they wrote. Somebody else may hold the other end.
const REST_DEADLINE: Duration = Duration::from_millis(500);

/// What is started.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    /// What the shell runs.
    pub(super) command: &'a str,
    /// Where it runs.
    pub(super) folder: &'a Path,
    /// Variables beside those of the audit itself.
    pub(super) environment: Vec<(String, OsString)>,
    /// The value of [`MARK`].
    pub(super) mark: String,
}

/// A replica that was started. Dropping it kills its processes.
#[derive(Debug)]
pub(super) struct Process {
    family: Family,
    child: Child,
    readers: Vec<JoinHandle<()>>,
    lifeline: Arc<Lifeline>,
    /// Whether all of its processes have ended.
    is_over: bool,
}

impl Process {
    /// Starts one. What it writes goes to the tail.
    pub(super) async fn start(launch: Launch<'_>, lifeline: Arc<Lifeline>, tail: &Tail) -> io::Result<Self> {
        let Launch { command, folder, environment, mark } = launch;
        let mut shell = Command::new("sh");
        shell.args(["-c", GATE, command]).current_dir(folder).envs(environment).env(MARK, &mark);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.process_group(0).kill_on_drop(true).spawn()?;
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).ok_or(io::ErrorKind::NotFound)?;
        let output = child.stdout.take().map(|output| tokio::spawn(tail.clone().follow(output, Stream::Output)));
        let error = child.stderr.take().map(|error| tokio::spawn(tail.clone().follow(error, Stream::Error)));
        let gate = child.stdin.take();
        let readers = output.into_iter().chain(error).collect();
        let process = Self { family: Family { group, mark }, child, readers, lifeline, is_over: false };
        process.lifeline.hold(group)?;
        if let Some(mut gate) = gate {
            gate.write_all(b"go\n").await?;
        }
        Ok(process)
    }

    /// How it ended, if it ended by itself. A shell that has left processes behind in its group, or elsewhere with its
    /// mark, has not ended.
    pub(super) fn status(&mut self) -> Option<ExitStatus> {
        let status = self.child.try_wait().ok().flatten()?;
        (!self.family.is_alive()).then_some(status)
    }

    /// Kills all of its processes, and waits until they have ended; `false` if they have not.
    pub(super) async fn kill(mut self) -> bool {
        let is_over = timeout_at(Instant::now() + KILL_DEADLINE, self.end()).await.is_ok();
        for reader in &mut self.readers {
            timeout(REST_DEADLINE, reader).await.ok();
        }
        is_over
    }

    async fn end(&mut self) {
        self.family.strike();
        // It fails only if somebody else has taken the status.
        self.child.wait().await.ok();
        while self.family.is_alive() {
            self.family.strike();
            sleep(KILL_POLL).await;
        }
        self.is_over = true;
        self.lifeline.release(self.family.group);
    }

    /// Its processes.
    #[cfg(test)]
    pub(super) fn family(&self) -> &Family {
        &self.family
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.readers.iter().for_each(JoinHandle::abort);
        if !self.is_over {
            // Nothing can be awaited here. The lifeline has the group until the fleet is gone, and strikes once more.
            self.family.strike();
        }
    }
}
