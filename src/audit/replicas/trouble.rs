//! What can go wrong with replicas, in words for a person.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// What went wrong, where, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A folder cannot be made or copied.
    #[error(
        "cannot use the folder {}: {source}\n  Set TMPDIR to a folder that can be written to and has room.",
        path.display()
    )]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The private folder of the audit has a name that a shell would take apart.
    #[error(
        "the folder {} cannot be put into a command: it has characters that a shell understands in its own way\n  \
         Set TMPDIR to a folder whose name has only letters, digits and ./_-",
        path.display()
    )]
    FolderName {
        /// The folder.
        path: PathBuf,
    },
    /// No process can be started at all.
    #[error("replica {replica} cannot be started: sh cannot be run: {source}")]
    NoShell {
        /// The name of the replica.
        replica: String,
        /// Why.
        source: io::Error,
    },
    /// No port is free.
    #[error("no port on 127.0.0.1 is free for replica {replica}")]
    NoPort {
        /// The name of the replica.
        replica: String,
    },
    /// A replica ended before it was ready.
    #[error(
        "replica {replica} did not start: its command ended ({status}){said}\n  command: {command}\n  \
         Run it by hand to see why. It must stay in the foreground and listen on 127.0.0.1, at the port {{port}}."
    )]
    Ended {
        /// The name of the replica.
        replica: String,
        /// What was run.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        said: Said,
    },
    /// A replica was not ready in time.
    #[error(
        "replica {replica} was not ready within {}: {tried}{said}\n  command: {command}\n  \
         Does the command use {{port}} (or the variable PORT)? --ready names another path, --start-deadline waits \
         longer.",
        seconds(*within)
    )]
    Unready {
        /// The name of the replica.
        replica: String,
        /// What was run.
        command: String,
        /// How long was waited.
        within: Duration,
        /// What was tried last, and what came of it.
        tried: String,
        /// Its last lines.
        said: Said,
    },
    /// A replica that runs already cannot be reached.
    #[error("replica {replica} is not ready at {origin}: {tried}\n  Start it, or correct its address.")]
    Unreachable {
        /// The name of the replica.
        replica: String,
        /// Its address.
        origin: String,
        /// What was tried last, and what came of it.
        tried: String,
    },
    /// The port of a replica was taken by somebody else while it was down.
    #[error("replica {replica} cannot be started again: another process has taken its port {port}\n  Try again.")]
    PortTaken {
        /// The name of the replica.
        replica: String,
        /// The port.
        port: u16,
    },
    /// A replica was killed, and its port still accepts connections, or its processes do not end.
    #[error(
        "replica {replica} cannot be killed: {what}\n  Does its command start it elsewhere, as `docker run` does? Then \
         start the replicas yourself, and use --backends with --restart-cmd."
    )]
    Unkillable {
        /// The name of the replica.
        replica: String,
        /// What shows it.
        what: String,
    },
    /// A replica is known by its address alone.
    #[error("replica {replica} at {origin} cannot be killed: nothing says how\n  --restart-cmd does.")]
    Untouchable {
        /// The name of the replica.
        replica: String,
        /// Its address.
        origin: String,
    },
    /// A replica takes no key from the audit.
    #[error(
        "replica {replica} takes no key that could be changed\n  Use {{key}} in the command, or --env-per-replica."
    )]
    NoKey {
        /// The name of the replica.
        replica: String,
    },
    /// The command that restarts a replica failed.
    #[error("replica {replica} was not restarted: the command {how}{said}\n  command: {command}")]
    NotRestarted {
        /// The name of the replica.
        replica: String,
        /// What was run.
        command: String,
        /// How it failed.
        how: String,
        /// Its last lines.
        said: Said,
    },
    /// A host has no address.
    #[error("the host of {origin} has no address: {source}")]
    Unresolved {
        /// What was to be resolved.
        origin: String,
        /// Why.
        source: io::Error,
    },
}

/// The last lines that a replica wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said(pub Vec<String>);

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("\n  It wrote nothing.");
        }
        f.write_str("\n  Its last lines:")?;
        self.0.iter().try_for_each(|line| write!(f, "\n    | {line}"))
    }
}

/// A time in words: `30 s`, `0.5 s`.
pub(super) fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_says_what_where_and_what_to_do() {
        let said = Said(vec!["Error: no database".into()]);
        let unready = Trouble::Unready {
            replica: "B".into(),
            command: "node app.js".into(),
            within: Duration::from_millis(1500),
            tried: "nothing accepts connections on 127.0.0.1:20001".into(),
            said,
        };
        let expected = [
            "replica B was not ready within 1.5 s: nothing accepts connections on 127.0.0.1:20001",
            "  Its last lines:",
            "    | Error: no database",
            "  command: node app.js",
            "  Does the command use {port} (or the variable PORT)? --ready names another path, --start-deadline waits \
             longer.",
        ];
        assert_eq!(unready.to_string().lines().collect::<Vec<_>>(), expected);
        assert_eq!(Said::default().to_string(), "\n  It wrote nothing.");
    }
}
