//! The servers that `unstick prove` starts: however a run ends, all of its processes end and its folders are removed;
//! nobody else can use them; and a server that is given and says nothing does not hold up a run.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use tokio::time::Instant;

use crate::prove::{command, prove, turn};
use crate::support::{SOON, eventually, pause, signal, skipped};

/// Runs with a server of each kind: as many as there are at one time.
const STORES: &str =
    "--users 10 --duration 5s --arms redis,postgres,memcached,redis-replicated,jwt --events steady --studies none";
const FILES: &str = "--studies files";

/// Whether a server is installed. Otherwise it says so.
fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let more = versions.map(|one| one.path().join("bin")).chain(["/usr/bin".into(), "/usr/sbin".into()]);
    let is_there = std::env::split_paths(&path).chain(more).any(|folder| folder.join(program).is_file());
    if !is_there {
        skipped(&format!("there is no {program}"));
    }
    is_there
}

fn has_stores() -> bool {
    ["redis-server", "postgres", "memcached"].into_iter().all(has)
}

/// A process as /proc shows it.
#[derive(Debug, Clone, Default)]
struct Seen {
    arguments: String,
    user: u32,
}

impl Seen {
    fn of(pid: u32) -> Option<(u32, Self)> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        Some((field("PPid:")?.parse().ok()?, Self { arguments, user: field("Uid:")?.parse().ok()? }))
    }

    /// The name of its program.
    fn program(&self) -> &str {
        self.arguments.split(' ').next().unwrap_or_default().rsplit('/').next().unwrap_or_default()
    }
}

/// A run, and all processes that it has been seen to have.
struct Run {
    child: std::process::Child,
    /// As each was last seen.
    seen: BTreeMap<u32, Seen>,
    /// Those that were there when it was last looked.
    living: Vec<u32>,
}

impl Run {
    fn start(arguments: &str, directory: &Path) -> Self {
        let mut command = command(arguments, directory);
        let errors = std::fs::File::create(directory.join("errors")).unwrap();
        let child = command.stdout(Stdio::null()).stderr(errors).spawn().unwrap();
        Self { child, seen: BTreeMap::new(), living: Vec::new() }
    }

    /// Looks at its processes.
    fn look(&mut self) {
        let entries = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
        let all: BTreeMap<u32, (u32, Seen)> = pids.filter_map(|pid| Some((pid, Seen::of(pid)?))).collect();
        self.living.clear();
        for (pid, (parent, seen)) in &all {
            let mut ancestor = *parent;
            while ancestor != self.child.id() && ancestor > 1 {
                ancestor = all.get(&ancestor).map_or(0, |(parent, _)| *parent);
            }
            if ancestor == self.child.id() {
                self.seen.insert(*pid, seen.clone());
                self.living.push(*pid);
            }
        }
    }

    fn count(&self, program: &str) -> usize {
        self.living.iter().filter(|pid| self.seen[pid].program() == program).count()
    }

    /// Sends a signal at a moment, unless the run is over before. Its exit code.
    fn end_at(&mut self, moment: Moment, end: Signal) -> Option<i32> {
        self.until(|run| (moment.is_it)(run));
        if self.child.try_wait().unwrap().is_none() {
            signal(self.child.id(), end);
        }
        self.until(|_| false);
        self.child.wait().unwrap().code()
    }

    /// Looks until something is so, or the run is over.
    fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + 2 * SOON;
        while self.child.try_wait().unwrap().is_none() && !is_so(self) {
            assert!(Instant::now() < deadline, "not in time");
            pause("before its processes are looked at again", 2);
            self.look();
        }
    }

    /// Nothing of it is left.
    #[track_caller]
    fn is_gone(&self, what: &str, directory: &Path) {
        let is_there = |pid: &&u32| {
            let now = Seen::of(**pid).map(|(_, now)| now);
            // A number may belong to somebody else by now.
            now.is_some_and(|now| !now.arguments.is_empty() && now.arguments == self.seen[*pid].arguments)
        };
        let name = format!("unstick-prove-{}", self.child.id());
        let folders = || {
            let all = [Path::new("/dev/shm"), Path::new("/tmp"), directory].into_iter().flat_map(std::fs::read_dir);
            let is_its = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&name);
            let sockets = self.seen.values().flat_map(|one| sockets_of(&one.arguments)).filter(|path| path.exists());
            all.flatten().flatten().map(|entry| entry.path()).filter(is_its).chain(sockets).collect::<Vec<_>>()
        };
        eventually(&format!("{what}: all processes are gone"), || self.seen.keys().filter(is_there).count() == 0);
        eventually(&format!("{what}: all folders are gone"), || folders().is_empty());
        // Shared memory is made by processes, of which the fifth field of a line names one (proc(5)).
        let shared = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        let makers = shared.lines().filter_map(|line| line.split_whitespace().nth(4)?.parse::<u32>().ok());
        assert_eq!(makers.filter(|pid| self.seen.contains_key(pid)).count(), 0, "{what}: shared memory is left");
    }
}

/// The sockets that `weed` makes for its parts, named for their ports.
fn sockets_of(arguments: &str) -> Vec<PathBuf> {
    let port = |(part, option): (&str, &str)| {
        let port = arguments.split(' ').find_map(|word| word.strip_prefix(option))?;
        Some(PathBuf::from(format!("/tmp/seaweedfs-{part}-grpc-{port}.sock")))
    };
    let parts = [("master", "-master.port.grpc="), ("volume", "-volume.port.grpc=")];
    parts.into_iter().chain([("filer", "-filer.port.grpc="), ("s3", "-s3.port.grpc=")]).filter_map(port).collect()
}

/// A moment of a run.
#[derive(Clone, Copy)]
struct Moment {
    name: &'static str,
    is_it: fn(&Run) -> bool,
}

const STORES_AT: [Moment; 6] = [
    Moment { name: "the start", is_it: |run| !run.living.is_empty() },
    Moment { name: "PostgreSQL is made", is_it: |run| run.count("initdb") > 0 },
    Moment { name: "PostgreSQL starts", is_it: |run| run.count("postgres") > 0 && run.count("initdb") == 0 },
    Moment { name: "the servers copy each other", is_it: |run| run.count("redis-server") > 2 },
    Moment { name: "replicas and proxies run", is_it: |run| run.count("unstick") > 20 },
    Moment { name: "the end", is_it: |run| was_there(run, "memcached") && run.count("unstick") == 0 },
];
const FILES_AT: [Moment; 2] = [
    Moment { name: "weed starts", is_it: |run| run.count("weed") > 0 },
    Moment { name: "weed is used", is_it: |run| run.count("weed") > 0 && run.count("unstick") > 3 },
];

/// Whether there was such a process, and replicas and proxies.
fn was_there(run: &Run, program: &str) -> bool {
    let has = |program: &str| run.seen.values().any(|one| one.program() == program);
    has(program) && run.seen.values().filter(|one| one.program() == "unstick").count() > 20
}

/// Runs it, ends it at each of these moments, and finds nothing left.
fn leaves_nothing(arguments: &str, moments: &[Moment], end: Signal, code: Option<i32>) {
    for moment in moments {
        let directory = tempfile::tempdir().unwrap();
        let mut run = Run::start(arguments, directory.path());
        let ended = run.end_at(*moment, end);
        let what = format!("{end:?} when {}", moment.name);
        run.is_gone(&what, directory.path());
        let errors = std::fs::read_to_string(directory.path().join("errors")).unwrap();
        // It may be over by itself before the signal comes.
        let is_over = moment.name == "the end" && matches!(ended, Some(0 | 3));
        assert!(ended == code || is_over, "{what}: {ended:?} {errors}");
        assert!(!errors.contains("remove"), "{what}: {errors}");
    }
}

#[test]
fn nothing_is_left_of_servers_whose_run_is_killed() {
    let _turn = turn();
    if has_stores() {
        leaves_nothing(STORES, &STORES_AT, Signal::KILL, None);
    }
    if has("weed") {
        leaves_nothing(FILES, &FILES_AT, Signal::KILL, None);
    }
}

#[test]
fn nothing_is_left_of_servers_whose_run_is_interrupted() {
    let _turn = turn();
    if has_stores() {
        leaves_nothing(STORES, &STORES_AT, Signal::INT, Some(3));
    }
    if has("weed") {
        leaves_nothing(FILES, &FILES_AT, Signal::INT, Some(3));
    }
}

#[test]
fn nothing_is_left_of_servers_after_success_a_broken_prediction_and_a_panic() {
    let _turn = turn();
    // A short run may be too short to conclude anything, so of a success only that it was not broken.
    let cases = [("", &[0, 3][..]), (" --sabotage last-unused", &[1]), (" --sabotage harness-panics", &[3])];
    for (more, codes) in cases {
        let is_study = |arguments: &str| arguments == FILES && more.contains("unused");
        for arguments in [STORES, FILES].into_iter().filter(|arguments| !is_study(arguments)) {
            if !if arguments == FILES { has("weed") } else { has_stores() } {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            let mut run = Run::start(&format!("{arguments}{more}"), directory.path());
            run.until(|_| false);
            let code = run.child.wait().unwrap().code().unwrap();
            let errors = std::fs::read_to_string(directory.path().join("errors")).unwrap();
            run.is_gone(&format!("{arguments}{more}"), directory.path());
            assert!(codes.contains(&code), "{arguments}{more}: {code} {errors}");
            assert!(arguments != FILES || code == codes[0], "{more}: {code} {errors}");
            assert_eq!(errors.contains("as planned"), more.contains("panics"), "{arguments}{more}: {errors}");
        }
    }
}

/// Whether somebody at this port says this to a line. A server may just be starting.
#[track_caller]
fn says(port: u16, line: &str, expected: &str) {
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
        stream.set_read_timeout(Some(SOON)).ok()?;
        stream.write_all(line.as_bytes()).ok()?;
        let mut said = [0; 64];
        let length = stream.read(&mut said).ok()?;
        Some(String::from_utf8_lossy(&said[..length]).into_owned())
    };
    eventually(&format!("{expected} at {line}"), || ask().is_some_and(|said| said.starts_with(expected)));
}

#[test]
fn nobody_else_can_use_the_servers_of_a_run() {
    let _turn = turn();
    let is_root = rustix::process::geteuid().is_root();
    let directory = tempfile::tempdir().unwrap();
    if has_stores() {
        let mut run = Run::start(STORES, directory.path());
        run.until(|run| run.count("unstick") > 20);
        let servers = run.living.iter().map(|pid| &run.seen[pid]);
        let servers: Vec<&Seen> =
            servers.filter(|one| ["redis-server", "postgres", "memcached"].contains(&one.program())).collect();
        assert!(servers.len() >= 5 && servers.iter().all(|one| !is_root || one.user != 0), "{servers:?}");
        let port = |one: &&Seen| one.arguments.split_once("127.0.0.1:")?.1.split(' ').next()?.parse().ok();
        let ports: Vec<u16> = servers.iter().filter_map(port).collect();
        assert_eq!(ports.len(), 2, "{servers:?}");
        for port in ports {
            says(port, "PING\r\n", "-NOAUTH");
        }
        signal(run.child.id(), Signal::INT);
        run.until(|_| false);
    }
    if has("weed") {
        let mut run = Run::start(FILES, directory.path());
        run.until(|run| run.count("weed") > 0 && run.count("unstick") > 3);
        let weed = run.seen.values().find(|one| one.program() == "weed").unwrap();
        let port = |option: &str| {
            let word = weed.arguments.split(' ').find_map(|word| word.strip_prefix(option));
            word.unwrap_or_else(|| panic!("{weed:?}")).parse().unwrap()
        };
        for (option, path, status) in [
            ("-s3.port=", "/unstick-prove", "403"),
            ("-filer.port=", "/buckets/", "404"),
            ("-master.port=", "/dir/assign", "404"),
            ("-volume.port=", "/1,01637037d6", "401"),
        ] {
            let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
            says(port(option), &request, &format!("HTTP/1.1 {status}"));
        }
        signal(run.child.id(), Signal::INT);
        run.until(|_| false);
    }
}

#[test]
fn a_server_that_is_given_and_says_nothing_is_named() {
    // The kernel accepts, and nobody reads.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap();
    let events = "--duration 5s --events steady --arms";
    for (arguments, said) in [
        (format!("{events} redis --redis redis://me:secret@{address}"), "the Redis of --redis, redis://me:***@"),
        (format!("--studies limits --redis redis://me:secret@{address}"), "the Redis of --redis, redis://me:***@"),
        (
            format!("{events} postgres --postgres postgres://me:secret@{address}/shop"),
            "of --postgres, postgres://me:***@",
        ),
        (format!("{events} memcached --memcached {address}"), "the memcached of --memcached, "),
        (format!("--studies files --s3 http://me:secret@{address}/shop"), "the store of --s3, http://me:***@"),
    ] {
        let (text, code) = prove(&arguments);
        assert_eq!(code, 3, "{text}");
        assert!(text.contains(&format!("{said}{address}")) && text.contains(" in time"), "{text}");
        assert!(text.contains("; ") && text.contains("may this ") || text.contains("does it run there"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    let (text, code) = prove(&format!("{events} postgres --postgres postgres://me:se/cret@{address}:x/shop"));
    assert!(code == 3 && text.contains("write postgres://USER:PASSWORD@HOST/DATABASE"), "{text}");
    assert!(!text.contains("cret@"), "{text}");
}

#[test]
fn a_password_in_the_environment_is_in_no_arguments() {
    if !has("redis-server") {
        return;
    }
    let _turn = turn();
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("redis.sock");
    let mut redis = Command::new("redis-server");
    redis.args(["--port", "0", "--save", "", "--requirepass", "hunter2", "--unixsocket"]).arg(&socket);
    let mut redis = redis.current_dir(directory.path()).stdout(Stdio::null()).spawn().unwrap();
    eventually("Redis runs", || socket.exists());
    let arguments = "--users 10 --duration 5s --arms redis,jwt --events steady --json all.json";
    let mut command = command(arguments, directory.path());
    let url = format!("redis+unix://{}?pass=hunter2", socket.display());
    command.env("UNSTICK_PROVE_REDIS", &url).stdout(Stdio::null()).stderr(Stdio::null());
    let mut run = Run { child: command.spawn().unwrap(), seen: BTreeMap::new(), living: Vec::new() };
    run.until(|_| false);
    let report = std::fs::read_to_string(directory.path().join("all.json")).unwrap();
    redis.kill().unwrap();
    redis.wait().unwrap();
    assert!(report.contains("the Redis given by --redis is not ours to restart"), "it is used");
    assert!(!report.contains("hunter2"));
    assert!(run.seen.len() > 8 && run.seen.values().all(|one| !one.arguments.contains("hunter2")), "{:?}", run.seen);
}
