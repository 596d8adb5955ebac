//! What an audit has found, as people and machines read it. Everything here is made from a [`Report`], which says all.

pub mod html;
pub mod json;
pub mod junit;
#[cfg(test)]
pub(crate) mod sample;
pub mod sarif;
pub mod secrets;
pub mod text;
mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use words::NOT_SHOWN;

/// The version of the JSON form of [`Report`].
pub const SCHEMA: u32 = 1;

/// Everything that an audit has found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The version of unstick.
    pub version: String,
    /// The name of the journey.
    pub journey: String,
    /// Its steps, in order; repetitions are steps of their own.
    pub steps: Vec<StepLine>,
    /// The names of the replicas: A, B, C.
    pub replicas: Vec<String>,
    /// What placements were drawn from.
    pub seed: u64,
    /// What was found.
    pub verdict: Verdict,
    /// How much was tried.
    pub coverage: Coverage,
    /// Things to know that are no finding, in sentences.
    pub notes: Vec<String>,
    /// The command that plays the counterexample again, if there is one.
    pub again: Option<String>,
    /// How long it took.
    pub took: Duration,
}

/// A step, as the report shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StepLine {
    /// Its name; of a repetition with its number, as in `hit 3`.
    pub name: String,
    /// Who does it.
    pub actor: String,
    /// What it does, as in `GET /cart`.
    pub action: String,
}

/// What an audit says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Verdict {
    /// No dependence was found.
    NoneFound,
    /// Outcomes depend on the replica. Never empty.
    Dependent {
        /// One for each step that depends, in the order of the journey.
        dependences: Vec<Dependence>,
    },
    /// Nothing can be said.
    Inconclusive {
        /// Why, in a sentence that names the step and what came.
        why: String,
        /// What to do.
        advice: String,
    },
}

/// One step that depends on the replica of others.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dependence {
    /// The step whose outcome depends, by its place in [`Report::steps`].
    pub step: usize,
    /// The step whose replica it needs; `None` if a replica differs from the others whatever came before (skew).
    pub needs: Option<usize>,
    /// The smallest journey that shows it.
    pub witness: Witness,
    /// The class of its cause.
    pub cause: Cause,
    /// The runs that tell the cause, in a sentence.
    pub because: String,
    /// What names in the responses say of it, and the usual cure.
    pub hint: Option<String>,
    /// What is to be seen: the first difference.
    pub difference: Difference,
}

/// The classes of causes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// State lies in the memory of a process.
    Memory,
    /// Each process signs or encrypts with a key of its own.
    KeyPerProcess,
    /// State lies on the disk of a replica.
    LocalDisk,
    /// Each replica counts for itself.
    LocalCounter,
    /// A replica shows an old state, for some time or until it is started again.
    StaleCopy,
    /// A session of the protocol lives in one process: MCP, socket.io, a WebSocket.
    ProtocolSession,
    /// Replicas differ in build or configuration, whatever came before.
    Skew,
    /// The runs do not tell.
    Unknown,
}

/// The smallest journey that shows a dependence, and what came of it in its four placements.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Witness {
    /// Its steps, by their places in [`Report::steps`]; the last one is the one that depends.
    pub steps: Vec<usize>,
    /// How often each of them is done: the same step, done several times in a row, is shown once.
    #[serde(default)]
    pub times: Vec<u32>,
    /// Which replica of a cell each of them is on.
    pub sides: Vec<Side>,
    /// In the order AA, AB, BB, BA.
    pub cells: [Cell; 4],
    /// One-sided p of Fisher's exact test, as a permutation test: how likely it is that chance alone gives these cells.
    pub p: f64,
    /// The same after Holm's correction over the steps of the journey, which decides whether it is a finding.
    #[serde(default)]
    pub p_corrected: f64,
    /// Whether the replica of the first steps is killed before the others are played.
    #[serde(default)]
    pub after_crash: bool,
    /// Whether it was seen in every crossing that was tried, or only sometimes.
    pub is_steady: bool,
}

/// Which replica of a cell a step is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// That of the step that is needed.
    One,
    /// That of the step that depends.
    Other,
}

/// One placement of a witness.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The replica of the step that is needed.
    pub one: String,
    /// The replica of the step that depends.
    pub other: String,
    /// How often it was played.
    pub runs: u32,
    /// How often the outcome was the right one.
    pub right: u32,
    /// What was seen, in a few words, as in `200` or `401`.
    pub seen: String,
}

/// A place in an outcome, and what stands there in the right one and in the other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The place, as in `status`, `cookie sid`, `body $.user` or `body word 12`.
    pub at: String,
    /// What stands there on one replica.
    pub right: String,
    /// What stands there across replicas.
    pub wrong: String,
    /// The whole outcome on one replica, for a comparison side by side: status line, fields that count, body.
    pub right_whole: String,
    /// The whole outcome across replicas.
    pub wrong_whole: String,
}

/// How much was tried.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Steps of the journey, repetitions counted.
    pub steps: usize,
    /// Pairs of steps that there are.
    pub pairs: usize,
    /// Pairs of steps that were on different replicas at least once.
    pub pairs_crossed: usize,
    /// For each pair of steps (the earlier first), whether it was crossed and what came of it.
    pub matrix: Vec<CrossedPair>,
    /// Steps after which the replica that had served them was killed.
    pub crash_points: usize,
    /// Of so many steps that could have been.
    pub crash_points_max: usize,
    /// Runs of the journey, or of parts of it.
    pub runs: usize,
    /// Pairs of steps in all runs that were on different replicas.
    pub crossings: usize,
    /// Crossings in runs whose outcomes differed.
    pub failures: usize,
    /// The upper 95 % bound of the share of failures, between 0 and 1, if there was none.
    pub bound: Option<f64>,
    /// What was not tried, and why, in sentences.
    pub untried: Vec<String>,
}

/// A pair of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrossedPair {
    /// The earlier step.
    pub one: usize,
    /// The later step.
    pub other: usize,
    /// How often they were on different replicas.
    pub crossed: u32,
    /// Whether the later one was found to depend on the earlier.
    pub is_dependent: bool,
}
