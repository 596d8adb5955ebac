//! Connections to replicas that a client has authenticated: nobody else may use them.

use std::net::TcpStream;

use http::Request;

use crate::support::backend::{Backend, Peer, Seen, answer};
use crate::support::client::{Response, exchange};
use crate::support::h2::{begin, client as h2_client, run, whole};
use crate::support::h2_backend::{H2Backend, tls};
use crate::support::tls::Authority;
use crate::support::{App, connect, eventually, pool_of, send};

/// Asks for the scheme of the connection, and remembers its user, as NTLM and Negotiate do: the second message of a
/// client is good only on the connection that brought its first one.
fn authenticates(peer: &mut Peer, schemes: &'static str) {
    let (mut was_begun, mut user) = (false, None::<String>);
    while let Some(seen) = peer.next() {
        let word = credentials(&seen);
        match word.as_deref() {
            Some("hello") => (was_begun, user) = (true, None),
            Some(name) if was_begun => user = Some(name.to_owned()),
            _ => {}
        }
        let denied = format!("HTTP/1.1 401 Unauthorized\r\n{schemes}Content-Length: 0\r\n\r\n").into_bytes();
        let bytes = user.as_ref().map_or(denied, |user| answer(user));
        send(&mut peer.stream, bytes);
    }
}

fn credentials(seen: &Seen) -> Option<String> {
    seen.field("authorization").and_then(|field| field.split_once(' ')).map(|(_, word)| word.to_owned())
}

fn ask(stream: &mut TcpStream, credentials: Option<&str>) -> Response {
    let field = credentials.map(|word| format!("Authorization: {word}\r\n")).unwrap_or_default();
    exchange(stream, &format!("GET / HTTP/1.1\r\nHost: a\r\n{field}\r\n"))
}

/// A connection of `user`, who has just proven to be that one.
fn log_in(app: &App, scheme: &str, user: &str) -> TcpStream {
    let mut stream = connect(app.address);
    assert_eq!(ask(&mut stream, None).status, 401);
    assert_eq!(ask(&mut stream, Some(&format!("{scheme} hello"))).status, 401, "the challenge");
    let response = ask(&mut stream, Some(&format!("{scheme} {user}")));
    assert_eq!((response.status, response.text()), (200, user.to_owned()), "the replica that knows the challenge");
    stream
}

#[test]
fn nobody_is_served_as_the_user_of_another_connection() {
    for (schemes, scheme) in [
        ("WWW-Authenticate: NTLM\r\n", "NTLM"),
        ("WWW-Authenticate: Basic realm=\"x\"\r\nWWW-Authenticate: Negotiate\r\n", "Negotiate"),
        ("WWW-Authenticate: Basic realm=\"x\", ntlm\r\n", "nTLM"),
    ] {
        let replicas: Vec<_> = (0..3).map(|_| Backend::start(move |peer| authenticates(peer, schemes))).collect();
        let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
        let app = App::builder(&addresses).workers(1).start();
        let mut users: Vec<_> = ["alice", "bob"].map(|user| (user, log_in(&app, scheme, user))).into();
        for _ in 0..5 {
            for (user, stream) in &mut users {
                assert_eq!(ask(stream, None).text(), *user, "{scheme}");
                assert_eq!(ask(&mut connect(app.address), None).status, 401, "{scheme}: a stranger");
            }
        }
        let open = |replicas: &[Backend]| replicas.iter().map(|r| r.connections() - r.ended()).sum::<usize>();
        let before = open(&replicas);
        drop(users);
        eventually("their connections are closed with them", || open(&replicas) + 2 <= before);
        for _ in 0..10 {
            assert_eq!(ask(&mut connect(app.address), None).status, 401, "{scheme}: after the users left");
        }
    }
}

#[test]
fn credentials_of_a_connection_make_it_private_without_being_asked_for() {
    let replica = Backend::start(|peer| {
        let mut user = None;
        while let Some(seen) = peer.next() {
            user = credentials(&seen).or(user);
            send(&mut peer.stream, answer(user.as_deref().unwrap_or("nobody")));
        }
    });
    let app = App::builder(&[replica.address]).workers(1).start();
    for (word, is_private) in [("Negotiate alice", true), ("Basic alice", false)] {
        let mut user = connect(app.address);
        assert_eq!(ask(&mut user, Some(word)).text(), "alice");
        let others = ask(&mut connect(app.address), None).text();
        assert_eq!(others == "nobody", is_private, "{word}: {others}");
        assert_eq!(ask(&mut user, None).text(), "alice", "{word}");
    }
}

#[test]
fn a_private_connection_that_was_closed_is_replaced() {
    let replica = Backend::start(|peer| {
        peer.own();
        if let Some(seen) = peer.next() {
            send(&mut peer.stream, answer(&credentials(&seen).unwrap_or_default()));
        }
    });
    let app = App::builder(&[replica.address]).workers(1).start();
    let mut stream = connect(app.address);
    for nth in 0..5 {
        assert_eq!(ask(&mut stream, Some(&format!("NTLM {nth}"))).text(), nth.to_string());
    }
    assert_eq!(replica.connections(), 5);
}

#[test]
fn over_http2_nobody_shares_a_connection_with_credentials_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("replicas");
    authority.write(&folder.path().join("ca.pem"));
    let pair = authority.issue(folder.path(), "replica", &["replica.test"]);
    let ca = folder.path().join("ca.pem").display().to_string();
    let secure = format!("protocol = \"https\"\n[pool.app.tls]\nserver_name = \"replica.test\"\nca = \"{ca}\"");
    // These replicas speak only HTTP/2.
    for (pool, tls) in [("protocol = \"h2c\"".to_owned(), None), (secure, Some(tls(&pair, &["h2"], None)))] {
        let replica = H2Backend::start_with(h2::server::Builder::new(), tls, |call| async move {
            let number = call.connection.to_string();
            call.say(&number);
        });
        let app = App::builder(&[replica.address]).pool(&pool).workers(1).start();
        let number = |credentials: Option<&str>| {
            let response = ask(&mut connect(app.address), credentials);
            assert_eq!(response.status, 200, "{pool}: {}", response.text());
            response.text()
        };
        let shared = number(None);
        let own = number(Some("Negotiate alice"));
        assert_ne!(own, shared, "{pool}");
        assert_ne!(number(Some("NTLM bob")), own, "{pool}");
        for _ in 0..3 {
            assert_eq!(number(None), shared, "{pool}: everybody else still shares one");
        }
    }
}

/// Over TLS, from a client with HTTP/2, through two proxies in a row.
#[test]
fn credentials_of_a_connection_are_passed_over_http1_where_the_replica_speaks_both() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("replicas");
    authority.write(&folder.path().join("ca.pem"));
    authority.issue(folder.path(), "replica", &["replica.test"]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let replica = Backend::start(|peer| authenticates(peer, "WWW-Authenticate: NTLM\r\n"));
    let listen = format!(
        "[listen.web]\naddress = \"127.0.0.1:0\"\ntls = {{ cert = \"{}\", key = \"{}\" }}\n",
        path("replica.pem"),
        path("replica.key")
    );
    let inner = App::start_with(&format!("{listen}{}", pool_of(&[replica.address], "", "")), 1);
    let pool =
        format!("protocol = \"https\"\n[pool.app.tls]\nca = \"{}\"\nserver_name = \"replica.test\"", path("ca.pem"));
    let app = App::builder(&[inner.address]).pool(&pool).workers(1).start();
    run(async {
        let client = h2_client(app.address).await;
        let ask = async |credentials: Option<&str>| {
            let request = Request::get("http://a.test/");
            let request = credentials.into_iter().fold(request, |request, word| request.header("authorization", word));
            let (response, body, _) = whole(begin(&client, request.body(()).unwrap(), true).await.0).await.unwrap();
            (response.status().as_u16(), String::from_utf8(body).unwrap())
        };
        assert_eq!(ask(Some("NTLM hello")).await.0, 401);
        assert_eq!(ask(Some("NTLM alice")).await, (200, "alice".to_owned()));
        let stranger = h2_client(app.address).await;
        let request = Request::get("http://a.test/").body(()).unwrap();
        assert_eq!(whole(begin(&stranger, request, true).await.0).await.unwrap().0.status().as_u16(), 401);
        assert_eq!(ask(None).await, (200, "alice".to_owned()), "it is still the client's own");
    });
    let by = |seen: &Seen| seen.head.lines().filter(|line| line.to_lowercase().starts_with("via: 1.1")).count();
    assert!(replica.seen().iter().filter(|seen| credentials(seen).is_some()).all(|seen| by(seen) == 1));
}
