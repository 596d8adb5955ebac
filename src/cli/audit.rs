//! What the user typed after `unstick audit`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// Where a report goes if no file is given.
pub(crate) const STDOUT: &str = "-";

pub(crate) const AFTER_HELP: &str = "\
Examples:
  unstick audit journey.toml --spawn 'node app.js --port {port}'
                                     start two replicas, each with its own disk, and play the journey through them
  unstick audit session.har --backends 10.0.0.1:3000,10.0.0.2:3000
                                     a journey recorded in the browser (\"save all as HAR\"), replicas that run already
  unstick audit record --backend 127.0.0.1:3000 --listen :9000 -o journey.toml
                                     click through the application once; writes the journey
  unstick audit --pack login --spawn '...'      a ready-made journey; --pack help lists them, --print shows one
  unstick audit --replay witness.json           the counterexample again, nothing else
  unstick audit --selftest                      planted faults and clean applications of our own

In --spawn: {port}, {dir} (a private folder), {key} (random per replica, kept over its restarts), and n in braces is the
number of the replica: 1, 2, ...

Exit codes: 0 no dependence found, 1 replica-dependent (with a witness), 2 wrong usage or a journey that makes no sense,
3 inconclusive (why, and what to do). docs/audit.md has the journey format and how to read a report.";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct Audit {
    #[command(subcommand)]
    pub(crate) command: Option<AuditCommand>,
    /// The journey: a TOML file, or a HAR file from a browser
    #[arg(value_name = "JOURNEY")]
    pub(crate) journey: Option<PathBuf>,
    /// Take a ready-made journey; `help` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "journey")]
    pub(crate) pack: Option<String>,
    /// Print the journey as TOML and stop
    #[arg(long)]
    pub(crate) print: bool,
    /// Start replicas with this command, run by sh
    #[arg(long, value_name = "COMMAND")]
    pub(crate) spawn: Option<String>,
    /// Addresses of replicas that run already, separated by commas
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', conflicts_with = "spawn")]
    pub(crate) backends: Vec<String>,
    /// How many replicas are started
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = replicas, conflicts_with = "backends")]
    pub(crate) replicas: usize,
    /// Whether each replica has a disk of its own, or all share one
    #[arg(long, value_name = "WHOSE", default_value = "own", conflicts_with = "backends")]
    pub(crate) disk: DiskFlag,
    /// A replica is ready when it responds to this path
    #[arg(long, value_name = "PATH")]
    pub(crate) ready: Option<String>,
    /// Give each replica a random value in this variable, as in SECRET_KEY=random; may be repeated
    #[arg(long, value_name = "KEY=random", value_parser = env_per_replica, conflicts_with = "backends")]
    pub(crate) env_per_replica: Vec<String>,
    /// How long a replica may take to start
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = unstick::config::duration)]
    pub(crate) start_deadline: Duration,
    /// With --backends: start a replica again with this command, in which {address} says which
    #[arg(long, value_name = "COMMAND", conflicts_with = "spawn")]
    pub(crate) restart_cmd: Option<String>,
    /// The host that all replicas are asked for; that of the first by default
    #[arg(long, value_name = "HOST")]
    pub(crate) host: Option<String>,
    /// Believe any certificate of a replica
    #[arg(long)]
    pub(crate) insecure_skip_verify: bool,
    /// Seed of the placements; another one in each audit by default, and printed
    #[arg(long, value_name = "N", value_parser = seed)]
    pub(crate) seed: Option<u64>,
    /// How long the audit may take
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = unstick::config::duration)]
    pub(crate) budget: Duration,
    /// Audit replicas on public addresses without asking
    #[arg(long)]
    pub(crate) yes: bool,
    /// Write the report as JSON to this file, or to standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STDOUT)]
    pub(crate) json: Option<PathBuf>,
    /// Write it as JUnit XML, for CI
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STDOUT)]
    pub(crate) junit: Option<PathBuf>,
    /// Write it as SARIF, for code scanning
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STDOUT)]
    pub(crate) sarif: Option<PathBuf>,
    /// Write it as a page that needs no network
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Where the counterexample is written if there is one
    #[arg(long, value_name = "FILE", default_value = "witness.json")]
    pub(crate) witness: PathBuf,
    /// Play the counterexample of this file again, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with_all = ["journey", "pack", "selftest"])]
    pub(crate) replay: Option<PathBuf>,
    /// Show secrets in reports instead of dots
    #[arg(long)]
    pub(crate) show_secrets: bool,
    /// Audit a dozen applications with planted faults and their clean twins, and print what was found
    #[arg(long, conflicts_with_all = ["journey", "pack"])]
    pub(crate) selftest: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Write a journey while you click through the application in a browser
    Record(Record),
}

#[derive(Debug, Args)]
pub(crate) struct Record {
    /// The replica behind it
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) backend: String,
    /// Where the browser finds it, such as :9000
    #[arg(long, value_name = "ADDRESS", value_parser = listen)]
    pub(crate) listen: SocketAddr,
    /// The file that is written when you press Ctrl-C
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Believe any certificate of the replica
    #[arg(long)]
    pub(crate) insecure_skip_verify: bool,
}

/// An application of the selftest.
#[derive(Debug, Args)]
pub(crate) struct AuditReplica {
    #[arg(long)]
    pub(crate) fault: String,
    #[arg(long)]
    pub(crate) form: String,
    #[arg(long)]
    pub(crate) port: u16,
    #[arg(long)]
    pub(crate) dir: PathBuf,
    #[arg(long)]
    pub(crate) shared: PathBuf,
    #[arg(long)]
    pub(crate) key: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DiskFlag {
    /// Each replica has its own
    Own,
    /// All replicas have the same
    Shared,
}

fn replicas(text: &str) -> Result<usize, String> {
    let most = unstick_audit::replicas::REPLICAS_MAX;
    let replicas = text.parse().ok().filter(|replicas| (2..=most).contains(replicas));
    replicas.ok_or_else(|| format!("2 to {most}: with one replica nothing can be crossed"))
}

fn env_per_replica(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((name, "random")) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err("write NAME=random".into()),
    }
}

/// An address; `:9000` is this machine's, because what is recorded is nobody else's business.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let whole = if text.starts_with(':') { format!("127.0.0.1{text}") } else { text.to_owned() };
    whole.parse().map_err(|_| "write an address with a port, such as :9000 or 192.168.0.7:9000".into())
}

/// A number as reports show it: with `0x` as text, without in JSON.
fn seed(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    number.ok_or_else(|| "write a number, such as 7 or 0x7f3a".into())
}
