//! Runs `unstick audit record`. Ctrl-C is its end: what was recorded until then is written.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use unstick_audit::journey::write;
use unstick_audit::play::Trust;
use unstick_audit::record::{Options, RecordError, Recorder};
use unstick_audit::replicas::Origin;

use super::audit::Record;
use super::auditing::{EXIT_INCONCLUSIVE, usage};

pub(super) async fn record(record: &Record) -> anyhow::Result<ExitCode> {
    // These come first: a signal from now on ends the recording, not the process.
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let output = record.output.display();
    if record.output.exists() {
        return usage(&format!("{output} is there already, perhaps with changes of yours; choose another file"));
    }
    let backend: Origin = match record.backend.parse() {
        Ok(backend) => backend,
        Err(trouble) => return usage(&format!("{trouble}")),
    };
    let trust = if record.insecure_skip_verify { Trust::Anything } else { Trust::System };
    let recorder = match Recorder::bind(Options { backend, listen: record.listen, trust }).await {
        Ok(recorder) => recorder,
        Err(error) => return usage(&error.to_string()),
    };
    say(&format!("open {} in a private window and click through the application", recorder.url()));
    say("then press Ctrl-C here");
    let host = recorder.host();
    let stop = Box::pin(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    });
    let (journey, remarks) = match recorder.record(stop, &|line| say(&format!("  {line}"))).await {
        Ok(recorded) => recorded,
        Err(error @ (RecordError::Nothing(_) | RecordError::NoStep)) => {
            say(&format!("inconclusive: {error}"));
            return Ok(ExitCode::from(EXIT_INCONCLUSIVE));
        }
        Err(error) => return Err(error.into()),
    };
    let text = write(&journey, &remarks);
    keep(&record.output, &text)?;
    let reviews = text.matches("# review: ").count();
    say(&format!("{output} has {} steps, and {reviews} places to review", journey.steps.len()));
    say(&format!("next: unstick audit {output} --host {host} --spawn 'COMMAND {{port}}'"));
    Ok(ExitCode::SUCCESS)
}

/// Nobody clicks twice gladly: what cannot be written is printed.
fn keep(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).or_else(|error| {
        write!(io::stdout(), "{text}").ok();
        anyhow::bail!("cannot write {}: {error}; it is printed instead", file.display())
    })
}

fn say(line: &str) {
    writeln!(io::stderr(), "{line}").ok();
}
