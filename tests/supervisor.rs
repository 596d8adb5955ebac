//! What a service manager is told, and by whom.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use rustix::process::Signal;

use crate::cli::{Running, config, serving, unstick};
use crate::support::SOON;
use crate::support::backend::Backend;
use crate::upgrade::{end, process_in};

/// Reads datagrams as a service manager does.
struct Manager(UnixDatagram);

impl Manager {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        Self(socket)
    }

    /// The next message that is no sign of life.
    #[track_caller]
    fn hears(&self) -> String {
        loop {
            let message = self.hears_anything();
            if message != "WATCHDOG=1\n" {
                return message;
            }
        }
    }

    #[track_caller]
    fn hears_anything(&self) -> String {
        let mut message = [0; 4096];
        let length = self.0.recv(&mut message).expect("a message comes");
        String::from_utf8_lossy(&message[..length]).into_owned()
    }
}

fn run(file: &str, notify: &str) -> Command {
    let mut command = unstick(&["run", "-c", file]);
    command.env("NOTIFY_SOCKET", notify);
    command
}

#[test]
fn the_service_manager_follows_a_life_from_start_to_end() {
    let backend = Backend::named("a");
    let (folder, file) = config(&serving(&backend, "[timeouts]\nshutdown_delay = \"10ms\"\ndrain = \"2s\"\n"));
    let path = folder.path().join("notify");
    let name = format!("unstick-test-{}", std::process::id());
    for (address, notify) in [
        (SocketAddr::from_pathname(&path).unwrap(), path.display().to_string()),
        (SocketAddr::from_abstract_name(&name).unwrap(), format!("@{name}")),
    ] {
        let manager = Manager::at(&address);
        let mut running = Running::of(run(&file, &notify));
        let ready = manager.hears();
        assert!(ready.starts_with("READY=1\nSTATUS=serving web on http://127.0.0.1:"), "{ready}");

        running.signal(Signal::HUP);
        let message = manager.hears();
        let since = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap_or_else(|| panic!("{message}"));
        assert!(since.trim().parse::<u64>().unwrap() > 0);
        assert!(manager.hears().starts_with("STATUS=reloaded: nothing changed"));
        assert_eq!(manager.hears(), "READY=1\n");

        running.signal(Signal::TERM);
        let message = manager.hears();
        assert!(message.starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=7010000\nSTATUS=stopping: "), "{message}");
        assert_eq!(running.exit_code(), Some(0));
    }
}

#[test]
fn a_refused_edit_is_a_status_and_no_end_of_anything() {
    let backend = Backend::named("a");
    let good = serving(&backend, "");
    let (folder, file) = config(&good);
    let path = folder.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let running = Running::of(run(&file, &path.display().to_string()));
    assert!(manager.hears().starts_with("READY=1\n"));
    std::fs::write(&file, good.replace("[listen.web]", "[listn.web]")).unwrap();
    running.signal(Signal::HUP);
    assert!(manager.hears().starts_with("RELOADING=1\n"));
    let message = manager.hears();
    assert!(message.starts_with("STATUS=reload refused: ") && message.contains("listn"), "{message}");
    assert_eq!(manager.hears(), "READY=1\n");
}

#[test]
fn all_is_well_is_said_as_often_as_it_is_wanted_and_by_the_right_process() {
    let backend = Backend::named("a");
    let (folder, file) = config(&serving(&backend, ""));
    let path = folder.path().join("notify");
    let manager = Manager::at(&SocketAddr::from_pathname(&path).unwrap());
    let mut command = run(&file, &path.display().to_string());
    command.env("WATCHDOG_USEC", "200000");
    let mut running = Running::of(command);
    assert!(manager.hears().starts_with("READY=1\n"));
    (0..3).for_each(|_| assert_eq!(manager.hears_anything(), "WATCHDOG=1\n"));

    running.signal(Signal::USR2);
    let next = process_in(&running.line(" serves, this one finishes what it has"));
    let mut messages = [manager.hears(), manager.hears()];
    messages.sort();
    let taken = format!("MAINPID={next}\nREADY=1\nSTATUS=upgraded: process {next} serves\n");
    assert_eq!((messages[0].as_str(), &messages[1][..7]), (taken.as_str(), "READY=1"));
    assert_eq!(running.exit_code(), Some(0));
    // Whatever the process that has gone would have said: the service goes on.
    (0..10).for_each(|_| assert_eq!(manager.hears_anything(), "WATCHDOG=1\n"));
    end(next);
    assert!(manager.hears().starts_with("STOPPING=1\n"));
}
