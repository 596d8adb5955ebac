//! The code that tests share: the proxy in this process, scripted peers that speak raw bytes, and waiting with a
//! deadline.

#![allow(dead_code, reason = "every test module uses its own part of this")]

pub(crate) mod backend;
pub(crate) mod client;
pub(crate) mod h2;
pub(crate) mod h2_backend;
pub(crate) mod probed;
pub(crate) mod reader;
pub(crate) mod tls;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use socket2::{Domain, Socket, Type};
use tokio::time::Instant;
use unstick::app::Source;
use unstick::app::{self, Running};
use unstick::app::{Ended, Options};

/// The deadline of everything that should happen soon. It is generous, because it is reached only when something is
/// broken.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Sends a signal to a process that the test has started.
#[track_caller]
pub(crate) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("no process has number 0");
    kill_process(pid, signal).expect("the process is there");
}

/// Waits until `condition` holds. It panics with `what` if that takes too long.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        pause("before the condition is looked at again", 2);
    }
}

/// A client that has sent a request, and has not read its response.
pub(crate) fn begin(app: &App) -> TcpStream {
    let mut client = connect(app.address);
    send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    client
}

/// Lets time pass. It is for tests of time itself, and for tests that something does not happen. Everything else is
/// waited for with [`eventually`].
#[expect(clippy::disallowed_methods, reason = "the only place where a test may sleep, and it says why")]
pub(crate) fn pause(_why: &str, ms: u64) {
    std::thread::sleep(Duration::from_millis(ms));
}

/// Reports that a test, or a part of it, was not run. It bypasses the capture of the test harness, so that it is seen
/// when all tests pass. Where everything must be present (`CI=true`), it is a failure.
#[track_caller]
pub(crate) fn skipped(why: &str) {
    assert!(!std::env::var("CI").is_ok_and(|ci| ci == "true"), "skipped: {why}");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "SKIPPED in {test}: {why}").ok();
}

/// Reports that a test was not run because the system does not let it, and nothing that can be installed would change
/// that. It is no failure anywhere.
pub(crate) fn not_allowed(why: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    writeln!(std::io::stderr(), "NOT ALLOWED HERE {test}: {why}").ok();
}

/// The proxy in this process, with a real config file. Dropping it drains and ends it.
pub(crate) struct App {
    running: Option<Running>,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) file: PathBuf,
    pub(crate) dir: tempfile::TempDir,
}

impl App {
    /// Starts with `config`. An admin port is added, and a listener if there is none.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with(config, 2)
    }

    /// As [`Self::start`], with this many workers.
    pub(crate) fn start_with(config: &str, workers: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("unstick.toml");
        std::fs::write(&file, complete(config)).unwrap();
        Self::start_file(dir, file, workers)
    }

    /// As [`Self::start_with`], with a file that exists already.
    pub(crate) fn start_file(dir: tempfile::TempDir, file: PathBuf, workers: usize) -> Self {
        let source = Source { file: Some(file.clone()), balance: None };
        let loaded = source.load().unwrap().unwrap_or_else(|problems| panic!("{problems}"));
        let options =
            Options { source, origin: loaded.origin, workers: NonZeroUsize::new(workers), ..Options::default() };
        let running = app::start(loaded.config, options).unwrap();
        let (address, admin) = (running.listeners[0].1.tcp(), running.admin.unwrap());
        // A test that listens on a Unix socket only knows its file.
        let address = address.unwrap_or(admin);
        Self { running: Some(running), address, admin, file, dir }
    }

    /// An application with one pool of these backends, to which a test adds what it needs.
    pub(crate) fn builder(backends: &[SocketAddr]) -> Builder {
        Builder { backends: backends.to_vec(), ..Builder::default() }
    }

    /// Starts with one pool of these backends.
    pub(crate) fn over(backends: &[SocketAddr]) -> Self {
        Self::builder(backends).start()
    }

    /// Replaces the contents of the config file in place.
    pub(crate) fn edit(&self, config: &str) {
        std::fs::write(&self.file, complete(config)).unwrap();
    }

    /// Puts a new config file in place of the old one, and waits until it is in force.
    #[track_caller]
    pub(crate) fn apply(&self, config: &str) {
        let (message, is_ok) = self.replace(config);
        assert!(is_ok, "{message}");
    }

    /// As [`Self::apply`], for a config that is refused. Returns the reason.
    #[track_caller]
    pub(crate) fn refuse(&self, config: &str) -> String {
        let (message, is_ok) = self.replace(config);
        assert!(!is_ok, "{message}");
        message
    }

    #[track_caller]
    fn replace(&self, config: &str) -> (String, bool) {
        let (before, next) = (self.reloads(), self.dir.path().join("next.toml"));
        std::fs::write(&next, complete(config)).unwrap();
        std::fs::rename(next, &self.file).unwrap();
        eventually("the edit is noticed", || self.reloads() != before);
        let last = &self.status()["reloads"]["last"];
        (last["message"].as_str().unwrap().to_owned(), last["ok"] == true)
    }

    /// Reads the config file again, as SIGHUP does.
    pub(crate) fn reload(&self) {
        self.running.as_ref().unwrap().reload();
    }

    /// Starts to drain. A second call ends at once.
    pub(crate) fn stop(&self) {
        self.running.as_ref().unwrap().stop();
    }

    /// Starts to drain as SIGINT does: without `shutdown_delay`, and idle connections are closed at once.
    pub(crate) fn interrupt(&self) {
        self.running.as_ref().unwrap().interrupt();
    }

    /// Waits until the proxy has ended.
    pub(crate) fn wait(mut self) -> Ended {
        self.running.take().unwrap().wait()
    }

    /// `/status` of the admin port.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::from_slice(&self.admin_get("/status").body).unwrap()
    }

    /// Sends a GET to the admin port.
    pub(crate) fn admin_get(&self, path: &str) -> client::Response {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        client::exchange(&mut connect(self.admin), &head)
    }

    /// The endpoint at `address`, as `/status` shows it.
    pub(crate) fn endpoint(&self, address: SocketAddr) -> Option<serde_json::Value> {
        let status = self.status();
        let mut endpoints =
            status["pools"].as_array().unwrap().iter().flat_map(|pool| pool["endpoints"].as_array().unwrap());
        endpoints.find(|endpoint| endpoint["address"] == address.to_string()).cloned()
    }

    /// As [`Self::endpoint`], without its latency, which fades while nothing happens.
    pub(crate) fn lasting(&self, address: SocketAddr) -> Option<serde_json::Value> {
        let mut endpoint = self.endpoint(address)?;
        endpoint.as_object_mut()?.remove("latency_ms")?;
        Some(endpoint)
    }

    /// Waits until the endpoint at `address` is in this state.
    #[track_caller]
    pub(crate) fn wait_for(&self, address: SocketAddr, state: &str) {
        eventually(&format!("{address} is {state}"), || {
            self.endpoint(address).is_some_and(|endpoint| endpoint["state"] == state)
        });
    }

    /// The value of one line of `/metrics`. `name` includes the labels.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let page = self.admin_get("/metrics").text();
        let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    }

    /// The numbers of reloads that were applied and refused so far.
    pub(crate) fn reloads(&self) -> (u64, u64) {
        let status = self.status();
        (status["reloads"]["applied"].as_u64().unwrap(), status["reloads"]["refused"].as_u64().unwrap())
    }
}

impl Drop for App {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
            running.stop();
            running.wait();
        }
    }
}

/// The config of an application in preparation: one pool, `app`, and the other tables.
#[derive(Debug, Clone, Default)]
pub(crate) struct Builder {
    backends: Vec<SocketAddr>,
    pool: String,
    timeouts: String,
    limits: String,
    more: String,
    workers: Option<usize>,
}

impl Builder {
    /// Adds keys of the pool, and tables in it.
    pub(crate) fn pool(self, keys: &str) -> Self {
        Self { pool: keys.to_owned(), ..self }
    }

    /// Adds keys of `[timeouts]`.
    pub(crate) fn timeouts(self, keys: &str) -> Self {
        Self { timeouts: keys.to_owned(), ..self }
    }

    /// Adds keys of `[limits]`.
    pub(crate) fn limits(self, keys: &str) -> Self {
        Self { limits: keys.to_owned(), ..self }
    }

    /// Adds other tables.
    pub(crate) fn more(self, tables: &str) -> Self {
        Self { more: tables.to_owned(), ..self }
    }

    /// Sets the number of workers, which is two by default.
    pub(crate) fn workers(self, workers: usize) -> Self {
        Self { workers: Some(workers), ..self }
    }

    /// The text of the config.
    pub(crate) fn config(&self) -> String {
        let Self { backends, pool, timeouts, limits, more, workers: _ } = self;
        let backends: Vec<String> = backends.iter().map(|address| format!("\"{address}\"")).collect();
        let mut text = format!("[pool.app]\nbackends = [{}]\n{pool}\n", backends.join(", "));
        for (table, keys) in [("timeouts", timeouts), ("limits", limits)] {
            if !keys.is_empty() {
                text.push_str(&format!("[{table}]\n{keys}\n"));
            }
        }
        text + more + "\n"
    }

    /// Starts the proxy with this config.
    #[track_caller]
    pub(crate) fn start(self) -> App {
        App::start_with(&self.config(), self.workers.unwrap_or(2))
    }
}

/// The text of a config with one pool `app`, more keys for the pool, and more tables.
pub(crate) fn pool_of(backends: &[SocketAddr], pool: &str, rest: &str) -> String {
    App::builder(backends).pool(pool).more(rest).config()
}

/// Adds an admin port to a config, and a listener if it has none.
pub(crate) fn complete(config: &str) -> String {
    let mut text = String::new();
    if !config.contains("[listen.") {
        text.push_str("[listen.web]\naddress = \"127.0.0.1:0\"\n");
    }
    if !config.contains("[admin]") {
        text.push_str("[admin]\naddress = \"127.0.0.1:0\"\nsocket = \"off\"\n");
    }
    text.push_str(config);
    text
}

/// An address where nobody listens. The kernel does not give its port to sockets that ask for any port, so the test can
/// use it later, or never.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let nth = std::process::id().wrapping_mul(97).wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = 20_000 + (nth % 12_000) as u16;
        // It does not listen: a process that another test starts may inherit it for a moment.
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_reuse_address(true).unwrap();
        if socket.bind(&SocketAddr::from(([0, 0, 0, 0], port)).into()).is_ok() {
            return ([127, 0, 0, 1], port).into();
        }
    }
}

/// A connection with a deadline on every read and write.
#[track_caller]
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    try_connect(address).unwrap()
}

/// As [`connect`], for an address where nobody may be listening yet.
pub(crate) fn try_connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(SOON))?;
    stream.set_write_timeout(Some(SOON))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Reads until `end` has come. It panics if the peer closes before.
#[track_caller]
pub(crate) fn read_until(stream: &mut impl Read, end: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut byte = [0u8];
    while !seen.ends_with(end) {
        let n = stream.read(&mut byte).unwrap_or_else(|error| panic!("{error} after {}", text(&seen)));
        assert_eq!(n, 1, "closed after {:?}", text(&seen));
        seen.push(byte[0]);
    }
    seen
}

/// Reads until the peer closes or resets. Returns what came, and whether it was an orderly close.
pub(crate) fn read_to_close(stream: &mut TcpStream) -> (Vec<u8>, bool) {
    let mut seen = Vec::new();
    let result = stream.read_to_end(&mut seen);
    (seen, result.is_ok())
}

/// Writes, and ignores errors.
pub(crate) fn send(stream: &mut TcpStream, bytes: impl AsRef<[u8]>) {
    stream.write_all(bytes.as_ref()).unwrap();
}

/// Bytes as text for a message.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
