//! The command line as a user sees it: exit codes, messages, signals.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use unstick::config::Algorithm;

use crate::support::backend::{Backend, Peer, signal};
use crate::support::client::{get, read_response};
use crate::support::tls::Authority;
use crate::support::{self, App, SOON, connect, eventually, pause, pool_of, read_to_close, send, text};

pub(crate) fn unstick(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unstick"));
    command.args(args).stdin(Stdio::null());
    command
}

fn output(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = unstick(args).output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

/// A running `unstick run` with its log lines. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Running {
    fn start(args: &[&str]) -> Self {
        Self::of(unstick(&[&["run"], args].concat()))
    }

    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits for a log line that contains `part`.
    #[track_caller]
    pub(crate) fn line(&mut self, part: &str) -> String {
        while let Ok(line) = self.lines.recv_timeout(SOON) {
            self.seen.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
        panic!("no line with {part:?} among {:#?}", self.seen);
    }

    /// The address on which it listens, according to the log.
    #[track_caller]
    pub(crate) fn address(&mut self) -> SocketAddr {
        let line = self.line("serving web on http://");
        let after = line.split("http://").nth(1).unwrap();
        let end = after.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).unwrap();
        after[..end].parse().unwrap()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        support::signal(self.child.id(), signal);
    }

    #[track_caller]
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let mut code = None;
        eventually("the process ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Writes a config file in a folder of its own.
pub(crate) fn config(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("unstick.toml").display().to_string();
    std::fs::write(&file, text).unwrap();
    (dir, file)
}

pub(crate) fn serving(backend: &Backend, rest: &str) -> String {
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"off\"\n";
    format!("{listen}{}", pool_of(&[backend.address], "", rest))
}

#[test]
fn check_says_in_one_line_that_a_file_is_fine() {
    let (code, stdout, stderr) = output(&["check", "-c", "config/unstick.toml"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, "config/unstick.toml: ok: 1 listener, 1 route, 1 pool, 3 backends\n");
    let is_of_this_machine = stderr.starts_with("on this machine: ") && stderr.contains(" client connections (");
    assert!(is_of_this_machine && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(output(&["check", "-c", "config/reference.toml"]).0, Some(0));
}

#[test]
fn check_reports_five_mistakes_as_five_problems() {
    let file = "tests/config/invalid/five_mistakes.toml";
    let (code, stdout, stderr) = output(&["check", "-c", file]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert_eq!(stderr.matches("error: ").count(), 5, "{stderr}");
    assert_eq!(stderr.matches(&format!("--> {file}:")).count(), 5, "each with file, line and column: {stderr}");
    assert!(stderr.ends_with(&format!("{file}: 5 problems\n")), "{stderr}");
    assert!(!stderr.contains('\x1b'), "no colours but on a terminal");
}

#[test]
fn the_help_lists_every_algorithm() {
    let (code, stdout, _) = output(&["run", "--help"]);
    let listed = format!("[possible values: {}]", Algorithm::names());
    assert_eq!(code, Some(0));
    assert!(stdout.contains(&listed), "{listed}: {stdout}");
}

#[test]
fn bad_usage_ends_with_2_and_says_what_to_do() {
    let (broken_dir, broken) = config("[listen.web\n");
    for (args, part) in [
        (&["check", "-c", "/nonexistent.toml"][..], "cannot read the file"),
        (&["run", "-c", &broken], "unstick.toml:1:"),
        (&["run"], "--config <FILE>"),
        (&["run", "--backend", "127.0.0.1:1", "--balance", "quickest"], "known are round-robin"),
        (&["run", "--backend", "127.0.0.1:1", "--balance", "lest-connections"], "did you mean `least-connections`?"),
        (&["run", "--backend", "127.0.0.1"], "needs a port"),
        (&["demo", "--replicas", "0"], "1 to 26"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&[], "Usage: unstick <COMMAND>"),
    ] {
        let (code, _, stderr) = output(args);
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(part), "{args:?}: {stderr}");
    }
    drop(broken_dir);
}

#[test]
fn help_teaches() {
    let (code, stdout, _) = output(&["--help"]);
    for part in ["Examples:", "unstick demo", "SIGHUP reloads", "Exit codes: 0 success", "check"] {
        assert!(stdout.contains(part), "{part} in {stdout}");
    }
    assert!(!stdout.contains("demo-replica"), "hidden");
    assert_eq!((code, output(&["--version"]).1), (Some(0), format!("unstick {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn a_taken_address_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (dir, file) = config(&format!(
        "[listen.web]\naddress = \"{address}\"\n[admin]\naddress = \"off\"\n[pool.app]\nbackends = [\"127.0.0.1:1\"]\n"
    ));
    let (code, _, stderr) = output(&["run", "-c", &file]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains(&format!("error: cannot listen on {address} (listener web): Address already in use")),
        "{stderr}"
    );
    drop(dir);
}

#[test]
fn balance_wins_over_the_file_and_the_log_says_so() {
    let backend = Backend::named("a");
    let (_dir, file) = config(&serving(&backend, ""));
    let mut running = Running::start(&["-c", &file, "--balance", "leastconn", "--workers", "1"]);
    let address = running.address();
    assert!(running.seen.last().unwrap().contains("least-connections (--balance)"), "{:?}", running.seen.last());
    assert_eq!(get(address, "/").text(), "a");
    std::fs::write(&file, serving(&backend, "[timeouts]\nconnect = \"1s\"")).unwrap();
    assert!(running.line("reloaded").contains("balance is least-connections by --balance"));
}

#[test]
fn signals_reload_and_drain() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let (_dir, file) = config(&serving(&a, ""));
    let mut running = Running::start(&["-c", &file]);
    let address = running.address();
    std::fs::write(&file, serving(&b, "")).unwrap();
    running.signal(Signal::HUP);
    running.line("reloaded: pool app: added");
    assert_eq!(get(address, "/").text(), "b");
    std::fs::write(&file, "[pool.app\n").unwrap();
    running.signal(Signal::HUP);
    let refusal = running.line("reload refused");
    assert!(refusal.contains("unstick.toml:1:10"), "{refusal}");
    assert_eq!(get(address, "/").text(), "b", "the old configuration stays in use");
    running.signal(Signal::TERM);
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn a_second_signal_ends_at_once() {
    let (asked, was_asked) = signal();
    let backend = Backend::start(move |peer| {
        peer.next();
        asked.lock().unwrap().send(()).ok();
        peer.wait_for_close();
    });
    let (_dir, file) = config(&serving(&backend, "[timeouts]\ndrain = \"1h\""));
    for name in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut running = Running::start(&["-c", &file]);
        let mut client = connect(running.address());
        send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        was_asked.wait("the request arrives");
        running.signal(name);
        running.line("stopping");
        running.signal(name);
        running.line("a second signal");
        assert_eq!(running.exit_code(), Some(1), "{name:?}");
        read_to_close(&mut client);
    }
}

/// A replica that holds back the response to its first probe until the test lets it go.
fn starting(health: &str) -> (Backend, support::backend::Signal, std::sync::mpsc::Sender<()>, String) {
    let (asked, was_asked) = signal();
    let (go, going) = channel::<()>();
    let going = std::sync::Mutex::new(going);
    let backend = Backend::start(move |peer| {
        while peer.next().is_some() {
            asked.lock().unwrap().send(()).ok();
            going.lock().unwrap().recv_timeout(SOON).ok();
            send(&mut peer.stream, support::backend::answer("a"));
        }
    });
    let text = serving(&backend, &format!("[pool.app.health]\npath = \"/\"\n{health}"));
    (backend, was_asked, go, text)
}

#[test]
fn a_signal_during_the_start_is_heard() {
    let (_backend, was_asked, _go, text) = starting("timeout = \"1h\"");
    let (dir, file) = config("");
    let socket = dir.path().join("web.sock");
    let address = format!("address = \"unix:{}\"", socket.display());
    std::fs::write(&file, text.replace("address = \"127.0.0.1:0\"", &address)).unwrap();
    for name in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let mut running = Running::start(&["-c", &file]);
        was_asked.wait("the start waits for the first verdict");
        assert!(socket.exists());
        running.signal(name);
        running.line("nothing was served yet");
        assert_eq!(running.exit_code(), Some(0), "{name:?}: nobody was served, so nobody was cut off");
        assert!(!socket.exists(), "what was bound is taken back");
    }
}

#[test]
fn a_file_that_hangs_does_not_keep_a_start_from_ending() {
    let (dir, file) = config("");
    let (fifo, backend) = (dir.path().join("fifo"), Backend::named("a"));
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let with_log = serving(&backend, &format!("[log]\naccess = \"{}\"", fifo.display()));
    std::fs::write(&file, &with_log).unwrap();
    let mut running = Running::start(&["-c", &file]);
    eventually("handlers are set", || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap().trim().to_owned();
        // It is the last one: those of the others are complete by then.
        u64::from_str_radix(&caught, 16).unwrap() >> (Signal::IO.as_raw() - 1) & 1 == 1
    });
    running.signal(Signal::TERM);
    running.line("nothing was served yet");
    assert_eq!(running.exit_code(), Some(0), "{with_log}");
    let (code, _, stderr) = output(&["check", "-c", fifo.to_str().unwrap()]);
    assert!(code == Some(2) && stderr.contains("nothing came within"), "{stderr}");
}

/// The kernel would fill the holes of its memory, so an idle process would grow.
#[test]
fn a_process_that_serves_has_no_huge_pages() {
    let backend = Backend::named("a");
    let (_dir, file) = config(&serving(&backend, ""));
    let mut running = Running::start(&["-c", &file]);
    assert_eq!(get(running.address(), "/").text(), "a");
    let status = std::fs::read_to_string(format!("/proc/{}/status", running.child.id())).unwrap();
    let enabled = status.lines().find_map(|line| line.strip_prefix("THP_enabled:")).unwrap();
    assert_eq!(enabled.trim(), "0");
    running.signal(Signal::TERM);
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn lack_of_descriptors_at_probes_is_not_blamed_on_replicas() {
    let backend = Backend::named("a");
    let check = "[pool.app.health]\npath = \"/healthz\"\ninterval = \"20ms\"\nfall = 1";
    let (_dir, file) = config(&serving(&backend, check));
    let mut running = Running::start(&["-c", &file, "--workers", "1"]);
    let address = running.address();
    let mut kept = connect(address);
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    send(&mut kept, request);
    assert_eq!(read_response(&mut kept, false).text(), "a");
    let pid = Pid::from_raw(running.child.id().cast_signed());
    let none = Rlimit { current: Some(3), maximum: Some(4096) };
    let before = prlimit(pid, Resource::Nofile, none).unwrap();
    running.line("cannot probe, the last verdict stays");
    support::pause("several probes would have failed", 300);
    send(&mut kept, request);
    assert_eq!(read_response(&mut kept, false).text(), "a", "it is as well as before");
    let restored = Rlimit { current: before.current.map(|now| now.min(4096)), maximum: Some(4096) };
    prlimit(pid, Resource::Nofile, restored).unwrap();
    let connections = backend.connections();
    eventually("probes go on", || backend.connections() > connections);
    running.signal(Signal::TERM);
    drop(kept);
    running.line("stopped");
    assert!(!running.seen.iter().any(|line| line.contains("unhealthy")), "{:?}", running.seen);
}

#[test]
fn signals_that_others_take_for_something_do_not_kill() {
    let (_backend, was_asked, go, text) = starting("timeout = \"1h\"\ninterval = \"1h\"");
    let (_dir, file) = config(&text);
    let mut running = Running::start(&["-c", &file]);
    was_asked.wait("the start waits for the first verdict");
    for name in [Signal::HUP, Signal::USR1, Signal::ALARM, Signal::IO] {
        running.signal(name);
    }
    go.send(()).unwrap();
    let address = running.address();
    let mut lines = vec![running.line(""), running.line(""), running.line("")];
    lines.retain(|line| ["SIGALRM", "SIGIO", "reloaded"].iter().any(|part| line.contains(part)));
    assert_eq!(lines.len(), 3, "what came during the start is kept for later: {:?}", running.seen);
    go.send(()).unwrap();
    assert_eq!(get(address, "/").text(), "a");
    running.signal(Signal::TERM);
    assert_eq!(running.exit_code(), Some(0));
}

#[test]
fn the_access_log_is_written_and_opened_again() {
    let backend = Backend::named("a");
    for (format, part) in
        [("json", "\"target\":\"/one\""), ("common", "\"GET /one HTTP/1.1\" 200 1"), ("{target} {status}", "/one 200")]
    {
        let (dir, file) = config("");
        let (log, moved) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let keys = format!("[log]\naccess = \"{}\"\naccess_format = \"{format}\"", log.display());
        std::fs::write(&file, serving(&backend, &keys)).unwrap();
        let mut running = Running::start(&["-c", &file]);
        let address = running.address();
        let contents = |path: &std::path::Path| {
            let mut text = String::new();
            std::fs::File::open(path).and_then(|mut file| file.read_to_string(&mut text)).ok();
            text
        };
        get(address, "/one");
        eventually("the line is written", || contents(&log).contains(part));
        std::fs::rename(&log, &moved).unwrap();
        running.signal(Signal::USR1);
        running.line("access log opened again");
        get(address, "/two");
        eventually("the new file gets the line", || contents(&log).contains("/two"));
        assert!(!contents(&moved).contains("/two"));
    }
}

#[test]
fn too_few_descriptors_are_said_and_survived() {
    let backend = Backend::named("a");
    let (_dir, file) = config(&serving(&backend, ""));
    // 160 descriptors, of which 128 are reserved, are enough for 16 client connections, because each may need one more
    // to a replica.
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 160; exec \"$0\" run -c \"$1\" --workers 1", env!("CARGO_BIN_EXE_unstick"), &file]);
    let mut running = Running::of(command);
    running.line("only 16 client connections are possible");
    let address = running.address();
    let request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut clients: Vec<_> = (0..40).map(|_| connect(address)).collect();
    clients.iter_mut().for_each(|client| send(client, request));
    // Some clients get responses, the others wait in the queue of the kernel until those close.
    while !clients.is_empty() {
        let mut client = clients.remove(0);
        assert_eq!(read_response(&mut client, false).text(), "a");
    }
}

/// Connections that are kept for later must not take what a request needs now.
#[test]
fn unused_connections_give_way_when_descriptors_are_few() {
    let backends: Vec<_> = (0..5).map(|_| Backend::start(slow)).collect();
    let route = |(nth, _): (usize, _)| format!("[[route]]\npath = \"/{nth}\"\npool = \"p{nth}\"\n");
    let pool = |(nth, backend): (usize, &Backend)| format!("[pool.p{nth}]\nbackends = [\"{}\"]\n", backend.address);
    let routes: String = backends.iter().enumerate().map(route).collect();
    let pools: String = backends.iter().enumerate().map(pool).collect();
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"off\"\n";
    let (_dir, file) = config(&format!("{listen}{routes}{pools}"));
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 220; exec \"$0\" run -c \"$1\" --workers 1", env!("CARGO_BIN_EXE_unstick"), &file]);
    let mut running = Running::of(command);
    let address = running.address();
    let mut clients: Vec<_> = (0..40).map(|_| connect(address)).collect();
    for nth in 0..backends.len() {
        clients.iter_mut().for_each(|client| send(client, format!("GET /{nth} HTTP/1.1\r\nHost: x\r\n\r\n")));
        for client in &mut clients {
            let response = read_response(client, false);
            assert_eq!((response.status, response.text().as_str()), (200, "ok"), "pool {nth}");
        }
    }
}

/// Each request needs a connection of its own.
fn slow(peer: &mut Peer) {
    while peer.next().is_some() {
        pause("others come meanwhile", 200);
        send(&mut peer.stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }
}

#[test]
fn flags_serve_without_a_file() {
    let backend = Backend::named("a");
    let backend_address = backend.address.to_string();
    let flags = ["--listen", "127.0.0.1:0", "--backend", &backend_address, "--balance", "rr", "--admin", "off"];
    let mut running = Running::start(&flags);
    assert_eq!(get(running.address(), "/").text(), "a");
}

#[test]
fn a_health_check_says_whether_requests_are_taken() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).start();
    let admin = app.admin.to_string();
    assert_eq!(output(&["healthcheck", "--admin", &admin]), (Some(0), "HTTP/1.1 200 OK\n".to_owned(), String::new()));
    drop(app);
    let (code, _, stderr) = output(&["healthcheck", "--admin", &admin]);
    assert_eq!(code, Some(1));
    assert!(stderr.starts_with(&format!("error: no response from the admin port {admin}: ")), "{stderr}");
}

#[test]
fn a_certificate_that_ends_soon_is_warned_of() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::named("one"));
    Authority::new("ca").issue_with(folder.path(), "a", &["a.test"], |params| {
        params.not_after = (std::time::SystemTime::now() + std::time::Duration::from_secs(5 * 86_400 + 3600)).into();
    });
    let file = folder.path().join("unstick.toml");
    let listen = "[listen.web]\naddress = \"127.0.0.1:0\"\n[listen.web.tls]\ncert = \"a.pem\"\nkey = \"a.key\"\n";
    // The default admin port may be taken by another run of the tests.
    let admin = "[admin]\naddress = \"off\"\n";
    std::fs::write(&file, format!("{listen}{}", pool_of(&[backend.address], "", admin))).unwrap();
    let mut proxy = Running::start(&["--config", file.to_str().unwrap()]);
    let line: serde_json::Value =
        serde_json::from_str(&proxy.line("the certificate expires in 5 days: renew it")).unwrap();
    assert_eq!(line["level"], "WARN");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(), Some(0));
}

#[test]
fn the_path_of_the_access_log_begins_where_the_config_file_is() {
    let (backend, elsewhere) = (Backend::named("a"), tempfile::tempdir().unwrap());
    let (dir, file) = config(&serving(&backend, "[log]\naccess = \"logs/access.log\""));
    std::fs::create_dir(dir.path().join("logs")).unwrap();
    let mut command = unstick(&["run", "-c", &file]);
    command.current_dir(elsewhere.path());
    let mut running = Running::of(command);
    get(running.address(), "/one");
    let log = dir.path().join("logs/access.log");
    eventually("the line is written", || std::fs::read_to_string(&log).is_ok_and(|text| text.contains("/one")));
    std::fs::rename(&log, log.with_extension("1")).unwrap();
    running.signal(Signal::USR1);
    running.line("access log opened again");
    eventually("it is opened again at the same place", || log.exists());
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

/// A drain may take longer than it takes until the next file is due.
#[test]
fn the_access_log_is_opened_again_also_during_a_drain() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::named("one"));
    let file = folder.path().join("unstick.toml");
    let log = folder.path().join("access.log");
    let rest = format!("[listen.web]\naddress = \"127.0.0.1:0\"\n[log]\naccess = {log:?}\n[admin]\naddress = \"off\"");
    std::fs::write(&file, pool_of(&[backend.address], "", &rest)).unwrap();
    let mut child = unstick(&["run", "--config", file.to_str().unwrap()]).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut proxy = Running { child, lines, seen: Vec::new() };
    let mut stream = connect(proxy.address());
    send(&mut stream, "GET /before HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(read_response(&mut stream, false).status, 200);
    let moved = folder.path().join("access.log.1");
    crate::support::eventually("it is logged", || std::fs::read_to_string(&log).is_ok_and(|text| !text.is_empty()));
    proxy.signal(Signal::TERM);
    proxy.line("stopping");
    std::fs::rename(&log, &moved).unwrap();
    proxy.signal(Signal::USR1);
    proxy.line("access log opened again");
    send(&mut stream, "GET /after HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(read_response(&mut stream, false).status, 200);
    assert_eq!(proxy.exit_code(), Some(0));
    let [log, moved] = [log, moved].map(|file| std::fs::read_to_string(file).unwrap());
    assert!(log.contains("/after") && moved.contains("/before") && !moved.contains("/after"), "{log} {moved}");
}

#[test]
fn an_access_log_that_nobody_takes_stops_neither_the_control_plane_nor_the_end() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::named("one"));
    let file = folder.path().join("unstick.toml");
    let rest = "[listen.web]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"stdout\"\naccess_queue = 16\n[timeouts]\n\
        drain = \"1s\"\n[admin]\naddress = \"off\"";
    std::fs::write(&file, pool_of(&[backend.address], "", rest)).unwrap();
    let mut child = unstick(&["run", "--config", file.to_str().unwrap()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (sender, lines) = channel();
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
    let mut proxy = Running { child, lines, seen: Vec::new() };
    let mut stream = connect(proxy.address());
    // These are more lines than a pipe and the queue hold.
    for _ in 0..600 {
        send(&mut stream, "GET /a-path-that-takes-some-room-in-the-log HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(read_response(&mut stream, false).status, 200);
    }
    drop(stream);
    proxy.signal(Signal::USR1);
    proxy.line("access log opened again");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(), Some(0));
}
