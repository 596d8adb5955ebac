//! The proxy under test: the shipped `unstick run`, as a process of its own, on a real TOML file. Whatever changes is
//! changed by editing that file, as a user would.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::Signal;
use tokio::time::{Instant, sleep};

use super::ask;
use super::event::{HEAVY, SCALE_OUT};
use super::lifeline::Lifeline;
use super::process::{Process, Start};
use super::sabotage::{Planted, Sabotage};

/// How long the proxy may take to start, to apply an edit, or to respond on its admin port.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two looks at the proxy's state.
const POLL: Duration = Duration::from_millis(10);

/// A replica as the file knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) is_draining: bool,
}

/// What a pool takes for a failure of a replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Patience {
    /// What it does by default.
    Usual,
    /// A replica may stand still: an attempt has a deadline, so that others are tried.
    Short,
    /// A replica says that it cannot do its work: others are tried.
    MindsStatus,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) balance: &'static str,
    pub(super) entries: Vec<Entry>,
    /// Whether each replica has a pool of its own besides, for users who keep to one. The affinity itself is the
    /// users'.
    pub(super) has_single_pools: bool,
    /// What was taken out.
    pub(super) removed: Vec<Entry>,
    /// Whether the last one has a greater weight.
    pub(super) has_heavy: bool,
    /// The replica to which something happens.
    pub(super) victim: usize,
    /// Whether the proxy has lost count of what replicas have under way, under sabotage.
    pub(super) is_miscounted: bool,
    pub(super) patience: Patience,
    /// What the file says wrongly.
    pub(super) planted: Planted,
    /// Counts edits that change nothing else.
    pub(super) edit: usize,
}

impl File {
    /// The text of the file.
    pub(super) fn to_toml(&self) -> String {
        let mut text = format!(
            "# edit {}\n[listen.web]\naddress = \"127.0.0.1:0\"\n\n[admin]\naddress = \"127.0.0.1:0\"\n\
             socket = \"off\"\n\n\
             [timeouts]\ndrain = \"2s\"\n",
            self.edit
        );
        if self.has_single_pools {
            // Users who keep to a replica name it as host. No other replica may respond in its place. Sessions stay
            // while their replica drains, as balancers with sticky sessions let them.
            for entry in &self.entries {
                let _ = write!(text, "\n[[route]]\nhost = \"{0}\"\npool = \"{0}\"\n", entry.name);
                self.pool(&mut text, &entry.name, &[Entry { is_draining: false, ..entry.clone() }]);
            }
            text.push_str("\n[[route]]\nhost = \"shop.test\"\npool = \"app\"\n");
        }
        if let (true, Some(victim)) = (self.planted.is(Sabotage::DeadReplica), self.entries.get(self.victim)) {
            text.push_str("\n[[route]]\npool = \"app\"\n\n[[route]]\npath = \"/cart\"\npool = \"victim\"\n");
            self.pool(&mut text, "victim", std::slice::from_ref(victim));
        }
        let kept = self.removed.iter().filter(|_| self.planted.is(Sabotage::RemovedKept));
        let entries: Vec<Entry> = self.entries.iter().chain(kept).cloned().collect();
        self.pool(&mut text, "app", &entries);
        text
    }

    fn pool(&self, text: &mut String, name: &str, entries: &[Entry]) {
        let backends: Vec<String> = entries
            .iter()
            .enumerate()
            .map(|(place, Entry { address, is_draining, .. })| {
                let (weight, is_used) = self.weight(place, entries.len());
                let is_draining = *is_draining && !self.planted.is(Sabotage::DrainIgnored);
                let state = if is_draining || !is_used { "drain" } else { "ready" };
                format!("    {{ address = \"{address}\", weight = {weight}, state = \"{state}\" }},\n")
            })
            .collect();
        let _ = write!(text, "\n[pool.{name}]\nbalance = \"{}\"\nbackends = [\n{}]\n", self.balance, backends.concat());
        let is_unwatched = self.planted.is(Sabotage::NobodyWatched);
        if is_unwatched {
            let _ = write!(text, "\n[pool.{name}.eject]\nfailures = 0\n");
        }
        if !is_unwatched && !self.planted.is(Sabotage::HealthOff) {
            let rise = if self.planted.is(Sabotage::NeverBack) { 100 } else { 1 };
            let interval = if self.planted.is(Sabotage::ProbeStorm) { "20ms" } else { "200ms" };
            let _ =
                write!(text, "\n[pool.{name}.health]\npath = \"/healthz\"\ninterval = \"{interval}\"\nrise = {rise}\n");
            // On a busy machine a short deadline fails replicas that are well, and if most fail, all get requests.
            text.push_str(if self.patience == Patience::Short { "timeout = \"300ms\"\n" } else { "" });
        }
        let retry = match self.patience {
            Patience::Short => "attempt_timeout = \"500ms\"",
            Patience::MindsStatus if !self.planted.is(Sabotage::StatusIgnored) => "on_status = [503]",
            Patience::Usual | Patience::MindsStatus => return,
        };
        let _ = write!(text, "\n[pool.{name}.retry]\n{retry}\n");
    }

    /// The share of the backend at a place, and whether it gets anything.
    fn weight(&self, place: usize, count: usize) -> (u32, bool) {
        let (is_first, is_last) = (place == 0, place + 1 == count && count > 1);
        match self.planted {
            planted if planted.is(Sabotage::LastUnused) && is_last => (1, false),
            planted if planted.is(Sabotage::OneStarved) && !is_last => (20, true),
            planted if planted.is(Sabotage::NewcomersStarved) => (if place < SCALE_OUT.0 { 20 } else { 1 }, true),
            planted if planted.is(Sabotage::Skewed) => (if is_first { 11 } else { 10 }, true),
            planted if planted.is(Sabotage::WeightsForgotten) && self.edit > 1 => (1, true),
            // Of those that are left, too.
            _ if self.is_miscounted => (if place == (self.victim + 1) % count { 20 } else { 1 }, true),
            _ => (if self.has_heavy && is_last { HEAVY } else { 1 }, true),
        }
    }
}

/// A proxy that runs.
#[derive(Debug)]
pub(super) struct Proxy {
    pub(super) address: SocketAddr,
    admin: SocketAddr,
    process: Process,
}

impl Proxy {
    /// Starts one on a file. Its log is written beside the file.
    pub(super) async fn start(file: &Path, number: usize, lifeline: &Rc<Lifeline>) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let log = file.with_file_name(format!("proxy-{number}.log"));
        let arguments = ["run", "--workers", "2", "--config"].map(str::to_owned);
        let start = Start {
            program,
            arguments: arguments.into_iter().chain([file.display().to_string()]).collect(),
            directory: None,
            log: log.clone(),
            logs_output: false,
            account: None,
            end: Signal::KILL,
            lifeline: Rc::clone(lifeline),
        };
        let mut process = start.spawn().await.context("cannot start the proxy")?;
        let addresses = async || {
            let text = fs::read_to_string(&log)?;
            let web = address_after(&text, "serving web on http://").context("it does not say its address")?;
            Ok((web, address_after(&text, "admin on http://").context("it does not say its admin port")?))
        };
        let (address, admin) = process.ready(DEADLINE, addresses).await.context("the proxy did not start")?;
        Ok(Self { address, admin, process })
    }

    /// Ends it by SIGKILL.
    pub(super) async fn kill(&mut self) {
        // If it does not end in time, it is tried once more when this is dropped.
        self.process.end(Signal::KILL).await.ok();
    }

    /// Asks the admin port for `/status`.
    pub(super) async fn status(&self) -> anyhow::Result<serde_json::Value> {
        Ok(serde_json::from_slice(&ask::get(self.admin, "/status").await?)?)
    }

    /// Waits until no replica that was taken out has anything under way.
    pub(super) async fn wait_drained(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status().await?;
            let pools = status["pools"].as_array().map(Vec::as_slice).unwrap_or_default();
            if pools.iter().all(|pool| pool["draining"].as_array().is_none_or(Vec::is_empty)) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "a replica that was taken out is not done in time");
            sleep(POLL).await;
        }
    }

    /// Waits until the pool's endpoints satisfy `condition`.
    pub(super) async fn wait_for(
        &self,
        what: &str,
        condition: impl Fn(&[serde_json::Value]) -> bool,
    ) -> anyhow::Result<()> {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let status = self.status().await?;
            let pools = status["pools"].as_array().map(Vec::as_slice).unwrap_or_default();
            let app = pools.iter().find(|pool| pool["name"] == "app");
            let endpoints = app.and_then(|pool| pool["endpoints"].as_array()).map(Vec::as_slice).unwrap_or_default();
            if condition(endpoints) {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "not in time: {what}; the proxy says {endpoints:?}");
            sleep(POLL).await;
        }
    }
}

/// The address that stands behind `words` in a log.
fn address_after(log: &str, words: &str) -> Option<SocketAddr> {
    let rest = &log[log.find(words)? + words.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':')?;
    rest[..end].parse().ok()
}

/// Replaces the text of a file at one instant, as editors do.
pub(super) fn replace(file: &PathBuf, text: &str) -> anyhow::Result<()> {
    let staged = file.with_extension("next");
    fs::write(&staged, text).and_then(|()| fs::rename(&staged, file)).with_context(|| file.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_a_config_without_problems() {
        let entry = |name: &str, port, is_draining| Entry {
            name: name.into(),
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            is_draining,
        };
        for (has_single_pools, patience) in
            [(false, Patience::Usual), (true, Patience::Short), (false, Patience::MindsStatus)]
        {
            let entries = vec![entry("r0", 4000, false), entry("r1", 4001, true)];
            let (removed, planted) = (Vec::new(), Planted::default());
            let (balance, edit) = ("round-robin", 3);
            let (has_heavy, victim, is_miscounted) = (true, 1, false);
            let file = File {
                balance,
                entries,
                has_single_pools,
                removed,
                has_heavy,
                victim,
                is_miscounted,
                patience,
                planted,
                edit,
            };
            assert!(file.to_toml().contains("weight = 2"));
            let config = unstick::config::parse("unstick.toml", &file.to_toml()).unwrap();
            assert_eq!(config.pools.len(), 1 + 2 * usize::from(has_single_pools));
            assert_eq!(config.pools["app"].backends.len(), 2);
        }
    }

    #[test]
    fn addresses_are_found_in_a_log() {
        let log = r#"{"message":"serving web on http://127.0.0.1:42057","workers":1}"#;
        assert_eq!(address_after(log, "serving web on http://"), "127.0.0.1:42057".parse().ok());
        assert_eq!(address_after(log, "admin on http://"), None);
        assert_eq!(address_after("serving web on http://127.0.0.1:42", "serving web on http://"), None, "half a line");
    }
}
