//! A new process takes over, without a request or a stream lost; and one that fails leaves the old one serving.

mod load;
mod process_1;
mod steered;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use self::load::Load;
use crate::cli::{Running, unstick};
use crate::control::{JSON, post};
use crate::support::backend::{Backend, answer};
use crate::support::client::{exchange, get, read_response};
use crate::support::{connect, eventually, pause, pool_of, read_until, send, signal};

const STATUS: &str = "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

/// A proxy whose program can be replaced, and the processes that came after the first one.
struct Upgraded {
    running: Running,
    folder: tempfile::TempDir,
    address: SocketAddr,
    /// The one that serves now.
    process: u32,
    former: Vec<u32>,
}

impl Upgraded {
    /// Starts with these settings: a listener on a port, one on a Unix socket, and the admin port.
    fn start(backend: &Backend, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("web.sock");
        let listeners = format!(
            "[listen.unix]\naddress = \"unix:{}\"\n[listen.web]\naddress = \"127.0.0.1:0\"\n",
            socket.display()
        );
        let admin =
            format!("[admin]\naddress = \"127.0.0.1:0\"\nsocket = \"{}\"\n", folder.path().join("ctl.sock").display());
        let config = format!("{settings}\n{listeners}{admin}{}", pool_of(&[backend.address], "", ""));
        std::fs::write(folder.path().join("unstick.toml"), config).unwrap();
        let program = folder.path().join("unstick");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_unstick"), &program).unwrap();
        let mut command = std::process::Command::new("./unstick");
        command.args(["run", "-c", "unstick.toml"]).current_dir(folder.path()).stdin(std::process::Stdio::null());
        let mut running = Running::of(command);
        let line = running.line("serving unix on unix:");
        let address = address_in(&line, "web on http://");
        let process = running.id();
        Self { running, folder, address, process, former: Vec::new() }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("web.sock")
    }

    /// The Unix socket of the admin port.
    fn admin_socket(&self) -> PathBuf {
        self.folder.path().join("ctl.sock")
    }

    /// Puts another program in place of the present one.
    fn replace_program(&self, with: impl FnOnce(&Path)) {
        let (next, program) = (self.folder.path().join("next"), self.folder.path().join("unstick"));
        with(&next);
        std::fs::rename(next, program).unwrap();
    }

    /// Puts a shell script in place of the program.
    fn replace_by_script(&self, script: &str) {
        self.replace_program(|next| {
            std::fs::write(next, format!("#!/bin/sh\n{script}\n")).unwrap();
            std::fs::set_permissions(next, std::fs::Permissions::from_mode(0o755)).unwrap();
        });
    }

    fn replace_by_unstick(&self) {
        self.replace_program(|next| std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_unstick"), next).unwrap());
    }

    fn order(&self) {
        signal(self.process, Signal::USR2);
    }

    /// Upgrades, and returns the process that has gone.
    #[track_caller]
    fn upgrade(&mut self) -> u32 {
        self.order();
        let line = self.running.line(" serves, this one finishes what it has");
        let gone = std::mem::replace(&mut self.process, process_in(&line));
        self.former.push(gone);
        gone
    }
}

impl Drop for Upgraded {
    fn drop(&mut self) {
        // Not those that have ended: their numbers may be somebody else's.
        for process in self.former.iter().chain([&self.process]).filter(|process| !has_ended(**process)) {
            Pid::from_raw(process.cast_signed()).map(|process| kill_process(process, Signal::KILL).ok());
        }
    }
}

/// The address in a log line behind these words.
#[track_caller]
fn address_in(line: &str, words: &str) -> SocketAddr {
    let address = line.split(words).nth(1).unwrap();
    let end = address.find(|c: char| c != '.' && c != ':' && !c.is_ascii_digit()).unwrap_or(address.len());
    address[..end].parse().unwrap_or_else(|_| panic!("no address in {line}"))
}

/// The number of the process that a log line names.
#[track_caller]
pub(crate) fn process_in(line: &str) -> u32 {
    line.split("process ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// Stops a process that is no child of this one, and waits for its end.
#[track_caller]
pub(crate) fn end(process: u32) {
    signal(process, Signal::TERM);
    eventually("the process ends", || has_ended(process));
}

/// Whether a process has ended. Its parent, or process 1, may not have asked for its exit code yet.
fn has_ended(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let program = std::fs::read_to_string(format!("/proc/{process}/cmdline")).unwrap_or_default();
    stat.rsplit(')').next().is_none_or(|rest| rest.is_empty() || rest.starts_with(" Z")) || !program.contains("unstick")
}

/// Responds to `/events` without end, takes an upgrade to an echo, and says `a` to everything else.
fn backend() -> Backend {
    Backend::start(|peer| {
        while let Some(seen) = peer.next() {
            if seen.line().contains("/events") {
                send(&mut peer.stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
                while peer.stream.write_all(b"9\r\ndata: x\n\n\r\n").is_ok() {
                    pause("between events", 20);
                }
                return;
            }
            if seen.field("upgrade").is_some() {
                send(&mut peer.stream, "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                let mut byte = [0];
                while peer.stream.read_exact(&mut byte).and_then(|()| peer.stream.write_all(&byte)).is_ok() {}
                peer.stream.shutdown(Shutdown::Both).ok();
                return;
            }
            send(&mut peer.stream, answer("a"));
        }
    })
}

/// An endless response and a tunnel.
fn streams(address: SocketAddr) -> [TcpStream; 2] {
    let (mut events, mut tunnel) = (connect(address), connect(address));
    send(&mut events, "GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    read_until(&mut events, b"data: x");
    send(&mut tunnel, "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    read_until(&mut tunnel, b"\r\n\r\n");
    [events, tunnel]
}

#[test]
fn under_load_nothing_is_lost_and_no_stream_is_cut() {
    let backend = backend();
    let mut proxy = Upgraded::start(&backend, "[timeouts]\ndrain = \"1h\"\ndrain_idle = \"1s\"");
    let (load, first) = (Load::begin(proxy.address, &proxy.socket()), proxy.process);
    let mut open = Vec::new();
    for _ in 0..10 {
        open.push(streams(proxy.address));
        load.wait_for(50);
        proxy.replace_by_unstick();
        proxy.upgrade();
        load.wait_for(50);
        let status = exchange(&mut UnixStream::connect(proxy.admin_socket()).unwrap(), STATUS).text();
        assert!(status.contains("\"ready\": true"), "the admin port has its file: {status}");
    }
    let sent = load.end();
    for [events, tunnel] in &mut open {
        (0..4).for_each(|_| _ = read_until(events, b"data: x"));
        send(tunnel, "x");
        tunnel.read_exact(&mut [0]).expect("the tunnel is open");
    }
    assert!(proxy.former.iter().all(|process| !has_ended(*process)), "each has streams to finish; {sent} requests");
    drop(open);
    eventually("those before have ended", || proxy.former.iter().all(|process| has_ended(*process)));
    assert_eq!((proxy.running.exit_code(), proxy.former[0]), (Some(0), first));
    assert_eq!(exchange(&mut UnixStream::connect(proxy.socket()).unwrap(), GET).text(), "a", "its file is still there");
    end(proxy.process);
    assert!(!proxy.socket().exists() && !proxy.admin_socket().exists(), "the files went with their last owner");
}

#[test]
fn a_new_process_that_fails_leaves_the_old_one_serving() {
    let backend = Backend::named("a");
    let mut proxy = Upgraded::start(&backend, "[timeouts]\nupgrade = \"1s\"");
    let load = Load::begin(proxy.address, &proxy.socket());
    let file = proxy.folder.path().join("unstick.toml");
    let good = std::fs::read_to_string(&file).unwrap();
    let hung = proxy.folder.path().join("pid");
    let real = env!("CARGO_BIN_EXE_unstick");
    for (script, said) in [
        ("exit 7", "ended (exit status: 7) before it served"),
        ("kill -9 $$", "ended (signal: 9 (SIGKILL)) before it served"),
        ("echo $$ > pid; exec sleep 1000", "did not say within 1s that it can serve, and is ended"),
        ("exec <&-; exec sleep 1000", "knows nothing of upgrades, and is ended"),
        ("echo hello >&0; exec sleep 1000", "does not understand this one"),
        (
            "echo '{\"ready\": {}}' >&0; exit 3",
            "was ready, and then did not serve: the new process ended (exit status: 3)",
        ),
        (
            "echo '{\"ready\": {}}' >&0; exec <&-; exec sleep 1000",
            "was ready, and then did not serve: it says nothing more, and is ended",
        ),
        (&format!("exec {real} run -c unstick.toml --no-such-flag"), "ended (exit status: 2) before it served"),
        (&format!("exec {real} run -c broken.toml"), "cannot serve: broken.toml:5:2: "),
        (&format!("exec {real} run -c taken.toml"), "cannot serve: cannot listen on"),
    ] {
        std::fs::write(proxy.folder.path().join("broken.toml"), good.replace("[listen.web]", "[listn.web]")).unwrap();
        let taken = good.replace("[admin]", &format!("[listen.more]\naddress = \"{}\"\n[admin]", backend.address));
        std::fs::write(proxy.folder.path().join("taken.toml"), taken).unwrap();
        proxy.replace_by_script(script);
        proxy.order();
        let line = proxy.running.line("upgrade refused, this process serves on: ");
        assert!(line.contains(said), "{script}: {line}");
        load.wait_for(50);
    }
    std::fs::remove_file(proxy.folder.path().join("unstick")).unwrap();
    proxy.order();
    assert!(proxy.running.line("upgrade refused").contains("cannot start"));
    let hung: u32 = std::fs::read_to_string(hung).unwrap().trim().parse().unwrap();
    assert!(has_ended(hung), "what hangs is ended");
    std::os::unix::fs::symlink(real, proxy.folder.path().join("unstick")).unwrap();
    proxy.upgrade();
    load.wait_for(50);
    load.end();
}

/// A socket from which nobody accepts would swallow its share of the connections.
#[test]
fn the_number_of_workers_may_be_another_one() {
    let backend = Backend::named("a");
    let mut proxy = Upgraded::start(&backend, "workers = 3");
    let file = proxy.folder.path().join("unstick.toml");
    let first = std::fs::read_to_string(&file).unwrap();
    for workers in ["1", "2", "5"] {
        std::fs::write(&file, first.replace("workers = 3", &format!("workers = {workers}"))).unwrap();
        let gone = proxy.upgrade();
        eventually("the one before has ended", || has_ended(gone));
        for _ in 0..60 {
            assert_eq!(get(proxy.address, "/").text(), "a", "{workers} workers");
        }
        assert_eq!(exchange(&mut UnixStream::connect(proxy.socket()).unwrap(), GET).text(), "a");
    }
}

#[test]
fn reloads_wait_for_an_upgrade_and_a_stop_ends_it() {
    let backend = Backend::named("a");
    let mut proxy = Upgraded::start(&backend, "[timeouts]\nupgrade = \"1s\"");
    proxy.replace_by_script("echo $$ > pid; exec sleep 1000");
    proxy.order();
    proxy.running.line("upgrade: starting ");
    signal(proxy.process, Signal::HUP);
    signal(proxy.process, Signal::USR2);
    proxy.running.line("an upgrade is under way already");
    proxy.running.line("upgrade refused");
    proxy.running.line("reloaded: nothing changed");

    std::fs::remove_file(proxy.folder.path().join("pid")).unwrap();
    proxy.order();
    let mut process = String::new();
    eventually("the new process runs", || {
        process = std::fs::read_to_string(proxy.folder.path().join("pid")).unwrap_or_default();
        process.ends_with('\n')
    });
    signal(proxy.process, Signal::TERM);
    proxy.running.line("upgrade given up: this process stops");
    assert_eq!(proxy.running.exit_code(), Some(0));
    eventually("the new process is ended", || has_ended(process.trim().parse().unwrap()));
}

/// As `systemctl stop` does, which signals all processes of a service.
#[test]
fn a_stop_after_an_upgrade_cuts_nothing() {
    let backend = backend();
    let mut proxy = Upgraded::start(&backend, "[timeouts]\ndrain = \"1h\"");
    let [events, mut tunnel] = streams(proxy.address);
    drop(events);
    let gone = proxy.upgrade();
    signal(gone, Signal::TERM);
    proxy.running.line("draining already");
    send(&mut tunnel, "x");
    tunnel.read_exact(&mut [0]).expect("the tunnel is open");
    signal(gone, Signal::TERM);
    proxy.running.line("a second signal, stopping at once");
    eventually("it has ended", || has_ended(gone));
}

#[test]
fn the_admin_port_goes_along_and_each_request_is_responded_to() {
    let backend = Backend::named("a");
    let mut proxy = Upgraded::start(&backend, "");
    let admin = address_in(&proxy.running.line("admin on http://"), "admin on http://");
    let mut kept = connect(proxy.address);
    assert_eq!(exchange(&mut kept, GET).text(), "a");
    let gone = proxy.upgrade();
    // The worker may hear of it a moment after the log has told.
    eventually("one more request is the last", || {
        send(&mut kept, GET);
        let response = read_response(&mut kept, false);
        assert_eq!(response.text(), "a");
        response.field("connection") == Some("close")
    });
    eventually("the one before has ended", || has_ended(gone));
    assert_eq!(get(admin, "/readyz").status, 200);
    let again = unstick(&["healthcheck", "--admin", &format!("{admin}")]).output().unwrap();
    assert!(again.status.success());
}

#[test]
fn an_upgrade_may_be_ordered_over_the_admin_port() {
    let backend = Backend::named("a");
    let mut proxy = Upgraded::start(&backend, "[timeouts]\nupgrade = \"1s\"");
    let admin = address_in(&proxy.running.line("admin on http://"), "admin on http://");
    let order = move || {
        let response = post(admin, "/v1/upgrade", JSON, "");
        (response.status, response.text())
    };
    assert_eq!(post(admin, "/v1/upgrade", "", "").status, 415, "as every other change");
    proxy.replace_by_script("exec sleep 1000");
    let first = std::thread::spawn(order);
    proxy.running.line("upgrade: starting ");
    assert_eq!(order().0, 409);
    let (status, why) = first.join().unwrap();
    let expected = "upgrade refused, this process serves on: the new process did not say within 1s";
    assert!(status == 422 && why.contains(expected), "{status} {why}");
    proxy.replace_by_unstick();
    let (status, did) = order();
    let line = proxy.running.line(" serves, this one finishes what it has");
    proxy.former.push(std::mem::replace(&mut proxy.process, process_in(&line)));
    let expected = format!("process {} serves, this one finishes what it has", proxy.process);
    assert!(status == 200 && did.contains(&expected), "{status} {did}");
    end(proxy.process);
}

#[test]
fn the_command_says_what_becomes_of_an_upgrade() {
    let backend = Backend::named("a");
    let mut proxy = Upgraded::start(&backend, "[timeouts]\nupgrade = \"1s\"");
    let admin = address_in(&proxy.running.line("admin on http://"), "admin on http://").to_string();
    let command = || {
        let out = unstick(&["upgrade", "--admin", &admin, "--wait", "20"]).output().unwrap();
        let [said, error] = [out.stdout, out.stderr].map(|text| String::from_utf8(text).unwrap());
        (out.status.code(), said, error)
    };
    for (script, why) in [
        ("exit 7", "the new process ended (exit status: 7) before it served"),
        ("exec sleep 1000", "the new process did not say within 1s that it can serve, and is ended"),
    ] {
        proxy.replace_by_script(script);
        let expected = format!("error: upgrade refused, process {} serves on: {why}\n", proxy.process);
        assert_eq!(command(), (Some(1), String::new(), expected));
    }
    proxy.replace_by_unstick();
    let (code, said, error) = command();
    let line = proxy.running.line(" serves, this one finishes what it has");
    let gone = std::mem::replace(&mut proxy.process, process_in(&line));
    proxy.former.push(gone);
    let expected = format!("process {} serves; process {gone} finishes what it has\n", proxy.process);
    assert_eq!((code, said, error), (Some(0), expected, String::new()));
    end(proxy.process);
    let (code, _, error) = command();
    assert!(code == Some(1) && error.contains(&format!("no answer from the admin port {admin}")), "{error}");
}
