//! What a command line asks for, carried out: the journey is read, the replicas are started, the audit is made.
//!
//! Whoever calls this crate gets boxed futures: an `async fn` would be compiled once more in the crate that awaits it,
//! with all that it awaits, and with the optimisation of that crate.

use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::course::{Bench, Listener, Replay, Site, again, audit, replays};
use crate::journey::Journey;
use crate::play::{Connector, Player, Trust};
use crate::replicas::{Fleet, Origin, Spawn, Trouble};
use crate::report::{Coverage, Report, SCHEMA, Verdict};

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Order {
    /// Where the replicas are.
    pub replicas: Replicas,
    /// What all replicas are asked for, if not for the host of the first.
    pub host: Option<String>,
    /// Which certificates are believed.
    pub trust: Trust,
    /// What placements are drawn from.
    pub seed: u64,
    /// How long the audit may take.
    pub budget: Duration,
}

/// Where the replicas are.
#[derive(Debug, Clone)]
pub enum Replicas {
    /// They are started.
    Spawn(Spawn),
    /// They run already.
    Running {
        /// Their addresses.
        origins: Vec<Origin>,
        /// The command that starts one again.
        restart: Option<String>,
        /// A target that must respond before the audit begins.
        ready: Option<String>,
    },
}

/// What an audit has found, and how its witnesses can be played again.
#[derive(Debug, Clone)]
pub struct Audited {
    /// What was found.
    pub report: Report,
    /// One for each dependence, in their order.
    pub replays: Vec<Replay>,
}

/// Audits an application. It never fails: what goes wrong makes the report inconclusive.
pub fn run<'a>(order: Order, journey: &'a Journey, listener: &'a dyn Listener) -> LocalBoxFuture<'a, Audited> {
    Box::pin(async move {
        let seed = order.seed;
        match prepared(order, journey, listener).await {
            Ok(mut bench) => {
                let report = audit(&mut bench).await;
                let replays = replays(&bench);
                bench.end().await;
                Audited { report, replays }
            }
            Err(refused) => Audited { report: refused_report(journey, seed, refused), replays: Vec::new() },
        }
    })
}

/// Plays a witness again, and nothing else.
pub fn replay<'a>(
    order: Order,
    journey: &'a Journey,
    witness: &'a Replay,
    listener: &'a dyn Listener,
) -> LocalBoxFuture<'a, Report> {
    Box::pin(async move {
        let seed = order.seed;
        match prepared(order, journey, listener).await {
            Ok(mut bench) => {
                let report = again(&mut bench, witness).await;
                bench.end().await;
                report
            }
            Err(refused) => refused_report(journey, seed, refused),
        }
    })
}

fn refused_report(journey: &Journey, seed: u64, (why, advice): Refused) -> Report {
    Report {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").into(),
        journey: journey.name.clone(),
        steps: Vec::new(),
        replicas: Vec::new(),
        seed,
        verdict: Verdict::Inconclusive { why, advice },
        coverage: Coverage::default(),
        notes: Vec::new(),
        again: None,
        took: Duration::ZERO,
    }
}

/// Why an audit could not begin, and what to do.
type Refused = (String, String);

async fn prepared<'a>(order: Order, journey: &'a Journey, listener: &'a dyn Listener) -> Result<Bench<'a>, Refused> {
    let trouble = |trouble: Trouble| (trouble.to_string(), "mend that, then start the audit again".to_owned());
    let (fleet, site) = match order.replicas {
        Replicas::Spawn(spawn) => (Fleet::spawn(spawn.clone()).await.map_err(trouble)?, Site::Spawned(spawn)),
        Replicas::Running { origins, restart, ready } => {
            (Fleet::backends(origins, restart, ready).await.map_err(trouble)?, Site::Running)
        }
    };
    let connector = Connector::new(order.trust)
        .map_err(|error| (format!("TLS cannot be set up: {error}"), "look at the system's certificates".to_owned()))?;
    let host = order.host.unwrap_or_else(|| fleet.origin(0).authority());
    let player = Player::new(connector, host);
    Ok(Bench::new(journey, (fleet, site), player, order.seed, order.budget, listener))
}
