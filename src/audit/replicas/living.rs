//! Which processes of a replica run: those of its group, and those that left the group but still bear its mark in their
//! environment. A process that has ended and waits for its parent (a zombie) does not run.
//!
//! Read from `/proc`. Where there is none, only the group is known.

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

use super::processes::{Entry, all, descendants, environment};

/// The variable that marks the processes of a replica.
pub(super) const MARK: &str = "UNSTICK_AUDIT_REPLICA";

/// The processes of a replica.
#[derive(Debug, Clone)]
pub(super) struct Family {
    /// Their group.
    pub(super) group: Pid,
    /// The value of [`MARK`] that they have.
    pub(super) mark: String,
}

impl Family {
    /// Whether any of them runs.
    pub(super) fn is_alive(&self) -> bool {
        match self.members() {
            Some(members) => !members.is_empty(),
            None => test_kill_process_group(self.group).is_ok(),
        }
    }

    /// Sends SIGKILL to all of them, and to what they have started that has left their group and lost its mark: when
    /// they have ended nothing tells any more whose that was. The kernel lets no process of a group fork past it.
    pub(super) fn strike(&self) {
        let kin = all().map(|all| descendants(self.among(&all), &all)).unwrap_or_default();
        // Both fail for what has ended by itself.
        kill_process_group(self.group, Signal::KILL).ok();
        for process in kin {
            kill_process(process.pid, Signal::KILL).ok();
        }
    }

    /// Those that run; `None` where the system does not tell.
    pub(super) fn members(&self) -> Option<Vec<Pid>> {
        Some(self.among(&all()?).into_iter().map(|process| process.pid).collect())
    }

    fn among(&self, all: &[Entry]) -> Vec<Entry> {
        let entry = format!("{MARK}={}", self.mark).into_bytes();
        let is_member = |process: &&Entry| {
            let is_marked = || environment(process.pid).is_some_and(|all| all.contains(&entry));
            !process.is_over && process.group.is_some_and(|group| group == self.group || is_marked())
        };
        all.iter().filter(is_member).copied().collect()
    }
}
