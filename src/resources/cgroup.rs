//! What the control groups of this process grant it: CPU time and memory.
//!
//! A process is bound by the limits of its own group and of every group above it, so each of them is looked at, up to
//! the top of the mount. In a container nothing is visible above the container's own group. The system may have groups
//! of version 2 (`cpu.max`, `memory.max`), of version 1 (`cpu.cfs_quota_us`, `memory.limit_in_bytes`), or both.

use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// The most bytes that are read of one file. A machine with many mounts has some 100 KiB of them.
const BYTES_MAX: u64 = 4 << 20;

/// Limits of memory from here on mean that there is none: version 1 writes the largest number of whole pages.
const MEMORY_MAX: u64 = 1 << 60;

/// What is granted; `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Grants {
    /// CPU time, in thousandths of a CPU, rounded up.
    pub(super) cpu_millis: Option<u64>,
    /// Memory, in bytes.
    pub(super) memory: Option<u64>,
}

/// Looks at the groups of this process. `root` is where the file system begins: `/`, or a folder of a test. What cannot
/// be read limits nothing.
pub(super) fn grants(root: &Path) -> Grants {
    Grants {
        cpu_millis: least(root, "cpu", |version, group| match version {
            Version::One => {
                cpu_millis(&text(&group.join("cpu.cfs_quota_us"))?, &text(&group.join("cpu.cfs_period_us"))?)
            }
            Version::Two => {
                let limit = text(&group.join("cpu.max"))?;
                let (quota, period) = limit.split_once(' ')?;
                cpu_millis(quota, period)
            }
        }),
        memory: least(root, "memory", |version, group| {
            let name = if version == Version::One { "memory.limit_in_bytes" } else { "memory.max" };
            text(&group.join(name))?.trim().parse().ok().filter(|bytes| *bytes < MEMORY_MAX)
        }),
    }
}

/// The least limit that `limit` finds in any group that binds this process.
fn least(root: &Path, controller: &str, limit: impl Fn(Version, &Path) -> Option<u64>) -> Option<u64> {
    let groups = groups(root, controller);
    groups.iter().flat_map(|(version, groups)| groups.iter().filter_map(|group| limit(*version, group))).min()
}

/// A quota as the kernel writes it: microseconds of CPU time in each period. `max` and -1 mean no limit.
fn cpu_millis(quota: &str, period: &str) -> Option<u64> {
    let (quota, period) = (quota.trim().parse::<u64>().ok()?, period.trim().parse::<u64>().ok()?);
    (period != 0).then(|| quota.saturating_mul(1000).div_ceil(period))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The groups that may limit this resource: for each mount the own group, and all above it that are visible.
fn groups(root: &Path, controller: &str) -> Vec<(Version, Vec<PathBuf>)> {
    let (Some(own), Some(mounts)) = (text(&root.join("proc/self/cgroup")), text(&root.join("proc/self/mountinfo")))
    else {
        return Vec::new();
    };
    mounts.lines().filter_map(|line| mounted(root, line, &own, controller)).collect()
}

/// The groups of one line of `/proc/self/mountinfo`: `36 35 98:0 /root /mount/point options - type source options`.
fn mounted(root: &Path, line: &str, own: &str, controller: &str) -> Option<(Version, Vec<PathBuf>)> {
    let (mount, file_system) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (mounted_group, at) = (mount.next()?, mount.next()?);
    let mut file_system = file_system.split(' ');
    let version = match (file_system.next()?, file_system.nth(1)) {
        ("cgroup2", _) => Version::Two,
        ("cgroup", Some(options)) if has(options, controller) => Version::One,
        _ => return None,
    };
    let is_own = |controllers: &str| match version {
        Version::One => has(controllers, controller),
        Version::Two => controllers.is_empty(),
    };
    // `4:cpu,cpuacct:/path`; version 2 has `0::/path`.
    let mut lines = own.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let (_, path) = lines.find(|(controllers, _)| is_own(controllers))?;
    let mount = root.join(at.trim_start_matches('/'));
    let below = Path::new(path).strip_prefix(mounted_group).ok();
    // A group outside of what is mounted cannot be found; the top of the mount is the nearest that is known.
    let below = below.filter(|below| below.components().all(|part| matches!(part, Component::Normal(_))));
    let group = mount.join(below.unwrap_or(Path::new("")));
    let groups = group.ancestors().take_while(|group| group.starts_with(&mount)).map(Path::to_owned).collect();
    Some((version, groups))
}

fn has(list: &str, word: &str) -> bool {
    list.split(',').any(|known| known == word)
}

fn text(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const V2: &str = "31 23 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const HYBRID: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
        32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";

    /// What is granted in a tree with these files below `/sys/fs/cgroup`.
    fn granted(own: &str, mounts: &str, files: &[(&str, &str)]) -> (Option<u64>, Option<u64>) {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("proc/self/cgroup", own);
        write("proc/self/mountinfo", mounts);
        files.iter().for_each(|(path, text)| write(&format!("sys/fs/cgroup/{path}"), text));
        let Grants { cpu_millis, memory } = grants(root.path());
        (cpu_millis, memory)
    }

    #[test]
    fn a_container_of_version_2_has_the_limits_of_its_group() {
        for (cpu, memory, expected) in [
            ("150000 100000\n", "536870912\n", (Some(1500), Some(512 << 20))),
            ("max 100000\n", "max\n", (None, None)),
            ("33333 100000\n", "0\n", (Some(334), Some(0))),
            ("1000 0\n", "-1\n", (None, None)),
            ("18446744073709551615 1\n", "18446744073709551615\n", (Some(u64::MAX), None)),
            ("", "x", (None, None)),
        ] {
            assert_eq!(granted("0::/\n", V2, &[("cpu.max", cpu), ("memory.max", memory)]), expected, "{cpu}");
        }
    }

    #[test]
    fn the_narrowest_of_nested_groups_counts() {
        let files = [
            ("cpu.max", "max 100000"),
            ("a.slice/cpu.max", "200000 100000"),
            ("a.slice/b.service/cpu.max", "700000 200000"),
            ("a.slice/memory.max", "1073741824"),
            ("a.slice/b.service/memory.max", "max"),
            ("c.slice/cpu.max", "1000 100000"),
        ];
        assert_eq!(granted("0::/a.slice/b.service\n", V2, &files), (Some(2000), Some(1 << 30)));
    }

    #[test]
    fn groups_of_version_1_are_read_where_they_have_the_controller() {
        let own = "4:memory:/pods/a\n2:cpuset:/other\n1:cpu,cpuacct:/pods/a\n0::/unified\n";
        let files = [
            ("cpu,cpuacct/pods/a/cpu.cfs_quota_us", "-1"),
            ("cpu,cpuacct/pods/a/cpu.cfs_period_us", "100000"),
            ("cpu,cpuacct/pods/cpu.cfs_quota_us", "250000"),
            ("cpu,cpuacct/pods/cpu.cfs_period_us", "100000"),
            ("memory/pods/a/memory.limit_in_bytes", "268435456"),
            ("memory/memory.limit_in_bytes", "9223372036854771712"),
            ("cpu,cpuacct/other/cpu.cfs_quota_us", "1"),
        ];
        assert_eq!(granted(own, HYBRID, &files), (Some(2500), Some(256 << 20)));
    }

    #[test]
    fn both_versions_bind_at_once() {
        let files = [
            ("cpu,cpuacct/cpu.cfs_quota_us", "300000"),
            ("cpu,cpuacct/cpu.cfs_period_us", "100000"),
            ("unified/a/cpu.max", "100000 100000"),
        ];
        assert_eq!(granted("1:cpu,cpuacct:/\n0::/a\n", HYBRID, &files), (Some(1000), None));
    }

    #[test]
    fn a_group_that_is_mounted_alone_is_the_top() {
        let mount = "31 23 0:28 /docker/ab /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        let files = [("cpu.max", "100000 100000"), ("x/memory.max", "4096")];
        assert_eq!(granted("0::/docker/ab\n", mount, &files), (Some(1000), None));
        assert_eq!(granted("0::/docker/ab/x\n", mount, &files), (Some(1000), Some(4096)));
        for outside in ["0::/../../elsewhere\n", "0::/docker/cd\n", "0::/docker/ab/../x\n"] {
            assert_eq!(granted(outside, mount, &files), (Some(1000), None), "{outside}");
        }
    }

    #[test]
    fn what_makes_no_sense_limits_nothing() {
        for (own, mounts) in
            [("", ""), ("\n::\n0:\n", " - \n - cgroup2\n1 2 3 4 - cgroup2\n"), ("0::/", ""), ("", V2), ("0:/", V2)]
        {
            assert_eq!(granted(own, mounts, &[("cpu.max", "1 1")]), (None, None), "{own:?} {mounts:?}");
        }
        assert_eq!(grants(Path::new("/nonexistent")), Grants::default());
    }
}
