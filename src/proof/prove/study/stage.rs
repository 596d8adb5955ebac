//! Replicas of one part, and proxies in front of them: the shipped `unstick run` on a real file.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::Bench;
use crate::prove::proxy::{Proxy, replace};
use crate::replica::launch::{Launched, launch};

/// The name under which all replicas are reached.
pub(super) const HOST_OF_ALL: &str = "app.test";

/// How long an edit may take until it is in force, and the pause between two looks.
const DEADLINE: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);

/// What a stage is made of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'a> {
    /// The part that its replicas serve.
    pub(super) part: &'a str,
    /// Replicas at the beginning, r0 and following.
    pub(super) replicas: usize,
    /// Proxies on one file.
    pub(super) proxies: usize,
    /// Variables of the replicas. Arguments show up in `ps`, the environment only to its owner.
    pub(super) environment: &'a [(&'a str, &'a str)],
    /// Whether each replica is reached by its name as `Host`, too.
    pub(super) is_placed: bool,
}

impl Default for Scene<'_> {
    fn default() -> Self {
        Self { part: "", replicas: 3, proxies: 1, environment: &[], is_placed: false }
    }
}

/// A replica in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) weight: u32,
    pub(super) is_draining: bool,
}

/// What the file says of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    pub(super) balance: &'static str,
    pub(super) members: Vec<Member>,
    /// Further tables at the end of the file, such as `[pool.app.retry]`.
    pub(super) tables: String,
}

/// See the module. Dropping it ends all its processes.
pub(super) struct Stage {
    part: String,
    environment: Vec<(String, String)>,
    sabotage: Option<&'static str>,
    /// Shared by its replicas.
    pub(super) directory: PathBuf,
    file: PathBuf,
    is_placed: bool,
    pool: Pool,
    edits: u32,
    /// In the order of starting; `None`: it was killed.
    replicas: Vec<(Member, Option<Launched>)>,
    proxies: Vec<Proxy>,
}

impl Stage {
    /// Starts everything. It returns when the proxies know that every replica is healthy.
    pub(super) async fn start(bench: &Bench<'_>, scene: Scene<'_>) -> anyhow::Result<Self> {
        let directory = bench.folder(scene.part)?;
        // A directory of its own: the proxy watches it, and waits until it is quiet.
        let config = directory.join("config");
        std::fs::create_dir_all(&config).with_context(|| config.display().to_string())?;
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut stage = Self {
            part: scene.part.to_owned(),
            environment: scene.environment.iter().map(own).collect(),
            sabotage: bench.planted().name(),
            directory,
            file: config.join("unstick.toml"),
            is_placed: scene.is_placed,
            pool: Pool { balance: "round-robin", members: Vec::new(), tables: String::new() },
            edits: 0,
            replicas: Vec::new(),
            proxies: Vec::new(),
        };
        for _ in 0..scene.replicas {
            let member = stage.start_one().await?;
            stage.pool.members.push(member);
        }
        replace(&stage.file, &stage.to_toml())?;
        for number in 0..scene.proxies {
            stage.proxies.push(Proxy::start(&stage.file, number, bench.lifeline()).await?);
        }
        stage.wait_in_force().await?;
        Ok(stage)
    }

    /// Where the proxies listen.
    #[allow(dead_code, reason = "for studies with several proxies")]
    pub(super) fn fronts(&self) -> Vec<SocketAddr> {
        self.proxies.iter().map(|proxy| proxy.address).collect()
    }

    /// The only proxy, or the first.
    pub(super) fn front(&self) -> SocketAddr {
        self.proxies[0].address
    }

    /// A replica by its number, also one that was killed.
    pub(super) fn replica(&self, number: usize) -> &Member {
        &self.replicas[number].0
    }

    /// What a proxy says of itself under `/status`.
    #[allow(dead_code, reason = "for a study that steers by it")]
    pub(super) async fn status(&self, proxy: usize) -> anyhow::Result<Value> {
        self.proxies[proxy].status().await
    }

    /// The most memory that each living replica has had, in KiB.
    pub(super) fn peaks_kib(&self) -> Vec<u64> {
        let living = self.replicas.iter().filter_map(|(_, process)| process.as_ref());
        let peak = |process: &Launched| {
            let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).ok()?;
            let kib = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
            kib.split_whitespace().next()?.parse().ok()
        };
        living.filter_map(peak).collect()
    }

    /// Kills a replica by SIGKILL. The file still names it: the proxies must find out.
    pub(super) async fn kill(&mut self, number: usize) -> anyhow::Result<()> {
        let (_, process) = self.replicas.get_mut(number).context("there is no such replica")?;
        process.take().context("it is dead already")?.child.kill().await?;
        Ok(())
    }

    /// Starts one more replica, which no file names yet: see [`set_pool`](Self::set_pool).
    pub(super) async fn start_one(&mut self) -> anyhow::Result<Member> {
        let name = format!("r{}", self.replicas.len());
        let directory = self.directory.to_str().context("the path is no text")?;
        let mut arguments = vec!["prove-part", "--part", &self.part, "--name", &name, "--directory", directory];
        if let Some(sabotage) = self.sabotage {
            arguments.extend(["--sabotage", sabotage]);
        }
        let environment: Vec<(&str, &str)> =
            self.environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let process = launch(&arguments, &environment).await;
        let process = process.with_context(|| format!("cannot start replica {name} of {}", self.part))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, process.port));
        let member = Member { name, address, weight: 1, is_draining: false };
        self.replicas.push((member.clone(), Some(process)));
        Ok(member)
    }

    /// Edits the file, and waits until the proxies say so: they have applied it, list these members, and those that are
    /// alive and do not drain are healthy.
    pub(super) async fn set_pool(&mut self, edit: impl FnOnce(&mut Pool)) -> anyhow::Result<()> {
        let before = self.pool.clone();
        edit(&mut self.pool);
        if before == self.pool {
            return Ok(());
        }
        self.edits += 1;
        let mut applied = Vec::new();
        for proxy in &self.proxies {
            applied.push(applied_by(proxy).await?);
        }
        replace(&self.file, &self.to_toml())?;
        for (proxy, before) in self.proxies.iter().zip(applied) {
            let deadline = Instant::now() + DEADLINE;
            while applied_by(proxy).await? == before {
                anyhow::ensure!(Instant::now() < deadline, "an edit of {} is not in force", self.file.display());
                sleep(POLL).await;
            }
        }
        self.wait_in_force().await
    }

    /// Puts a new replica in the place of one, which is killed if it is alive. It returns when the proxies send
    /// requests to the new one and none to the old one.
    pub(super) async fn put_in_place_of(&mut self, number: usize) -> anyhow::Result<Member> {
        let old = self.replica(number).address;
        let new = self.start_one().await?;
        let member = new.clone();
        self.set_pool(|pool| {
            pool.members.retain(|known| known.address != old);
            pool.members.push(member);
        })
        .await?;
        if self.replicas[number].1.is_some() {
            self.kill(number).await?;
        }
        Ok(new)
    }

    async fn wait_in_force(&self) -> anyhow::Result<()> {
        let is_alive = |member: &Member| {
            self.replicas.iter().any(|(known, process)| known.address == member.address && process.is_some())
        };
        let in_force = |endpoints: &[Value]| {
            let is_listed = |member: &Member| endpoints.iter().any(|one| is_as_wanted(one, member));
            endpoints.len() == self.pool.members.len()
                && self.pool.members.iter().filter(|member| is_alive(member)).all(is_listed)
        };
        for proxy in &self.proxies {
            proxy.wait_for("the pool is as the file says", in_force).await?;
        }
        Ok(())
    }

    /// The text of the file.
    fn to_toml(&self) -> String {
        let mut text = format!(
            "# edit {}\n[listen.web]\naddress = \"127.0.0.1:0\"\n\n[admin]\naddress = \"127.0.0.1:0\"\n\
             socket = \"off\"\n\n[timeouts]\ndrain = \"2s\"\n",
            self.edits
        );
        if self.is_placed {
            for member in &self.pool.members {
                let _ = write!(text, "\n[[route]]\nhost = \"{0}\"\npool = \"{0}\"\n", member.name);
                write_pool(&mut text, &member.name, self.pool.balance, std::slice::from_ref(member));
            }
            text.push_str("\n[[route]]\npool = \"app\"\n");
        }
        write_pool(&mut text, "app", self.pool.balance, &self.pool.members);
        text.push_str(&self.pool.tables);
        text
    }
}

/// How many edits a proxy has applied.
async fn applied_by(proxy: &Proxy) -> anyhow::Result<u64> {
    let status = proxy.status().await?;
    let reloads = &status["reloads"];
    anyhow::ensure!(reloads["refused"] == 0, "the proxy refuses its file: {reloads}");
    reloads["applied"].as_u64().context("the proxy does not say how many edits it has applied")
}

/// Whether an endpoint of `/status` is this member, and used as it should be.
fn is_as_wanted(endpoint: &Value, member: &Member) -> bool {
    let is_well = endpoint["state"] == "healthy" || endpoint["state"] == "unchecked";
    endpoint["address"] == member.address.to_string().as_str()
        && endpoint["weight"] == member.weight
        && if member.is_draining { endpoint["wanted"] == "drain" } else { is_well }
}

fn write_pool(text: &mut String, name: &str, balance: &str, members: &[Member]) {
    let _ = write!(text, "\n[pool.{name}]\nbalance = \"{balance}\"\nbackends = [\n");
    for Member { address, weight, is_draining, .. } in members {
        let state = if *is_draining { "drain" } else { "ready" };
        let _ = writeln!(text, "    {{ address = \"{address}\", weight = {weight}, state = \"{state}\" }},");
    }
    let _ = write!(text, "]\n\n[pool.{name}.health]\npath = \"/healthz\"\ninterval = \"200ms\"\nrise = 1\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_a_config_without_problems() {
        let member = |name: &str, port, is_draining| {
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            Member { name: name.into(), address, weight: 2, is_draining }
        };
        for is_placed in [false, true] {
            let members = vec![member("r0", 4000, false), member("r1", 4001, true)];
            let tables = "\n[pool.app.retry]\nattempt_timeout = \"500ms\"\n".to_owned();
            let stage = Stage {
                part: "limits".into(),
                environment: Vec::new(),
                sabotage: None,
                directory: PathBuf::new(),
                file: PathBuf::new(),
                is_placed,
                pool: Pool { balance: "least-connections", members, tables },
                edits: 1,
                replicas: Vec::new(),
                proxies: Vec::new(),
            };
            let config = unstick::config::parse("unstick.toml", &stage.to_toml()).unwrap();
            assert_eq!(config.pools.len(), 1 + 2 * usize::from(is_placed));
            assert_eq!(config.pools["app"].backends.len(), 2);
        }
    }
}
