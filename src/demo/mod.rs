//! `unstick demo`: replicas, the proxy, and a page that shows what the proxy does to them.
//!
//! The replicas are child processes of this binary ([`replica`]) that share a key and no memory (`shop`, `cookie`).
//! The proxy is the one that ships, in this process, started from a real file in a directory of its own.
//!
//! No child is left behind, whatever happens (see [`unstick_proof::replica`]); replicas are ended when the proxy is
//! done.

mod address;
mod certificate;
mod config;
mod cookie;
mod directory;
mod fill;
mod introduction;
pub mod replica;
mod replicas;
mod shop;
mod stop;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::time::sleep;

use crate::app::Source;
use crate::config::Loaded;
use crate::{app, telemetry};
use address::Reserved;
pub use certificate::{HAS_TLS, HOW_TO_GET_TLS};
use config::{Config, DRAIN_SECONDS};
use directory::PrivateDirectory;
use introduction::{introduction, say};
use replicas::Replicas;
use stop::{Stop, StopSignals};
use unstick_proof::replica::runtime;

/// Replicas are named by one letter each.
pub const REPLICAS_MAX: usize = 26;

/// How long after a signal the proxy may take to end: its time to drain, and a margin.
const STOP_DEADLINE: Duration = Duration::from_secs(DRAIN_SECONDS + 2);

/// What `unstick demo` takes from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the proxy listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many replicas to start, 1-26.
    pub replicas: usize,
    /// Whether the proxy speaks TLS, with a certificate made on the spot. Only where [`HAS_TLS`] is true.
    pub tls: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), replicas: 3, tls: false }
    }
}

/// Runs the demo until Ctrl-C, SIGTERM or SIGQUIT; then nothing of it is left, neither processes nor files.
///
/// # Errors
/// A process or the proxy could not be started, or the proxy ended by itself.
pub fn run(options: Options) -> anyhow::Result<()> {
    runtime::run(run_until_signal(options))
}

async fn run_until_signal(options: Options) -> anyhow::Result<()> {
    let Options { listen, replicas, tls } = options;
    let mut stop = StopSignals::listen()?;
    let (listen, admin) = (Reserved::listen(listen)?, Reserved::admin()?);
    let directory = PrivateDirectory::create()?;
    let replicas = tokio::select! {
        started = Replicas::start(replicas) => started?,
        _ = stop.recv() => return Ok(()),
    };
    let certificate = if tls { Some(certificate::make(&directory, listen.address.ip())?) } else { None };
    let config = Config { listen: listen.address, admin: admin.address, backends: replicas.backends(), certificate };
    let file = directory.write("unstick.toml", &config.to_toml())?;
    say(&introduction(&config, &replicas.first, &file));

    let replicas = replicas.keep();
    drop((listen, admin));
    let served = serve_until(&file, &mut stop).await;
    replicas.end().await;
    served
}

/// Runs the proxy; it sees the signals itself, drains and returns.
///
/// A signal that comes before the proxy listens for signals would be lost on it, and a second one asks for haste: so
/// this waits for signals too, and gives up on the proxy after the second one or when its drain is overdue.
async fn serve_until(file: &Path, stop: &mut StopSignals) -> anyhow::Result<()> {
    let mut serving = std::pin::pin!(serve(file));
    tokio::select! {
        served = &mut serving => return served,
        reason = stop.recv() => if reason == Stop::TerminalLost { return Ok(()) },
    }
    tokio::select! {
        served = &mut serving => served,
        _ = stop.recv() => Ok(()),
        () = sleep(STOP_DEADLINE) => Ok(()),
    }
}

/// The shipped proxy, as `unstick run -c FILE` would run it; returns when it has drained after a signal.
async fn serve(config_file: &Path) -> anyhow::Result<()> {
    let source = Source { file: Some(config_file.to_owned()), balance: None };
    let Loaded { config, origin } = crate::config::load(config_file)?;
    let telemetry = telemetry::init(&config.log)?;
    let options = app::Options {
        source,
        origin,
        signals: Some(app::Signals::hear()?),
        telemetry: Some(telemetry),
        ..app::Options::default()
    };
    // Starting and waiting block their thread; this one looks after signals and replicas.
    tokio::task::spawn_blocking(|| app::start(config, options).map(app::Running::wait)).await??;
    Ok(())
}
