//! The file of a counterexample: everything that is needed to play it again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::command::{Audited, Replicas};
use crate::course::Replay;
use crate::play::Trust;
use crate::replicas::{Disk, Keys, Origin, Spawn};
use serde::{Deserialize, Serialize};

/// The version of the file.
const SCHEMA: u32 = 1;

/// See the module.
#[derive(Debug, Serialize, Deserialize)]
pub struct Witness {
    schema: u32,
    /// The journey, as it was written.
    pub journey: String,
    /// What placements are drawn from.
    pub seed: u64,
    /// What the replicas are asked for.
    pub host: Option<String>,
    is_trusting: bool,
    site: Site,
    /// The dependence that is played again.
    pub first: Replay,
    /// The others of the same audit.
    others: Vec<Replay>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Site {
    Spawn {
        command: String,
        replicas: usize,
        folder: PathBuf,
        shares_disk: bool,
        ready: Option<String>,
        env_per_replica: Vec<String>,
        start_deadline: Duration,
    },
    Running {
        origins: Vec<String>,
        restart: Option<String>,
        ready: Option<String>,
    },
}

impl Witness {
    /// That of an audit which has found something.
    pub fn new(
        journey: &str,
        replicas: &Replicas,
        (host, is_trusting): (Option<String>, bool),
        audited: &Audited,
    ) -> Option<Self> {
        let site = match replicas.clone() {
            Replicas::Spawn(spawn) => Site::Spawn {
                command: spawn.command,
                replicas: spawn.replicas,
                folder: spawn.folder,
                shares_disk: spawn.disk == Disk::Shared,
                ready: spawn.ready,
                env_per_replica: spawn.env_per_replica,
                start_deadline: spawn.start_deadline,
            },
            Replicas::Running { origins, restart, ready } => {
                Site::Running { origins: origins.iter().map(Origin::to_string).collect(), restart, ready }
            }
        };
        let (first, others) = audited.replays.split_first()?;
        Some(Self {
            schema: SCHEMA,
            journey: journey.to_owned(),
            seed: audited.report.seed,
            host,
            is_trusting,
            site,
            first: first.clone(),
            others: others.to_vec(),
        })
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> io::Result<()> {
        fs::write(file, serde_json::to_string_pretty(self)?)
    }

    /// The command that plays a file again, for a shell.
    pub fn again(file: &Path) -> String {
        let file = file.display().to_string();
        let is_plain = |character: char| character.is_alphanumeric() || "._-/+,:@%=".contains(character);
        let file = if file.chars().all(is_plain) { file } else { format!("'{}'", file.replace('\'', r"'\''")) };
        format!("unstick audit --replay {file}")
    }

    /// Reads a file that [`Self::write`] has written.
    ///
    /// # Errors
    /// A sentence: it cannot be read, or is no such file.
    pub fn read(file: &Path) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| {
            format!("{}: {error}; --replay takes the file that an audit has written with --witness", file.display())
        };
        let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
        let witness: Self = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
        if witness.schema == SCHEMA { Ok(witness) } else { Err(wrong(&"another version has written it")) }
    }

    /// The replicas that it was found on, with their files below `root`.
    ///
    /// # Errors
    /// A sentence: one of their addresses is none.
    pub fn replicas(&self, root: &Path) -> Result<Replicas, String> {
        Ok(match &self.site {
            Site::Spawn { command, replicas, folder, shares_disk, ready, env_per_replica, start_deadline } => {
                Replicas::Spawn(Spawn {
                    command: command.clone(),
                    replicas: *replicas,
                    folder: folder.clone(),
                    disk: if *shares_disk { Disk::Shared } else { Disk::Own },
                    ready: ready.clone(),
                    env_per_replica: env_per_replica.clone(),
                    keys: Keys::PerReplica,
                    root: root.to_owned(),
                    start_deadline: *start_deadline,
                })
            }
            Site::Running { origins, restart, ready } => {
                let parsed = origins.iter().map(|text| text.parse::<Origin>().map_err(|trouble| trouble.to_string()));
                let origins = parsed.collect::<Result<_, _>>()?;
                Replicas::Running { origins, restart: restart.clone(), ready: ready.clone() }
            }
        })
    }

    /// Which certificates were believed.
    pub fn trust(&self) -> Trust {
        if self.is_trusting { Trust::Anything } else { Trust::System }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_that_plays_a_witness_again_is_one_for_a_shell() {
        for (file, expected) in [
            ("witness.json", "unstick audit --replay witness.json"),
            ("/tmp/my files/it's.json", r"unstick audit --replay '/tmp/my files/it'\''s.json'"),
            ("$HOME.json", "unstick audit --replay '$HOME.json'"),
        ] {
            assert_eq!(Witness::again(Path::new(file)), expected);
        }
    }
}
