//! The real program in control groups that this test makes, where the system lets it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::cli::{Running, config, serving, unstick};
use crate::support::backend::Backend;
use crate::support::{eventually, not_allowed, text};

/// Groups of its own below each of these, removed when it is dropped.
struct Groups(Vec<PathBuf>);

impl Groups {
    /// Makes a group in each folder; `None` if one cannot be made.
    fn make(parents: &[&str]) -> Option<Self> {
        let mut groups = Self(Vec::new());
        for parent in parents {
            let group = Path::new(parent).join(format!("unstick-test-{}", std::process::id()));
            fs::create_dir(&group).ok()?;
            groups.0.push(group);
        }
        Some(groups)
    }

    /// Writes a limit; `None` if the group has none of this name.
    fn limit(&self, nth: usize, name: &str, value: &str) -> Option<()> {
        fs::write(self.0.get(nth)?.join(name), value).ok()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        for group in &self.0 {
            eventually("the group is empty", || fs::remove_dir(group).is_ok() || !group.exists());
        }
    }
}

/// Half a CPU and 512 MiB, by groups of version 2 or version 1.
fn half_a_cpu() -> Option<Groups> {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        let groups = Groups::make(&["/sys/fs/cgroup"])?;
        groups.limit(0, "cpu.max", "50000 100000")?;
        groups.limit(0, "memory.max", "536870912")?;
        return Some(groups);
    }
    let groups = Groups::make(&["/sys/fs/cgroup/cpu", "/sys/fs/cgroup/memory"])?;
    groups.limit(0, "cpu.cfs_period_us", "100000")?;
    groups.limit(0, "cpu.cfs_quota_us", "50000")?;
    groups.limit(1, "memory.limit_in_bytes", "536870912")?;
    Some(groups)
}

/// The command, in these groups from its start on.
fn within(groups: &Groups, command: &Command) -> Command {
    let enter: String = groups.0.iter().map(|group| format!("echo $$ >{}/cgroup.procs && ", group.display())).collect();
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{enter}exec \"$0\" \"$@\"")]).arg(command.get_program()).args(command.get_args());
    shell
}

#[test]
fn workers_connections_and_streams_follow_the_control_group() {
    let can_enter = |groups: &Groups| within(groups, &Command::new("true")).status().is_ok_and(|ended| ended.success());
    let Some(groups) = half_a_cpu().filter(can_enter) else {
        not_allowed("no control groups can be made");
        return;
    };
    let expected = "1 worker (CPU quota 0.50), 4915 client connections (memory limit 512MiB), 128 streams per HTTP/2 \
                    connection (default)";
    let backend = Backend::named("a");
    let (_folder, file) = config(&serving(&backend, "[limits]\nconnections = 50000\n"));
    let checked = within(&groups, &unstick(&["check", "config/unstick.toml"])).output().unwrap();
    assert_eq!(text(&checked.stderr), format!("on this machine: {expected}\n"));
    let operations = fs::read_to_string("docs/operations.md").unwrap();
    assert!(operations.contains(&*text(&checked.stderr)), "the sample in docs/operations.md is another");
    let mut running = Running::of(within(&groups, &unstick(&["run", "-c", &file])));
    running.line("1 worker (CPU quota 0.50)");
    running.line("limits.connections = 50000: at worst their clients can make the process hold");
    running.address();
    running.signal(Signal::TERM);
    assert_eq!(running.exit_code(), Some(0));
}
