//! The `unstick` command: reads the command line, runs one command and maps its result to an exit code.

mod cli;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser as _;
use unstick::app;
use unstick::app::Source;
use unstick::app::{Activation, Ended, Launch, Options, Predecessor, Refusal, Signals, Supervisor};
use unstick::config::{self, Config, Problems};
use unstick::{demo, telemetry};

#[cfg(feature = "audit")]
use cli::auditing;
#[cfg(feature = "prove")]
use cli::proving;
use cli::{Check, Cli, Command, Demo, DemoReplica, Run};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The exit code for wrong usage or a wrong config. clap uses the same.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(run) => serve(run),
        Command::Check(check) => self::check(&check),
        Command::Route(route) => cli::route::run(route),
        #[cfg(feature = "import")]
        Command::Import(import) => cli::import::run(&import),
        Command::Healthcheck(asked) => cli::healthcheck::run(&asked),
        Command::Ctl(ctl) => Ok(cli::ctl::run(ctl)),
        Command::Upgrade(asked) => cli::upgrade::run(&asked),
        Command::Demo(demo) => self::demo(demo),
        Command::DemoReplica(replica) => demo_replica(replica),
        #[cfg(feature = "prove")]
        Command::Prove(prove) => proving::prove(prove),
        #[cfg(feature = "prove")]
        Command::ProveReplica(replica) => proving::replica(replica),
        #[cfg(feature = "prove")]
        Command::ProvePart(part) => proving::part(part),
        #[cfg(feature = "audit")]
        Command::Audit(audit) => auditing::audit(*audit),
        #[cfg(feature = "audit")]
        Command::AuditReplica(replica) => auditing::replica(replica),
        #[cfg(feature = "manual")]
        Command::Manual { folder } => cli::manual::write(&folder).map(|()| ExitCode::SUCCESS).map_err(Into::into),
    };
    result.unwrap_or_else(|error| {
        writeln!(io::stderr(), "error: {error:#}").ok();
        ExitCode::FAILURE
    })
}

/// Has the kernel give this process pages of the usual size only. The allocator asks for huge ones, and the kernel
/// fills the holes that freed memory has left: an idle process grew by megabytes within seconds. Requests take as much
/// CPU without (docs/performance.md). A kernel without huge pages refuses, which does no harm.
fn use_small_pages() {
    rustix::thread::disable_transparent_huge_pages(true).ok();
}

fn serve(run: Run) -> anyhow::Result<ExitCode> {
    use_small_pages();
    // This comes first, see there.
    let activation = Activation::take().map_err(anyhow::Error::msg).context("cannot take the service's sockets")?;
    // A signal during the start must not end the process by itself.
    let signals = Signals::hear().context("cannot handle signals")?;
    let launch = Launch::look();
    let (predecessor, inherited) = Predecessor::meet().map_err(anyhow::Error::msg)?.unzip();
    let mut refusal = predecessor.as_ref().map_or_else(Refusal::to_nobody, Predecessor::refusal);
    let source = Source { file: run.config, balance: run.balance };
    let loaded = source.load().unwrap_or_else(|| {
        config::from_flags(&run.listen, &run.backend, run.admin.as_deref()).map(|mut config| {
            source.apply_flags(&mut config);
            config::Loaded { config, origin: config::Origin::default() }
        })
    });
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => {
            refusal.say(&problems.one_line());
            return Ok(report(&problems));
        }
    };
    let telemetry = telemetry::init(&loaded.config.log).context("cannot set up the log")?;
    std::panic::set_hook(Box::new(|panic| tracing::error!("a bug in unstick, please report it: {panic}")));
    let inherited = inherited.unwrap_or_else(|| activation.inherited(&loaded.config));
    let options = Options {
        source,
        origin: loaded.origin,
        workers: run.workers,
        signals: Some(signals),
        launch,
        predecessor,
        inherited,
        supervisor: Supervisor::of_environment(),
        telemetry: Some(telemetry),
    };
    let running = app::start(loaded.config, options).inspect_err(|error| refusal.say(&error.to_string()))?;
    drop(refusal);
    Ok(exit_code(running.wait()))
}

fn exit_code(ended: Ended) -> ExitCode {
    match ended {
        Ended::Drained => ExitCode::SUCCESS,
        Ended::Cut => ExitCode::FAILURE,
    }
}

fn check(check: &Check) -> anyhow::Result<ExitCode> {
    let (printed, loaded) = match config::print(check.config()) {
        Ok(read) => read,
        Err(problems) => return Ok(report(&problems)),
    };
    if let Err(problems) = app::check_files(&loaded.config) {
        for problem in problems {
            writeln!(io::stderr(), "error: {problem}")?;
        }
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    let ok = format!("{}: ok: {}", check.config().display(), summary(&loaded.config));
    if check.print {
        writeln!(io::stdout(), "# {}\n{printed}", ok.replace(char::is_control, "?"))?;
        return Ok(ExitCode::SUCCESS);
    }
    writeln!(io::stdout(), "{ok}")?;
    // Not to stdout: what is said there of a file is the same on every machine.
    let (line, warnings) = app::capacity(&loaded.config);
    writeln!(io::stderr(), "on this machine: {line}")?;
    for warning in warnings {
        writeln!(io::stderr(), "warning: {warning}")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(config: &Config) -> String {
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    let backends = config.pools.values().map(|pool| pool.backends.len()).sum();
    let parts = [
        count(config.listeners.len(), "listener"),
        count(config.routes.len(), "route"),
        count(config.pools.len(), "pool"),
        count(backends, "backend"),
    ];
    parts.join(", ")
}

fn report(problems: &Problems) -> ExitCode {
    let color = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    writeln!(io::stderr(), "{}", problems.render(color)).ok();
    ExitCode::from(EXIT_USAGE)
}

fn demo(demo: Demo) -> anyhow::Result<ExitCode> {
    if demo.tls && !demo::HAS_TLS {
        writeln!(io::stderr(), "error: {}", demo::HOW_TO_GET_TLS)?;
        return Ok(ExitCode::from(EXIT_USAGE));
    }
    use_small_pages();
    let options = demo::Options { listen: demo.listen, replicas: demo.replicas, tls: demo.tls };
    demo::run(options)?;
    Ok(ExitCode::SUCCESS)
}

fn demo_replica(replica: DemoReplica) -> anyhow::Result<ExitCode> {
    let options = demo::replica::Options { name: replica.name, port: replica.port };
    demo::replica::run(options)?;
    Ok(ExitCode::SUCCESS)
}
