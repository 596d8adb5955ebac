//! The admin port over a Unix socket; and peers of the admin port that pipeline and read nothing.

use std::io::Write as _;
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use unstick::app::{self, Ended, Options, Source};
use unstick::config;

use crate::support::backend::Backend;
use crate::support::client::{Response, exchange, read_response};
use crate::support::{App, SOON, connect, free_address, pool_of};

/// So many peers do not read.
const LAZY: usize = 64;

/// The admin port at a file.
fn config(file: &Path, backend: &Backend) -> String {
    let admin = format!("[admin]\naddress = \"127.0.0.1:0\"\nsocket = \"{}\"\n", file.display());
    format!("{admin}{}", pool_of(&[backend.address], "", ""))
}

#[track_caller]
fn get(file: &Path, path: &str) -> Response {
    let mut stream = UnixStream::connect(file).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    exchange(&mut stream, &format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"))
}

#[test]
fn the_admin_port_has_a_unix_socket_that_only_its_user_may_open() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::named("a"));
    let file = folder.path().join("ctl.sock");
    let app = App::start(&config(&file, &backend));
    let mode = std::fs::symlink_metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(get(&file, "/readyz").text(), "ready\n");
    let by_unix: serde_json::Value = serde_json::from_slice(&get(&file, "/status").body).unwrap();
    assert_eq!(by_unix["listeners"], app.status()["listeners"]);
    let why = app.refuse(&config(&folder.path().join("other.sock"), &backend));
    assert!(why.contains("admin.socket cannot change while unstick runs"), "{why}");
    app.interrupt();
    assert_eq!(app.wait(), Ended::Drained);
    assert!(!file.exists(), "the file went with the process");
}

#[test]
fn another_process_does_not_replace_a_live_socket() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::named("a"));
    let file = folder.path().join("ctl.sock");
    let _app = App::start(&config(&file, &backend));
    let second = folder.path().join("second.toml");
    std::fs::write(&second, format!("[listen.web]\naddress = \"127.0.0.1:0\"\n{}", config(&file, &backend))).unwrap();
    let source = Source { file: Some(second), balance: None };
    let loaded = source.load().unwrap().unwrap_or_else(|problems| panic!("{problems}"));
    let error = app::start(loaded.config, Options { source, ..Options::default() }).unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot listen on {} (admin.socket): ", file.display())), "{error}");
    assert_eq!(get(&file, "/readyz").status, 200, "the first one goes on");
}

#[test]
fn the_unix_socket_is_there_without_the_port() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::named("a"));
    let file = folder.path().join("ctl.sock");
    let text = config(&file, &backend).replace("127.0.0.1:0", "off");
    let config = config::parse("a.toml", &format!("[listen.web]\naddress = \"127.0.0.1:0\"\n{text}")).unwrap();
    let running = app::start(config, Options::default()).unwrap();
    assert_eq!(running.admin, None);
    assert_eq!(get(&file, "/readyz").status, 200);
    running.stop();
    assert_eq!(running.wait(), Ended::Drained);
}

/// As `nc -N` and `socat` do.
#[test]
fn who_says_no_more_is_responded_to() {
    let (folder, backend) = (tempfile::tempdir().unwrap(), Backend::named("a"));
    let file = folder.path().join("ctl.sock");
    let app = App::start(&config(&file, &backend));
    let request = "GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for _ in 0..20 {
        let (mut unix, mut tcp) = (UnixStream::connect(&file).unwrap(), connect(app.admin));
        unix.set_read_timeout(Some(SOON)).unwrap();
        unix.write_all(request.as_bytes()).unwrap();
        unix.shutdown(Shutdown::Write).unwrap();
        tcp.write_all(request.as_bytes()).unwrap();
        tcp.shutdown(Shutdown::Write).unwrap();
        assert_eq!((read_response(&mut unix, false).status, read_response(&mut tcp, false).status), (200, 200));
    }
}

/// Asks for the same without end, and reads nothing; until the proxy takes no more of it.
fn pipeline(app: &App, path: &str) -> TcpStream {
    let mut stream = connect(app.admin);
    stream.set_nonblocking(true).unwrap();
    let requests = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(500);
    while stream.write(requests.as_bytes()).is_ok_and(|written| written == requests.len()) {}
    stream
}

/// Enough endpoints that a page of metrics is work.
fn app_with_many_endpoints() -> App {
    let port = free_address().port();
    let endpoints: Vec<_> = (0..100).map(|nth| ([127, 1, 0, nth + 1], port).into()).collect();
    App::over(&endpoints)
}

#[test]
fn peers_that_pipeline_and_do_not_read_do_not_silence_a_probe() {
    let app = app_with_many_endpoints();
    for path in ["/metrics", "/status", "/healthz", "/none"] {
        let mut lazy: Vec<_> = (0..LAZY).map(|_| pipeline(&app, path)).collect();
        for _ in 0..10 {
            // They come back at once when they have lost their places.
            lazy.extend((0..LAZY / 4).map(|_| pipeline(&app, path)));
            let began = Instant::now();
            assert_eq!(app.admin_get("/healthz").status, 200, "beside {path}");
            assert_eq!(app.admin_get("/readyz").status, 200, "beside {path}");
            // In an unoptimised build on a busy machine; a probe that is silenced gets nothing at all.
            assert!(began.elapsed() < Duration::from_secs(6), "beside {path}: {:?}", began.elapsed());
        }
    }
}

#[test]
fn a_probe_that_has_connected_keeps_its_place_beside_those_that_ask_for_more() {
    let app = app_with_many_endpoints();
    let (mut probe, mut fresh) = (connect(app.admin), connect(app.admin));
    const PROBE: &str = "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_eq!(exchange(&mut probe, PROBE).status, 200);
    let mut more = Vec::new();
    for _ in 0..2 * LAZY {
        let mut stream = connect(app.admin);
        assert_eq!(exchange(&mut stream, "GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 404);
        more.push(stream);
    }
    assert_eq!(exchange(&mut fresh, PROBE).status, 200);
    assert_eq!(exchange(&mut probe, PROBE).status, 200);
}
