//! Processes of replicas that have left everything by which they were known: their parent, their group, their session
//! and their environment, as daemons do. On Linux the audit takes the place of their parent when that ends (it is a
//! "child subreaper", prctl(2)), so they are found among its own children.
//!
//! A child of the audit is a stray if its session is another one and it bears no mark; what a replica was started as
//! has the session of the audit. What ran before the first replicas were started is never a stray. If some of that was
//! a child of the audit already, its orphans cannot be told from ours, and nothing is taken for a stray.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};
use tokio::time::{Instant, sleep};

use super::lifeline::Lifeline;
use super::living::MARK;
use super::processes::{Entry, all, descendants, environment, own, raw};

/// How long they may take to end after SIGKILL.
const KILL_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is looked whether they have ended.
const KILL_POLL: Duration = Duration::from_millis(5);
/// How often they are struck when nothing can be awaited: one may start another while it is looked for.
const STRIKES: u32 = 3;
/// The state of a socket that listens, in `/proc/net/tcp`.
const LISTENS: &str = "0A";

/// A process for as long as the system runs: its number, and when it began.
type Known = (i32, u64);

/// The strays of a fleet. Dropping it kills them.
#[derive(Debug)]
pub(super) struct Strays {
    /// What has been there before the fleet, or is one of another one; `None` if nothing is taken for a stray.
    others: Option<BTreeSet<Known>>,
    lifeline: Arc<Lifeline>,
    /// The groups that the lifeline knows of.
    held: Mutex<BTreeSet<i32>>,
}

/// What tells that a process belongs to one replica.
#[derive(Debug, Clone, Copy)]
pub(super) struct Traces<'a> {
    /// Its port.
    pub(super) port: u16,
    /// Its folder, if no other replica has the same.
    pub(super) folder: Option<&'a Path>,
}

impl Strays {
    /// From now on they come back.
    pub(super) fn adopt(lifeline: Arc<Lifeline>) -> Self {
        let others = is_parent_of_strays().then(|| all().unwrap_or_default().iter().map(known).collect());
        Self { others, lifeline, held: Mutex::default() }
    }

    /// Those that run, with what they have started.
    fn all(&self) -> Vec<Entry> {
        let (Some(others), Some(all), Some(audit)) = (&self.others, all(), own()) else { return Vec::new() };
        let is_stray = |process: &&Entry| {
            let is_child = process.parent == raw(audit.pid);
            let has_left = is_child && process.session.is_some() && process.session != audit.session;
            has_left && !process.is_over && !others.contains(&known(process)) && !is_marked(process.pid)
        };
        let roots: Vec<Entry> = all.iter().filter(is_stray).copied().collect();
        descendants(roots, &all)
    }

    /// Tells the lifeline what groups they have, in case the audit is killed.
    pub(super) fn note(&self) {
        reap();
        let running: BTreeSet<i32> = self.all().iter().filter_map(|process| process.group).map(raw).collect();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let group = |group: &i32| Pid::from_raw(*group);
        // Without a lifeline nobody hears it.
        running.difference(&held).filter_map(group).for_each(|group| _ = self.lifeline.hold(group));
        held.difference(&running).filter_map(group).for_each(|group| self.lifeline.release(group));
        *held = running;
    }

    /// Kills those of one replica, and waits until they have ended; `false` if they have not.
    pub(super) async fn kill(&self, traces: Traces<'_>) -> bool {
        self.end_those(|process| traces.lead_to(process.pid)).await
    }

    /// Kills all of them, and waits until they have ended.
    pub(super) async fn end(&self) {
        // What does not end now is struck once more by the lifeline.
        self.end_those(|_| true).await;
    }

    async fn end_those(&self, is_meant: impl Fn(&Entry) -> bool) -> bool {
        let deadline = Instant::now() + KILL_DEADLINE;
        let mut all = self.all();
        let mut meant = descendants(all.iter().copied().filter(&is_meant).collect(), &all);
        while !meant.is_empty() {
            if Instant::now() >= deadline {
                return false;
            }
            // What they have started comes back when they end.
            let groups: BTreeSet<i32> = meant.iter().filter_map(|process| process.session).map(raw).collect();
            meant.iter().for_each(|process| _ = kill_process(process.pid, Signal::KILL));
            sleep(KILL_POLL).await;
            reap();
            all = self.all();
            let is_left =
                |process: &Entry| process.session.is_some_and(|id| groups.contains(&raw(id))) || is_meant(process);
            meant = descendants(all.iter().copied().filter(is_left).collect(), &all);
        }
        self.note();
        true
    }
}

impl Drop for Strays {
    fn drop(&mut self) {
        for _ in 0..STRIKES {
            self.all().iter().for_each(|process| _ = kill_process(process.pid, Signal::KILL));
        }
    }
}

impl Traces<'_> {
    /// Whether a process listens on the port, was told it, or is in one of the folders.
    fn lead_to(self, pid: Pid) -> bool {
        let path = format!("/proc/{}", pid.as_raw_nonzero());
        let arguments = fs::read(format!("{path}/cmdline")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).into_owned();
        let is_told_port = || {
            let mut numbers = arguments.split(|c: char| !c.is_ascii_digit());
            numbers.any(|word| word.parse() == Ok(self.port))
        };
        let is_told_folder = || self.folder.is_some_and(|folder| arguments.contains(&*folder.to_string_lossy()));
        let sockets: Vec<String> = listening(self.port).map(|inode| format!("socket:[{inode}]")).collect();
        let is_own = |link: &Path| {
            self.folder.is_some_and(|folder| link.starts_with(folder))
                || sockets.iter().any(|socket| link == Path::new(socket))
        };
        let opened = fs::read_dir(format!("{path}/fd")).into_iter().flatten().flatten().map(|open| open.path());
        let mut links = opened.chain([format!("{path}/cwd").into()]).filter_map(|link| fs::read_link(link).ok());
        is_told_port() || is_told_folder() || links.any(|link| is_own(&link))
    }
}

/// The inodes of the sockets that listen on a port.
fn listening(port: u16) -> impl Iterator<Item = String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| fs::read_to_string(table).unwrap_or_default());
    let end = format!(":{port:04X}");
    let inode = move |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let listens = fields.get(1)?.ends_with(&end) && *fields.get(3)? == LISTENS;
        listens.then(|| fields.get(9).map(ToString::to_string)).flatten()
    };
    tables.into_iter().flat_map(move |table| table.lines().filter_map(&inode).collect::<Vec<_>>())
}

/// Whether this process takes the place of parents that end; decided once, before anything is started for a replica.
pub(super) fn is_parent_of_strays() -> bool {
    static IS_PARENT: OnceLock<bool> = OnceLock::new();
    *IS_PARENT.get_or_init(|| {
        let own = getpid();
        let has_children = |all: Vec<Entry>| all.iter().any(|process| process.parent == raw(own));
        !all().is_none_or(has_children) && becomes_parent(own)
    })
}

#[cfg(target_os = "linux")]
fn becomes_parent(own: Pid) -> bool {
    rustix::process::set_child_subreaper(Some(own)).is_ok()
}

#[cfg(not(target_os = "linux"))]
fn becomes_parent(_: Pid) -> bool {
    false
}

/// Takes the status of children that have come back and ended. Those that were started here have our session, and our
/// group or one of their own name: whoever started them waits for them.
fn reap() {
    let Some(audit) = own() else { return };
    let has_ended = |process: &&Entry| process.is_over && process.parent == raw(audit.pid);
    for process in all().unwrap_or_default().iter().filter(has_ended) {
        let is_started_here =
            process.session == audit.session && (process.group == audit.group || process.group == Some(process.pid));
        if !is_started_here && process.session.is_some() {
            waitpid(Some(process.pid), WaitOptions::NOHANG).ok();
        }
    }
}

fn is_marked(pid: Pid) -> bool {
    let mark = format!("{MARK}=");
    environment(pid).is_none_or(|all| all.iter().any(|entry| entry.starts_with(mark.as_bytes())))
}

fn known(process: &Entry) -> Known {
    (raw(process.pid), process.began)
}
