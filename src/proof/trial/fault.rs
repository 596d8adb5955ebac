//! What happens to the replicas: a schedule, carried out by a [`World`] and written down.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::sleep_until;

use super::history::Incident;
use super::recorder::Recorder;

/// One thing that is done to the replicas or what stands around them. Numbers count from 0, in the order of starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// A replica gets SIGKILL while it has requests, and stays in the file.
    Kill(usize),
    /// So many replicas are started and added to the file in one edit.
    Add(usize),
    /// A replica gets no new request.
    Drain(usize),
    /// So many of the replicas that were started last are taken out in one edit, and end when they have nothing left to
    /// do.
    Remove(usize),
    /// A drained replica is taken out and ends.
    Retire(usize),
    /// A new replica takes the place of an old one, which ends.
    Replace(usize),
    /// The file is edited, but no replica comes or goes.
    Edit(usize),
    /// One of the proxies gets SIGKILL.
    KillProxy(usize),
    /// The store is stopped and started again.
    RestartStore,
    /// A replica says that it wants no requests, though it would do them.
    Sicken(usize),
    /// It wants them again.
    Heal(usize),
    /// The process of a replica stands still.
    Stop(usize),
    /// It goes on.
    Continue(usize),
    /// A replica gets SIGKILL when it has read a part of a write that changes something.
    KillReading(usize),
    /// A replica accepts requests and does not respond.
    Mute(usize),
    /// A replica responds 500 to everything.
    Err(usize),
    /// A replica cannot reach its store.
    CutOff(usize),
    /// A replica takes long for one request.
    SlowOnce(usize),
    /// All replicas get other keys.
    Rekey(Rekey),
    /// The store dies, and its copy takes its place.
    FailOver,
    /// The place where sessions are is filled up.
    Fill,
}

/// A step of a change of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rekey {
    /// Every replica learns the new key, and opens with it.
    Announce,
    /// Every replica seals with it, and still opens with the old one.
    Use,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(replica) => write!(f, "kill -9 of replica {replica}"),
            Self::Add(count) => write!(f, "{count} replicas more"),
            Self::Drain(replica) => write!(f, "replica {replica} set to drain"),
            Self::Remove(count) => write!(f, "{count} replicas less"),
            Self::Retire(replica) => write!(f, "replica {replica} taken out"),
            Self::Replace(replica) => write!(f, "replica {replica} replaced"),
            Self::Edit(number) => write!(f, "edit {number}"),
            Self::KillProxy(proxy) => write!(f, "kill -9 of proxy {proxy}"),
            Self::RestartStore => write!(f, "store restarted"),
            Self::Sicken(replica) => write!(f, "replica {replica} says that it is not well"),
            Self::Heal(replica) => write!(f, "replica {replica} says that it is well"),
            Self::Stop(replica) => write!(f, "replica {replica} stands still"),
            Self::Continue(replica) => write!(f, "replica {replica} goes on"),
            Self::KillReading(replica) => write!(f, "kill -9 of replica {replica} while it reads"),
            Self::Mute(replica) => write!(f, "replica {replica} does not respond any more"),
            Self::Err(replica) => write!(f, "replica {replica} responds 500"),
            Self::CutOff(replica) => write!(f, "replica {replica} cannot reach its store"),
            Self::SlowOnce(replica) => write!(f, "replica {replica} takes long for one request"),
            Self::Fill => f.write_str("the place where sessions are is filled up"),
            Self::FailOver => f.write_str("kill -9 of the store, and its copy takes over"),
            Self::Rekey(Rekey::Announce) => f.write_str("a new key announced"),
            Self::Rekey(Rekey::Use) => f.write_str("a new key in use"),
        }
    }
}

/// An act and its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned {
    /// The earliest time for it, since the beginning. Acts follow one another.
    pub at: Duration,
    /// The act.
    pub act: Act,
}

/// Something that can carry out acts.
pub trait World {
    /// Carries out an act, writes down what it makes of replicas and proxies, and returns when it is complete.
    ///
    /// # Errors
    /// The reason why it was not possible. The experiment then says nothing.
    fn carry_out(&self, act: Act, recorder: &Recorder) -> impl Future<Output = anyhow::Result<()>>;
}

/// Plays a schedule to its end.
///
/// # Errors
/// The first act that could not be carried out.
pub async fn play(schedule: &[Planned], world: &impl World, recorder: &Recorder) -> anyhow::Result<()> {
    for planned in schedule {
        sleep_until(recorder.at(planned.at)).await;
        let at = recorder.now();
        world.carry_out(planned.act, recorder).await?;
        recorder.incident(Incident { at, done: recorder.now(), what: planned.act.to_string() });
    }
    Ok(())
}
