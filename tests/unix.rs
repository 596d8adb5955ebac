//! Unix sockets, as listeners and as backends.

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use unstick::app::Ended;

use crate::support::backend::Backend;
use crate::support::client::{self, exchange};
use crate::support::{App, SOON, eventually, pool_of};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";

fn connect(file: &Path) -> UnixStream {
    let stream = UnixStream::connect(file).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// A replica behind a Unix socket. It responds with the request it got, on connections that are kept alive.
fn replica(file: &Path) {
    let listener = UnixListener::bind(file).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut seen = Vec::new();
                let mut byte = [0];
                while stream.read(&mut byte).is_ok_and(|n| n == 1) {
                    seen.push(byte[0]);
                    if seen.ends_with(b"\r\n\r\n") {
                        let text = String::from_utf8(std::mem::take(&mut seen)).unwrap();
                        let body = client::field(&text, "host").unwrap_or("none");
                        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                        if stream.write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
}

#[test]
fn clients_come_over_a_unix_socket_and_its_file_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("web.sock"), folder.path().join("other.sock"));
    let backend = Backend::named("one");
    let config = |file: &Path| {
        let listen = format!("[listen.web]\naddress = \"unix:{}\"\nunix_mode = \"600\"\n", file.display());
        format!("{listen}{}", pool_of(&[backend.address], "", ""))
    };
    let mode = |file: &Path| std::fs::metadata(file).unwrap().permissions().mode() & 0o777;
    let app = App::start(&config(&first));
    assert_eq!(mode(&first), 0o600);
    let mut kept = connect(&first);
    assert_eq!(exchange(&mut kept, GET).text(), "one");
    app.apply(&config(&first).replace("\"600\"", "\"666\""));
    assert_eq!(mode(&first), 0o666);
    assert_eq!(exchange(&mut kept, GET).text(), "one", "connections stay");
    // Without the key it is what it would be after a start without it.
    let plain = folder.path().join("plain.sock");
    let _plain = UnixListener::bind(&plain).unwrap();
    app.apply(&config(&first).replace("unix_mode = \"600\"\n", ""));
    assert_eq!(mode(&first), mode(&plain));
    let mut clients: Vec<_> = (0..8).map(|_| connect(&first)).collect();
    for client in &mut clients {
        assert_eq!(exchange(client, GET).text(), "one");
        assert_eq!(exchange(client, GET).text(), "one");
    }
    assert_eq!(backend.seen()[2].field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(app.status()["listeners"][0]["address"], format!("unix:{}", first.display()));

    app.apply(&config(&second));
    assert_eq!(exchange(&mut connect(&second), GET).text(), "one");
    eventually("the old file is gone", || !first.exists());
    app.stop();
    assert_eq!(app.wait(), Ended::Drained);
    assert!(!second.exists());
}

/// Nobody could connect any more, and every reload said that all was well.
#[test]
fn a_socket_whose_file_was_deleted_is_bound_again_by_the_next_reload() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("web.sock");
    let backend = Backend::named("one");
    let config = |mode: &str| {
        let listen = format!("[listen.web]\naddress = \"unix:{}\"\nunix_mode = \"{mode}\"\n", file.display());
        format!("{listen}{}", pool_of(&[backend.address], "", ""))
    };
    let app = App::start(&config("600"));
    let said = |what: &str| {
        let last = app.status()["reloads"]["last"]["message"].as_str().unwrap().to_owned();
        assert!(last.contains(what), "{last}");
    };
    let again = format!("the socket file was gone, listening again on unix:{}", file.display());
    let mut kept = connect(&file);
    assert_eq!(exchange(&mut kept, GET).text(), "one");
    std::fs::remove_file(&file).unwrap();
    app.apply(&config("666"));
    said(&again);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o666);
    assert_eq!(exchange(&mut connect(&file), GET).text(), "one");
    assert_eq!(exchange(&mut kept, GET).field("connection"), Some("close"), "it may bring one more request");

    std::fs::remove_file(&file).unwrap();
    let reloads = app.reloads().0;
    app.reload();
    eventually("it is reloaded", || app.reloads().0 > reloads);
    said(&again);
    assert_eq!(exchange(&mut connect(&file), GET).text(), "one");
    app.stop();
    assert_eq!(app.wait(), Ended::Drained);
    assert!(!file.exists());
}

/// A second process has taken over the path, as in an update without a gap.
#[test]
fn the_file_of_another_process_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let files = ["web.sock", "other.sock"].map(|name| folder.path().join(name));
    let backend = Backend::named("one");
    let config = |file: &Path| {
        let listen = format!("[listen.web]\naddress = \"unix:{}\"\n", file.display());
        format!("{listen}{}", pool_of(&[backend.address], "", ""))
    };
    let app = App::start(&config(&files[0]));
    let take_over = |file: &Path| {
        std::fs::remove_file(file).unwrap();
        UnixListener::bind(file).unwrap()
    };
    let _first = take_over(&files[0]);
    app.apply(&config(&files[1]));
    let _second = take_over(&files[1]);
    app.stop();
    assert_eq!(app.wait(), Ended::Drained);
    for file in &files {
        assert!(UnixStream::connect(file).is_ok(), "{}", file.display());
    }
}

#[test]
fn replicas_are_reached_and_probed_over_a_unix_socket() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("replica.sock");
    replica(&file);
    let health = "[pool.app.health]\npath = \"/\"\ninterval = \"50ms\"";
    let app = App::start(&format!("[pool.app]\nbackends = [\"unix:{}\"]\n{health}\n", file.display()));
    let mut client = crate::support::connect(app.address);
    for _ in 0..3 {
        assert_eq!(exchange(&mut client, GET).text(), "a.test");
    }
    let endpoint = app.status()["pools"][0]["endpoints"][0].clone();
    assert_eq!((endpoint["state"].as_str(), endpoint["connects"].as_u64()), (Some("healthy"), Some(1)));
    // A client of HTTP/1.0 names no host, and the file of a socket is not a host.
    let old = exchange(&mut crate::support::connect(app.address), "GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.text(), "localhost");
    std::fs::remove_file(&file).unwrap();
    eventually("it is gone", || app.status()["pools"][0]["endpoints"][0]["state"] == "unhealthy");
}
