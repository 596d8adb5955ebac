//! What the system tells of its processes. Read from `/proc`; where there is none, nothing is told.

use std::fs;
use std::io::Read as _;

use rustix::process::Pid;

/// So much of an environment is searched. Linux allows more, but nobody has it.
const ENVIRONMENT_MAX: u64 = 1 << 20;

/// A process, as its status line tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) pid: Pid,
    /// Whether it has ended, and waits for its parent.
    pub(super) is_over: bool,
    /// The number of its parent; 0 if none is told.
    pub(super) parent: i32,
    /// Its group, if one is told: one outside of the own process namespace has no number.
    pub(super) group: Option<Pid>,
    /// Its session, if one is told, as its group.
    pub(super) session: Option<Pid>,
    /// When it began, in ticks: with it a number that was given to another one is told apart.
    pub(super) began: u64,
}

/// All processes; `None` where the system does not tell.
pub(super) fn all() -> Option<Vec<Entry>> {
    let names = fs::read_dir("/proc").ok()?.filter_map(|process| process.ok()?.file_name().into_string().ok());
    let pids: Vec<i32> = names.filter_map(|name| name.parse().ok()).collect();
    if pids.is_empty() { None } else { Some(pids.into_iter().filter_map(Pid::from_raw).filter_map(entry).collect()) }
}

/// This process. In a process namespace its group and its session may be outside, and then have no number (getsid(2)
/// and getpgrp(2) give 0, pid_namespaces(7)).
pub(super) fn own() -> Option<Entry> {
    entry(rustix::process::getpid())
}

fn entry(pid: Pid) -> Option<Entry> {
    parsed(pid, &fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?)
}

/// Of a process that is just ending the kernel tells -1 for its parent and its group, whatever its state.
fn parsed(pid: Pid, stat: &str) -> Option<Entry> {
    // After the name, which may hold anything, come state, parent, group and session, and later the time of its begin
    // (proc(5)).
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().unwrap_or(0);
    let mut id = || fields.next()?.parse().ok().filter(|id: &i32| *id > 0).and_then(Pid::from_raw);
    let (group, session) = (id(), id());
    let began = fields.nth(15).and_then(|began| began.parse().ok()).unwrap_or(0);
    Some(Entry { pid, is_over: matches!(state, "Z" | "X"), parent, group, session, began })
}

/// Some processes, and all that they have started.
pub(super) fn descendants(roots: Vec<Entry>, all: &[Entry]) -> Vec<Entry> {
    let mut found = roots;
    let mut next = 0;
    while let Some(parent) = found.get(next).map(|process| raw(process.pid)) {
        let is_new = |child: &&Entry| {
            child.parent == parent && !child.is_over && found.iter().all(|process| process.pid != child.pid)
        };
        let children: Vec<Entry> = all.iter().filter(is_new).copied().collect();
        found.extend(children);
        next += 1;
    }
    found
}

/// The number of a process.
pub(super) fn raw(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

/// The environment of a process, entry by entry. That of another user cannot be read.
pub(super) fn environment(pid: Pid) -> Option<Vec<Vec<u8>>> {
    let file = fs::File::open(format!("/proc/{}/environ", pid.as_raw_nonzero())).ok()?;
    let mut environment = Vec::new();
    file.take(ENVIRONMENT_MAX).read_to_end(&mut environment).ok()?;
    Some(environment.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_is_just_ending_has_no_group() {
        let pid = Pid::from_raw(7).unwrap();
        for (stat, expected) in [
            ("7 (sh) S 1 42 43 0 -1", Some((1, Some(42), Some(43), false))),
            ("7 (a) R (b) R 1 42 42", Some((1, Some(42), Some(42), false))),
            ("7 (sh) R -1 -1 -1 0 -1", Some((-1, None, None, false))),
            ("7 (kthreadd) S 0 0 0", Some((0, None, None, false))),
            ("7 (sh) Z 1 42 42", Some((1, Some(42), Some(42), true))),
            ("7 (sh) X 1 42 42", Some((1, Some(42), Some(42), true))),
            ("7 (sh)", None),
            ("", None),
        ] {
            let raw = |id: Option<Pid>| id.map(|id| id.as_raw_nonzero().get());
            let found =
                parsed(pid, stat).map(|entry| (entry.parent, raw(entry.group), raw(entry.session), entry.is_over));
            assert_eq!(found, expected, "{stat}");
        }
        let whole = "7 (sh) S 1 7 7 0 -1 4194560 100 0 0 0 1 2 0 0 20 0 1 0 3141 2654208 200";
        assert_eq!(parsed(pid, whole).unwrap().began, 3141);
    }

    #[test]
    fn a_process_finds_itself() {
        let own = own().expect("/proc");
        assert!(all().expect("/proc").contains(&own));
        assert!(!own.is_over && own.began > 0 && environment(own.pid).is_some());
    }
}
