//! The parent's side: starting a replica and learning its port.

use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

/// How long a new replica may take to say its port.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// A replica that runs. Dropping it kills it.
#[derive(Debug)]
pub struct Launched {
    /// Process id.
    pub pid: u32,
    /// Port on 127.0.0.1.
    pub port: u16,
    /// The process.
    pub child: Child,
    /// Never written to: the replica ends when this end of its standard input closes.
    _lifeline: ChildStdin,
}

/// Starts this program with these arguments and environment as a replica, in a process group of its own: Ctrl-C reaches
/// its parent alone, and it can respond to what is still in flight.
///
/// # Errors
/// It cannot be started, or did not say its port in time.
pub async fn launch(arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Launched> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied());
    timeout(START_DEADLINE, launch_unbounded(command)).await.context("it did not say its port in time").flatten()
}

async fn launch_unbounded(mut command: Command) -> anyhow::Result<Launched> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn()?;
    let pid = child.id().context("it ended at once")?;
    // Taken out of the child, because waiting for a child closes the input that is still in it.
    let lifeline = child.stdin.take().context("it has no standard input")?;
    let output = child.stdout.take().context("it has no standard output")?;
    let mut line = String::new();
    BufReader::new(output.take(64)).read_line(&mut line).await?;
    let port = line.trim().parse().context("it ended before it was ready")?;
    Ok(Launched { pid, port, child, _lifeline: lifeline })
}
