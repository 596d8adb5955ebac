//! Replicas that run already. They are known by their addresses, and perhaps by a command that restarts one.

use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::Command;
use tokio::time::timeout;

use super::command::fill;
use super::origin::Origin;
use super::ready::{self, Unready, Wanted};
use super::tail::{Stream, Tail};
use super::trouble::{Said, Trouble};
use super::{Key, START_DEADLINE};

/// How long a replica that runs already may take to respond.
const THERE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a restart may take before its command has ended; then [`START_DEADLINE`] follows.
const RESTART_DEADLINE: Duration = Duration::from_secs(60);
/// How long is waited for the rest of what a command wrote, after it ended.
const REST_DEADLINE: Duration = Duration::from_millis(500);

/// All of them.
#[derive(Debug)]
pub(super) struct Backends {
    pub(super) names: Vec<String>,
    pub(super) origins: Vec<Origin>,
    /// Restarts one, after `{n}` and `{address}` are filled in.
    pub(super) restart: Option<String>,
    /// What each is asked for.
    pub(super) ready: Option<String>,
    /// What the last restart of any has written.
    pub(super) tail: Mutex<Tail>,
}

impl Backends {
    /// Waits until all are there.
    pub(super) async fn wait(&self) -> Result<(), Trouble> {
        for n in 0..self.origins.len() {
            self.wait_for(n, THERE_DEADLINE).await?;
        }
        Ok(())
    }

    async fn wait_for(&self, n: usize, within: Duration) -> Result<(), Trouble> {
        let wanted = Wanted { origin: &self.origins[n], target: self.ready.as_deref(), within };
        ready::wait(wanted, || None).await.map_err(|unready| {
            let tried = match unready {
                Unready::Late(tried) => tried,
                Unready::Ended(status) => status.to_string(),
            };
            Trouble::Unreachable { replica: self.names[n].clone(), origin: self.origins[n].to_string(), tried }
        })
    }

    /// Restarts one, and waits until it is ready.
    pub(super) async fn restart(&self, n: usize, key: Key) -> Result<(), Trouble> {
        let (replica, origin) = (self.names[n].clone(), &self.origins[n]);
        let Some(command) = &self.restart else {
            return Err(Trouble::Untouchable { replica, origin: origin.to_string() });
        };
        if key == Key::Other {
            return Err(Trouble::NoKey { replica });
        }
        let command = fill(command, &[("n", &(n + 1).to_string()), ("address", &origin.authority())]);
        let tail = Tail::default();
        *self.tail.lock().unwrap_or_else(PoisonError::into_inner) = tail.clone();
        let how = match run(&command, &tail).await {
            Ok(Some(status)) if status.success() => return self.wait_for(n, START_DEADLINE).await,
            Ok(Some(status)) => format!("ended ({status})"),
            Ok(None) => format!("did not end within {} s", RESTART_DEADLINE.as_secs()),
            Err(error) => format!("cannot be run: {error}"),
        };
        Err(Trouble::NotRestarted { replica, command, how, said: Said(tail.lines()) })
    }
}

/// Runs a command to its end; `None` if it takes too long. What it leaves behind is left alone: it may be the replica.
async fn run(command: &str, tail: &Tail) -> std::io::Result<Option<ExitStatus>> {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = shell.process_group(0).kill_on_drop(true).spawn()?;
    let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
    let output = child.stdout.take().map(|output| tokio::spawn(tail.clone().follow(output, Stream::Output)));
    let error = child.stderr.take().map(|error| tokio::spawn(tail.clone().follow(error, Stream::Error)));
    let status = timeout(RESTART_DEADLINE, child.wait()).await;
    if let (Err(_), Some(group)) = (&status, group) {
        // It has not been waited for, so the number is still that of its group.
        kill_process_group(group, Signal::KILL).ok();
    }
    for mut reader in output.into_iter().chain(error) {
        if timeout(REST_DEADLINE, &mut reader).await.is_err() {
            reader.abort();
        }
    }
    status.ok().transpose()
}
