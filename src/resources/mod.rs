//! What this process may use of its machine: CPUs, memory and file descriptors.

mod cgroup;

use std::num::NonZeroUsize;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::sched_getaffinity;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resources {
    /// The CPUs on which the process may run.
    pub(crate) cpus: NonZeroUsize,
    /// The CPU time that its control groups grant, in thousandths of a CPU; `None` means no limit.
    pub(crate) cpu_millis: Option<u64>,
    /// The bytes of memory that its control groups grant; `None` means no limit.
    pub(crate) memory: Option<u64>,
    /// The file descriptors that it may have; `None` means any number.
    pub(crate) descriptors: Option<u64>,
}

impl Resources {
    /// One CPU, and no limits.
    pub(crate) const BOUNDLESS: Self =
        Self { cpus: NonZeroUsize::MIN, cpu_millis: None, memory: None, descriptors: None };

    /// Raises the limit of file descriptors to what the system allows, and looks at what there is.
    pub(crate) fn look() -> Self {
        let grants = cgroup::grants(Path::new("/"));
        Self { cpus: cpus(), cpu_millis: grants.cpu_millis, memory: grants.memory, descriptors: raise_descriptors() }
    }
}

/// The CPUs of the affinity mask. The standard library would count less where there is a quota, and rounds it down.
fn cpus() -> NonZeroUsize {
    let allowed = sched_getaffinity(None).ok().and_then(|set| NonZeroUsize::new(set.count() as usize));
    // The mask is refused where there are more than 1,024 CPUs.
    allowed.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

fn raise_descriptors() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    // It may be refused. What counts is the limit that holds afterwards.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
    getrlimit(Resource::Nofile).current
}
