//! How many workers, client connections and streams there are: what the config says, or what there is room for.
//!
//! All of this is pure. A choice carries its reason, so that the start and `unstick check` can say it.
//!
//! What a client connection takes is a matter of its client. Most take little: 4 KiB while idle, some 70 KiB with a
//! body under way. At worst it is all that the bounds of [`Worst`] let it take: if there had to be room for that, eight
//! clients would fill a container of 512 MiB. So by default there are as many connections as have room while each is
//! busy ([`BUSY`]), and so many streams that one connection alone cannot take more than its [`SHARE`], whatever its
//! client does. Whoever writes larger numbers is told the worst case.

use std::fmt;
use std::num::NonZeroUsize;

use crate::config::Config;
use crate::link::record::BUFFER_BYTES_MAX;
use crate::listen::{READ_BYTES_MAX, SEND_BUFFER};
use crate::net::h2_backlog::BACKLOG_MAX;
use crate::resources::Resources;
use crate::snapshot::Capacity;

/// The defaults of `limits.connections` and `limits.h2_streams` where memory has no limit.
const CONNECTIONS: usize = 50_000;
const H2_STREAMS: u32 = 128;

/// The fewest streams that are chosen. A page with fewer would wait for its pictures one after the other.
const H2_STREAMS_MIN: u32 = 8;

/// Bytes that a busy connection takes, as a rule: 1,000 slow bodies took 86 MiB in all (benches/RESULTS.md).
const BUSY: u64 = 80 << 10;

/// The share of the memory that one connection may take at worst: one in so many.
const SHARE: u64 = 8;

/// If there are descriptors for fewer connections than this, it is warned of even if the config wants no number.
const CONNECTIONS_FEW: usize = 1000;

/// Descriptors reserved for everything but client connections and connections to endpoints.
const DESCRIPTORS_RESERVED: u64 = 128;

/// Bytes that every connection has: its own or h2's, and what rustls holds until the socket takes it.
const EVERY: u64 = (32 + 64) << 10;

/// A number, and why it is this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice<T> {
    pub(crate) value: T,
    why: Why,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The config or the command line says so.
    Written,
    Default,
    Cpus,
    /// The quota of CPU time, in thousandths of a CPU.
    Quota(u64),
    /// The limit of memory, in bytes.
    Memory(u64),
    /// The limit of file descriptors.
    Descriptors(u64),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written => write!(f, "as written"),
            Self::Default => write!(f, "default"),
            Self::Cpus => write!(f, "one per CPU"),
            Self::Quota(millis) => write!(f, "CPU quota {}.{:02}", millis / 1000, millis % 1000 / 10),
            Self::Memory(bytes) => write!(f, "memory limit {}", Bytes(*bytes)),
            Self::Descriptors(count) => write!(f, "file descriptors {count}"),
        }
    }
}

/// The number of workers. A quota is rounded up: a worker that waits for its share costs less than a share without a
/// worker.
pub(crate) fn workers(wanted: Option<NonZeroUsize>, resources: &Resources) -> Choice<usize> {
    let cpus = resources.cpus.get();
    match (wanted, resources.cpu_millis) {
        (Some(wanted), _) => Choice { value: wanted.get(), why: Why::Written },
        (None, Some(millis)) if millis.div_ceil(1000) < cpus as u64 => {
            Choice { value: usize::try_from(millis.div_ceil(1000)).unwrap_or(cpus).max(1), why: Why::Quota(millis) }
        }
        (None, _) => Choice { value: cpus, why: Why::Cpus },
    }
}

/// The client connections that there may be. Each may need a second descriptor, for a connection to an endpoint.
fn connections(config: &Config, resources: &Resources) -> Choice<usize> {
    let wanted = match config.limits.connections {
        Some(written) => Choice { value: written, why: Why::Written },
        None => chosen_connections(resources),
    };
    let Some(descriptors) = resources.descriptors else { return wanted };
    let possible = whole(descriptors.saturating_sub(DESCRIPTORS_RESERVED) / 2).max(1);
    if possible < wanted.value { Choice { value: possible, why: Why::Descriptors(descriptors) } } else { wanted }
}

fn chosen_connections(resources: &Resources) -> Choice<usize> {
    let usual = Choice { value: CONNECTIONS, why: Why::Default };
    let Some(memory) = resources.memory else { return usual };
    // A quarter is for everything else: the program, connections to endpoints, what the kernel keeps for sockets.
    let value = whole(room(memory) / BUSY).max(1);
    if value < CONNECTIONS { Choice { value, why: Why::Memory(memory) } } else { usual }
}

/// The part of the memory that clients may have, in bytes.
fn room(memory: u64) -> u64 {
    memory - memory / 4
}

/// The streams that an HTTP/2 client may have open.
fn h2_streams(config: &Config, resources: &Resources) -> Choice<u32> {
    config.limits.h2_streams.map_or_else(
        || chosen_h2_streams(&Worst::of(config), resources),
        |written| Choice { value: written, why: Why::Written },
    )
}

fn chosen_h2_streams(worst: &Worst, resources: &Resources) -> Choice<u32> {
    let usual = Choice { value: H2_STREAMS, why: Why::Default };
    let Some(memory) = resources.memory else { return usual };
    let fitting = memory / SHARE / worst.stream.max(1);
    let value = u32::try_from(fitting).unwrap_or(u32::MAX).max(H2_STREAMS_MIN);
    if value < H2_STREAMS { Choice { value, why: Why::Memory(memory) } } else { usual }
}

/// What all workers go by.
pub(super) fn capacity(config: &Config, resources: &Resources) -> Capacity {
    let (connections, h2_streams) = (connections(config, resources).value, h2_streams(config, resources).value);
    Capacity { connections, h2_streams }
}

/// The most that clients can make us hold, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Worst {
    /// A connection of HTTP/1.1.
    http1: u64,
    /// A stream of HTTP/2.
    stream: u64,
}

impl Worst {
    fn of(config: &Config) -> Self {
        let limits = &config.limits;
        let replays = config.routes.iter().filter_map(|route| route.limits.replay);
        let replay = replays.chain([limits.replay]).max().unwrap_or_default() as u64;
        let head = limits.request_head as u64;
        // What is kept of the request to repeat it, and what one read from the replica brings.
        let both = replay + BUFFER_BYTES_MAX as u64;
        let http1 = EVERY + head.max(READ_BYTES_MAX as u64) + both;
        Self { http1, stream: head + u64::from(limits.h2_window) + both + SEND_BUFFER as u64 }
    }

    /// A connection of either version, with so many streams.
    fn connection(&self, h2_streams: u32) -> u64 {
        let streams = self.stream.saturating_mul(u64::from(h2_streams));
        self.http1.max(streams.saturating_add(EVERY + BACKLOG_MAX as u64))
    }
}

/// What was chosen, and why, in one line.
pub(crate) fn line(wanted_workers: Option<NonZeroUsize>, config: &Config, resources: &Resources) -> String {
    let (workers, connections) = (workers(wanted_workers, resources), connections(config, resources));
    let streams = h2_streams(config, resources);
    let plural = if workers.value == 1 { "" } else { "s" };
    format!(
        "{} worker{plural} ({}), {} client connections ({}), {} streams per HTTP/2 connection ({})",
        workers.value, workers.why, connections.value, connections.why, streams.value, streams.why
    )
}

/// What is written but does not fit.
pub(crate) fn warnings(config: &Config, resources: &Resources) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(too_few_descriptors(config, resources));
    let Some(memory) = resources.memory else { return warnings };
    let (worst, streams) = (Worst::of(config), h2_streams(config, resources).value);
    let each = worst.connection(streams);
    let limit = Bytes(memory);
    if let Some(written) = config.limits.connections.filter(|written| *written as u64 > room(memory) / BUSY) {
        let all = Bytes(each.saturating_mul(written as u64));
        warnings.push(format!(
            "limits.connections = {written}: at worst their clients can make the process hold {all} ({} each), and the \
             memory limit is {limit}; without this key there would be {}",
            Bytes(each),
            chosen_connections(resources).value
        ));
    }
    let fitting = chosen_h2_streams(&worst, resources).value;
    let is_large = |written: &u32| *written > fitting && worst.connection(*written) > memory / SHARE;
    if let Some(written) = config.limits.h2_streams.filter(is_large) {
        warnings.push(format!(
            "limits.h2_streams = {written}: at worst one HTTP/2 client can make the process hold {}, and the memory \
             limit is {limit}; without this key there would be {fitting}",
            Bytes(worst.connection(written))
        ));
    }
    warnings
}

fn too_few_descriptors(config: &Config, resources: &Resources) -> Option<String> {
    let Choice { value: possible, why: Why::Descriptors(_) } = connections(config, resources) else { return None };
    let wanted = match config.limits.connections {
        Some(written) => format!("limits.connections = {written}"),
        None if possible >= CONNECTIONS_FEW => return None,
        None => chosen_connections(resources).value.to_string(),
    };
    Some(format!(
        "only {possible} client connections are possible at one time, not {wanted}: the system gives this process too \
         few file descriptors; raise its limit (ulimit -n, LimitNOFILE=)"
    ))
}

fn whole(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Bytes for people, such as `1.5GiB`.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.iter().find(|(_, unit)| self.0 >= *unit) {
            Some((name, unit)) if self.0.is_multiple_of(*unit) => write!(f, "{}{name}", self.0 / unit),
            Some((name, unit)) => write!(f, "{}.{}{name}", self.0 / unit, self.0 % unit * 10 / unit),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn config(limits: &str) -> Config {
        let text = format!(
            "listen.web.address = ':1'\npool.app.backends = ['10.0.0.1:1']\n[[route]]\npool = 'app'\n[limits]\n{limits}"
        );
        crate::config::parse("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn with(cpus: usize, cpu_millis: Option<u64>, memory: Option<u64>, descriptors: Option<u64>) -> Resources {
        Resources { cpus: NonZeroUsize::new(cpus).unwrap(), cpu_millis, memory, descriptors }
    }

    #[test]
    fn workers_follow_the_quota_rounded_up() {
        for (cpus, millis, expected, why) in [
            (8, None, 8, "one per CPU"),
            (8, Some(0), 1, "CPU quota 0.00"),
            (8, Some(250), 1, "CPU quota 0.25"),
            (8, Some(1000), 1, "CPU quota 1.00"),
            (8, Some(1001), 2, "CPU quota 1.00"),
            (8, Some(2500), 3, "CPU quota 2.50"),
            (8, Some(7000), 7, "CPU quota 7.00"),
            (8, Some(7500), 8, "one per CPU"),
            (2, Some(64_000), 2, "one per CPU"),
            (8, Some(u64::MAX), 8, "one per CPU"),
        ] {
            let choice = workers(None, &with(cpus, millis, None, None));
            assert_eq!((choice.value, &*choice.why.to_string()), (expected, why), "{cpus} {millis:?}");
        }
        let written = workers(NonZeroUsize::new(5), &with(2, Some(500), None, None));
        assert_eq!(written, Choice { value: 5, why: Why::Written });
    }

    #[test]
    fn connections_and_streams_scale_with_the_memory_limit() {
        for (memory, connections, streams) in [
            (None, 50_000, 128),
            (Some(0), 1, 8),
            (Some(64 * MIB), 614, 16),
            (Some(128 * MIB), 1228, 32),
            (Some(256 * MIB), 2457, 64),
            (Some(512 * MIB), 4915, 128),
            (Some(1024 * MIB), 9830, 128),
            (Some(8192 * MIB), 50_000, 128),
            (Some(u64::MAX), 50_000, 128),
        ] {
            let expected = Capacity { connections, h2_streams: streams };
            assert_eq!(capacity(&config(""), &with(1, None, memory, None)), expected, "{memory:?}");
        }
        let wide = config("h2_window = '16MiB'");
        assert_eq!(capacity(&wide, &with(1, None, Some(4096 * MIB), None)).h2_streams, 31, "what each takes counts");
    }

    #[test]
    fn what_is_written_is_kept_and_its_worst_case_told() {
        let small = with(1, None, Some(256 * MIB), None);
        let written = config("connections = 50000\nh2_streams = 250");
        assert_eq!(capacity(&written, &small), Capacity { connections: 50_000, h2_streams: 250 });
        let told = warnings(&written, &small);
        assert_eq!(
            told,
            [
                "limits.connections = 50000: at worst their clients can make the process hold 5.9TiB (125.3MiB each), \
                 and the memory limit is 256MiB; without this key there would be 2457",
                "limits.h2_streams = 250: at worst one HTTP/2 client can make the process hold 125.3MiB, and the \
                 memory limit is 256MiB; without this key there would be 64",
            ]
        );
        assert!(warnings(&written, &with(1, None, None, None)).is_empty(), "no limit, no warning");
        assert!(warnings(&written, &with(1, None, Some(8192 * MIB), None)).is_empty(), "they fit");
        assert!(warnings(&config(""), &small).is_empty(), "what was chosen fits");
        assert!(warnings(&config("connections = 100\nh2_streams = 64"), &small).is_empty());
    }

    #[test]
    fn descriptors_bound_the_connections() {
        let few = with(1, None, None, Some(1128));
        assert_eq!(capacity(&config(""), &few).connections, 500);
        assert!(warnings(&config(""), &with(1, None, None, Some(2128))).is_empty(), "1000 are said in the line");
        assert_eq!(capacity(&config("connections = 400"), &few).connections, 400);
        assert_eq!(capacity(&config(""), &with(1, None, None, Some(3))).connections, 1);
        let told = warnings(&config("connections = 501"), &few);
        let expected = "only 500 client connections are possible at one time, not limits.connections = 501: ";
        assert!(told.len() == 1 && told[0].starts_with(expected), "{told:?}");
        assert!(warnings(&config(""), &few)[0].contains(", not 50000: "));
        assert!(warnings(&config("connections = 500"), &few).is_empty());
    }

    #[test]
    fn the_replay_of_a_route_counts_to_the_worst_case() {
        let mut config = config("");
        let before = Worst::of(&config);
        config.routes[0].limits.replay = Some(64 * 1024 + 5);
        assert_eq!(Worst::of(&config), Worst { http1: before.http1 + 5, stream: before.stream + 5 });
    }

    #[test]
    fn one_line_says_all_with_the_reasons() {
        assert_eq!(
            line(None, &config("h2_streams = 100"), &with(8, Some(500), Some(512 * MIB), Some(20_000))),
            "1 worker (CPU quota 0.50), 4915 client connections (memory limit 512MiB), 100 streams per HTTP/2 \
             connection (as written)"
        );
        assert_eq!(
            line(None, &config(""), &with(2, None, None, Some(1128))),
            "2 workers (one per CPU), 500 client connections (file descriptors 1128), 128 streams per HTTP/2 \
             connection (default)"
        );
    }
}
