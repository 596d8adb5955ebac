//! What the user typed. `prove.rs` and `audit.rs` have the flags of these commands, `proving.rs` and `auditing.rs` run
//! them.

#[cfg(feature = "audit")]
pub(crate) mod audit;
#[cfg(feature = "audit")]
pub(crate) mod auditing;
#[cfg(feature = "audit")]
mod auditing_progress;
#[cfg(feature = "import")]
pub(crate) mod import;
#[cfg(feature = "prove")]
pub(crate) mod prove;
#[cfg(feature = "prove")]
pub(crate) mod proving;
#[cfg(feature = "audit")]
mod recording;

pub(crate) mod ctl;
pub(crate) mod healthcheck;
#[cfg(any(feature = "manual", test))]
pub(crate) mod manual;
pub(crate) mod route;
pub(crate) mod upgrade;

use std::ffi::OsStr;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Args, Parser, Subcommand};

use unstick::config::Algorithm;

const AFTER_HELP: &str = "\
Examples:
  unstick demo                                            see it work, nothing to set up
  unstick run -c unstick.toml                             run the proxy; edit the file meanwhile
  unstick run --listen :8080 --backend 127.0.0.1:3001 --backend 127.0.0.1:3002
  unstick run -c unstick.toml --balance least-connections
  unstick check unstick.toml                              say what is wrong with a file
  unstick route -c unstick.toml GET https://a.test/       say which route a request takes, and what goes out
  unstick ctl status                                      say what a running proxy does: what is up, what is not, why
  unstick ctl drain app/10.0.0.11:3000                    take a replica out of it, without an edit
  unstick import nginx.conf -o unstick.toml               write a file from the configuration of another proxy
  unstick prove                                           measure that no sticky sessions are needed, in a minute
  unstick audit journey.toml --spawn 'node app.js --port {port}'
                                                          find out whether your application needs them

Signals: SIGHUP reloads the file. SIGTERM, SIGINT and SIGQUIT drain and stop; a second one stops at once. SIGUSR1 opens
the access log again. SIGUSR2 starts the binary anew, which takes over (`unstick upgrade` sends it, and waits).
Exit codes: 0 success, 1 failure or a finding, 2 wrong usage or configuration, 3 inconclusive (prove,
audit), or the proxy cannot be reached (ctl).";

const CHECK_AFTER_HELP: &str = "\
Strings in the file may refer to the environment, ${NAME} or ${NAME:-default}, and to secrets, ${file:/run/secrets/name}
or ${credential:name} of systemd; $${ is a literal ${. What --print writes is a config that means the same wherever it
is. It refers to secrets as the files do, and has what is written in them: the default of every other key is in
config/reference.toml.";

/// What `--version` says. A package sets the variable when it is built, so that it says the commit too.
const VERSION: &str = match option_env!("UNSTICK_VERSION") {
    Some(version) => version,
    None => env!("CARGO_PKG_VERSION"),
};

/// A reverse proxy and load balancer for stateless replicas, with proof that they need no sticky sessions.
#[derive(Debug, Parser)]
#[command(version = VERSION, about, after_help = AFTER_HELP)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the proxy until it is told to stop
    Run(Run),
    /// Check a config file: print one line if it is valid, every problem if it is not
    #[command(after_help = CHECK_AFTER_HELP)]
    Check(Check),
    /// Say what becomes of a request: which route it takes, to which pool, with which header fields
    #[command(after_help = route::AFTER_HELP)]
    Route(route::Route),
    /// Write a config from that of another proxy, and say what has no translation
    #[cfg(feature = "import")]
    #[command(after_help = import::AFTER_HELP)]
    Import(import::Import),
    /// Ask a running proxy whether it takes requests, as the health check of a container
    #[command(after_help = healthcheck::AFTER_HELP)]
    Healthcheck(healthcheck::Healthcheck),
    /// Look at a running proxy and steer it: status, top, drain, ready, down, weight, reload, explain, route
    #[command(after_help = ctl::AFTER_HELP)]
    Ctl(ctl::Ctl),
    /// Let the binary that is in place now take over from the running process, without a request lost
    #[command(after_help = upgrade::AFTER_HELP)]
    Upgrade(upgrade::Upgrade),
    /// Start three replicas of a small shop and the proxy in front of them, and say what to try
    Demo(Demo),
    #[command(hide = true)]
    DemoReplica(DemoReplica),
    /// Measure that stateless replicas need no sticky sessions, and that stickiness does not save stateful ones
    #[cfg(feature = "prove")]
    #[command(after_help = prove::after_help())]
    Prove(prove::Prove),
    #[cfg(feature = "prove")]
    #[command(hide = true)]
    ProveReplica(prove::ProveReplica),
    #[cfg(feature = "prove")]
    #[command(hide = true)]
    ProvePart(prove::ProvePart),
    /// Find out whether your application needs sticky sessions, where, and why
    #[cfg(feature = "audit")]
    #[command(after_help = audit::AFTER_HELP)]
    Audit(Box<audit::Audit>),
    #[cfg(feature = "audit")]
    #[command(hide = true)]
    AuditReplica(audit::AuditReplica),
    /// Write the man pages and the completions of shells into a folder
    #[cfg(feature = "manual")]
    #[command(hide = true)]
    Manual { folder: PathBuf },
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Config file (TOML); it is watched, and every change is checked and applied while requests run
    #[arg(short, long, value_name = "FILE", required_unless_present = "backend")]
    #[arg(conflicts_with_all = ["backend", "listen", "admin"])]
    pub(crate) config: Option<PathBuf>,
    /// Without a file: address to listen on, such as :8080; may be repeated
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: Vec<String>,
    /// Without a file: address of a replica, such as 127.0.0.1:3001 or app.internal:3000; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) backend: Vec<String>,
    /// Without a file: address of the admin port, or off [default: 127.0.0.1:9900]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) admin: Option<String>,
    /// How requests are spread, for every pool, whatever the file says
    #[arg(long, value_name = "ALGORITHM", value_parser = AlgorithmParser)]
    pub(crate) balance: Option<Algorithm>,
    /// Number of worker threads, whatever the file says; one per CPU by default, fewer with a CPU quota
    #[arg(long, value_name = "N")]
    pub(crate) workers: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Config file (TOML); those that it includes are checked with it
    #[arg(value_name = "FILE", required_unless_present = "config", conflicts_with = "config")]
    file: Option<PathBuf>,
    /// The same, as for `run`
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the config as one file: all files joined, everything filled in but the secrets
    #[arg(long)]
    pub(crate) print: bool,
}

impl Check {
    /// The config file, however it was given.
    pub(crate) fn config(&self) -> &Path {
        self.config.as_deref().or(self.file.as_deref()).unwrap_or(Path::new(""))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Address of the proxy
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// Speak TLS, with a certificate made on the spot
    #[arg(long)]
    pub(crate) tls: bool,
    /// Replicas to start
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = demo_replicas)]
    pub(crate) replicas: usize,
}

#[derive(Debug, Args)]
pub(crate) struct DemoReplica {
    #[arg(long)]
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) port: u16,
}

/// Reads an algorithm by any of its spellings; the help lists the proper ones.
#[derive(Debug, Clone)]
struct AlgorithmParser;

impl TypedValueParser for AlgorithmParser {
    type Value = Algorithm;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Algorithm, clap::Error> {
        TypedValueParser::parse_ref(&str::parse::<Algorithm>, command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(Algorithm::ALL.iter().map(|algorithm| PossibleValue::new(algorithm.name()))))
    }
}

fn demo_replicas(text: &str) -> Result<usize, String> {
    let most = unstick::demo::REPLICAS_MAX;
    text.parse().ok().filter(|replicas| (1..=most).contains(replicas)).ok_or(format!("1 to {most}"))
}

/// Whether colours are wanted there: on a terminal, unless `NO_COLOR` says otherwise.
fn colour_of(stream: &impl std::io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
