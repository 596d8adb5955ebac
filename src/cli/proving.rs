//! Runs `unstick prove` and its replicas: from flags to an exit code.

use std::io::{self, IsTerminal as _, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Duration;

use unstick_proof::prove;
use unstick_proof::prove::arm::ARMS;
use unstick_proof::prove::event::{EVENTS, Event, FULL_ONLY};
use unstick_proof::prove::options::{MEMCACHED_VARIABLE, Options, POSTGRES_VARIABLE, REDIS_VARIABLE, S3_VARIABLE};
use unstick_proof::prove::replay;
use unstick_proof::prove::replica::{self, Replica};
use unstick_proof::prove::report::{Conclusion, Report, table};
#[cfg(not(feature = "sabotage"))]
use unstick_proof::prove::sabotage::Planted;
#[cfg(feature = "sabotage")]
use unstick_proof::prove::sabotage::list;
use unstick_proof::prove::study::STUDIES;
use unstick_proof::prove::study::part::{self, PartReplica};

use super::prove::{Choice, Prove, ProvePart, ProveReplica};

/// A prediction did not hold.
const EXIT_BROKEN: u8 = 1;
/// Nothing can be concluded.
const EXIT_INCONCLUSIVE: u8 = 3;

pub(crate) fn prove(prove: Prove) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "sabotage")]
    if prove.sabotages {
        writeln!(io::stdout(), "{}", list::as_json()).ok();
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(file) = &prove.replay {
        return match replay::judge(file) {
            Ok(report) => Ok(conclude(&report)),
            Err(error) => inconclusive(&format!("{error:#}")),
        };
    }
    let is_full = prove.full;
    let options = options(prove);
    if is_full {
        let minutes = options.usual_span().as_secs_f64() / 60.0;
        writeln!(io::stderr(), "unstick prove --full takes about {minutes:.1} minutes").ok();
    }
    // Nothing of the run is used again after a panic: all that it held has been dropped on the way.
    let report = match catch_unwind(AssertUnwindSafe(|| prove::run(&options))) {
        Ok(Ok(Some(report))) => report,
        Ok(Ok(None)) => return inconclusive("interrupted; nothing is left behind"),
        // Whatever went wrong, it says nothing about the claim.
        Ok(Err(error)) => return inconclusive(&format!("{error:#}")),
        Err(_) => return inconclusive("a bug in unstick, please report it with the message above"),
    };
    Ok(conclude(&report))
}

/// Prints a report, and says how it ended.
fn conclude(report: &Report) -> ExitCode {
    print(report);
    match report.conclusion() {
        Conclusion::Held => ExitCode::SUCCESS,
        Conclusion::Broken => ExitCode::from(EXIT_BROKEN),
        Conclusion::Inconclusive => ExitCode::from(EXIT_INCONCLUSIVE),
    }
}

/// What the flags mean. Arms and events come in their own order, and once.
fn options(prove: Prove) -> Options {
    #[cfg(feature = "sabotage")]
    let planted = prove.sabotage.into();
    #[cfg(not(feature = "sabotage"))]
    let planted = Planted::default();
    let Prove { users, replicas, duration, pause, seed, repeat, full, arms, events, studies, redis, .. } = prove;
    let Prove { s3, postgres, memcached, json, history, html, keep, .. } = prove;
    // Who asks for a study alone wants no events.
    let is_study = !full && arms.is_empty() && events.is_empty() && studies.iter().any(|one| *one != Choice::Default);
    let is_default = |event: &Event| events.is_empty() && !is_study && (full || !FULL_ONLY.contains(event));
    let studies = STUDIES.into_iter().filter(|study| Choice::choose(&studies, *study, full)).collect();
    let arms = ARMS.into_iter().filter(|arm| Choice::choose(&arms, *arm, full || arm.is_default())).collect();
    let events = EVENTS.into_iter().filter(|event| is_default(event) || events.contains(event)).collect();
    Options {
        seed,
        repeat,
        users,
        replicas,
        duration,
        pause,
        arms,
        events,
        studies,
        redis: redis.or_else(|| told(REDIS_VARIABLE)),
        s3: s3.or_else(|| told(S3_VARIABLE)),
        postgres: postgres.or_else(|| told(POSTGRES_VARIABLE)),
        memcached: memcached.or_else(|| told(MEMCACHED_VARIABLE)),
        json,
        html,
        history,
        keep,
        planted,
    }
}

/// What the environment says, if it says anything.
fn told(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|value| !value.is_empty())
}

/// Prints the report as text, bold on a terminal that wants it.
fn print(report: &Report) {
    let is_terminal = io::stdout().is_terminal();
    let is_plain = !is_terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let bold = |line: &str| if is_plain { line.to_owned() } else { format!("\x1b[1m{line}\x1b[0m") };
    let width = rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| size.ws_col).filter(|width| *width > 0);
    // If nobody reads it, that is no reason to fail.
    write!(io::stdout(), "{}", table::render(report, width, bold)).ok();
}

fn inconclusive(why: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stderr(), "inconclusive: {why}").ok();
    Ok(ExitCode::from(EXIT_INCONCLUSIVE))
}

pub(crate) fn replica(replica: ProveReplica) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "sabotage")]
    let planted = replica.sabotage.into();
    #[cfg(not(feature = "sabotage"))]
    let planted = Planted::default();
    let ProveReplica { name, arm, directory, service_ms, clock_seconds, .. } = replica;
    let service = Duration::from_millis(service_ms);
    let replica = Replica { name, arm, directory, planted, service, clock_seconds };
    replica::run(replica)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn part(part: ProvePart) -> anyhow::Result<ExitCode> {
    #[cfg(feature = "sabotage")]
    let planted = part.sabotage.into();
    #[cfg(not(feature = "sabotage"))]
    let planted = Planted::default();
    let ProvePart { part, name, directory, .. } = part;
    part::run(PartReplica { name, part, directory, planted })?;
    Ok(ExitCode::SUCCESS)
}
