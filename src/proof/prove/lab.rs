//! What all events of a run share: the arms that can be played, and how long everything takes.

use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;

use super::NotPossible;
use super::arm::{ARMS, Arm, Backing, Role, database, jwt};
use super::cell::{Cell, CellReport, run_all};
use super::event::{Event, Schedule};
use super::fleet::Plan;
use super::options::Options;
use super::pace::{self, Pace};
use super::proxy::Patience;
use super::repeats;
use super::sabotage::{Planted, Sabotage};
use super::theory::Prediction;
use super::workspace::Workspace;
use crate::replica::launch::{Launched, launch};

/// Arms that are played at the same time at most; others follow.
pub(super) const ARMS_AT_ONCE: usize = 6;
/// How long a replica that is to be killed waits for requests, while users go on.
const HELD_WITHIN: Duration = Duration::from_millis(400);
/// How long the comparison with one slow replica takes, at the default duration.
pub(super) const SLOW_REPLICA: Duration = Duration::from_millis(2500);
/// How much of its fair share the slow replica may get under least-connections.
const SLOW_SHARE_MAX: f64 = 0.8;
/// How much of the p99 of all responses under round-robin may be left under least-connections.
const SLOW_P99_MAX: f64 = 0.85;
/// With fewer requests nothing is said about it.
const SLOW_REQUESTS_MIN: u64 = 200;
/// So many users log in within a second at most, beyond those that come within the usual time.
const LOGINS_PER_SECOND: f64 = 500.0;
const GATHERED: Duration = Duration::from_millis(400);
/// How long a request takes in it at least, where users are too many for all of them to take part.
const SERVICE_MS: f64 = 2.0;
/// How many times slower it is.
const SLOWNESS: u64 = 3;

/// See the module.
pub(super) struct Lab<'a> {
    options: &'a Options,
    workspace: &'a Workspace,
    arms: Vec<(Arm, Backing)>,
    /// What is left out, and what to do to have it measured.
    pub(super) left_out: Vec<String>,
    /// How many times longer than usual everything takes.
    stretch: f64,
    /// How long users pause between two steps, on average.
    pause: Duration,
    /// Why that is longer than they were told to.
    pub(super) pace: Option<Pace>,
    /// A replica that no proxy knows.
    control: Launched,
}

impl<'a> Lab<'a> {
    /// Starts or finds what the arms need.
    pub(super) async fn prepare(options: &'a Options, workspace: &'a Workspace) -> anyhow::Result<Self> {
        let round: Duration = options.events.iter().map(|event| event.usual_span()).sum();
        let usual = round * options.repeat;
        let (control, pause) = (control(workspace).await?, options.pause);
        let (arms, left_out, stretch, pace) = (Vec::new(), Vec::new(), 1.0, None);
        let mut lab = Self { options, workspace, arms, left_out, stretch, pause, pace, control };
        for arm in &options.arms {
            let prepared = arm.prepare(options, workspace).await?;
            lab.arms.extend(prepared.backing.map(|backing| (*arm, backing)));
            lab.left_out.extend(prepared.left_out);
        }
        lab.find_pace().await?;
        let slow = if lab.has_slow_replica() { SLOW_REPLICA } else { Duration::ZERO };
        let stretch = |duration: Duration| duration.as_secs_f64() / (usual + slow).as_secs_f64();
        lab.stretch = options.duration.map_or(1.0, stretch);
        Ok(lab)
    }

    /// Measures what the machine carries, where that is in doubt, and has users pause longer if it is too little.
    async fn find_pace(&mut self) -> anyhow::Result<()> {
        let (users, arms) = (self.options.users, self.arms.len().min(ARMS_AT_ONCE));
        let has_users = self.options.events.iter().any(|event| !matches!(event, Event::Pairs | Event::Repeats));
        if !has_users || !pace::is_worth_measuring(pace::offered(users, arms, self.pause)) {
            return Ok(());
        }
        let mut carried = self.carried(0).await?;
        // A machine that was busy with something else for a moment is asked once more.
        if Pace::of(carried, (users, arms), self.pause).is_some() {
            carried = self.carried(1).await?.max(carried);
        }
        self.pace = Pace::of(carried, (users, arms), self.pause);
        if let Some(pace) = &self.pace {
            let too_many = || {
                NotPossible(format!(
                    "this machine carries about {carried:.0} requests per second of this experiment, too few for \
                     {users} users in each arm; try --users {}",
                    pace.users_max.max(10)
                ))
            };
            self.pause = pace.pause().ok_or_else(too_many)?;
        }
        Ok(())
    }

    /// How many requests per second the machine carries, of all arms together, by a measurement of this number.
    async fn carried(&self, number: u32) -> anyhow::Result<f64> {
        let cell = |(arm, backing): &(Arm, Backing)| {
            let mut cell = self.cell(Event::Steady, 0, *arm, backing);
            (cell.users, cell.pause) = (pace::USERS, Duration::ZERO);
            (cell.gathering, cell.leaving) = (Duration::ZERO, Duration::ZERO);
            cell.plan.planted = Planted::default();
            cell.plan.directory = self.workspace.directory(&format!("pace-{number}-{arm}"));
            cell.schedule = Schedule { acts: Vec::new(), span: pace::SPAN };
            cell
        };
        Ok(pace::carried(&run_all(self.arms.iter().take(ARMS_AT_ONCE).map(cell).collect()).await?))
    }

    /// Plays an event for all arms that it concerns: so many at the same time as a machine of two cores can carry.
    pub(super) async fn play(&self, event: Event, round: u32) -> anyhow::Result<Vec<CellReport>> {
        let concerns = |(arm, backing): &&(Arm, Backing)| match event {
            // Only a server of ours can be restarted by itself.
            Event::StoreRestart => backing.server.is_some(),
            Event::Full => arm.can_be_full(backing),
            Event::Failover => backing.server.as_ref().is_some_and(|server| server.can_fail_over()),
            // Who keeps to one replica is placed on one.
            Event::Pairs => arm.role() != Role::Sticky,
            Event::Mute | Event::Errors | Event::SlowOnce | Event::Repeats => arm.role() == Role::Stateless,
            Event::Partition => arm.role() == Role::Stateless && arm.has_store(),
            // Only tokens know the time, and need keys.
            Event::Clocks | Event::KeyRotation => arm.has_tokens(),
            _ => true,
        };
        let arms: Vec<&(Arm, Backing)> = self.arms.iter().filter(concerns).collect();
        let mut reports = Vec::new();
        for arms in arms.chunks(ARMS_AT_ONCE) {
            let cells = arms.iter().map(|(arm, backing)| self.cell(event, round, *arm, backing));
            reports.extend(run_all(cells.collect()).await?);
        }
        Ok(reports)
    }

    fn cell(&self, event: Event, round: u32, arm: Arm, backing: &Backing) -> Cell {
        let replicas = event.replicas(self.options.replicas);
        let seed = self.options.seed + u64::from(round);
        let planted = self.options.planted.of_arm(arm);
        let shares_memory = planted.is(Sabotage::SharedMemory) && arm.role() == Role::Stateful;
        // Another one for each arm and seed, so that no replica is never it.
        let place = ARMS.iter().position(|known| *known == arm).unwrap_or_default();
        let victim = (seed % replicas as u64) as usize + place;
        // This one counts what replicas have under way, which a kill could confuse. It also keeps away from a replica
        // that has failed, whoever watches it, so the other arms stay with round-robin.
        let is_counting = event == Event::Crash && arm == database::ARM;
        let plan = Plan {
            arm,
            store: if shares_memory { database::ARM } else { arm },
            backing: backing.clone(),
            replicas,
            proxies: event.proxies(),
            users: if event == Event::Repeats { repeats::CLIENTS } else { self.options.users },
            held_within: if event == Event::Repeats { repeats::HELD_WITHIN } else { HELD_WITHIN },
            seed,
            patience: match event {
                Event::Stop | Event::Mute => Patience::Short,
                Event::Partition => Patience::MindsStatus,
                _ => Patience::Usual,
            },
            has_odd_clocks: event == Event::Clocks,
            buries_dead: event == Event::Crash,
            is_placed: event == Event::Pairs,
            balance: "round-robin",
            balance_after_kill: is_counting.then_some("least-connections"),
            has_heavy: event == Event::Reloads,
            victim: victim % replicas,
            planted,
            service_ms: Vec::new(),
            directory: self.workspace.directory(&format!("{event}-{arm}-{round}")),
            lifeline: Rc::clone(self.workspace.lifeline()),
        };
        let (users, pause) = (self.options.users, self.pause);
        // All logins at one moment would be a trial of the machine, and so would be all ends of sessions, of three
        // steps each.
        let logins = Duration::from_secs_f64(f64::from(users) / LOGINS_PER_SECOND);
        let gathering = logins.max(pause).saturating_sub(GATHERED);
        let leaving = (2 * pause).saturating_sub(GATHERED);
        // Before anything happens, each has taken a step.
        let settling = pause.saturating_sub(GATHERED);
        let schedule = event.schedule(replicas, self.stretch, victim).later(gathering + settling);
        let control = SocketAddr::from((Ipv4Addr::LOCALHOST, self.control.port));
        Cell { plan, event, round, schedule, gathering, leaving, users, pause, seed, control }
    }

    /// One replica three times slower, under two algorithms at the same time.
    pub(super) async fn slow_replica(&self) -> anyhow::Result<(Vec<CellReport>, Vec<Prediction>)> {
        if !self.has_slow_replica() {
            return Ok((Vec::new(), Vec::new()));
        }
        let (users, pause) = (slow_users(self.options), self.options.pause);
        let service = slow_service(self.options, users).round() as u64;
        let cell = |balance: &'static str| {
            let mut cell = self.cell(Event::Steady, 0, jwt::ARM, &Backing::default());
            cell.plan.balance = balance;
            cell.plan.planted = Planted::default();
            cell.plan.service_ms = vec![SLOWNESS * service, service];
            cell.plan.directory = self.workspace.directory(&format!("slow-{balance}"));
            (cell.users, cell.plan.users, cell.pause) = (users, users, pause);
            (cell.gathering, cell.leaving) = (Duration::ZERO, Duration::ZERO);
            cell.schedule = Schedule { acts: Vec::new(), span: SLOW_REPLICA.mul_f64(self.stretch) };
            cell
        };
        let mut cells = vec![cell("round-robin"), cell("least-connections")];
        if self.options.planted.is(Sabotage::BalanceIgnored) {
            cells[1].plan.balance = "round-robin";
        }
        let reports = run_all(cells).await?;
        let predictions = slow_predictions(&reports, self.options.replicas);
        Ok((reports, predictions))
    }

    /// Whether the comparison with one slow replica belongs to the run.
    fn has_slow_replica(&self) -> bool {
        let Options { arms, events, .. } = self.options;
        let is_possible = slow_service(self.options, slow_users(self.options)) >= 1.0;
        arms.contains(&jwt::ARM) && events.contains(&Event::Steady) && is_possible
    }
}

/// How many users there are in that comparison: no more than a replica can serve in whole milliseconds.
fn slow_users(options: &Options) -> u32 {
    let most = (slow_service(options, 1) / SERVICE_MS) as u32;
    if slow_service(options, options.users) < 1.0 { most.max(1) } else { options.users }
}

/// Milliseconds that a normal replica takes for a request in that comparison. Normal replicas are then busy for 40 % of
/// the time, and one that takes three times as long cannot carry its fair share.
fn slow_service(options: &Options, users: u32) -> f64 {
    0.4 * options.replicas as f64 * options.pause.as_secs_f64() * 1000.0 / f64::from(users)
}

/// Starts a replica that no proxy knows.
async fn control(workspace: &Workspace) -> anyhow::Result<Launched> {
    let directory = workspace.directory("control");
    std::fs::create_dir_all(&directory)?;
    let directory = directory.to_str().context("the path is no text")?;
    let arguments = ["prove-replica", "--name", "control", "--arm", "memory", "--directory", directory];
    launch(&[&arguments[..], &["--service-ms", "0"]].concat(), &[]).await
}

/// What theory says of one slow replica.
pub(super) fn slow_predictions(reports: &[CellReport], replicas: usize) -> Vec<Prediction> {
    let [round_robin, least] = reports else { return Vec::new() };
    let requests: u64 = least.measures.spread.values().sum();
    let slow = least.measures.spread.get("r0").copied().unwrap_or_default();
    let share = slow as f64 / requests.max(1) as f64 * replicas as f64;
    let p99 = least.measures.latency_ms.1 / round_robin.measures.latency_ms.1.max(f64::MIN_POSITIVE);
    let is_busy = reports.iter().any(|report| report.measures.waits.is_machine_busy());
    let at_most = |what, figure, limit| {
        Prediction::at_most(what, figure, limit, (requests, SLOW_REQUESTS_MIN)).unless_busy(is_busy)
    };
    vec![
        at_most("its share under least-connections over a fair one", share, SLOW_SHARE_MAX),
        at_most("p99 of least-connections over that of round-robin", p99, SLOW_P99_MAX),
    ]
}
