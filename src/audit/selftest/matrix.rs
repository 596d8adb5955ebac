//! The detection matrix: every planted fault and every clean twin is audited, and what was said is compared with what
//! is known.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use tokio::task::LocalSet;

use super::{Fault, Planted};
use crate::command::{Order, Replicas, run};
use crate::course::Listener;
use crate::journey::read;
use crate::play::Trust;
use crate::replicas::{Disk, Keys, START_DEADLINE, Spawn};
use crate::report::{Cause, Verdict};

/// Audits that are made at one time.
const SIDE_BY_SIDE: usize = 6;

/// How long one of them may take.
const BUDGET: Duration = Duration::from_secs(50);

/// Causes that may be named wrongly. A key that a process makes for itself looks like memory to whoever sees responses
/// only.
const WRONG_CAUSES_MAX: usize = 1;

/// What was said of all applications.
#[derive(Debug, Clone, Serialize)]
pub struct Matrix {
    /// One row for each fault.
    pub rows: Vec<Row>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// One fault and its clean twin.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name.
    pub fault: &'static str,
    /// The cause that was planted.
    pub cause: Cause,
    /// What was said of the application with the fault.
    pub faulty: Said,
    /// What was said of its twin.
    pub clean: Said,
}

/// What an audit has said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// No dependence was found.
    NoneFound,
    /// There is one, for this cause, and its witness has so many steps.
    Dependent(Cause, usize),
    /// Nothing: why.
    Inconclusive(String),
}

impl Matrix {
    /// Faults that were found.
    pub fn found(&self) -> usize {
        self.rows.iter().filter(|row| matches!(row.faulty, Said::Dependent(..))).count()
    }

    /// Faults that were found with their cause.
    pub fn explained(&self) -> usize {
        let is_right = |row: &&Row| matches!(row.faulty, Said::Dependent(cause, _) if cause == row.cause);
        self.rows.iter().filter(is_right).count()
    }

    /// Clean twins that were called clean.
    pub fn cleared(&self) -> usize {
        self.rows.iter().filter(|row| row.clean == Said::NoneFound).count()
    }

    /// Whether the auditor can be trusted: all faults found, no twin accused, nearly all causes right.
    pub fn is_good(&self) -> bool {
        let all = self.rows.len();
        self.found() == all && self.cleared() == all && self.explained() + WRONG_CAUSES_MAX >= all
    }

    /// As a table for people.
    pub fn text(&self) -> String {
        let mut lines = vec![format!("{:<18} {:<18} {:<34} {}", "planted fault", "cause", "found", "clean twin")];
        for row in &self.rows {
            let line =
                format!("{:<18} {:<18} {:<34} {}", row.fault, name(row.cause), row.faulty.text(), row.clean.text());
            lines.push(line);
        }
        let (all, seconds) = (self.rows.len(), self.seconds);
        let (found, explained, cleared) = (self.found(), self.explained(), self.cleared());
        lines.push(format!(
            "\n{found} of {all} faults found, {explained} of {all} causes right, {} of {all} clean twins accused, \
             in {seconds:.0} s",
            all - cleared
        ));
        lines.join("\n")
    }
}

impl Said {
    fn text(&self) -> String {
        match self {
            Self::NoneFound => "none found".into(),
            Self::Dependent(cause, steps) => format!("{} ({steps} steps)", name(*cause)),
            Self::Inconclusive(why) => format!("inconclusive: {}", why.lines().next().unwrap_or_default()),
        }
    }
}

/// The name of a cause in the JSON form of reports.
fn name(cause: Cause) -> String {
    serde_json::to_value(cause).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Audits all applications. `program` starts one of them, before the arguments that say which; replicas have their
/// files below `root`.
pub fn matrix<'a>(
    program: &'a str,
    root: &'a Path,
    seed: u64,
    listener: Rc<dyn Listener>,
) -> LocalBoxFuture<'a, Matrix> {
    Box::pin(whole(program, root, seed, listener))
}

async fn whole(program: &str, root: &Path, seed: u64, listener: Rc<dyn Listener>) -> Matrix {
    let began = tokio::time::Instant::now();
    let asked = Fault::ALL.into_iter().flat_map(|fault| Planted::ALL.map(|planted| (fault, planted)));
    let queue: Rc<RefCell<VecDeque<(Fault, Planted)>>> = Rc::new(RefCell::new(asked.collect()));
    listener.begin("planted faults and clean twins", queue.borrow().len());
    let said = Rc::new(RefCell::new(Vec::new()));
    let tasks = LocalSet::new();
    for _ in 0..SIDE_BY_SIDE {
        let (queue, said, listener) = (Rc::clone(&queue), Rc::clone(&said), Rc::clone(&listener));
        let (program, root) = (program.to_owned(), root.to_owned());
        tasks.spawn_local(async move {
            loop {
                let next = queue.borrow_mut().pop_front();
                let Some((fault, planted)) = next else { return };
                let one = audited(&program, &root, seed, fault, planted).await;
                said.borrow_mut().push((fault, planted, one));
                listener.step();
            }
        });
    }
    tasks.await;
    let of = |fault: Fault, planted: Planted| {
        let said = said.borrow();
        let one = said.iter().find(|(known, form, _)| (*known, *form) == (fault, planted));
        one.map_or_else(|| Said::Inconclusive("it was not audited".into()), |(.., one)| one.clone())
    };
    let row = |fault: Fault| Row {
        fault: fault.name(),
        cause: fault.cause(),
        faulty: of(fault, Planted::Faulty),
        clean: of(fault, Planted::Clean),
    };
    Matrix { rows: Fault::ALL.map(row).to_vec(), seconds: began.elapsed().as_secs_f64() }
}

/// Hears nothing: several audits are made at one time.
struct Deaf;

impl Listener for Deaf {
    fn begin(&self, _: &str, _: usize) {}
    fn step(&self) {}
}

async fn audited(program: &str, root: &Path, seed: u64, fault: Fault, planted: Planted) -> Said {
    let folder = root.join(format!("{}-{}", fault.name(), planted.name()));
    let made = ["work", "shared", "replicas"].map(|name| folder.join(name));
    for folder in &made {
        if let Err(error) = std::fs::create_dir_all(folder) {
            return Said::Inconclusive(format!("{}: {error}", folder.display()));
        }
    }
    let [work, shared, replicas] = made;
    let command = command(program, fault, planted, &shared);
    let spawn = Spawn {
        command,
        replicas: 2,
        folder: work,
        disk: Disk::Own,
        ready: None,
        env_per_replica: Vec::new(),
        keys: Keys::PerReplica,
        root: replicas,
        start_deadline: START_DEADLINE,
    };
    let journey = match read("selftest", fault.journey()) {
        Ok(written) => written.journey,
        Err(problems) => return Said::Inconclusive(problems.one_line()),
    };
    let order = Order { replicas: Replicas::Spawn(spawn), host: None, trust: Trust::System, seed, budget: BUDGET };
    match run(order, &journey, &Deaf).await.report.verdict {
        Verdict::NoneFound => Said::NoneFound,
        Verdict::Inconclusive { why, .. } => Said::Inconclusive(why),
        Verdict::Dependent { dependences } => match dependences.first() {
            Some(first) => Said::Dependent(first.cause, first.witness.steps.len()),
            None => Said::Inconclusive("a dependence without a witness".into()),
        },
    }
}

fn command(program: &str, fault: Fault, planted: Planted, shared: &Path) -> String {
    let shared = format!("'{}'", shared.display().to_string().replace('\'', "'\\''"));
    format!(
        "exec {program} --fault {} --form {} --port {{port}} --dir {{dir}} --shared {shared} --key {{key}}",
        fault.name(),
        planted.name()
    )
}
