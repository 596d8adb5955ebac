//! `unstick ctl`: looks at a running proxy, and steers it.

mod door;
mod explain;
mod http;
mod route;
mod screen;
mod status;
mod steer;
mod table;
mod top;
mod words;

use std::io::{self, IsTerminal as _, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::Value;

use self::door::Door;
use self::words::Paint;

pub(crate) const AFTER_HELP: &str = "\
Examples:
  unstick ctl status                                      what is up, what is not, since when and why
  unstick ctl top                                         the same, live, with requests and failures per second
  unstick ctl drain app/10.0.0.11:3000                    no new requests; those that run are finished
  unstick ctl ready 10.0.0.11:3000                        put it back; the pool may be left out if only one has it
  unstick ctl weight app/10.0.0.11:3000 3
  unstick ctl explain --last failed                       why the last failed request failed
  unstick ctl reload                                      read the config file again, and say what has changed
  unstick ctl route GET https://shop.example.com/api      what would become of this request now

What is set by drain, ready, down and weight lasts until that entry of the file changes, and is shown by status.
Without --socket and --admin it asks /run/unstick/ctl.sock, and 127.0.0.1:9900 if that cannot be reached.
Exit codes: 0 done, 1 refused by the proxy, 2 wrong usage, 3 the proxy cannot be reached.";

/// The exit code if the proxy cannot be reached.
const EXIT_UNREACHABLE: u8 = 3;

#[derive(Debug, Args)]
pub(crate) struct Ctl {
    #[command(flatten)]
    door: door::Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Show pools and endpoints: which are up, since when, why not, and what they have done
    Status {
        /// Print the JSON of the admin port
        #[arg(long)]
        json: bool,
    },
    /// Show pools and endpoints live; q ends it
    Top,
    /// Give an endpoint no new requests; those that run are finished
    Drain(Endpoint),
    /// Give an endpoint requests again, also if the file says something else
    Ready(Endpoint),
    /// The same, and it is not probed either
    Down(Endpoint),
    /// Give an endpoint another weight
    Weight {
        #[command(flatten)]
        endpoint: Endpoint,
        /// The weight; an endpoint of weight 3 gets three times as much as one of weight 1
        #[arg(value_name = "N")]
        weight: u32,
    },
    /// Read the config file again, and say what has changed or why it is refused
    Reload,
    /// Tell what became of a request: its route, why that endpoint, each attempt, and where the time went
    Explain(explain::Explain),
    /// Say what would become of a request now: its route, its pool, with which header fields
    Route(route::Route),
}

#[derive(Debug, Args)]
struct Endpoint {
    /// POOL/ENDPOINT as status shows them, or ENDPOINT alone if one pool has it
    #[arg(value_name = "POOL/ENDPOINT")]
    endpoint: String,
}

/// Why a command has not done what was asked.
#[derive(Debug)]
enum Trouble {
    /// The proxy was reached, and says no.
    Refused(String),
    /// The same, and it was printed.
    Told,
    Usage(String),
    Unreachable(String),
    /// Nothing can be written where the output goes.
    Output(io::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl Trouble {
    fn code(&self) -> ExitCode {
        match self {
            Self::Refused(_) | Self::Told => ExitCode::FAILURE,
            Self::Usage(_) => crate::EXIT_USAGE.into(),
            Self::Unreachable(_) => EXIT_UNREACHABLE.into(),
            // Nobody reads on, as with `| head`.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Self::Output(_) => ExitCode::FAILURE,
        }
    }
}

/// Does what was asked.
pub(crate) fn run(ctl: Ctl) -> ExitCode {
    let Err(trouble) = obey(ctl) else { return ExitCode::SUCCESS };
    match &trouble {
        Trouble::Told => {}
        Trouble::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        Trouble::Output(error) => _ = writeln!(io::stderr(), "error: cannot write: {error}"),
        Trouble::Refused(why) | Trouble::Usage(why) | Trouble::Unreachable(why) => {
            _ = writeln!(io::stderr(), "error: {why}");
        }
    }
    trouble.code()
}

fn obey(ctl: Ctl) -> Result<(), Trouble> {
    let door = Door::open(&ctl.door)?;
    match ctl.verb {
        Verb::Status { json } => status::run(&door, json),
        Verb::Top => top::run(&door),
        Verb::Drain(endpoint) => steer::set_state(&door, &endpoint.endpoint, "drain"),
        Verb::Ready(endpoint) => steer::set_state(&door, &endpoint.endpoint, "ready"),
        Verb::Down(endpoint) => steer::set_state(&door, &endpoint.endpoint, "down"),
        Verb::Weight { endpoint, weight } => steer::set_weight(&door, &endpoint.endpoint, weight),
        Verb::Reload => steer::reload(&door),
        Verb::Explain(explain) => explain::run(&door, &explain),
        Verb::Route(route) => route::run(&door, &route),
    }
}

/// How to paint what goes to standard output.
fn paint() -> Paint {
    if super::colour_of(&io::stdout()) { Paint::Colours } else { Paint::Plain }
}

/// Writes a text to standard output.
fn print(text: &str) -> Result<(), Trouble> {
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

/// Writes JSON to standard output.
fn print_json(value: &Value) -> Result<(), Trouble> {
    print(&format!("{value:#}\n"))
}

/// Whether somebody sits in front of it.
fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// The file of a token.
type TokenFile = PathBuf;
