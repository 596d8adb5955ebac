//! Resolves backend names to addresses, again whenever their records expire.
//!
//! This runs on the control thread. Each family of addresses of each name has a task of its own, so that a name server
//! that answers for one and not for the other delays nothing. What follows from the findings is in `names.rs`.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep;

use super::files::Files;
use super::names::{Family, Finding, Resolution};
use super::resolver::{Directory, Heard, SystemFiles};
use crate::config::model::Dns;

/// A name is resolved again when its records expire (their TTL, RFC 1035 section 3.2.1), within these bounds.
const TTL_MIN: Duration = Duration::from_secs(1);
const TTL_MAX: Duration = Duration::from_secs(30);
/// The pause after a failed resolution.
const RETRY_PAUSE: Duration = Duration::from_secs(2);
/// How often the files of the system are looked at.
const SYSTEM_LOOK: Duration = Duration::from_secs(1);
/// The most results that wait for the control thread.
const ANSWERS_MAX: usize = 64;

/// The tasks that resolve names.
pub(crate) struct Discovery {
    tasks: HashMap<(String, Family), Task>,
    /// The families of each name that have addresses.
    found: HashMap<String, Found>,
    orders: watch::Sender<Orders>,
    directory: watch::Receiver<Option<Rc<Directory>>>,
    answers: mpsc::Sender<Resolution>,
    _renewing: Task,
}

/// Which families of a name have addresses.
type Found = Rc<[Cell<bool>; 2]>;

/// What the directory is made of, and how many times somebody asked for a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Orders {
    servers: Vec<SocketAddr>,
    renewals: u64,
}

struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Discovery {
    /// Resolves nothing yet. Findings come through the returned channel.
    pub(crate) fn new(files: Files) -> (Self, mpsc::Receiver<Resolution>) {
        let (answers, receiver) = mpsc::channel(ANSWERS_MAX);
        let (orders, ordered) = watch::channel(Orders::default());
        let (renewed, directory) = watch::channel(None);
        let renewing = Task(spawn_local(renew(files, ordered, renewed)));
        let (tasks, found) = (HashMap::new(), HashMap::new());
        (Self { tasks, found, orders, directory, answers, _renewing: renewing }, receiver)
    }

    /// Resolves exactly these names from now on. If the name servers have changed, every name is asked for at once.
    pub(crate) fn sync(&mut self, names: &BTreeSet<String>, dns: &Dns) {
        let change = |orders: &mut Orders| {
            let is_new = orders.servers != dns.servers;
            orders.servers.clone_from(&dns.servers);
            is_new
        };
        self.orders.send_if_modified(change);
        let families = Family::all(dns.families);
        self.tasks.retain(|(name, family), _| names.contains(name) && families.contains(family));
        self.found.retain(|name, _| names.contains(name));
        for name in names {
            let found = Rc::clone(self.found.entry(name.clone()).or_default());
            for family in families {
                let start = || {
                    let (directory, answers) = (self.directory.clone(), self.answers.clone());
                    Task(spawn_local(follow(directory, name.clone(), *family, Rc::clone(&found), answers)))
                };
                self.tasks.entry((name.clone(), *family)).or_insert_with(start);
            }
        }
    }

    /// Reads the files of the system again, and asks for every name.
    pub(crate) fn renew(&self) {
        self.orders.send_modify(|orders| orders.renewals += 1);
    }
}

/// Keeps the directory as the files of the system and the config say.
///
/// The files are written by others, without events that could be relied on: new contents count when they are the same
/// in two looks.
async fn renew(files: Files, mut ordered: watch::Receiver<Orders>, renewed: watch::Sender<Option<Rc<Directory>>>) {
    let mut made_of = None;
    let mut settling = None;
    loop {
        let orders = ordered.borrow_and_update().clone();
        let system = files.read(SystemFiles::read).await.unwrap_or_else(|why| SystemFiles::unreadable(&why));
        let is_ordered = made_of.as_ref().is_none_or(|(made_of, _)| *made_of != orders);
        let is_new = made_of.as_ref().is_none_or(|(_, made_of)| *made_of != system);
        let has_settled = settling.replace(system.clone()).is_some_and(|before| before == system);
        if is_ordered || (is_new && has_settled) {
            let directory = Directory::new(&orders.servers, &system);
            if let Some(why) = directory.problem() {
                tracing::error!("names of backends cannot be resolved: {why}");
            }
            made_of = Some((orders, system));
            renewed.send(Some(Rc::new(directory))).ok();
        }
        tokio::select! {
            () = sleep(SYSTEM_LOOK) => {}
            changed = ordered.changed() => if changed.is_err() { return },
        }
    }
}

/// Resolves one family of one name until the task is aborted, and reports what it finds.
async fn follow(
    mut directory: watch::Receiver<Option<Rc<Directory>>>,
    host: String,
    family: Family,
    found: Found,
    answers: mpsc::Sender<Resolution>,
) {
    let mut last = None;
    let mut had_addresses = false;
    loop {
        let present = directory.borrow_and_update().clone();
        let step = async {
            let Some(present) = present else { return std::future::pending().await };
            let Heard { finding, lives_for } = present.ask(&host, family).await;
            found[family as usize].set(matches!(finding, Finding::Addresses(_)));
            had_addresses |= matches!(finding, Finding::Addresses(_));
            // A denial counts by the time for which it is repeated.
            if finding == Finding::Denied || last.as_ref() != Some(&finding) {
                answers.send(Resolution { host: host.clone(), family, finding: finding.clone() }).await.ok();
            }
            let has_other = found.iter().any(Cell::get);
            let pause = match &finding {
                Finding::Addresses(_) => lives_for.unwrap_or(TTL_MIN).clamp(TTL_MIN, TTL_MAX),
                // The name has the other family only, which is no reason to ask often.
                Finding::Denied if has_other && !had_addresses => lives_for.unwrap_or(TTL_MAX).clamp(TTL_MIN, TTL_MAX),
                Finding::Denied | Finding::Unknown(_) => RETRY_PAUSE,
            };
            last = Some(finding);
            sleep(pause).await;
        };
        tokio::select! {
            () = step => {}
            changed = directory.changed() => if changed.is_err() { return },
        }
    }
}
