//! The commands of `unstick prove`.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use unstick::prove;
use unstick::prove::arm::ARMS;
use unstick::prove::event::EVENTS;
use unstick::prove::options::Options;
use unstick::prove::replica::{self, Replica};
use unstick::prove::report::{Conclusion, table};

use crate::cli::prove::{Prove, ProveReplica};
use crate::runtime;

/// A prediction did not hold.
const EXIT_BROKEN: u8 = 1;
/// Nothing can be concluded.
const EXIT_INCONCLUSIVE: u8 = 3;

pub(crate) fn prove(prove: Prove) -> anyhow::Result<ExitCode> {
    let options = Options {
        seed: prove.seed,
        users: prove.users,
        replicas: prove.replicas,
        duration: prove.duration,
        pause: prove.pause,
        // In their own order, and once.
        arms: ARMS.into_iter().filter(|arm| prove.arms.is_empty() || prove.arms.contains(arm)).collect(),
        events: EVENTS.into_iter().filter(|event| prove.events.is_empty() || prove.events.contains(event)).collect(),
        redis: prove.redis,
        json: prove.json,
        html: prove.html,
        history: prove.history,
        keep: prove.keep,
        sabotage: prove.sabotage,
    };
    // When it is interrupted, everything it started ends with the tasks that hold it.
    let run = async {
        tokio::select! {
            report = prove::run(&options) => report.map(Some),
            () = interrupted()? => Ok(None),
        }
    };
    let report = match LocalSet::new().block_on(&runtime()?, run) {
        Ok(Some(report)) => report,
        Ok(None) => return inconclusive("interrupted; nothing is left behind"),
        // Whatever was in the way, it says nothing of the claim.
        Err(error) => return inconclusive(&format!("{error:#}")),
    };
    let is_terminal = io::stdout().is_terminal();
    let is_plain = !is_terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let bold = |line: &str| if is_plain { line.to_owned() } else { format!("\x1b[1m{line}\x1b[0m") };
    let width = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col).filter(|width| *width > 0);
    // That nobody reads it is no reason to fail.
    write!(io::stdout(), "{}", table::render(&report, width, bold)).ok();
    Ok(match report.conclusion() {
        Conclusion::Held => ExitCode::SUCCESS,
        Conclusion::Broken => ExitCode::from(EXIT_BROKEN),
        Conclusion::Inconclusive => ExitCode::from(EXIT_INCONCLUSIVE),
    })
}

fn inconclusive(why: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stderr(), "inconclusive: {why}").ok();
    Ok(ExitCode::from(EXIT_INCONCLUSIVE))
}

/// Resolves at the first signal that ends programs.
fn interrupted() -> anyhow::Result<impl Future<Output = ()>> {
    let mut signals = Vec::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::quit(), SignalKind::hangup()] {
        signals.push(signal(kind).context("cannot listen for signals")?);
    }
    Ok(std::future::poll_fn(move |cx| {
        let is_over = signals.iter_mut().any(|signal| signal.poll_recv(cx).is_ready());
        if is_over { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    }))
}

pub(crate) fn replica(replica: ProveReplica) -> anyhow::Result<ExitCode> {
    let ProveReplica { name, arm, directory, service_ms, sabotage } = replica;
    let replica = Replica { name, arm, directory, sabotage, service: Duration::from_millis(service_ms) };
    runtime()?.block_on(replica::run(replica))?;
    Ok(ExitCode::SUCCESS)
}
