//! The replicas of one arm, the proxies in front of them and the file between: what the faults of the experiment act
//! upon (`acts`).

mod acts;
mod keys;

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::Mutex;
use tokio::time::sleep;

use super::arm::{Arm, Backing, Role};
use super::front::{Anyone, Keepers};
use super::ledger;
use super::lifeline::Lifeline;
use super::proxy::{Entry, File, Patience, Proxy, replace};
use super::replica::KEY_VARIABLE;
use super::sabotage::{LATE, Planted, Relays, Sabotage};
use super::tomb::{Tomb, Visitors};
use crate::replica::launch::{Launched, launch};
use crate::trial::client::{Front, Target};
use crate::trial::pairs::play::Place;
use crate::trial::recorder::Recorder;

/// Seconds by which the clocks of replicas are wrong, where they are.
const CLOCKS: [&str; 3] = ["0", "25", "-25"];

/// What a fleet is made of.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) arm: Arm,
    /// The arm whose store its replicas use: only under sabotage another one.
    pub(super) store: Arm,
    pub(super) backing: Backing,
    pub(super) replicas: usize,
    pub(super) proxies: usize,
    pub(super) users: u32,
    /// How long a replica that is to be killed waits for requests at most.
    pub(super) held_within: Duration,
    pub(super) seed: u64,
    /// What the proxy takes for a failure of a replica.
    pub(super) patience: Patience,
    /// Whether the clocks of its replicas differ.
    pub(super) has_odd_clocks: bool,
    /// Whether somebody listens where a killed replica was. If most are dead, the proxy tries all of them, and a
    /// request that is sent to one who only listens is lost.
    pub(super) buries_dead: bool,
    /// Whether each replica is reached by its name, too.
    pub(super) is_placed: bool,
    pub(super) balance: &'static str,
    /// What the file asks for after a kill.
    pub(super) balance_after_kill: Option<&'static str>,
    /// Whether the last replica has a greater weight.
    pub(super) has_heavy: bool,
    /// The replica to which something happens, if anything happens to one.
    pub(super) victim: usize,
    pub(super) planted: Planted,
    /// Milliseconds that each replica takes for a request, one at a time. The last counts for all further replicas.
    /// Empty: replicas take what they take.
    pub(super) service_ms: Vec<u64>,
    /// The directory of its config file and logs.
    pub(super) directory: PathBuf,
    /// What ends its proxies when the run is killed.
    pub(super) lifeline: Rc<Lifeline>,
}

/// See the module.
pub(super) struct Fleet {
    plan: Plan,
    file: PathBuf,
    key: String,
    parts: Mutex<Parts>,
    /// The replicas from which users who keep to one choose.
    entries: Rc<RefCell<Vec<Entry>>>,
    /// What was sent to replicas that are gone.
    visitors: Visitors,
}

struct Parts {
    toml: File,
    /// In the order of starting, also those that have ended.
    replicas: Vec<Replica>,
    proxies: Vec<Proxy>,
    relays: Relays,
    tombs: Vec<Tomb>,
    /// The key that takes the place of the first one, when there is one.
    new_key: Option<String>,
}

struct Replica {
    entry: Entry,
    process: Launched,
}

impl Fleet {
    /// Starts everything. It returns when the proxies know that every replica is healthy.
    pub(super) async fn start(plan: Plan) -> anyhow::Result<Self> {
        let toml = File {
            balance: plan.balance,
            entries: Vec::new(),
            has_single_pools: plan.is_placed || plan.arm.role() == Role::Sticky || plan.planted.needs_single_pools(),
            removed: Vec::new(),
            has_heavy: plan.has_heavy,
            victim: plan.victim,
            is_miscounted: false,
            patience: plan.patience,
            planted: plan.planted,
            edit: 0,
        };
        let key = super::store::new_token()?;
        // A directory of its own: the proxy watches it, and waits until it is quiet.
        let config = plan.directory.join("config");
        std::fs::create_dir_all(&config).with_context(|| config.display().to_string())?;
        let file = config.join("unstick.toml");
        let relays = Relays::default();
        let parts = Parts { toml, replicas: Vec::new(), proxies: Vec::new(), relays, tombs: Vec::new(), new_key: None };
        let (parts, entries, visitors) = (Mutex::new(parts), Rc::default(), Visitors::default());
        let fleet = Self { plan, file, key, parts, entries, visitors };
        {
            let mut parts = fleet.parts.lock().await;
            fleet.add(&mut parts, fleet.plan.replicas).await?;
            fleet.write(&mut parts)?;
            for number in 0..fleet.plan.proxies {
                parts.proxies.push(Proxy::start(&fleet.file, number, &fleet.plan.lifeline).await?);
            }
            let addresses: Vec<SocketAddr> = parts.proxies.iter().map(|proxy| proxy.address).collect();
            parts.relays = Relays::start(fleet.plan.planted, &addresses, fleet.plan.replicas).await?;
            fleet.wait_healthy(&parts).await?;
            fleet.publish(&parts);
        }
        Ok(fleet)
    }

    /// Where this arm's users send their requests.
    pub(super) async fn front(&self) -> Rc<dyn Front> {
        let parts = self.parts.lock().await;
        let addresses = parts.relays.addresses(parts.proxies.iter().map(|proxy| proxy.address).collect());
        match self.plan.arm.role() {
            Role::Sticky => Rc::new(Keepers { addresses, entries: Rc::clone(&self.entries), seed: self.plan.seed }),
            Role::Stateful | Role::Stateless => Rc::new(Anyone::new(addresses)),
        }
    }

    /// Where each replica is reached by its name.
    pub(super) async fn places(&self) -> Vec<Place> {
        let parts = self.parts.lock().await;
        let addresses = parts.relays.addresses(parts.proxies.iter().map(|proxy| proxy.address).collect());
        let place = |replica: &Replica, address| {
            let name = replica.entry.name.as_str();
            Place { name: name.into(), target: Target { address, host: name.into() } }
        };
        addresses.first().map_or(Vec::new(), |address| parts.replicas.iter().map(|one| place(one, *address)).collect())
    }

    /// Resident memory of each living replica by name, in KiB.
    pub(super) async fn memory(&self) -> Vec<(String, u64)> {
        let parts = self.parts.lock().await;
        let living = parts.replicas.iter().filter_map(|replica| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", replica.process.pid)).ok()?;
            let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
            Some((replica.entry.name.clone(), kib.split_whitespace().next()?.parse().ok()?))
        });
        living.collect()
    }

    /// Writes down what replicas and graves have seen.
    pub(super) async fn tell(&self, recorder: &Recorder) {
        let mut all = self.visitors.take();
        for replica in &self.parts.lock().await.replicas {
            let name = replica.entry.name.as_str().into();
            let (seen, probes) = ledger::read(&self.plan.directory, &name);
            recorder.probes(&name, probes);
            all.extend(seen);
        }
        recorder.seen(all);
    }

    /// Writes down which replicas there are.
    pub(super) async fn introduce(&self, recorder: &Recorder) {
        let parts = self.parts.lock().await;
        recorder.replicas(parts.replicas.iter().map(|replica| replica.entry.name.as_str().into()).collect());
    }

    /// Ends all its processes.
    pub(super) async fn end(self) {
        let mut parts = self.parts.into_inner();
        for proxy in &mut parts.proxies {
            proxy.kill().await;
        }
        for replica in &mut parts.replicas {
            // This fails only if the process has ended already.
            let _ = replica.process.child.kill().await;
        }
    }

    async fn launch(&self, number: usize) -> anyhow::Result<Replica> {
        let name = format!("r{number}");
        let service =
            self.plan.service_ms.get(number).or(self.plan.service_ms.last()).copied().unwrap_or_default().to_string();
        let (store, directory) = (self.plan.store.name(), self.plan.directory.to_str().context("the path is no text")?);
        let mut arguments = vec!["prove-replica", "--name", &name, "--arm", store, "--directory", directory];
        arguments.extend(["--service-ms", &service]);
        let clock = CLOCKS[number % CLOCKS.len()];
        if self.plan.has_odd_clocks {
            arguments.extend(["--clock-seconds", clock]);
        }
        if let Some(name) = self.plan.planted.name() {
            arguments.extend(["--sabotage", name]);
        }
        let variable = self.plan.backing.variable.as_ref();
        let environment: Vec<(&str, &str)> = variable
            .map(|(name, value)| (*name, value.as_str()))
            .into_iter()
            .chain([(KEY_VARIABLE, &*self.key)])
            .collect();
        let process = launch(&arguments, &environment).await;
        let process = process.with_context(|| format!("cannot start replica {name} of {}", self.plan.arm))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, process.port));
        Ok(Replica { entry: Entry { name, address, is_draining: false }, process })
    }

    /// Starts more replicas, and enters them into the file's text.
    async fn add(&self, parts: &mut Parts, count: usize) -> anyhow::Result<()> {
        let first = parts.replicas.len();
        for number in first..first + count {
            let replica = self.launch(number).await?;
            parts.toml.entries.push(replica.entry.clone());
            parts.replicas.push(replica);
        }
        Ok(())
    }

    /// Replaces the file. Users who keep to one replica learn at once which replicas leave.
    fn write(&self, parts: &mut Parts) -> anyhow::Result<()> {
        parts.toml.edit += 1;
        let is_there = |known: &Entry| parts.toml.entries.iter().any(|entry| entry.address == known.address);
        self.entries.borrow_mut().retain(is_there);
        parts.relays.edited(parts.toml.entries.len());
        if self.plan.planted.is(Sabotage::OldConfig) && !parts.proxies.is_empty() {
            let (file, text) = (self.file.clone(), parts.toml.to_toml());
            tokio::task::spawn_local(async move {
                sleep(LATE).await;
                // If the run is over by now, nobody misses it.
                replace(&file, &text).ok();
            });
            return Ok(());
        }
        replace(&self.file, &parts.toml.to_toml())
    }

    /// Tells users who keep to one replica about the new ones, and which drain. The proxies must know these by now.
    fn publish(&self, parts: &Parts) {
        self.entries.borrow_mut().clone_from(&parts.toml.entries);
    }

    async fn wait_healthy(&self, parts: &Parts) -> anyhow::Result<()> {
        let is_ready =
            |endpoint: &serde_json::Value| endpoint["state"] == "healthy" || endpoint["state"] == "unchecked";
        for proxy in &parts.proxies {
            let all = |endpoints: &[serde_json::Value]| {
                let ready: Vec<_> = endpoints.iter().filter(|endpoint| is_ready(endpoint)).collect();
                let address = |one: &serde_json::Value| one["address"].as_str().map(str::to_owned);
                let is_listed = |entry: &Entry| ready.iter().any(|one| address(one) == Some(entry.address.to_string()));
                parts.toml.entries.iter().all(is_listed)
            };
            proxy.wait_for("all replicas are healthy", all).await?;
        }
        Ok(())
    }
}
