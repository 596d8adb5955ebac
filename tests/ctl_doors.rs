//! Whom `unstick ctl` believes, whom it tells its token, and how long it waits.

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Stdio;

use socket2::{Domain, SockAddr, Socket, Type};

use crate::cli::unstick;
use crate::ctl::ctl;
use crate::support::backend::{Backend, Seen, answer};
use crate::support::{eventually, read_until, send, text};

const TOKEN: &str = "0123456789abcdef";

/// Something that says the same to everybody.
fn parrot(json: &'static str) -> Backend {
    Backend::start(move |peer| {
        while peer.next().is_some() {
            send(&mut peer.stream, answer(json));
        }
    })
}

fn with_token(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let file = folder.join("token");
    std::fs::write(&file, TOKEN).unwrap();
    ctl(&[&["--token-file", file.to_str().unwrap()], words].concat())
}

#[test]
fn json_of_something_else_is_not_that_of_unstick() {
    for json in ["{}", "[]", "1", "{\"status\": \"ok\"}", "{\"version\": \"1\"}"] {
        let other = parrot(json);
        let admin = other.address.to_string();
        for words in [
            &["status"][..],
            &["status", "--json"],
            &["reload"],
            &["drain", "app/a:1"],
            &["explain", "--last", "failed"],
            &["explain", "1"],
            &["route", "GET", "http://a.test/"],
        ] {
            let (code, said, why) = ctl(&[&["--admin", &admin], words].concat());
            assert_eq!((code, said.as_str()), (Some(3), ""), "{json} {words:?}: {why}");
            assert!(why.contains("is not the admin port of unstick"), "{json} {words:?}: {why}");
        }
    }
}

#[test]
fn a_token_goes_only_where_a_change_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let proxy = Backend::start(|peer| {
        while let Some(seen) = peer.next() {
            let endpoint = r#"{"address": "a:1", "backend": "a:1"}"#;
            let status = format!(r#"{{"version": "1", "pools": [{{"name": "app", "endpoints": [{endpoint}]}}]}}"#);
            let json = if seen.line().starts_with("GET") { &status } else { r#"{"did": "that"}"# };
            send(&mut peer.stream, answer(json));
        }
    });
    let admin = proxy.address.to_string();
    assert_eq!(with_token(folder.path(), &["--admin", &admin, "drain", "app/a:1"]).0, Some(0));
    let shown = |seen: &Seen| (seen.line().starts_with("POST"), seen.field("authorization").is_some());
    assert_eq!(proxy.seen().iter().map(shown).collect::<Vec<_>>(), [(false, false), (true, true)]);

    // Whoever listens at the usual address need not be the proxy.
    let (code, _, why) = with_token(folder.path(), &["drain", "app/a:1"]);
    assert_eq!((code, why.contains("--admin ADDRESS")), (Some(2), true), "{why}");

    // Whoever may open the Unix socket needs none.
    let file = folder.path().join("a.sock");
    let listener = UnixListener::bind(&file).unwrap();
    let listening = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = text(&read_until(&mut stream, b"\r\n\r\n"));
        std::io::Write::write_all(&mut stream, &answer(r#"{"did": "that"}"#)).unwrap();
        head
    });
    let (code, said, _) = with_token(folder.path(), &["--socket", file.to_str().unwrap(), "reload"]);
    assert_eq!((code, said.as_str()), (Some(0), "that\n"));
    let head = listening.join().unwrap();
    assert!(head.starts_with("POST /v1/reload ") && !head.contains(TOKEN), "{head}");
}

#[test]
fn a_socket_whose_queue_is_full_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("full.sock");
    let address = SockAddr::unix(&file).unwrap();
    let unix = || Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    let full = unix();
    full.bind(&address).unwrap();
    full.listen(0).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = unix();
        socket.set_nonblocking(true).unwrap();
        if socket.connect(&address).is_err() {
            break;
        }
        waiting.push(socket);
    }
    let mut command = unstick(&["ctl", "--socket", file.to_str().unwrap(), "status"]);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut ended = None;
    eventually("it gives up", || {
        ended = child.try_wait().unwrap();
        ended.is_some()
    });
    assert_eq!(ended.unwrap().code(), Some(3));
    let why = text(&child.wait_with_output().unwrap().stderr);
    assert!(why.contains("nobody takes the connection"), "{why}");
}
