//! Runs `unstick audit`: from flags to an exit code.

use std::fs;
use std::future::Future;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use unstick_audit::command::{Audited, Order, Replicas, replay, run};
use unstick_audit::journey::{Journey, find_pack, packs, read, read_har, sent, write};
use unstick_audit::play::Trust;
use unstick_audit::replicas::{Disk, Keys, Origin, Spawn, is_public};
use unstick_audit::report::{Report, Verdict, html, json, junit, sarif, secrets, text};
use unstick_audit::selftest;
use unstick_audit::witness::Witness;

use super::audit::{Audit, AuditCommand, AuditReplica, DiskFlag, STDOUT};
use super::auditing_progress::Progress;
use crate::EXIT_USAGE;

/// Outcomes depend on the replica.
const EXIT_DEPENDENT: u8 = 1;
/// Nothing can be concluded.
pub(super) const EXIT_INCONCLUSIVE: u8 = 3;

/// Columns of a report that no terminal reads.
const WIDTH: usize = 100;

/// Runs what was asked for.
pub(crate) fn audit(audit: Audit) -> anyhow::Result<ExitCode> {
    concluded(|| run_asked(audit))
}

/// An error says nothing of the application, nor does a mistake of ours: the code of a panic would be read as neither.
fn concluded(work: impl FnOnce() -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let why = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(code)) => return Ok(code),
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "unstick has made a mistake, which stands above; please report it".to_owned(),
    };
    writeln!(io::stderr(), "inconclusive: {why}").ok();
    Ok(ExitCode::from(EXIT_INCONCLUSIVE))
}

fn run_asked(audit: Audit) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if let Some(AuditCommand::Record(record)) = &audit.command {
        return runtime.block_on(super::recording::record(record));
    }
    runtime.block_on(until_interrupted(async {
        if audit.selftest {
            return selftest(&audit).await;
        }
        match &audit.replay {
            Some(file) => play_again(&audit, file).await,
            None => whole(&audit).await,
        }
    }))
}

/// Replicas end when what has started them is dropped.
async fn until_interrupted(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // The terminal was closed.
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        result = work => result,
        _ = interrupt.recv() => stopped(),
        _ = terminate.recv() => stopped(),
        _ = hang_up.recv() => stopped(),
    }
}

fn stopped() -> anyhow::Result<ExitCode> {
    writeln!(io::stderr(), "inconclusive: interrupted; all replicas were ended").ok();
    Ok(ExitCode::from(EXIT_INCONCLUSIVE))
}

pub(super) fn usage(message: &str) -> anyhow::Result<ExitCode> {
    writeln!(io::stderr(), "error: {message}").ok();
    Ok(ExitCode::from(EXIT_USAGE))
}

/// A journey, where it stands, and its text for the witness.
struct Source {
    journey: Journey,
    file: String,
    lines: Vec<usize>,
    text: String,
    /// The host that a recording was made at.
    host: Option<String>,
}

async fn whole(audit: &Audit) -> anyhow::Result<ExitCode> {
    if audit.pack.as_deref() == Some("help") {
        packs().iter().for_each(|pack| println(&format!("{:<12} {}", pack.name, pack.help)));
        return Ok(ExitCode::SUCCESS);
    }
    let source = match source(audit) {
        Ok(source) => source,
        Err(message) => {
            writeln!(io::stderr(), "{message}").ok();
            return Ok(ExitCode::from(EXIT_USAGE));
        }
    };
    let outputs = [&audit.json, &audit.junit, &audit.sarif, &audit.html].into_iter().flatten();
    if outputs.filter(|file| file.as_os_str() == STDOUT).count() > 1 {
        return usage("only one report fits on standard output: give all but one a file");
    }
    if audit.print {
        write!(io::stdout(), "{}", source.text).ok();
        return Ok(ExitCode::SUCCESS);
    }
    let folder = tempfile::Builder::new().prefix("unstick-audit-").tempdir().context("no folder for the replicas")?;
    let replicas = match replicas(audit, folder.path()).await? {
        Ok(replicas) => replicas,
        Err(message) => return usage(&message),
    };
    let (seed, progress) = (audit.seed.unwrap_or_else(|| u64::from(fastrand::u32(..))), Progress::new());
    let host = audit.host.clone().or_else(|| source.host.clone());
    let order = Order { host: host.clone(), ..order(audit, replicas.clone(), seed) };
    let mut audited = run(order, &source.journey, &progress).await;
    progress.end();
    audited.report.again = (!audited.replays.is_empty()).then(|| Witness::again(&audit.witness));
    let code = conclude(audit, &source, &audited)?;
    match Witness::new(&source.text, &replicas, (host, audit.insecure_skip_verify), &audited) {
        Some(witness) => {
            witness.write(&audit.witness).with_context(|| format!("cannot write {}", audit.witness.display()))?;
        }
        // One of an earlier audit is not this one's.
        None => _ = fs::remove_file(&audit.witness),
    }
    Ok(code)
}

async fn play_again(audit: &Audit, file: &Path) -> anyhow::Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("unstick-audit-").tempdir().context("no folder for the replicas")?;
    let witness = match Witness::read(file) {
        Ok(witness) => witness,
        Err(message) => return usage(&message),
    };
    let journey = match read("witness.json", &witness.journey) {
        Ok(written) => written,
        Err(problems) => return usage(&format!("{}: {}", file.display(), problems.one_line())),
    };
    let is_given = audit.spawn.is_some() || !audit.backends.is_empty();
    // What is given now may be the mended application.
    let replicas = if is_given { replicas(audit, folder.path()).await? } else { witness.replicas(folder.path()) };
    let replicas = match replicas {
        Ok(replicas) => replicas,
        Err(message) => return usage(&message),
    };
    let source = Source {
        journey: journey.journey,
        file: file.display().to_string(),
        lines: journey.lines,
        text: witness.journey.clone(),
        host: None,
    };
    let (seed, progress) = (audit.seed.unwrap_or(witness.seed), Progress::new());
    let order = Order { host: witness.host.clone(), trust: witness.trust(), ..order(audit, replicas, seed) };
    let mut report = replay(order, &source.journey, &witness.first, &progress).await;
    progress.end();
    report.again = Some(Witness::again(file));
    conclude(audit, &source, &Audited { report, replays: Vec::new() })
}

async fn selftest(audit: &Audit) -> anyhow::Result<ExitCode> {
    let folder = tempfile::Builder::new().prefix("unstick-audit-").tempdir().context("no folder for the replicas")?;
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let program = format!("'{}' audit-replica", program.display().to_string().replace('\'', "'\\''"));
    let progress = Rc::new(Progress::new());
    let matrix = selftest::matrix(&program, folder.path(), audit.seed.unwrap_or(1), progress.clone()).await;
    progress.end();
    match &audit.json {
        Some(file) => output(file, &serde_json::to_string_pretty(&matrix)?)?,
        None => println(&matrix.text()),
    }
    Ok(if matrix.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// An application of the selftest, until it is ended.
pub(crate) fn replica(replica: AuditReplica) -> anyhow::Result<ExitCode> {
    let AuditReplica { fault, form, port, dir, shared, key } = replica;
    let fault = selftest::Fault::named(&fault).context("no such fault")?;
    let planted = selftest::Planted::named(&form).context("no such form")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(selftest::serve(selftest::Replica { fault, planted, dir, shared, key }, port))?;
    Ok(ExitCode::SUCCESS)
}

/// Reads the journey, whatever it is written in.
fn source(audit: &Audit) -> Result<Source, String> {
    if let Some(name) = &audit.pack {
        let pack = find_pack(name).map_err(|error| format!("error: {error}"))?;
        return toml(&format!("{name}.toml"), pack.text.to_owned());
    }
    let Some(file) = &audit.journey else {
        return Err("error: there is no journey; write one, record one, or take a --pack (see --help)".into());
    };
    let name = file.display().to_string();
    if file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("har")) {
        let archive = fs::File::open(file).map_err(|error| format!("error: {name}: {error}"))?;
        let imported = read_har(&name, &mut io::BufReader::new(archive)).map_err(|error| format!("error: {error}"))?;
        imported.notes.iter().for_each(|note| _ = writeln!(io::stderr(), "note: {note}"));
        let text = write(&imported.journey, &imported.remarks);
        let lines = vec![1; imported.journey.steps.len()];
        return Ok(Source { journey: imported.journey, file: name, lines, text, host: Some(imported.host) });
    }
    let text = fs::read_to_string(file).map_err(|error| format!("error: {name}: {error}"))?;
    toml(&name, text)
}

fn toml(name: &str, text: String) -> Result<Source, String> {
    match read(name, &text) {
        Ok(written) => {
            Ok(Source { journey: written.journey, file: name.to_owned(), lines: written.lines, text, host: None })
        }
        Err(problems) => Err(problems.render(super::colour_of(&io::stderr()))),
    }
}

/// What the flags say of the replicas, or what is wrong with them.
async fn replicas(audit: &Audit, root: &Path) -> anyhow::Result<Result<Replicas, String>> {
    if let Some(command) = &audit.spawn {
        return Ok(Ok(Replicas::Spawn(Spawn {
            command: command.clone(),
            replicas: audit.replicas,
            folder: std::env::current_dir().context("cannot tell the current folder")?,
            disk: if audit.disk == DiskFlag::Own { Disk::Own } else { Disk::Shared },
            ready: audit.ready.clone(),
            env_per_replica: audit.env_per_replica.clone(),
            keys: Keys::PerReplica,
            root: root.to_owned(),
            start_deadline: audit.start_deadline.min(audit.budget),
        })));
    }
    if audit.backends.len() < 2 {
        let help = "say where the replicas are: --spawn 'COMMAND {port}', or --backends with two addresses or more";
        return Ok(Err(help.into()));
    }
    let mut origins = Vec::new();
    for text in &audit.backends {
        match text.parse::<Origin>() {
            Ok(origin) => origins.push(origin),
            Err(trouble) => return Ok(Err(trouble.to_string())),
        }
    }
    for origin in &origins {
        if !audit.yes && is_public(origin).await.unwrap_or(true) {
            let why = format!("{origin} is a public address, and an audit sends many requests; repeat it with --yes");
            return Ok(Err(why));
        }
    }
    Ok(Ok(Replicas::Running { origins, restart: audit.restart_cmd.clone(), ready: audit.ready.clone() }))
}

fn order(audit: &Audit, replicas: Replicas, seed: u64) -> Order {
    let trust = if audit.insecure_skip_verify { Trust::Anything } else { Trust::System };
    Order { replicas, host: audit.host.clone(), trust, seed, budget: audit.budget }
}

/// Writes the report in all forms that were asked for, and says how it ended.
fn conclude(audit: &Audit, source: &Source, audited: &Audited) -> anyhow::Result<ExitCode> {
    let report = if audit.show_secrets {
        audited.report.clone()
    } else {
        secrets::redact(&audited.report, &sent(&source.journey))
    };
    let places = || sarif_places(source, &report);
    let forms: [(&Option<std::path::PathBuf>, &dyn Fn() -> String); 4] = [
        (&audit.json, &|| json::render(&report)),
        (&audit.junit, &|| junit::render(&report)),
        (&audit.sarif, &|| sarif::render(&report, &places())),
        (&audit.html, &|| html::render(&report)),
    ];
    // First what was found: a file that cannot be written must not take it away.
    let is_taken = forms.iter().any(|(file, _)| file.as_ref().is_some_and(|file| file.as_os_str() == STDOUT));
    if !is_taken {
        let is_colourful = super::colour_of(&io::stdout());
        let colours = if is_colourful { text::Colours::Ansi } else { text::Colours::Plain };
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let width = size.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0).unwrap_or(WIDTH);
        write!(io::stdout(), "{}", text::render(&report, width, colours)).ok();
    }
    for (file, render) in forms {
        if let Some(file) = file {
            output(file, &render())?;
        }
    }
    Ok(match report.verdict {
        Verdict::NoneFound => ExitCode::SUCCESS,
        Verdict::Dependent { .. } => ExitCode::from(EXIT_DEPENDENT),
        Verdict::Inconclusive { .. } => ExitCode::from(EXIT_INCONCLUSIVE),
    })
}

/// Where each step of the report stands in the file.
fn sarif_places(source: &Source, report: &Report) -> Vec<sarif::Place> {
    let lines = source.journey.steps.iter().zip(&source.lines);
    let place = |line: usize| (source.file.clone(), u32::try_from(line).unwrap_or(1));
    let repeated = lines.flat_map(|(step, line)| std::iter::repeat_n(*line, step.repeat.max(1) as usize));
    repeated.take(report.steps.len()).map(place).collect()
}

fn output(file: &Path, text: &str) -> anyhow::Result<()> {
    if file.as_os_str() == STDOUT {
        // If nobody reads it, that is no reason to fail.
        writeln!(io::stdout(), "{}", text.trim_end()).ok();
        return Ok(());
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

fn println(text: &str) {
    writeln!(io::stdout(), "{text}").ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_wrong_in_an_audit_is_inconclusive() {
        for (work, expected) in [
            ((|| Ok(ExitCode::from(EXIT_DEPENDENT))) as fn() -> anyhow::Result<ExitCode>, EXIT_DEPENDENT),
            (|| anyhow::bail!("no disk"), EXIT_INCONCLUSIVE),
            (|| panic!("on purpose, for a test"), EXIT_INCONCLUSIVE),
        ] {
            assert_eq!(concluded(work).unwrap(), ExitCode::from(expected));
        }
    }
}
