//! What ends replicas when the audit itself is killed: a second process at the other end of a pipe. The kernel closes
//! the pipe however the audit ends, and the lifeline then kills every group that it was told of and removes the folder.
//!
//! A group is made known to it before the application in it begins (see `process`), so there is no moment in which a
//! kill of the audit would leave a replica behind. It ignores what a terminal sends; only SIGKILL ends it early.

use std::io::{PipeWriter, Write as _, pipe};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// What the other process runs.
const SCRIPT: &str = include_str!("lifeline.sh");
/// How long it may take to clear up: it may have a copy of many files to remove.
const END_DEADLINE: Duration = Duration::from_secs(30);

/// This end of the pipe. Dropping it ends what still runs.
#[derive(Debug)]
pub(super) struct Lifeline {
    pipe: Mutex<Option<PipeWriter>>,
    child: Mutex<Option<Child>>,
}

impl Lifeline {
    /// Starts the other process. At the end it kills what bears this mark in its environment, and removes the folder.
    pub(super) fn start(mark: &str, folder: &Path) -> std::io::Result<Self> {
        let (reader, writer) = pipe()?;
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "unstick-lifeline", mark]).arg(folder).current_dir("/");
        // In a group of its own it outlives whoever kills the group of the audit.
        command.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = command.spawn()?;
        Ok(Self { pipe: Mutex::new(Some(writer)), child: Mutex::new(Some(child)) })
    }

    /// This group runs.
    pub(super) fn hold(&self, group: Pid) -> std::io::Result<()> {
        self.tell('+', group)
    }

    /// This group is over, and its number may belong to others from now on.
    pub(super) fn release(&self, group: Pid) {
        // If the lifeline is gone there is nothing to release from.
        self.tell('-', group).ok();
    }

    /// A line is far shorter than what a pipe takes at once, so this waits for nobody.
    fn tell(&self, sign: char, group: Pid) -> std::io::Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pipe) = pipe.as_mut() else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
        pipe.write_all(format!("{sign} {}\n", group.as_raw_nonzero()).as_bytes())
    }

    /// Ends it, and waits until it has cleared up.
    pub(super) async fn end(&self) {
        self.pipe.lock().unwrap_or_else(PoisonError::into_inner).take();
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(mut child) = child {
            // If it takes longer, it goes on without us.
            timeout(END_DEADLINE, child.wait()).await.ok();
        }
    }
}
