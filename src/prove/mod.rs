//! `unstick prove`: the claim that stateless replicas need no sticky sessions, measured.
//!
//! Real parts only: replicas are processes of their own ([`replica`]), the proxy is the shipped `unstick run` on a real TOML file
//! (`proxy`), and whatever changes is changed by editing that file. The application is one small shop; only its session layer differs
//! between the *arms* ([`options::Arm`]). Each *event* ([`event::Event`]) is played for all arms at the same time, so that they
//! are measured under the same conditions. What theory predicts stands beside every measurement ([`theory`]). `docs/proof.md` has it in
//! words for sceptical readers.

pub mod cell;
pub mod event;
mod fleet;
pub mod measures;
pub mod options;
mod proxy;
mod redis_server;
pub mod replica;
pub mod report;
mod shop;
mod store;
pub mod theory;

use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::Instant;

use cell::{Cell, CellReport, run_all};
use event::{Event, Schedule};
use fleet::{Place, Plan, Workspace};
use options::{Arm, Options, Sabotage};
use redis_server::RedisServer;
use report::Report;
use theory::{Prediction, Verdict};

/// How long the comparison with one slow replica takes, at the default duration.
const SLOW_REPLICA: Duration = Duration::from_millis(2500);
/// How much of its fair share the slow replica may get under least-connections.
const SLOW_SHARE_MAX: f64 = 0.8;

/// Why a run could not be made, and nothing can be concluded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotPossible(pub String);

/// Runs the experiment and writes the files that were asked for.
///
/// # Errors
/// A process could not be started or did not do what it was told; [`NotPossible`] if a store is not there.
pub async fn run(options: &Options) -> anyhow::Result<Report> {
    // Opened before anything is measured, so that nothing is measured in vain.
    let open = |path: &PathBuf| File::create(path).with_context(|| path.display().to_string());
    let json = options.json.as_ref().map(open).transpose()?;
    let html = options.html.as_ref().map(open).transpose()?;
    let workspace = Workspace::create(options.keep)?;
    let mut report = run_in(options, &workspace).await?;
    report.inconclusive = apparatus_fails(&report).or_else(|| too_little(&report));
    if options.history {
        let cells = report.cells.iter_mut().chain(&mut report.slow_replica);
        report.histories = cells.map(|cell| std::mem::take(&mut cell.history)).collect();
    }
    if options.keep {
        report.kept = Some(workspace.path.clone());
    }
    if let Some(file) = json {
        report.write_json(file).context("cannot write the JSON")?;
    }
    if let Some(file) = html {
        report::html::write(&report, std::io::BufWriter::new(file)).context("cannot write the page")?;
    }
    Ok(report)
}

async fn run_in(options: &Options, workspace: &Workspace) -> anyhow::Result<Report> {
    let began = Instant::now();
    let usual: Duration = options.events.iter().map(|event| event.usual_span()).sum();
    let slow = if has_slow_replica(options) { SLOW_REPLICA } else { Duration::ZERO };
    let stretch = options.duration.as_secs_f64() / (usual + slow).as_secs_f64();
    let (redis, skipped) = Redis::prepare(options, workspace).await?;
    let lab = Lab { options, workspace, redis, stretch };
    let progress = Progress::new(options.events.len() as u64 + 1);
    let mut cells = Vec::new();
    for event in &options.events {
        progress.begin(event.name());
        cells.extend(lab.play(*event).await.with_context(|| format!("event {event}"))?);
    }
    progress.begin("slow replica");
    let (slow_replica, slow_predictions) = lab.slow_replica().await?;
    progress.end();
    Ok(Report {
        version: env!("CARGO_PKG_VERSION"),
        seed: options.seed,
        users: options.users,
        replicas: options.replicas,
        seconds: began.elapsed().as_secs_f64(),
        skipped,
        kept: None,
        cells,
        slow_replica,
        slow_predictions,
        inconclusive: None,
        histories: Vec::new(),
    })
}

/// The arm that must fail says whether the apparatus can see a failure at all.
fn apparatus_fails(report: &Report) -> Option<String> {
    let memory = report.cell(Arm::Memory, Event::Steady)?;
    let (all, survived) = memory.survivors;
    let is_broken = memory
        .predictions
        .iter()
        .any(|prediction| prediction.verdict == Verdict::Broken && prediction.what.ends_with("lost"));
    is_broken.then(|| {
        format!("the memory arm must lose sessions as theory says and did not ({survived} of {all} journeys survived), so the apparatus is broken")
    })
}

/// Whether there is too little to conclude anything from.
fn too_little(report: &Report) -> Option<String> {
    if report.predictions().next().is_none() {
        return Some("nothing was measured".into());
    }
    let mut undecided = report.predictions().filter(|(_, prediction)| prediction.verdict == Verdict::TooFew);
    let (place, prediction) = undecided.next()?;
    let others = undecided.count();
    Some(format!(
        "{place}: {}: {} trials are too few, as in {others} other predictions; try more users or a longer run",
        prediction.what, prediction.trials
    ))
}

/// Whether the comparison with one slow replica belongs to the run.
fn has_slow_replica(options: &Options) -> bool {
    options.arms.contains(&Arm::Jwt) && options.events.contains(&Event::Steady) && slow_service(options) >= 1.0
}

/// Milliseconds that a request takes at a normal replica in that comparison: so that these are busy for 40 % of the time, and one that takes
/// three times as long cannot carry its fair share.
fn slow_service(options: &Options) -> f64 {
    0.4 * options.replicas as f64 * options.pause.as_secs_f64() * 1000.0 / f64::from(options.users)
}

/// The Redis of a run.
enum Redis {
    /// There is none.
    None,
    /// Somebody else's, at this URL.
    Foreign(String),
    /// Our own.
    Private(Rc<RedisServer>),
}

impl Redis {
    /// Finds or starts one, if it is wanted; also says what is left out without it.
    async fn prepare(options: &Options, workspace: &Workspace) -> anyhow::Result<(Self, Vec<String>)> {
        if !options.arms.contains(&Arm::Redis) {
            return Ok((Self::None, Vec::new()));
        }
        if let Some(url) = &options.redis {
            let connected = store::redis::Redis::connect(url).await;
            // The URL may hold a password.
            connected.map_err(|error| NotPossible(format!("the Redis of --redis: {error}")))?;
            return Ok((
                Self::Foreign(url.clone()),
                vec!["store-restart: the Redis given by --redis is not ours to restart".into()],
            ));
        }
        if !RedisServer::is_installed() {
            let hint = "redis: there is no redis-server on PATH; install it (apt-get install redis-server) or give --redis URL";
            return Ok((Self::None, vec![hint.into()]));
        }
        let server = RedisServer::start(workspace.directory("redis")).await?;
        Ok((Self::Private(Rc::new(server)), Vec::new()))
    }

    fn url(&self) -> Option<String> {
        match self {
            Self::None => None,
            Self::Foreign(url) => Some(url.clone()),
            Self::Private(server) => Some(server.url()),
        }
    }

    fn server(&self) -> Option<Rc<RedisServer>> {
        if let Self::Private(server) = self { Some(Rc::clone(server)) } else { None }
    }
}

/// What all events of a run share.
struct Lab<'a> {
    options: &'a Options,
    workspace: &'a Workspace,
    redis: Redis,
    stretch: f64,
}

impl Lab<'_> {
    /// Plays an event for all arms that it concerns.
    async fn play(&self, event: Event) -> anyhow::Result<Vec<CellReport>> {
        let mut cells = Vec::new();
        for arm in self.options.arms.iter().copied().filter(|arm| event.concerns(*arm)) {
            if event == Event::StoreRestart && self.redis.server().is_none() {
                continue;
            }
            let directory = self.workspace.directory(&format!("{event}-{arm}"));
            let place = match arm {
                Arm::Memory if self.options.sabotage == Some(Sabotage::SharedMemory) => {
                    Place::Database(directory.join("sessions.sqlite"))
                }
                Arm::Memory | Arm::Sticky => Place::Memory,
                Arm::Jwt => Place::Jwt,
                Arm::Database => Place::Database(directory.join("sessions.sqlite")),
                Arm::Redis => match self.redis.url() {
                    Some(url) => Place::Redis(url),
                    None => continue,
                },
            };
            let replicas = event.replicas(self.options.replicas);
            let plan = Plan {
                arm,
                place,
                replicas,
                proxies: event.proxies(),
                balance: "round-robin",
                // The control groups are as they are.
                sabotage: self.options.sabotage.filter(|_| arm.is_stateless()),
                service_ms: Vec::new(),
                directory,
            };
            let schedule = event.schedule(replicas, self.stretch);
            let Options { users, pause, seed, .. } = *self.options;
            cells.push((Cell { plan, event, schedule, users, pause, seed }, self.redis.server()));
        }
        run_all(cells).await
    }

    /// One replica three times slower, under two algorithms at the same time.
    async fn slow_replica(&self) -> anyhow::Result<(Vec<CellReport>, Vec<Prediction>)> {
        if !has_slow_replica(self.options) {
            return Ok((Vec::new(), Vec::new()));
        }
        let service = slow_service(self.options).round() as u64;
        let cell = |balance: &'static str| {
            let plan = Plan {
                arm: Arm::Jwt,
                place: Place::Jwt,
                replicas: self.options.replicas,
                proxies: 1,
                balance,
                sabotage: None,
                service_ms: vec![3 * service, service],
                directory: self.workspace.directory(&format!("slow-{balance}")),
            };
            let schedule = Schedule { acts: Vec::new(), span: SLOW_REPLICA.mul_f64(self.stretch) };
            let Options { users, pause, seed, .. } = *self.options;
            (Cell { plan, event: Event::Steady, schedule, users, pause, seed }, None)
        };
        let reports = run_all(vec![cell("round-robin"), cell("least-connections")]).await?;
        let predictions = slow_predictions(&reports, self.options.replicas);
        Ok((reports, predictions))
    }
}

fn slow_predictions(reports: &[CellReport], replicas: usize) -> Vec<Prediction> {
    let [round_robin, least] = reports else { return Vec::new() };
    let requests: u64 = least.measures.spread.values().sum();
    let slow = least.measures.spread.get("r0").copied().unwrap_or_default();
    let share = slow as f64 / requests.max(1) as f64 * replicas as f64;
    let p99 = least.measures.latency_ms.1 / round_robin.measures.latency_ms.1.max(f64::MIN_POSITIVE);
    vec![
        Prediction::at_most("its share under least-connections over a fair one", share, SLOW_SHARE_MAX, requests),
        Prediction::at_most("p99 of least-connections over that of round-robin", p99, 1.0, requests),
    ]
}

/// A bar on a terminal; a line per event elsewhere.
struct Progress {
    bar: ProgressBar,
    is_hidden: bool,
}

impl Progress {
    fn new(steps: u64) -> Self {
        let bar = ProgressBar::new(steps);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let is_hidden = bar.is_hidden();
        Self { bar, is_hidden }
    }

    fn begin(&self, what: &str) {
        if !self.bar.message().is_empty() {
            self.bar.inc(1);
        }
        self.bar.set_message(what.to_owned());
        if self.is_hidden {
            use std::io::Write as _;
            // Nobody may be reading: no reason to stop.
            let _ = writeln!(
                std::io::stderr(),
                "{what} ({}/{})",
                self.bar.position() + 1,
                self.bar.length().unwrap_or_default()
            );
        }
    }

    fn end(&self) {
        self.bar.finish_and_clear();
    }
}
