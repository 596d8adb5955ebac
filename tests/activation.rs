//! Sockets that a service manager has bound before the start.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::cli::{Running, config, unstick};
use crate::support::backend::Backend;
use crate::support::client::{exchange, get, read_response};
use crate::support::{connect, pool_of, send};
use crate::upgrade::{end, process_in};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";

/// Starts unstick with `socket`, and with others that are bound for it: `NAME`, `NAME=ADDRESS`.
fn activate(socket: &TcpListener, passed: &[&str], file: &str) -> Running {
    let mut command = Command::new("python3");
    command.arg("tests/support/activate.py").args(passed).arg("--");
    command.args([env!("CARGO_BIN_EXE_unstick"), "run", "-c", file]);
    command.stdin(Stdio::from(OwnedFd::from(socket.try_clone().unwrap())));
    Running::of(command)
}

/// A config with these listeners.
fn listening(listeners: &str, backend: &Backend) -> (tempfile::TempDir, String) {
    config(&format!("{listeners}[admin]\naddress = \"off\"\n{}", pool_of(&[backend.address], "", "")))
}

#[test]
fn a_client_that_comes_between_two_processes_waits_for_the_second() {
    let (backend, socket) = (Backend::named("a"), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = socket.local_addr().unwrap();
    let web = format!("workers = 3\n[listen.web]\naddress = \"{address}\"\n");
    let (_folder, file) = listening(&web, &backend);
    let mut first = activate(&socket, &["unstick.socket"], &file);
    assert_eq!(first.address(), address);
    (0..9).for_each(|_| assert_eq!(get(address, "/").text(), "a"));
    first.signal(Signal::TERM);
    assert_eq!(first.exit_code(), Some(0));
    let mut between = connect(address);
    send(&mut between, GET);
    let mut second = activate(&socket, &["unstick.socket"], &file);
    assert_eq!(second.address(), address);
    assert_eq!(read_response(&mut between, false).text(), "a");
}

#[test]
fn a_listener_takes_the_socket_of_its_name_and_what_nobody_wants_is_told() {
    let (backend, socket) = (Backend::named("a"), TcpListener::bind("127.0.0.1:0").unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("internal.sock");
    let listeners = format!(
        "[listen.internal]\naddress = \"unix:{}\"\n[listen.web]\naddress = \"127.0.0.1:9\"\n",
        path.with_file_name("other.sock").display()
    );
    let (_folder, file) = listening(&listeners, &backend);
    let internal = format!("internal={}", path.display());
    let mut running = activate(&socket, &["web", &internal, "old.socket=0"], &file);
    let address = socket.local_addr().unwrap();
    running.line(&format!("listener web has the socket {address} of the service manager"));
    let told = running.line("no listener wants it");
    assert!(told.contains("the service manager (`old.socket`) is closed"), "{told}");
    running.line("serving ");
    assert_eq!(get(address, "/").text(), "a");
    assert_eq!(exchange(&mut UnixStream::connect(&path).unwrap(), GET).text(), "a");
    running.signal(Signal::TERM);
    assert_eq!(running.exit_code(), Some(0));
    assert!(path.exists(), "the file is the service manager's");
}

#[test]
fn an_upgrade_hands_the_sockets_on() {
    let (backend, socket) = (Backend::named("a"), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = socket.local_addr().unwrap();
    // It is found by its name, and the next process must know that it is the one of this listener.
    let (_folder, file) = listening("[listen.web]\naddress = \"127.0.0.1:9\"\n", &backend);
    let mut running = activate(&socket, &["web"], &file);
    running.line("serving ");
    running.signal(Signal::USR2);
    let heir = process_in(&running.line(" serves, this one finishes what it has"));
    assert_eq!(running.exit_code(), Some(0));
    assert_eq!(get(address, "/").text(), "a");
    let environment = std::fs::read_to_string(format!("/proc/{heir}/environ")).unwrap();
    assert!(!environment.contains("LISTEN_"), "what was said to the first process is not said to the next");
    end(heir);
}

#[test]
fn what_the_environment_says_must_be_true_and_for_this_process() {
    let backend = Backend::named("a");
    let (_folder, file) = listening("[listen.web]\naddress = \"127.0.0.1:0\"\n", &backend);
    for (count, said) in [
        ("x", "LISTEN_FDS=x is no number from 0 to 1024"),
        ("4000000000", "LISTEN_FDS=4000000000 is no number from 0 to 1024"),
        ("1000", "LISTEN_FDS=1000, but there is no descriptor "),
    ] {
        let mut shell = Command::new("sh");
        shell.args(["-c", "LISTEN_PID=$$ exec \"$0\" \"$@\""]).env("LISTEN_FDS", count);
        let out = shell.args([env!("CARGO_BIN_EXE_unstick"), "run", "-c", &file]).output().unwrap();
        let stderr = String::from_utf8_lossy(&out.stderr);
        assert!(stderr.contains(said), "{stderr}");
        assert_eq!(out.status.code(), Some(1));
    }
    let mut command = unstick(&["run", "-c", &file]);
    command.env("LISTEN_PID", "1").env("LISTEN_FDS", "1000");
    assert_eq!(get(Running::of(command).address(), "/").text(), "a", "it is for another process");
}
