//! `unstick demo`: replicas, the proxy, and a page that shows what the proxy does to them.
//!
//! The replicas are child processes of this binary ([`replica`]) that share a key and no memory (`shop`, `cookie`).
//! The proxy is the one that ships, in this process, started from a real file in a directory of its own.
//!
//! No child is left behind, whatever happens (see [`crate::replica`]); replicas are ended when the proxy is done.

mod cookie;
pub mod replica;
mod shop;

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, IsTerminal as _, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use cookie::Key;

use crate::app::Source;
use crate::config::{self, Algorithm, Loaded};
use crate::replica::launch::{Launched, launch};
use crate::{app, telemetry};

/// Replicas are named by one letter each.
const REPLICAS_MAX: usize = 26;

/// How long a replica that was killed stays away, so that its absence can be seen.
const RESTART_PAUSE: Duration = Duration::from_secs(10);

/// The demo's drain timeout, in the file it writes.
const DRAIN_SECONDS: u64 = 5;

/// How long after a signal the proxy must be done: its drain, and a margin.
const STOP_DEADLINE: Duration = Duration::from_secs(DRAIN_SECONDS + 2);

/// Where the admin port is if nobody else is there.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);

/// What `unstick demo` takes from the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the proxy listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// How many replicas to start, 1-26.
    pub replicas: usize,
    /// Whether the proxy speaks TLS, with a certificate made on the spot.
    pub tls: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), replicas: 3, tls: false }
    }
}

/// Runs the demo until Ctrl-C, SIGTERM or SIGQUIT; then nothing of it is left, neither processes nor files.
pub async fn run(options: Options) -> anyhow::Result<()> {
    let Options { listen, replicas, tls } = options;
    anyhow::ensure!((1..=REPLICAS_MAX).contains(&replicas), "the demo runs 1 to {REPLICAS_MAX} replicas");
    let mut stop = StopSignals::listen()?;
    let (listen, admin) = (Reserved::listen(listen)?, Reserved::admin()?);
    let directory = PrivateDirectory::create()?;
    let replicas = tokio::select! {
        started = Replicas::start(replicas) => started?,
        _ = stop.recv() => return Ok(()),
    };
    let certificate = if tls { Some(make_certificate(&directory, listen.address.ip())?) } else { None };
    let config = Config { listen: listen.address, admin: admin.address, backends: replicas.backends(), certificate };
    let file = directory.write("unstick.toml", &config.to_toml())?;
    say(&introduction(&config, &replicas.first, &file, Paint::for_stdout()));

    let replicas = replicas.keep();
    drop((listen, admin));
    let served = serve_until(&file, &mut stop).await;
    replicas.end().await;
    served
}

/// Runs the proxy; it sees the signals itself, drains and returns.
///
/// A signal that comes before the proxy listens for signals would be lost on it, and a second one asks for haste: so
/// this waits for signals too, and gives up on the proxy after the second one or when its drain is overdue.
async fn serve_until(file: &Path, stop: &mut StopSignals) -> anyhow::Result<()> {
    let mut serving = std::pin::pin!(serve(file));
    tokio::select! {
        served = &mut serving => return served,
        reason = stop.recv() => if reason == Stop::TerminalLost { return Ok(()) },
    }
    tokio::select! {
        served = &mut serving => served,
        _ = stop.recv() => Ok(()),
        () = sleep(STOP_DEADLINE) => Ok(()),
    }
}

/// The shipped proxy, as `unstick run -c FILE` would run it; returns when it has drained after a signal.
async fn serve(config_file: &Path) -> anyhow::Result<()> {
    let source = Source { file: Some(config_file.to_owned()), balance: None };
    let Loaded { config, text_hash } = config::load(config_file)?;
    let telemetry = telemetry::init(&config.log)?;
    let options = app::Options { source, text_hash, workers: None, signals: true, telemetry: Some(telemetry) };
    // Starting and waiting block their thread; this one has signals and replicas to look after.
    tokio::task::spawn_blocking(|| app::start(config, options).map(app::Running::wait)).await??;
    Ok(())
}

/// Why the demo ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// By a signal that the proxy sees too.
    Asked,
    /// The terminal was closed; the proxy takes that signal for another.
    TerminalLost,
}

/// The signals that end the demo.
struct StopSignals {
    interrupt: Signal,
    terminate: Signal,
    quit: Signal,
    hangup: Signal,
}

impl StopSignals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            quit: signal(SignalKind::quit())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Cancel safe.
    async fn recv(&mut self) -> Stop {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => return Stop::Asked,
                _ = self.terminate.recv() => return Stop::Asked,
                _ = self.quit.recv() => return Stop::Asked,
                // To the proxy this means reload. But a terminal that was closed sends it too, and can then no longer
                // be written to: that must end the demo, or it would go on unseen.
                _ = self.hangup.recv() => if writeln!(std::io::stdout(), "SIGHUP: the file is read again").is_err() {
                    return Stop::TerminalLost;
                },
            }
        }
    }
}

/// An address held until the proxy takes it, so that nobody else does while the replicas start.
struct Reserved {
    address: SocketAddr,
    _listener: TcpListener,
}

impl Reserved {
    fn new(address: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        Ok(Self { address: listener.local_addr()?, _listener: listener })
    }

    /// Where clients connect. Fails before anything was started, and with a way out.
    fn listen(address: SocketAddr) -> anyhow::Result<Self> {
        Self::new(address).map_err(|error| {
            if error.kind() != ErrorKind::AddrInUse {
                return anyhow::Error::new(error).context(format!("cannot listen on {address}"));
            }
            let other = SocketAddr::new(address.ip(), address.port().checked_add(1).unwrap_or(8080));
            anyhow::anyhow!("{address} is taken by another program; choose another port: unstick demo --listen {other}")
        })
    }

    /// The usual admin port, or any if that is taken: nobody has to know it before it is printed.
    fn admin() -> anyhow::Result<Self> {
        let reserved = Self::new(ADMIN).or_else(|_| Self::new(SocketAddr::new(ADMIN.ip(), 0)));
        reserved.context("no free port for the admin interface")
    }
}

/// A directory only this user can look into, gone when dropped.
struct PrivateDirectory(PathBuf);

impl PrivateDirectory {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("unstick-demo-{}", std::process::id()));
        let created = DirBuilder::new().mode(0o700).create(&path);
        created.with_context(|| format!("cannot create {}; if it is left over, remove it", path.display()))?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, content: &str) -> anyhow::Result<PathBuf> {
        let path = self.0.join(name);
        let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let written = opened.and_then(|mut file| file.write_all(content.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Drop for PrivateDirectory {
    fn drop(&mut self) {
        // Nothing better can be done about a failure here than to leave the directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What the proxy's file says.
struct Config {
    listen: SocketAddr,
    admin: SocketAddr,
    backends: Vec<(String, SocketAddr)>,
    /// The file of the certificate, if the proxy speaks TLS.
    certificate: Option<PathBuf>,
}

impl Config {
    fn to_toml(&self) -> String {
        let Self { listen, admin, backends, certificate } = self;
        let tls = match certificate {
            Some(_) => {
                "# HTTP/2 and HTTP/1.1, as the client likes. Replace the files: new ones serve within two seconds.\n\
                        tls = { cert = \"demo.pem\", key = \"demo.key\" }\n"
            }
            None => "",
        };
        let balance = Algorithm::default();
        let others: Vec<_> = Algorithm::ALL.iter().filter(|algorithm| **algorithm != balance).collect();
        let others = others.iter().map(|algorithm| format!("\"{algorithm}\"")).collect::<Vec<_>>().join(", ");
        let backends: String =
            backends.iter().map(|(name, address)| format!("    \"{address}\", # {name}\n")).collect();
        format!(
            r#"# The file the demo's proxy runs on. Edit it and save: the change is live at once, and one line of
# the log says what changed. A mistake changes nothing: the log says what is wrong, and the old state
# goes on serving.

[listen.web]
address = "{listen}"
{tls}
[pool.app]
# There are also {others}.
balance = "{balance}"
# Try: put a # before one of these lines and save. That replica gets nothing new; nobody notices.
backends = [
{backends}]

[pool.app.health]
path = "/healthz"
interval = "1s"

[timeouts]
drain = "{DRAIN_SECONDS}s"

[admin]
address = "{admin}"
"#
        )
    }

    /// What to type into a browser on this machine.
    fn url(&self) -> String {
        let ip = match self.listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", SocketAddr::new(ip, self.listen.port()))
    }
}

/// What is printed once all replicas are up.
fn introduction(config: &Config, replicas: &[Replica], file: &Path, paint: Paint) -> String {
    let mut lines = Vec::new();
    for replica in replicas {
        let Replica { name, process: Launched { pid, port, .. } } = replica;
        lines.push(format!("{}  pid {pid}  127.0.0.1:{port}", paint.replica(name, &format!("replica {name}"))));
    }
    let (url, file, admin) = (config.url(), file.display(), config.admin);
    let victim = replicas.get(1).or(replicas.first()).map_or(0, |replica| replica.process.pid);
    let pause = RESTART_PAUSE.as_secs();
    lines.push(format!("config     {}", paint.bold(&file.to_string())));
    lines.push(format!("admin      http://{admin}/\n"));
    lines.push(format!("1. Open {} and put something into the cart.", paint.bold(&format!("{url}/"))));
    if config.certificate.is_some() {
        lines
            .push("   The browser will warn you: the certificate was made just now, and nobody vouches for it.".into());
    }
    lines.push(
        "2. Reload: another replica answers, the cart stays. It is in a signed cookie; no replica knows you.".into(),
    );
    lines.push(format!(
        "3. Kill one: {}  Nothing is lost; it is back after {pause} s.",
        paint.bold(&format!("kill -9 {victim}"))
    ));
    lines.push(
        "4. Edit the config file: another `balance`, or one backend less. It is live when you save; see the log."
            .into(),
    );
    let trust = config.certificate.as_ref().map(|file| format!(" --cacert {}", file.display())).unwrap_or_default();
    let curl = format!("for i in 1 2 3 4 5 6; do curl -s{trust} {url}/whoami; done");
    lines.push(format!("5. From a shell: {}", paint.bold(&curl)));
    lines.push("\nCtrl-C ends the proxy and all replicas.".into());
    lines.join("\n")
}

/// A certificate for this machine under `ip`, signed by nobody, with its key; returns its file.
fn make_certificate(directory: &PrivateDirectory, ip: IpAddr) -> anyhow::Result<PathBuf> {
    let names =
        ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string(), Ipv6Addr::LOCALHOST.to_string(), ip.to_string()];
    let made = rcgen::generate_simple_self_signed(names).context("cannot make a certificate")?;
    directory.write("demo.key", &made.signing_key.serialize_pem())?;
    directory.write("demo.pem", &made.cert.pem())
}

/// Writes a line to standard output. That nobody reads it any more is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Terminal colours, or none.
#[derive(Debug, Clone, Copy)]
struct Paint(bool);

impl Paint {
    fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(std::io::stdout().is_terminal() && !unwanted)
    }

    fn bold(self, text: &str) -> String {
        self.code("1", text)
    }

    /// `text` in the colour that the page gives this replica.
    fn replica(self, name: &str, text: &str) -> String {
        const LIKE_THE_PAGE: [&str; 8] = ["27", "35", "202", "99", "136", "162", "37", "103"];
        let letter = name.bytes().next().unwrap_or(b'a').wrapping_sub(b'a');
        self.code(&format!("1;38;5;{}", LIKE_THE_PAGE[usize::from(letter) % LIKE_THE_PAGE.len()]), text)
    }

    fn code(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A replica that runs. Dropping it kills it.
struct Replica {
    name: String,
    process: Launched,
}

/// How to start a replica.
struct Launcher {
    key: Key,
}

impl Launcher {
    fn new() -> anyhow::Result<Self> {
        let mut key = [0; Key::LENGTH];
        let random = std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut key));
        random.context("cannot read random bytes for the cookies' key")?;
        Ok(Self { key: Key::new(key) })
    }

    async fn launch(&self, name: &str, port: u16) -> anyhow::Result<Replica> {
        let arguments = ["demo-replica", "--name", name, "--port", &port.to_string()];
        let process = launch(&arguments, &[(replica::KEY_VARIABLE, &self.key.to_hex())]).await;
        let process = process.with_context(|| format!("cannot start replica {name}"))?;
        Ok(Replica { name: name.to_owned(), process })
    }
}

/// All replicas, just started.
struct Replicas {
    launcher: Launcher,
    first: Vec<Replica>,
}

impl Replicas {
    async fn start(count: usize) -> anyhow::Result<Self> {
        let launcher = Launcher::new()?;
        let mut first = Vec::with_capacity(count);
        for letter in ('a'..='z').take(count) {
            first.push(launcher.launch(&letter.to_string(), 0).await?);
        }
        Ok(Self { launcher, first })
    }

    fn backends(&self) -> Vec<(String, SocketAddr)> {
        let address =
            |replica: &Replica| (replica.name.clone(), SocketAddr::from((Ipv4Addr::LOCALHOST, replica.process.port)));
        self.first.iter().map(address).collect()
    }

    /// From now on a replica that ends is started again.
    fn keep(self) -> Kept {
        let seats = self.first.iter().map(|replica| Seat { name: replica.name.clone(), up: AtomicBool::new(true) });
        let table = Arc::new(Table { launcher: self.launcher, seats: seats.collect() });
        let stop = watch::Sender::new(());
        let mut keepers = JoinSet::new();
        for (seat, replica) in self.first.into_iter().enumerate() {
            keepers.spawn(keep_one(table.clone(), seat, replica, stop.subscribe()));
        }
        Kept { keepers, stop }
    }
}

/// All replicas, each with a task that keeps it up.
struct Kept {
    keepers: JoinSet<()>,
    /// Dropped to end them all.
    stop: watch::Sender<()>,
}

impl Kept {
    /// Kills and reaps all replicas.
    async fn end(mut self) {
        drop(self.stop);
        while self.keepers.join_next().await.is_some() {}
    }
}

/// What the keepers share.
struct Table {
    launcher: Launcher,
    seats: Vec<Seat>,
}

/// The place of a replica, whether it runs or not.
struct Seat {
    name: String,
    up: AtomicBool,
}

impl Table {
    fn set_up(&self, seat: usize, up: bool) {
        self.seats[seat].up.store(up, Ordering::Relaxed);
    }

    /// What becomes of the requests of a replica that just ended.
    fn consequence(&self) -> String {
        let up: Vec<&str> =
            self.seats.iter().filter(|seat| seat.up.load(Ordering::Relaxed)).map(|seat| seat.name.as_str()).collect();
        match up.split_last() {
            None => "no other is left: requests fail until one is back".to_owned(),
            Some((only, [])) => format!("its traffic moved to {only}"),
            Some((last, others)) => format!("its traffic moved to {} and {last}", others.join(", ")),
        }
    }
}

/// Starts one replica again, on its port, whenever it ends; until `stop` is dropped, then kills it.
async fn keep_one(table: Arc<Table>, seat: usize, mut replica: Replica, mut stop: watch::Receiver<()>) {
    loop {
        tokio::select! {
            _ = replica.process.child.wait() => {}
            _ = stop.changed() => {
                // Fails only if it has ended already.
                let _ = replica.process.child.kill().await;
                return;
            }
        }
        table.set_up(seat, false);
        say(&format!(
            "replica {} (pid {}) is gone; {}. Just wait: it starts again in {} s on the same port.",
            replica.name,
            replica.process.pid,
            table.consequence(),
            RESTART_PAUSE.as_secs()
        ));
        replica = tokio::select! {
            again = launch_again(&table.launcher, &replica.name, replica.process.port) => again,
            _ = stop.changed() => return,
        };
        table.set_up(seat, true);
        say(&format!("replica {} is back (pid {}).", replica.name, replica.process.pid));
    }
}

async fn launch_again(launcher: &Launcher, name: &str, port: u16) -> Replica {
    loop {
        sleep(RESTART_PAUSE).await;
        match launcher.launch(name, port).await {
            Ok(replica) => return replica,
            Err(error) => say(&format!("{error:#}; trying again in {} s.", RESTART_PAUSE.as_secs())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(listen: &str) -> Config {
        let backends =
            vec![("a".into(), "127.0.0.1:4001".parse().unwrap()), ("b".into(), "127.0.0.1:4002".parse().unwrap())];
        Config { listen: listen.parse().unwrap(), admin: ADMIN, backends, certificate: None }
    }

    #[test]
    fn the_file_is_toml_and_says_it_all() {
        let text = config("127.0.0.1:8080").to_toml();
        toml::de::DeTable::parse(&text).unwrap();
        for line in [
            "[listen.web]\naddress = \"127.0.0.1:8080\"\n",
            "balance = \"round-robin\"\n",
            "backends = [\n    \"127.0.0.1:4001\", # a\n    \"127.0.0.1:4002\", # b\n]\n",
            "[pool.app.health]\npath = \"/healthz\"\ninterval = \"1s\"\n",
            "drain = \"5s\"\n",
            "[admin]\naddress = \"127.0.0.1:9900\"\n",
        ] {
            assert!(text.contains(line), "{line}");
        }
    }

    #[test]
    fn the_url_can_be_opened_here() {
        let table = [
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("0.0.0.0:80", "http://127.0.0.1:80"),
            ("[::]:8080", "http://[::1]:8080"),
            ("10.1.2.3:1", "http://10.1.2.3:1"),
        ];
        for (listen, url) in table {
            assert_eq!(config(listen).url(), url);
        }
    }

    #[test]
    fn a_loss_is_told_by_who_is_left() {
        let table = [
            ("", "no other is left: requests fail until one is back"),
            ("a", "its traffic moved to a"),
            ("ac", "its traffic moved to a and c"),
            ("abc", "its traffic moved to a, b and c"),
        ];
        for (up, expected) in table {
            let seat = |name: char| Seat { name: name.into(), up: AtomicBool::new(up.contains(name)) };
            let launcher = Launcher { key: Key::new([0; Key::LENGTH]) };
            assert_eq!(Table { launcher, seats: "abc".chars().map(seat).collect() }.consequence(), expected);
        }
    }

    #[test]
    fn a_taken_port_names_the_way_out() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = Reserved::listen(address).err().unwrap().to_string();
        assert!(error.starts_with(&format!("{address} is taken")) && error.contains("--listen 127.0.0.1:"), "{error}");
        assert_ne!(Reserved::listen("127.0.0.1:0".parse().unwrap()).unwrap().address.port(), 0);
    }

    #[test]
    fn the_directory_is_private_and_goes_away() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = PrivateDirectory::create().unwrap();
        assert!(PrivateDirectory::create().is_err(), "one that exists is not taken over");
        let file = directory.write("x", "y").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&directory.0), mode(&file)), (0o700, 0o600));
        drop(directory);
        assert!(!file.exists());
    }

    #[test]
    fn colours_only_where_wanted() {
        assert_eq!(Paint(false).replica("b", "x"), "x");
        assert_eq!(Paint(true).replica("b", "x"), "\x1b[1;38;5;35mx\x1b[0m");
        assert_eq!(Paint(true).bold("x"), "\x1b[1mx\x1b[0m");
    }
}
