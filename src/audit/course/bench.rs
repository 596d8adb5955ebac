//! What all parts of an audit share: the replicas, the journey, what is right, and what was tried so far.

use std::cell::RefCell;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep};

use super::Stopped;
use super::deaths::Deaths;
use super::replay::Replay;
use crate::journey::Journey;
use crate::outcome::Outcome;
use crate::outcome::mask::{Differs, Mask};
use crate::play::{Move, Plan, Player, Stage, Took};
use crate::replicas::{Disk, Fleet, Key, Keys, Spawn};
use crate::report::{Coverage, CrossedPair};

/// How long is waited for the last words of a replica.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Where the replicas are.
pub enum Site {
    /// They are started by the audit, which may start others, with other disks and keys.
    Spawned(Spawn),
    /// They run already.
    Running,
}

/// Hears how far an audit is.
pub trait Listener {
    /// Something begins that takes so many runs.
    fn begin(&self, what: &str, runs: usize);
    /// One of them is over.
    fn step(&self);
}

/// See the module.
pub struct Bench<'a> {
    pub(super) journey: &'a Journey,
    pub(super) plan: Plan,
    pub(super) player: Player,
    pub(super) fleet: Fleet,
    pub(super) site: Site,
    pub(super) seed: u64,
    pub(super) dice: RefCell<Rng>,
    /// What makes values that no other audit has, whatever its seed.
    entropy: RefCell<Rng>,
    /// Whether each run has replicas of its own.
    is_fresh: bool,
    /// What was learned on replicas of the other kind.
    elsewhere: (Vec<Outcome>, Vec<Mask>),
    /// What is to be said if nothing else is found: a step fails across replicas now and then.
    pub(super) doubt: Option<String>,
    /// Whether every two steps that can be apart have been.
    pub(super) is_crossed: bool,
    pub(super) listener: &'a dyn Listener,
    /// The outcomes of the first run on one replica.
    pub(super) baseline: Vec<Outcome>,
    pub(super) masks: Vec<Mask>,
    pub(super) coverage: Coverage,
    pub(super) notes: Vec<String>,
    /// The replicas that have ended by themselves.
    pub(super) deaths: RefCell<Deaths>,
    /// How the witnesses of the report can be played again.
    pub(super) replays: Vec<Replay>,
    began: Instant,
    until: Instant,
}

/// The first step of a run whose outcome is not the right one.
#[derive(Debug, Clone)]
pub(super) struct Wrong {
    /// The step, by its place in the plan.
    pub(super) at: usize,
    /// What came.
    pub(super) outcome: Outcome,
    /// Where it differs.
    pub(super) differs: Differs,
}

impl<'a> Bench<'a> {
    /// For a journey and replicas that are ready.
    pub fn new(
        journey: &'a Journey,
        (fleet, site): (Fleet, Site),
        player: Player,
        seed: u64,
        budget: Duration,
        listener: &'a dyn Listener,
    ) -> Self {
        let plan = Plan::of(journey);
        let pairs = (0..plan.len()).flat_map(|one| (one + 1..plan.len()).map(move |other| (one, other)));
        let matrix = pairs.map(|(one, other)| CrossedPair { one, other, crossed: 0, is_dependent: false }).collect();
        let (began, masks) = (Instant::now(), plan.len());
        Self {
            journey,
            masks: vec![Mask::default(); plan.len()],
            plan,
            player,
            fleet,
            site,
            seed,
            dice: RefCell::new(Rng::with_seed(seed)),
            entropy: RefCell::new(Rng::new()),
            is_fresh: false,
            doubt: None,
            elsewhere: (Vec::new(), vec![Mask::default(); masks]),
            is_crossed: false,
            listener,
            baseline: Vec::new(),
            coverage: Coverage { matrix, ..Coverage::default() },
            notes: Vec::new(),
            deaths: RefCell::default(),
            replays: Vec::new(),
            began,
            until: began + budget,
        }
    }

    /// The audit is over: its replicas end.
    pub async fn end(self) {
        self.fleet.end().await;
    }

    /// How many replicas there are.
    pub(super) fn replicas(&self) -> usize {
        self.fleet.names().len()
    }

    /// Their names.
    pub(super) fn names(&self) -> Vec<String> {
        self.fleet.names().to_vec()
    }

    /// The name of a step.
    pub(super) fn name(&self, at: usize) -> String {
        self.plan.name(at, self.journey)
    }

    /// How long it has taken so far.
    pub(super) fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is to be known besides.
    pub(super) fn notes(&self) -> Vec<String> {
        let deaths = self.deaths.borrow().notes();
        self.notes.iter().chain(self.fleet.notes()).cloned().chain(deaths).collect()
    }

    /// Whether the time of the audit is over.
    pub(super) fn is_late(&self) -> bool {
        Instant::now() >= self.until
    }

    /// A replica that has ended by itself, and what it said, in words. Its end may be heard of a moment later than its
    /// connections end.
    pub(super) async fn died(&self) -> Option<String> {
        let latest = self.deaths.borrow().latest();
        if latest.is_some() {
            return latest;
        }
        if self.fleet.died().is_none() && matches!(self.site, Site::Spawned(_)) {
            sleep(LAST_WORDS).await;
        }
        let died = self.fleet.died()?;
        let name = self.fleet.names().get(died.replica).cloned().unwrap_or_default();
        let said = died.said.join("\n  ");
        Some(format!("replica {name} ended by itself ({}); it said last:\n  {said}", died.status))
    }

    /// A value that no other run has, not even one of another audit. No number: it can be told from those of the
    /// application.
    fn unique(&self) -> String {
        format!("u{:011x}", self.entropy.borrow_mut().u64(..1 << 44))
    }

    /// Plays moves until `is_enough`: on other replicas, on some that are started for this run, or on the audit's own.
    async fn run(
        &self,
        fleet: Option<&Fleet>,
        moves: &[Move],
        is_enough: &dyn Fn(usize, &Outcome) -> bool,
    ) -> Result<Took, Stopped> {
        if self.is_late() {
            return Err(Stopped::Late);
        }
        let unique = self.unique();
        let started = if fleet.is_none() && self.is_fresh { self.other(|_| {}).await? } else { None };
        let fleet = fleet.or(started.as_ref()).unwrap_or(&self.fleet);
        self.revive(fleet).await?;
        let stage = Stage { journey: self.journey, plan: &self.plan, fleet, until: self.until };
        let took = match self.player.run(stage, moves, &unique, is_enough).await {
            Ok(took) => self.bury(fleet, moves, took).await,
            Err(trouble) => Err(trouble.into()),
        };
        if let Some(started) = started {
            started.end().await;
        }
        self.listener.step();
        let took = took?;
        // Its last step may have been cut short.
        if self.is_late() { Err(Stopped::Late) } else { Ok(took) }
    }

    /// Plays moves until `is_enough`.
    pub(super) async fn play(
        &mut self,
        moves: &[Move],
        is_enough: &dyn Fn(usize, &Outcome) -> bool,
    ) -> Result<Took, Stopped> {
        self.coverage.runs += 1;
        self.run(None, moves, is_enough).await
    }

    /// Plays moves on other replicas, up to the first step that comes out wrong, which it returns.
    pub(super) async fn judge_on(&mut self, fleet: &Fleet, moves: &[Move]) -> Result<Option<Wrong>, Stopped> {
        self.coverage.runs += 1;
        let is_wrong = |at: usize, outcome: &Outcome| self.differs(at, outcome).is_some();
        let took = self.run(Some(fleet), moves, &is_wrong).await?;
        Ok(self.first_wrong(&took))
    }

    /// Plays moves up to the first step that comes out wrong, which it returns.
    pub(super) async fn judge(&mut self, moves: &[Move]) -> Result<Option<Wrong>, Stopped> {
        self.coverage.runs += 1;
        let is_wrong = |at: usize, outcome: &Outcome| self.differs(at, outcome).is_some();
        let took = self.run(None, moves, &is_wrong).await?;
        Ok(self.first_wrong(&took))
    }

    /// From now on each run has replicas of its own with empty disks, and is compared with what was learned on such.
    pub(super) fn begin_fresh(&mut self) {
        self.is_fresh = true;
        self.swap_learned();
    }

    /// As before [`Self::begin_fresh`].
    pub(super) fn end_fresh(&mut self) {
        self.is_fresh = false;
        self.swap_learned();
    }

    fn swap_learned(&mut self) {
        std::mem::swap(&mut self.baseline, &mut self.elsewhere.0);
        std::mem::swap(&mut self.masks, &mut self.elsewhere.1);
    }

    /// Kills a replica and starts it again, and says how long the kill took.
    pub(super) async fn time_of_kill(&self, replica: usize) -> Result<Duration, Stopped> {
        let began = Instant::now();
        self.fleet.kill(replica).await?;
        let took = began.elapsed();
        self.fleet.start(replica, Key::Same).await?;
        Ok(took)
    }

    /// Plays the steps, each on its replica.
    pub(super) async fn judge_places(&mut self, steps: &[(usize, usize)]) -> Result<Option<Wrong>, Stopped> {
        let moves: Vec<Move> = steps.iter().map(|(at, replica)| Move::Step(*at, *replica)).collect();
        self.judge(&moves).await
    }

    fn first_wrong(&self, took: &Took) -> Option<Wrong> {
        took.iter().find_map(|(at, outcome)| {
            Some(Wrong { at: *at, outcome: outcome.clone(), differs: self.differs(*at, outcome)? })
        })
    }

    /// Where an outcome of a step differs from the right one.
    pub(super) fn differs(&self, at: usize, outcome: &Outcome) -> Option<Differs> {
        self.masks.get(at)?.difference(self.baseline.get(at)?, outcome)
    }

    /// Notes which pairs of steps a run has crossed: those up to the last step that was judged.
    pub(super) fn crossed(&mut self, places: &[usize], judged: usize, is_right: bool) {
        for pair in &mut self.coverage.matrix {
            if pair.other < judged && places[pair.one] != places[pair.other] {
                pair.crossed += 1;
                self.coverage.crossings += 1;
                self.coverage.failures += usize::from(!is_right && pair.other + 1 == judged);
            }
        }
    }

    /// Other replicas of the same application, for as long as a question about them takes. `None` if the audit does
    /// not start them itself.
    ///
    /// # Errors
    /// They do not start.
    pub(super) async fn other(&self, change: impl FnOnce(&mut Spawn)) -> Result<Option<Fleet>, Stopped> {
        let Site::Spawned(spawn) = &self.site else { return Ok(None) };
        let mut spawn = spawn.clone();
        change(&mut spawn);
        Ok(Some(Fleet::spawn(spawn).await?))
    }

    /// Whether replicas have disks of their own.
    pub(super) fn has_own_disks(&self) -> bool {
        matches!(&self.site, Site::Spawned(spawn) if spawn.disk == Disk::Own)
    }

    /// Whether replicas have keys of their own.
    pub(super) fn has_own_keys(&self) -> bool {
        let has = |spawn: &Spawn| spawn.command.contains("{key}") || !spawn.env_per_replica.is_empty();
        matches!(&self.site, Site::Spawned(spawn) if spawn.keys == Keys::PerReplica && has(spawn))
    }
}
