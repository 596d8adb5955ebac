//! Which processes of a replica run: those of its group, and those that left the group but still bear its mark in their
//! environment. A process that has ended and waits for its parent (a zombie) does not run.
//!
//! Read from `/proc`. Where there is none, only the group is known.

use std::fs;
use std::io::Read as _;

use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};

/// The variable that marks the processes of a replica.
pub(super) const MARK: &str = "UNSTICK_AUDIT_REPLICA";

/// So much of an environment is searched. Linux allows more, but nobody has it.
const ENVIRONMENT_MAX: u64 = 1 << 20;

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

    /// Sends SIGKILL to all of them. The kernel lets no process of a group fork past it.
    pub(super) fn strike(&self) {
        // Both fail for what has ended by itself.
        kill_process_group(self.group, Signal::KILL).ok();
        for process in self.members().unwrap_or_default() {
            kill_process(process, Signal::KILL).ok();
        }
    }

    /// Those that run; `None` where the system does not tell.
    pub(super) fn members(&self) -> Option<Vec<Pid>> {
        let entry = format!("{MARK}={}", self.mark).into_bytes();
        let processes = fs::read_dir("/proc").ok()?.filter_map(|process| process.ok()?.file_name().into_string().ok());
        let pids: Vec<i32> = processes.filter_map(|name| name.parse().ok()).collect();
        if pids.is_empty() {
            return None;
        }
        let is_member = |pid: &Pid| match group_of(*pid) {
            Some(group) => group == self.group || has_entry(*pid, &entry),
            None => false,
        };
        Some(pids.into_iter().filter_map(Pid::from_raw).filter(is_member).collect())
    }
}

/// The group of a process that runs.
fn group_of(pid: Pid) -> Option<Pid> {
    group_in(&fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
}

/// The group that the status line of a process tells. Of one that is just ending the kernel tells -1, whatever its
/// state.
fn group_in(stat: &str) -> Option<Pid> {
    // After the name, which may hold anything, come state, parent and group.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let group = fields.nth(1)?.parse().ok().filter(|group: &i32| *group > 0)?;
    if matches!(state, "Z" | "X") { None } else { Pid::from_raw(group) }
}

/// Whether the environment of a process has this entry. That of another user cannot be read.
fn has_entry(pid: Pid, entry: &[u8]) -> bool {
    let file = fs::File::open(format!("/proc/{}/environ", pid.as_raw_nonzero()));
    let mut environment = Vec::new();
    let read = file.and_then(|file| file.take(ENVIRONMENT_MAX).read_to_end(&mut environment));
    read.is_ok() && environment.split(|byte| *byte == 0).any(|one| one == entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_just_ending_has_no_group() {
        for (stat, expected) in [
            ("7 (sh) S 1 42 42 0 -1", Some(42)),
            ("7 (a) R (b) R 1 42 42", Some(42)),
            ("7 (sh) R -1 -1 -1 0 -1", None),
            ("7 (kthreadd) S 0 0 0", None),
            ("7 (sh) Z 1 42 42", None),
            ("7 (sh) X 1 42 42", None),
            ("7 (sh) S", None),
            ("", None),
        ] {
            assert_eq!(group_in(stat).map(|group| group.as_raw_nonzero().get()), expected, "{stat}");
        }
    }
}
