//! The replicas of one arm, the proxies in front of them and the file between: what the faults of the experiment act upon.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::options::{Arm, Sabotage};
use super::proxy::{Entry, File, Proxy, replace};
use super::redis_server::RedisServer;
use super::replica::{KEY_VARIABLE, REDIS_VARIABLE};
use crate::replica::launch::{Launched, launch};
use crate::trial::client::{Front, Target};
use crate::trial::fault::{Act, World};

/// How long a replica that was asked to end may take.
const END: Duration = Duration::from_secs(5);
/// How long Redis stays away when it is restarted.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Where an arm's sessions are, and what its replicas need to know of it.
#[derive(Debug, Clone)]
pub(super) enum Place {
    Memory,
    Jwt,
    Database(PathBuf),
    Redis(String),
}

/// What a fleet is made of.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) arm: Arm,
    pub(super) place: Place,
    pub(super) replicas: usize,
    pub(super) proxies: usize,
    pub(super) balance: &'static str,
    pub(super) sabotage: Option<Sabotage>,
    /// Milliseconds that each replica takes for a request, one at a time; for all further ones the last. Empty: none.
    pub(super) service_ms: Vec<u64>,
    /// Where its file and logs are.
    pub(super) directory: PathBuf,
}

/// See the module.
pub(super) struct Fleet {
    plan: Plan,
    file: PathBuf,
    key: String,
    parts: Mutex<Parts>,
    /// What users who keep to one replica choose from.
    entries: Rc<RefCell<Vec<Entry>>>,
    redis: Option<Rc<RedisServer>>,
}

struct Parts {
    toml: File,
    /// In the order of starting, also those that have ended.
    replicas: Vec<Replica>,
    proxies: Vec<Proxy>,
}

struct Replica {
    entry: Entry,
    process: Launched,
}

impl Fleet {
    /// Starts everything; returns when the proxies know every replica to be healthy.
    pub(super) async fn start(plan: Plan, redis: Option<Rc<RedisServer>>) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&plan.directory).with_context(|| plan.directory.display().to_string())?;
        let toml = File {
            balance: plan.balance,
            entries: Vec::new(),
            has_single_pools: plan.arm == Arm::Sticky,
            sabotage: plan.sabotage,
            edit: 0,
        };
        let key = super::store::new_token()?;
        let file = plan.directory.join("unstick.toml");
        let parts = Mutex::new(Parts { toml, replicas: Vec::new(), proxies: Vec::new() });
        let fleet = Self { plan, file, key, parts, entries: Rc::default(), redis };
        {
            let mut parts = fleet.parts.lock().await;
            fleet.add(&mut parts, fleet.plan.replicas).await?;
            for number in 0..fleet.plan.proxies {
                parts.proxies.push(Proxy::start(&fleet.file, number).await?);
            }
            fleet.wait_healthy(&parts).await?;
            fleet.publish(&parts);
        }
        Ok(fleet)
    }

    /// Where this arm's users send their requests.
    pub(super) async fn front(&self) -> Rc<dyn Front> {
        let addresses: Vec<SocketAddr> = self.parts.lock().await.proxies.iter().map(|proxy| proxy.address).collect();
        if self.plan.arm == Arm::Sticky {
            return Rc::new(Keepers { addresses, entries: Rc::clone(&self.entries) });
        }
        Rc::new(Anyone(addresses.into_iter().map(|address| Target { address, host: "shop.test".into() }).collect()))
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

    /// Ends every process of it.
    pub(super) async fn end(self) {
        let mut parts = self.parts.into_inner();
        for proxy in &mut parts.proxies {
            proxy.kill().await;
        }
        for replica in &mut parts.replicas {
            // Fails only if it has ended already.
            let _ = replica.process.child.kill().await;
        }
    }

    async fn launch(&self, number: usize) -> anyhow::Result<Replica> {
        let name = format!("r{number}");
        let service =
            self.plan.service_ms.get(number).or(self.plan.service_ms.last()).copied().unwrap_or_default().to_string();
        let mut arguments = vec!["prove-replica", "--name", &name, "--service-ms", &service];
        match &self.plan.place {
            Place::Memory => arguments.push("--memory"),
            Place::Jwt => arguments.push("--jwt"),
            Place::Database(file) => arguments.extend(["--database", file.to_str().context("the path is no text")?]),
            Place::Redis(_) => arguments.push("--redis"),
        }
        if let Some(sabotage) = self.plan.sabotage {
            arguments.extend(["--sabotage", sabotage.name()]);
        }
        let url = if let Place::Redis(url) = &self.plan.place { url } else { "" };
        let process = launch(&arguments, &[(KEY_VARIABLE, &self.key), (REDIS_VARIABLE, url)]).await;
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

    /// Puts the file in force. Users who keep to one replica hear at once of those that go.
    fn write(&self, parts: &mut Parts) -> anyhow::Result<()> {
        parts.toml.edit += 1;
        self.entries.borrow_mut().retain(|known| parts.toml.entries.contains(known));
        replace(&self.file, &parts.toml.to_toml())
    }

    /// Tells users who keep to one replica of the new ones, which the proxies must know by now.
    fn publish(&self, parts: &Parts) {
        *self.entries.borrow_mut() = parts.toml.entries.iter().filter(|entry| !entry.is_draining).cloned().collect();
    }

    async fn wait_healthy(&self, parts: &Parts) -> anyhow::Result<()> {
        let count = parts.toml.entries.len();
        let is_ready =
            |endpoint: &serde_json::Value| endpoint["state"] == "healthy" || endpoint["state"] == "unchecked";
        for proxy in &parts.proxies {
            let all = |endpoints: &[serde_json::Value]| endpoints.len() == count && endpoints.iter().all(is_ready);
            proxy.wait_for("all replicas are healthy", all).await?;
        }
        Ok(())
    }

    /// Takes replicas out in one edit, and ends them when the proxies have nothing more from them.
    async fn take_out(&self, parts: &mut Parts, numbers: std::ops::Range<usize>) -> anyhow::Result<()> {
        let leaving: Vec<Entry> = parts.replicas[numbers.clone()].iter().map(|replica| replica.entry.clone()).collect();
        parts.toml.entries.retain(|entry| !leaving.iter().any(|gone| gone.address == entry.address));
        self.write(parts)?;
        let gone =
            |endpoint: &serde_json::Value| leaving.iter().any(|entry| endpoint["address"] == entry.address.to_string());
        for proxy in &parts.proxies {
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
                if self.plan.arm == Arm::Sticky {
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
                self.redis.as_ref().context("there is no store to restart")?.restart(STORE_PAUSE).await
            }
        }
    }
}

/// Users to whom every front is as good as another.
struct Anyone(Vec<Target>);

impl Front for Anyone {
    fn target(&self, user: u32, left: Option<&Target>) -> Option<Target> {
        let place = match left {
            None => user as usize,
            Some(left) => self.0.iter().position(|target| target == left)? + 1,
        };
        self.0.get(place % self.0.len().max(1)).cloned()
    }

    fn is_left_for(&self, _: StatusCode) -> bool {
        false
    }
}

/// Users who keep to one replica each as long as it answers: the control group. This is all the affinity there is.
struct Keepers {
    addresses: Vec<SocketAddr>,
    entries: Rc<RefCell<Vec<Entry>>>,
}

impl Front for Keepers {
    fn target(&self, user: u32, left: Option<&Target>) -> Option<Target> {
        let entries = self.entries.borrow();
        let before = left.and_then(|left| entries.iter().position(|entry| *entry.name == *left.host));
        let place = before.map_or(user as usize, |place| place + 1);
        let entry = entries.get(place % entries.len().max(1))?;
        let proxies = self.addresses.len();
        let address = match left {
            // With two proxies, one may be what broke off.
            Some(left) => self.addresses.iter().find(|address| **address != left.address || proxies == 1),
            None => self.addresses.get(user as usize / entries.len().max(1) % proxies),
        };
        let same = left.filter(|left| proxies > 1 && entries.iter().any(|entry| *entry.name == *left.host));
        let host = same.map_or_else(|| entry.name.as_str().into(), |left| Rc::clone(&left.host));
        Some(Target { address: *address?, host })
    }

    fn is_left_for(&self, status: StatusCode) -> bool {
        matches!(status.as_u16(), 404 | 502..=504)
    }
}

/// The directory of a run, gone with it unless it is to be kept.
pub(super) struct Workspace {
    pub(super) path: PathBuf,
    pub(super) keep: bool,
}

impl Workspace {
    /// A new directory that only this user can look into.
    pub(super) fn create(keep: bool) -> anyhow::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("unstick-prove-{}", std::process::id()));
        let created = std::fs::DirBuilder::new().mode(0o700).create(&path);
        created.with_context(|| format!("cannot create {}; if it is left over, remove it", path.display()))?;
        Ok(Self { path, keep })
    }

    /// A directory in it.
    pub(super) fn directory(&self, name: &str) -> PathBuf {
        Path::new(&self.path).join(name)
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing better can be done about a failure here than to leave it.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
