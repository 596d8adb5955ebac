//! Replicas that the audit starts itself, each at a port of its own.

use std::ffi::OsString;
use std::io;
#[cfg(test)]
use std::path::Path;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::{JoinSet, spawn_blocking};

use super::command::{Secrets, fill, random_hex};
use super::lifeline::Lifeline;
use super::living::MARK;
use super::origin::Origin;
use super::place::{Place, Wish, private_folder};
use super::port::{Ports, is_free};
use super::process::{Launch, Process};
use super::ready::{self, Unready, Wanted};
use super::strays::{Strays, Traces, is_parent_of_strays};
use super::tail::Tail;
use super::trouble::{Said, Trouble};
use super::{Disk, Key, Keys, Spawn, environment};

/// How often a replica is started at another port because somebody else took the first one.
const PORT_TRIES: u32 = 3;
/// How long a port may accept after all processes have ended.
const REFUSE_DEADLINE: Duration = Duration::from_secs(3);
/// Digits of the number that tells the replicas of this fleet from others.
const MARK_DIGITS: usize = 16;

/// All of them.
#[derive(Debug)]
pub(super) struct Spawned {
    recipe: Arc<Recipe>,
    slots: Vec<Slot>,
}

/// What all replicas of a fleet have in common.
#[derive(Debug)]
struct Recipe {
    command: String,
    ready: Option<String>,
    variables: Vec<String>,
    within: Duration,
    tools: Vec<(String, OsString)>,
    mark: String,
    /// Whether the folders of a replica are its own.
    has_own_folders: bool,
    strays: Strays,
    lifeline: Arc<Lifeline>,
}

/// One replica, which may be down.
#[derive(Debug)]
struct Slot {
    number: usize,
    name: String,
    origin: Origin,
    disk: Place,
    secrets: Mutex<Secrets>,
    process: Mutex<Option<Process>>,
    /// What it has written since it was last started.
    tail: Mutex<Tail>,
}

impl Spawned {
    /// Starts all of them at once, on fresh disks; what is to be known of them, in sentences.
    pub(super) async fn start_all(spawn: Spawn, names: &[String]) -> Result<(Self, Vec<String>), Trouble> {
        let source = spawn.folder.canonicalize().map_err(|error| {
            Trouble::Usage(format!("the folder {} cannot be used: {error}", spawn.folder.display()))
        })?;
        let folder = private_folder(&spawn.root)?;
        let mark = random_hex(MARK_DIGITS) + "-";
        is_parent_of_strays();
        let lifeline = Lifeline::start(&format!("{MARK}={mark}"), &folder);
        let lifeline = lifeline.map_err(|source| Trouble::NoShell { replica: names[0].clone(), source })?;
        let lifeline = Arc::new(lifeline);
        let Spawn { command, disk, ready, env_per_replica, keys, root, start_deadline, .. } = spawn;
        let recipe = Arc::new(Recipe {
            command,
            ready,
            variables: env_per_replica,
            within: start_deadline,
            tools: environment::tools(|name| std::env::var_os(name)),
            mark,
            has_own_folders: disk == Disk::Own,
            strays: Strays::adopt(lifeline.clone()),
            lifeline,
        });
        let (to, command) = (folder, recipe.command.clone());
        let wish = Wish { source, root, to, disk, count: names.len(), command };
        let (disks, notes) = places(wish, recipe.lifeline.clone()).await?;
        let shared = Secrets::random(&recipe.variables);
        let slots = names.iter().zip(disks).enumerate().map(|(at, (name, disk))| {
            let secrets = if keys == Keys::Shared { shared.clone() } else { Secrets::random(&recipe.variables) };
            Slot::new(at + 1, name.clone(), disk, secrets)
        });
        let slots = start_slots(&recipe, slots.collect()).await?;
        recipe.strays.note();
        Ok((Self { recipe, slots }, notes))
    }

    /// Where they are.
    pub(super) fn origins(&self) -> Vec<Origin> {
        self.slots.iter().map(|slot| slot.origin.clone()).collect()
    }

    /// Whether they take a key that can be changed.
    pub(super) fn has_keys(&self) -> bool {
        !self.recipe.variables.is_empty() || self.recipe.command.contains("{key}")
    }

    /// Kills one, if it runs, and waits until its port refuses.
    pub(super) async fn kill(&self, n: usize) -> Result<(), Trouble> {
        let slot = &self.slots[n];
        let process = lock(&slot.process).take();
        let Some(process) = process else { return Ok(()) };
        let unkillable = |what| Trouble::Unkillable { replica: slot.name.clone(), what };
        if !process.kill().await || !self.recipe.strays.kill(slot.traces(&self.recipe)).await {
            return Err(unkillable("its processes go on after SIGKILL".into()));
        }
        if !ready::wait_refused(&slot.origin, REFUSE_DEADLINE).await {
            return Err(unkillable(format!("all its processes have ended, and {} still accepts", slot.origin)));
        }
        Ok(())
    }

    /// Starts one again, at the same port and on the same disk. What still runs of it is killed before.
    pub(super) async fn start(&self, n: usize, key: Key) -> Result<(), Trouble> {
        self.kill(n).await?;
        let slot = &self.slots[n];
        if key == Key::Other {
            if !self.has_keys() {
                return Err(Trouble::NoKey { replica: slot.name.clone() });
            }
            *lock(&slot.secrets) = Secrets::random(&self.recipe.variables);
        }
        let taken = || Trouble::PortTaken { replica: slot.name.clone(), port: slot.origin.port };
        if !is_free(slot.origin.port) {
            return Err(taken());
        }
        let started = slot.start(&self.recipe).await;
        self.recipe.strays.note();
        started.map_err(|trouble| if slot.is_taken(&trouble) { taken() } else { trouble })
    }

    /// The last lines of one since it was started.
    pub(super) fn said(&self, n: usize) -> Vec<String> {
        lock(&self.slots[n].tail).lines()
    }

    /// The first that ended by itself, and how.
    pub(super) fn died(&self) -> Option<(usize, ExitStatus)> {
        let status = |slot: &Slot| lock(&slot.process).as_mut().and_then(Process::status);
        self.slots.iter().enumerate().find_map(|(n, slot)| Some((n, status(slot)?)))
    }

    /// Ends all of them, and removes their disks.
    pub(super) async fn end(self) {
        for slot in &self.slots {
            let process = lock(&slot.process).take();
            if let Some(process) = process {
                // What does not end now is struck once more by the lifeline.
                process.kill().await;
            }
        }
        self.recipe.strays.end().await;
        self.recipe.lifeline.end().await;
    }

    /// The processes of one.
    #[cfg(test)]
    pub(super) fn family(&self, n: usize) -> Option<super::living::Family> {
        lock(&self.slots[n].process).as_ref().map(|process| process.family().clone())
    }

    /// `{dir}` of one, and where it runs.
    #[cfg(test)]
    pub(super) fn disk(&self, n: usize) -> (&Path, &Path) {
        (&self.slots[n].disk.private, &self.slots[n].disk.folder)
    }
}

/// Makes the places of all of them. If this is dropped, the making stops, and only then is the lifeline let go of,
/// which removes what has been made.
async fn places(wish: Wish, lifeline: Arc<Lifeline>) -> Result<(Vec<Place>, Vec<String>), Trouble> {
    let path = wish.to.clone();
    let wanted = Arc::new(());
    let weak = Arc::downgrade(&wanted);
    let made = spawn_blocking(move || {
        let made = wish.make(&|| weak.strong_count() > 0);
        drop(lifeline);
        made
    });
    let made = made.await.unwrap_or_else(|error| Err(io::Error::other(error)));
    drop(wanted);
    made.map_err(|source| Trouble::Folder { path, source })
}

/// Starts all of them at once. If one fails, dropping the others kills them.
async fn start_slots(recipe: &Arc<Recipe>, slots: Vec<Slot>) -> Result<Vec<Slot>, Trouble> {
    let ports = Arc::new(Ports::default());
    let mut starting = JoinSet::new();
    for slot in slots {
        starting.spawn(slot.start_somewhere(recipe.clone(), ports.clone()));
    }
    let mut started = Vec::new();
    while let Some(slot) = starting.join_next().await {
        match slot {
            Ok(slot) => started.push(slot?),
            // Nobody aborts these tasks.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
    started.sort_by_key(|slot| slot.number);
    Ok(started)
}

impl Slot {
    fn new(number: usize, name: String, disk: Place, secrets: Secrets) -> Self {
        let (process, tail) = (Mutex::default(), Mutex::default());
        Self { number, name, origin: Origin::local(0), disk, secrets: Mutex::new(secrets), process, tail }
    }

    /// Starts it at a free port.
    async fn start_somewhere(mut self, recipe: Arc<Recipe>, ports: Arc<Ports>) -> Result<Self, Trouble> {
        for tries in 1.. {
            let port = ports.draw().ok_or_else(|| Trouble::NoPort { replica: self.name.clone() })?;
            self.origin = Origin::local(port);
            match self.start(&recipe).await {
                Err(trouble) if tries < PORT_TRIES && self.is_taken(&trouble) => {}
                outcome => return outcome.map(|()| self),
            }
        }
        unreachable!("the last try returns")
    }

    /// Whether it ended because somebody else has its port.
    fn is_taken(&self, trouble: &Trouble) -> bool {
        let Trouble::Ended { said, .. } = trouble else { return false };
        !is_free(self.origin.port) || said.0.iter().any(|line| line.to_lowercase().contains("already in use"))
    }

    /// Starts it, and waits until it is ready.
    async fn start(&self, recipe: &Recipe) -> Result<(), Trouble> {
        let secrets = lock(&self.secrets).clone();
        let mut values = vec![
            ("port", self.origin.port.to_string()),
            ("n", self.number.to_string()),
            ("dir", self.disk.private.display().to_string()),
        ];
        // The key is not shown.
        let (replica, shown) = (self.name.clone(), filled(&recipe.command, &values));
        values.push(("key", secrets.key));
        let command = filled(&recipe.command, &values);
        let mut environment = recipe.tools.clone();
        environment.extend(environment::private(&self.disk.private).map_err(|source| self.no_folder(source))?);
        environment.push(("PORT".into(), self.origin.port.to_string().into()));
        environment.extend(secrets.variables.into_iter().map(|(name, value)| (name, value.into())));
        let mark = format!("{}{}", recipe.mark, self.number);
        let launch = Launch { command: &command, folder: &self.disk.folder, environment, mark };
        let tail = Tail::default();
        *lock(&self.tail) = tail.clone();
        let started = Process::start(launch, recipe.lifeline.clone(), &tail).await;
        let mut process = started.map_err(|source| Trouble::NoShell { replica: replica.clone(), source })?;
        let wanted = Wanted { origin: &self.origin, target: recipe.ready.as_deref(), within: recipe.within };
        let Err(unready) = ready::wait(wanted, || process.status()).await else {
            *lock(&self.process) = Some(process);
            return Ok(());
        };
        process.kill().await;
        let (command, within, said) = (shown, recipe.within, Said(tail.lines()));
        Err(match unready {
            Unready::Ended(status) => Trouble::Ended { replica, command, status, said },
            Unready::Late(tried) => Trouble::Unready { replica, command, within, tried, said },
        })
    }

    /// What tells its processes from those of others.
    fn traces(&self, recipe: &Recipe) -> Traces<'_> {
        Traces { port: self.origin.port, folder: self.disk.private.parent().filter(|_| recipe.has_own_folders) }
    }

    fn no_folder(&self, source: io::Error) -> Trouble {
        Trouble::Folder { path: self.disk.private.clone(), source }
    }
}

fn filled(command: &str, values: &[(&str, String)]) -> String {
    let values: Vec<(&str, &str)> = values.iter().map(|(name, value)| (*name, value.as_str())).collect();
    fill(command, &values)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
