//! `unstick upgrade`: orders an upgrade, and says what has become of it.
//!
//! The order is SIGUSR2, so whoever may send that may upgrade. What becomes of it is read from the admin port, which
//! the next process takes over.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use unstick::app::started_ticks;

pub(crate) const AFTER_HELP: &str = "\
Put the new binary in place of the old one first. The running process starts it in the way it was started itself, hands
its sockets over, and finishes what it has. It is found by its admin port, on this machine.
Exit codes: 0 the new process serves; 1 it does not, and the running one serves on; or that is not known.";

/// The longest time that each step of a question may take: the connection, and each read and write.
const STEP_MAX: Duration = Duration::from_secs(5);
/// The most bytes of a response that are read.
const BYTES_MAX: u64 = 64 << 20;
/// How long to wait between two questions.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(crate) struct Upgrade {
    /// Address of the admin port
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9900")]
    admin: SocketAddr,
    /// Seconds to wait until the new process serves; timeouts.upgrade of the config bounds its start
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    wait: u32,
}

/// What is read of `/status`.
#[derive(Debug, Deserialize)]
struct Status {
    ready: bool,
    process: Process,
}

#[derive(Debug, Deserialize)]
struct Process {
    id: u32,
    started_ticks: Option<u64>,
    upgrades: u64,
    upgrading: bool,
    refused: Option<String>,
}

/// What is known of an upgrade.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// Nothing yet.
    Open,
    /// This process serves.
    Serves(u32),
    Refused(String),
}

/// Orders it, waits, and says what has become of it.
pub(crate) fn run(asked: &Upgrade) -> anyhow::Result<ExitCode> {
    let admin = asked.admin;
    let before = ask(admin).with_context(|| format!("no answer from the admin port {admin}"))?.process;
    if before.upgrading {
        bail!("an upgrade is under way already; wait for its end");
    }
    order(&before)?;
    // Looks that find nobody there cost less time than this says, and the next one may find somebody.
    for _ in 0..u64::from(asked.wait) * 1000 / PAUSE.as_millis() as u64 {
        // Each look is one that a person waits for; there is nothing else to wait on.
        #[expect(clippy::disallowed_methods, reason = "this command has no runtime, and nothing else to do")]
        thread::sleep(PAUSE);
        let outcome = ask(admin).map_or(Outcome::Open, |status| outcome(&before, status));
        match outcome {
            Outcome::Serves(process) => {
                writeln!(io::stdout(), "process {process} serves; process {} finishes what it has", before.id)?;
                return Ok(ExitCode::SUCCESS);
            }
            Outcome::Refused(why) => bail!("upgrade refused, process {} serves on: {why}", before.id),
            Outcome::Open if !is_there(&before) && ask(admin).is_err() => {
                bail!("process {} has ended, and no other one answers at {admin}; see its log", before.id)
            }
            Outcome::Open => {}
        }
    }
    bail!("no outcome within {} s; the log of process {} has it", asked.wait, before.id)
}

/// Orders the upgrade.
fn order(process: &Process) -> anyhow::Result<()> {
    // In another namespace its number is that of another process, which the signal could end.
    let known = i32::try_from(process.id).ok().and_then(Pid::from_raw).filter(|_| is_there(process));
    let Some(pid) = known else {
        bail!("process {} of this machine is not the one that answers: run this where it runs", process.id)
    };
    kill_process(pid, Signal::USR2).with_context(|| format!("cannot send SIGUSR2 to process {}", process.id))
}

fn is_there(process: &Process) -> bool {
    process.started_ticks.is_some() && started_ticks(process.id) == process.started_ticks
}

fn outcome(before: &Process, status: Status) -> Outcome {
    let now = status.process;
    if (now.id, now.started_ticks) != (before.id, before.started_ticks) {
        return if status.ready { Outcome::Serves(now.id) } else { Outcome::Open };
    }
    match now.refused {
        // Without a new order it was refused before it was counted.
        Some(why) if !now.upgrading && now.upgrades > before.upgrades => Outcome::Refused(why),
        _ => Outcome::Open,
    }
}

fn ask(admin: SocketAddr) -> anyhow::Result<Status> {
    let mut stream = TcpStream::connect_timeout(&admin, STEP_MAX)?;
    stream.set_read_timeout(Some(STEP_MAX))?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    // HTTP/1.0 has no chunks.
    write!(stream, "GET /status HTTP/1.0\r\nHost: {admin}\r\n\r\n")?;
    let mut response = Vec::new();
    stream.take(BYTES_MAX).read_to_end(&mut response)?;
    let end = response.windows(4).position(|bytes| bytes == b"\r\n\r\n").context("it does not speak HTTP")?;
    let body = response.get(end + 4..).unwrap_or_default();
    serde_json::from_slice(body).context("it is no unstick that can say what becomes of an upgrade")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: u32, upgrades: u64, upgrading: bool, refused: Option<&str>) -> Process {
        Process { id, started_ticks: Some(7), upgrades, upgrading, refused: refused.map(str::to_owned) }
    }

    #[test]
    fn an_outcome_is_that_of_this_order() {
        let before = process(1, 3, false, Some("long ago"));
        for (ready, now, expected) in [
            (true, process(1, 3, false, Some("long ago")), Outcome::Open),
            (true, process(1, 4, true, None), Outcome::Open),
            (true, process(1, 4, false, Some("no")), Outcome::Refused("no".into())),
            (false, process(2, 0, false, None), Outcome::Open),
            (true, process(2, 0, false, None), Outcome::Serves(2)),
        ] {
            assert_eq!(outcome(&before, Status { ready, process: now }), expected);
        }
    }

    #[test]
    fn no_signal_is_sent_to_another_process() {
        let own = std::process::id();
        let other = Process { started_ticks: Some(1), ..process(own, 0, false, None) };
        assert!(order(&other).unwrap_err().to_string().contains("run this where it runs"));
        let unknown = Process { started_ticks: None, ..process(own, 0, false, None) };
        assert!(order(&unknown).is_err());
    }
}
