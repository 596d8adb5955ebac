//! The replicas of one arm, the proxies in front of them and the file between: what the faults of the experiment act
//! upon.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::arm::{Arm, Backing, Role};
use super::front::{Anyone, Keepers};
use super::proxy::{Entry, File, Proxy, replace};
use super::replica::KEY_VARIABLE;
use super::sabotage::{LATE, Planted, Relays, Sabotage};
use crate::replica::launch::{Launched, launch};
use crate::trial::client::Front;
use crate::trial::fault::{Act, World};

/// How long a replica that was asked to end may take.
const END: Duration = Duration::from_secs(5);
/// How long a store stays away when it is restarted.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// What a fleet is made of.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) arm: Arm,
    /// The arm whose store its replicas use: only under sabotage another one.
    pub(super) store: Arm,
    pub(super) backing: Backing,
    pub(super) replicas: usize,
    pub(super) proxies: usize,
    pub(super) balance: &'static str,
    pub(super) planted: Planted,
    /// Milliseconds that each replica takes for a request, one at a time. The last counts for all further replicas.
    /// Empty: replicas take what they take.
    pub(super) service_ms: Vec<u64>,
    /// The directory of its config file and logs.
    pub(super) directory: PathBuf,
}

/// See the module.
pub(super) struct Fleet {
    plan: Plan,
    file: PathBuf,
    key: String,
    parts: Mutex<Parts>,
    /// The replicas from which users who keep to one choose.
    entries: Rc<RefCell<Vec<Entry>>>,
}

struct Parts {
    toml: File,
    /// In the order of starting, also those that have ended.
    replicas: Vec<Replica>,
    proxies: Vec<Proxy>,
    relays: Relays,
}

struct Replica {
    entry: Entry,
    process: Launched,
}

impl Fleet {
    /// Starts everything. It returns when the proxies know that every replica is healthy.
    pub(super) async fn start(plan: Plan) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&plan.directory).with_context(|| plan.directory.display().to_string())?;
        let toml = File {
            balance: plan.balance,
            entries: Vec::new(),
            has_single_pools: plan.arm.role() == Role::Sticky || plan.planted.needs_single_pools(),
            removed: Vec::new(),
            planted: plan.planted,
            edit: 0,
        };
        let key = super::store::new_token()?;
        let file = plan.directory.join("unstick.toml");
        let parts = Mutex::new(Parts { toml, replicas: Vec::new(), proxies: Vec::new(), relays: Relays::default() });
        let fleet = Self { plan, file, key, parts, entries: Rc::default() };
        {
            let mut parts = fleet.parts.lock().await;
            fleet.add(&mut parts, fleet.plan.replicas).await?;
            for number in 0..fleet.plan.proxies {
                parts.proxies.push(Proxy::start(&fleet.file, number).await?);
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
            Role::Sticky => Rc::new(Keepers { addresses, entries: Rc::clone(&self.entries) }),
            Role::Stateful | Role::Stateless => Rc::new(Anyone::new(addresses)),
        }
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

    /// Starts more replicas and enters them in one edit.
    async fn add(&self, parts: &mut Parts, count: usize) -> anyhow::Result<()> {
        let first = parts.replicas.len();
        for number in first..first + count {
            let replica = self.launch(number).await?;
            parts.toml.entries.push(replica.entry.clone());
            parts.replicas.push(replica);
        }
        self.write(parts)
    }

    /// Puts the file in force. Users who keep to one replica learn at once which replicas leave.
    fn write(&self, parts: &mut Parts) -> anyhow::Result<()> {
        parts.toml.edit += 1;
        self.entries.borrow_mut().retain(|known| parts.toml.entries.contains(known));
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

    /// Tells users who keep to one replica about the new ones. The proxies must know these by now.
    fn publish(&self, parts: &Parts) {
        *self.entries.borrow_mut() = parts.toml.entries.iter().filter(|entry| !entry.is_draining).cloned().collect();
    }

    async fn wait_healthy(&self, parts: &Parts) -> anyhow::Result<()> {
        let is_ready =
            |endpoint: &serde_json::Value| endpoint["state"] == "healthy" || endpoint["state"] == "unchecked";
        for proxy in &parts.proxies {
            let all = |endpoints: &[serde_json::Value]| {
                let ready: Vec<_> = endpoints.iter().filter(|endpoint| is_ready(endpoint)).collect();
                let is_listed = |entry: &Entry| ready.iter().any(|one| one["address"] == entry.address.to_string());
                parts.toml.entries.iter().all(is_listed)
            };
            proxy.wait_for("all replicas are healthy", all).await?;
        }
        Ok(())
    }

    /// Takes replicas out in one edit, and ends them when the proxies have no request on them any more.
    async fn take_out(&self, parts: &mut Parts, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
        let leaving: Vec<Entry> = parts.replicas[numbers.clone()].iter().map(|replica| replica.entry.clone()).collect();
        parts.toml.entries.retain(|entry| !leaving.iter().any(|gone| gone.address == entry.address));
        parts.toml.removed.extend(leaving.iter().cloned());
        self.write(parts)?;
        let gone =
            |endpoint: &serde_json::Value| leaving.iter().any(|entry| endpoint["address"] == entry.address.to_string());
        let is_kept = self.plan.planted.is(Sabotage::RemovedKept);
        for proxy in parts.proxies.iter().filter(|_| !is_kept) {
            proxy.wait_for("the replicas are out", |endpoints| !endpoints.iter().any(gone)).await?;
            proxy.wait_drained().await?;
        }
        for replica in &mut parts.replicas[numbers] {
            if let Some(pid) = Pid::from_raw(replica.process.pid.cast_signed()) {
                kill_process(pid, Signal::TERM).ok();
            }
            timeout(END, replica.process.child.wait()).await.context("a replica did not end")??;
        }
        Ok(())
    }

    async fn replace(&self, parts: &mut Parts, old: usize) -> anyhow::Result<()> {
        let address = parts.replicas[old].entry.address;
        let new = self.launch(parts.replicas.len()).await?;
        parts.toml.entries.push(new.entry.clone());
        parts.replicas.push(new);
        parts
            .toml
            .entries
            .iter_mut()
            .filter(|entry| entry.address == address)
            .for_each(|entry| entry.is_draining = true);
        self.write(parts)?;
        self.wait_healthy(parts).await?;
        self.publish(parts);
        self.take_out(parts, old..old + 1).await
    }
}

impl World for Fleet {
    async fn carry_out(&self, act: Act) -> anyhow::Result<()> {
        let mut parts = self.parts.lock().await;
        let parts = &mut *parts;
        match act {
            Act::Kill(replica) => Ok(parts.replicas[replica].process.child.kill().await?),
            Act::Add(count) => {
                self.add(parts, count).await?;
                if self.plan.arm.role() == Role::Sticky {
                    self.wait_healthy(parts).await?;
                    self.publish(parts);
                }
                Ok(())
            }
            Act::Drain(replica) => {
                let address = parts.replicas[replica].entry.address;
                let entries = parts.toml.entries.iter_mut().filter(|entry| entry.address == address);
                entries.for_each(|entry| entry.is_draining = true);
                self.write(parts)
            }
            Act::Remove(count) => self.take_out(parts, parts.replicas.len() - count..parts.replicas.len()).await,
            Act::Retire(replica) => self.take_out(parts, replica..replica + 1).await,
            Act::Replace(replica) => self.replace(parts, replica).await,
            Act::Edit(number) => {
                parts.toml.balance = if number % 2 == 0 { "p2c" } else { self.plan.balance };
                self.write(parts)
            }
            Act::KillProxy(proxy) => {
                parts.proxies[proxy].kill().await;
                parts.proxies.remove(proxy);
                Ok(())
            }
            Act::RestartStore => {
                let server = self.plan.backing.server.as_ref().context("there is no store to restart")?;
                server.restart(STORE_PAUSE).await
            }
        }
    }
}
