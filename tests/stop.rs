//! Stopping: by draining, and at once.

use std::net::{TcpListener, TcpStream};

use rustix::process::Signal;
use unstick::app::Ended;

use crate::support::backend::{Backend, answer, signal};
use crate::support::client::{exchange, get, read_response};
use crate::support::{App, connect, eventually, pause, pool_of, read_to_close, send};

const GET: &str = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

#[test]
fn what_runs_is_finished_and_nothing_new_begins() {
    let (asked, was_asked) = signal();
    let (go, going) = signal();
    let going = std::sync::Mutex::new(going);
    let backend = Backend::start(move |peer| {
        while let Some(seen) = peer.next() {
            if seen.line().contains("/slow") {
                asked.lock().unwrap().send(()).unwrap();
                going.lock().unwrap().wait("the test lets it go on");
            }
            send(&mut peer.stream, answer("done"));
        }
    });
    let app = App::over(&[backend.address]);
    let mut idle = connect(app.address);
    assert_eq!(exchange(&mut idle, GET).status, 200);
    let mut slow = connect(app.address);
    send(&mut slow, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    was_asked.wait("the slow request arrives");

    app.stop();
    eventually("no new connection is taken", || TcpStream::connect(app.address).is_err());
    let response = exchange(&mut idle, GET);
    assert_eq!((response.text().as_str(), response.field("connection")), ("done", Some("close")), "one more request");
    assert_eq!(read_to_close(&mut idle), (Vec::new(), true));
    eventually("the admin port is given up", || TcpListener::bind(app.admin).is_ok());

    go.lock().unwrap().send(()).unwrap();
    let response = read_response(&mut slow, false);
    assert_eq!((response.text().as_str(), response.field("connection")), ("done", Some("close")));
    assert_eq!(read_to_close(&mut slow), (Vec::new(), true));
    assert_eq!(app.wait(), Ended::Drained);
}

#[test]
fn readiness_fails_at_once_and_accepting_goes_on_for_the_delay() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).timeouts("shutdown_delay = \"1s\"").start();
    assert_eq!(app.admin_get("/readyz").status, 200);
    app.stop();
    eventually("it is not ready any more", || app.admin_get("/readyz").status == 503);
    assert_eq!(app.admin_get("/healthz").status, 200);
    for _ in 0..5 {
        let response = get(app.address, "/");
        assert_eq!((response.status, response.text().as_str()), (200, "a"), "balancers in front still send");
        pause("several times within the delay", 50);
    }
    app.edit(&pool_of(&[Backend::named("b").address], "", "[timeouts]\nshutdown_delay = \"1h\"\n"));
    eventually("the delay ends as it was when the stop was ordered", || TcpStream::connect(app.address).is_err());
    eventually("the admin port is given up", || TcpListener::bind(app.admin).is_ok());
    assert_eq!(app.wait(), Ended::Drained);
}

#[test]
fn who_stops_by_hand_does_not_wait_for_balancers() {
    let backend = Backend::named("a");
    let app = || App::builder(&[backend.address]).timeouts("shutdown_delay = \"1h\"").start();
    for stops in [&[Stop::Interrupt][..], &[Stop::Terminate, Stop::Interrupt]] {
        let app = app();
        stops.iter().for_each(|stop| stop.order(&app));
        assert_eq!(app.wait(), Ended::Drained, "{stops:?}");
    }
    let app = app();
    app.stop();
    app.stop();
    assert_eq!(app.wait(), Ended::Cut, "a second SIGTERM ends at once, also during the delay");
}

#[derive(Debug, Clone, Copy)]
enum Stop {
    Terminate,
    Interrupt,
}

impl Stop {
    fn order(self, app: &App) {
        match self {
            Self::Terminate => app.stop(),
            Self::Interrupt => app.interrupt(),
        }
    }
}

#[test]
fn an_instance_in_a_process_of_others_leaves_its_signals_alone() {
    // This process must end when it is told to, even if something in it hangs.
    let backend = Backend::named("a");
    let _app = App::over(&[backend.address]);
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let mask = |name: &str| {
        let hex = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(hex.trim(), 16).unwrap()
    };
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT, Signal::HUP, Signal::USR1] {
        assert_eq!(mask("SigCgt:") >> (signal.as_raw() - 1) & 1, 0, "{signal:?}");
    }
}

#[test]
fn the_deadline_and_a_second_signal_end_what_still_runs() {
    let (asked, was_asked) = signal();
    let backend = Backend::start(move |peer| {
        peer.next();
        asked.lock().unwrap().send(()).ok();
        peer.wait_for_close();
    });
    for (drain, stops) in [("100ms", 1), ("1h", 2)] {
        let app = App::builder(&[backend.address]).timeouts(&format!("drain = \"{drain}\"")).start();
        let mut client = connect(app.address);
        send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        was_asked.wait("the request arrives");
        (0..stops).for_each(|_| app.stop());
        assert_eq!(app.wait(), Ended::Cut);
        read_to_close(&mut client);
    }
}

/// Nothing runs, so nothing is cut off: the exit code must not say so.
#[test]
fn without_time_to_drain_an_idle_process_still_ends_well() {
    let backend = Backend::named("a");
    for _ in 0..3 {
        let app = App::builder(&[backend.address]).timeouts("drain = \"0s\"").start();
        let mut idle = connect(app.address);
        assert_eq!(exchange(&mut idle, GET).status, 200);
        app.stop();
        assert_eq!(app.wait(), Ended::Drained);
    }
}
