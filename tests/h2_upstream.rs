//! Replicas that speak HTTP/2 or TLS.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use tokio::time::{Instant, sleep};

use crate::support::backend::Backend;
use crate::support::client::{self, exchange, read_response};
use crate::support::h2::{begin, client as h2_client, get, run, whole};
use crate::support::h2_backend::{H2Backend, tls};
use crate::support::tls::Authority;
use crate::support::{App, connect, eventually, send};

const H2C: &str = "protocol = \"h2c\"";

#[test]
fn a_request_reaches_the_replica_in_the_words_of_http2() {
    let backend = H2Backend::start(|mut call| async move {
        let (body, trailers) = call.body().await;
        let headers = call.request.headers();
        let field = |name| headers.get(name).map_or("-", |value| value.to_str().unwrap()).to_owned();
        let text = format!(
            "{} {} {} host={} connection={} te={} coding={} proto={} body={} end={}",
            call.request.method(),
            call.request.uri(),
            headers.contains_key("via"),
            field("host"),
            field("connection"),
            field("te"),
            field("transfer-encoding"),
            field("x-forwarded-proto"),
            String::from_utf8(body).unwrap(),
            trailers.is_some_and(|trailers| trailers["x-end"] == "1"),
        );
        let mut answer = call.answer(Response::builder().header("trailer", "x-sum"));
        answer.send_data(Bytes::from(text), false).unwrap();
        answer.send_trailers(HeaderMap::from_iter([("x-sum".parse().unwrap(), "42".parse().unwrap())])).unwrap();
    });
    let app = App::builder(&[backend.address]).pool(H2C).start();
    let mut stream = connect(app.address);
    for _ in 0..2 {
        send(
            &mut stream,
            "POST /a?b HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nConnection: x-hop\r\nX-Hop: 1\r\n\
                Transfer-Encoding: chunked\r\n\
             Trailer: x-end\r\n\r\n3\r\nhi \r\n2\r\nyo\r\n0\r\nx-end: 1\r\n\r\n",
        );
        let response = read_response(&mut stream, false);
        assert_eq!(
            response.text(),
            "POST http://a.test/a?b true host=- connection=- te=trailers coding=- proto=http body=hi yo end=true"
        );
        assert!(response.trailers.contains("x-sum: 42"), "{:?}", response.trailers);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn one_connection_serves_many_requests_and_another_one_is_opened_when_it_is_full() {
    for (streams_max, least, most) in [(1000, 1, 3), (10, 5, 20)] {
        let mut builder = h2::server::Builder::new();
        builder.max_concurrent_streams(streams_max);
        let backend = H2Backend::start_with(builder, None, |call| async move {
            sleep(Duration::from_millis(300)).await;
            call.say("slow");
        });
        let app = App::builder(&[backend.address]).pool(H2C).start();
        run(async {
            let client = h2_client(app.address).await;
            // The replica says with its first response how many streams it takes.
            assert_eq!(get(&client, "/").await.unwrap().1, "slow");
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..100 {
                let client = client.clone();
                tasks.spawn(async move { get(&client, "/").await.unwrap() });
            }
            while let Some(answer) = tasks.join_next().await {
                assert_eq!(answer.unwrap(), (200, "slow".to_owned()));
            }
        });
        let connections = backend.connections();
        assert!((least..=most).contains(&connections), "{connections} connections for {streams_max} streams on each");
    }
}

#[test]
fn what_a_replica_has_not_begun_is_sent_elsewhere_and_nothing_else() {
    for (reason, is_refused) in [(h2::Reason::REFUSED_STREAM, true), (h2::Reason::CANCEL, false)] {
        let refusals = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&refusals);
        let refusing = H2Backend::start(move |mut call| {
            counter.fetch_add(1, Relaxed);
            async move { call.respond.send_reset(reason) }
        });
        let good = H2Backend::named("good");
        let app = App::builder(&[refusing.address, good.address]).pool(H2C).start();
        let mut stream = connect(app.address);
        let statuses: Vec<u16> = (0..6)
            .map(|_| exchange(&mut stream, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").status)
            .collect();
        let failed = statuses.iter().filter(|status| **status == 502).count();
        assert!(refusals.load(Relaxed) > 0);
        assert_eq!(failed > 0, !is_refused, "{reason:?}: {statuses:?}");
        assert!(statuses.contains(&200));
    }
}

#[test]
fn goaway_loses_no_request() {
    // The replica sends GOAWAY after each fifth request of a connection. It has not started what comes after that.
    let backend = H2Backend::start(|call| async move { call.say("here") });
    let leaving = leaving_backend();
    let app = App::builder(&[leaving, backend.address]).pool(H2C).start();
    run(async {
        let client = h2_client(app.address).await;
        for round in 0..20 {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..10 {
                let client = client.clone();
                tasks.spawn(async move {
                    let request = Request::builder().method(Method::POST).uri("http://a.test/").body(()).unwrap();
                    let (response, mut body) = begin(&client, request, false).await;
                    body.send_data(Bytes::from_static(b"hi"), true).unwrap();
                    whole(response).await.unwrap().0.status().as_u16()
                });
            }
            while let Some(status) = tasks.join_next().await {
                assert_eq!(status.unwrap(), 200, "round {round}");
            }
        }
    });
}

/// A replica that sends GOAWAY, as servers do that are being restarted: after the fifth request of a connection, or at
/// once when it is asked to hold a stream open.
fn leaving_backend() -> std::net::SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut connection = h2::server::handshake(stream).await.unwrap();
                    let (mut count, mut open) = (0, Vec::new());
                    while let Some(Ok((request, mut respond))) = connection.accept().await {
                        count += 1;
                        let is_held = request.uri().path() == "/hold";
                        if count == 5 || is_held {
                            connection.graceful_shutdown();
                        }
                        let mut body = respond.send_response(Response::new(()), false).unwrap();
                        body.send_data(Bytes::from_static(b"left"), !is_held).unwrap();
                        open.extend(is_held.then_some(body));
                    }
                });
            }
        });
    });
    address
}

#[test]
fn a_connection_that_hangs_is_found_by_ping() {
    // It speaks HTTP/2 until the first request. Then it sends nothing any more, not even the reply to a ping.
    let hanging = Backend::start(|peer| {
        use std::io::Read as _;
        peer.stream.write_all(&crate::support::h2::frame(4, 0, 0, &[])).unwrap();
        while peer.stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {}
    });
    let app = App::builder(&[hanging.address]).pool(H2C).timeouts("upstream_h2_ping = \"200ms\"").start();
    let began = Instant::now();
    let response = client::get(app.address, "/");
    assert_eq!((response.status, response.field("x-unstick-error")), (502, Some("upstream-closed")));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_refused_stream_costs_no_connection() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let replica = H2Backend::start(move |mut call| {
        let nth = count.fetch_add(1, Relaxed);
        async move {
            if nth.is_multiple_of(2) {
                call.respond.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                call.say("taken");
            }
        }
    });
    let app = App::builder(&[replica.address]).pool(H2C).workers(1).start();
    for _ in 0..20 {
        assert_eq!(
            exchange(&mut connect(app.address), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx").text(),
            "taken"
        );
    }
    assert_eq!((refused.load(Relaxed), replica.connections()), (40, 1));
}

#[test]
fn a_replica_that_is_silent_for_long_is_not_pinged_but_asked_by_the_kernel() {
    // It speaks HTTP/2 with its own hands, to see what comes.
    let (heard, kinds) = std::sync::mpsc::channel();
    let silent = Backend::start(move |peer| {
        peer.stream.write_all(&crate::support::h2::frame(4, 0, 0, &[])).unwrap();
        std::io::Read::read_exact(&mut peer.stream, &mut [0; crate::support::h2::PREFACE.len()]).unwrap();
        while let Some((kind, ..)) = crate::support::h2::next_frame(&mut peer.stream) {
            heard.send(kind).unwrap();
        }
    });
    let timeouts = "h2_ping = \"50ms\"\nresponse_head = \"1s\"";
    let app = App::builder(&[silent.address]).pool(H2C).timeouts(timeouts).start();
    let asked = std::thread::spawn(move || client::get(app.address, "/").status);
    let timers = || std::fs::read_to_string("/proc/net/tcp").unwrap();
    // In the sixth column 02 is the timer of keep-alive.
    let peer = format!(":{:04X} 01 00000000:00000000 02:", silent.address.port());
    eventually("the kernel watches the connection", || timers().lines().any(|line| line.contains(&peer)));
    assert_eq!(asked.join().unwrap(), 504);
    assert!(kinds.try_iter().all(|kind| kind != crate::support::h2::PING));
}

#[test]
fn a_dead_replica_is_left_and_a_cut_answer_is_cut() {
    let good = H2Backend::named("good");
    let app = App::builder(&[crate::support::free_address(), good.address]).pool(H2C).start();
    for _ in 0..6 {
        assert_eq!(client::get(app.address, "/").text(), "good");
    }
    let cutting = H2Backend::start(|mut call| async move {
        let mut body = call.answer(Response::builder());
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        sleep(Duration::from_millis(50)).await;
        body.send_reset(h2::Reason::INTERNAL_ERROR);
    });
    let app = App::builder(&[cutting.address]).pool(H2C).start();
    let mut stream = connect(app.address);
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (bytes, is_orderly) = crate::support::read_to_close(&mut stream);
    assert!(!bytes.ends_with(b"0\r\n\r\n") && !is_orderly);
}

#[test]
fn a_client_that_leaves_resets_its_stream_only() {
    let (gone, was_gone) = std::sync::mpsc::channel();
    let backend = H2Backend::start(move |mut call| {
        let gone = gone.clone();
        async move {
            if call.request.uri().path() != "/slow" {
                return call.say("fast");
            }
            let mut body = call.answer(Response::builder());
            let reason = std::future::poll_fn(|cx| body.poll_reset(cx)).await.unwrap();
            gone.send((reason, call.connection)).unwrap();
        }
    });
    let app = App::start_with(&crate::support::pool_of(&[backend.address], H2C, ""), 1);
    let mut slow = connect(app.address);
    send(&mut slow, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    crate::support::read_until(&mut slow, b"\r\n\r\n");
    drop(slow);
    assert_eq!(was_gone.recv_timeout(crate::support::SOON).unwrap(), (h2::Reason::CANCEL, 0));
    assert_eq!(client::get(app.address, "/").text(), "fast");
    assert_eq!(backend.connections(), 1, "the connection is still good");
    eventually("nothing is under way", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
}

#[test]
fn replicas_in_tls_choose_the_protocol_and_must_be_who_they_are() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("replicas"));
    authority.write(&folder.path().join("ca.pem"));
    let pair = authority.issue(folder.path(), "replica", &["replica.test"]);
    let clients = Authority::new("clients");
    clients.write(&folder.path().join("clients.pem"));
    clients.issue(folder.path(), "proxy", &[]);
    let seen = |call: crate::support::h2_backend::Call| async move {
        let text = format!("{:?}", call.request.uri().scheme_str());
        call.say(&text);
    };
    let path = |name: &str| folder.path().join(name).display().to_string();
    let strict = H2Backend::start_with(
        h2::server::Builder::new(),
        Some(tls(&pair, &["h2"], Some(&folder.path().join("clients.pem")))),
        seen,
    );
    let plain = H2Backend::start_with(h2::server::Builder::new(), Some(tls(&pair, &["h2"], None)), seen);
    let ca = format!("ca = \"{}\"", path("ca.pem"));
    let name = "server_name = \"replica.test\"";
    let own = format!("cert = \"{}\"\nkey = \"{}\"", path("proxy.pem"), path("proxy.key"));
    for (what, backend, settings, expected) in [
        ("as it should be", &plain, format!("{ca}\n{name}"), 200),
        ("the wrong name", &plain, format!("{ca}\nserver_name = \"other.test\""), 502),
        ("no name: the address is none of the certificate's", &plain, ca.clone(), 502),
        ("unknown authority", &plain, name.to_owned(), 502),
        ("no certificate of our own", &strict, format!("{ca}\n{name}"), 502),
        ("our own certificate", &strict, format!("{ca}\n{name}\n{own}"), 200),
    ] {
        let pool = format!("protocol = \"https\"\n[pool.app.tls]\n{settings}");
        let app = App::builder(&[backend.address]).pool(&pool).start();
        let response = client::get(app.address, "/");
        assert_eq!(response.status, expected, "{what}: {}", response.text());
        let cause = response.field("x-unstick-error");
        assert_eq!(cause, (expected == 502).then_some("tls-failed"), "{what}");
        if expected == 200 {
            assert_eq!(response.text(), "Some(\"https\")");
        }
    }
}

/// In TLS 1.3 a client finishes its handshake before the server has seen the certificate of the client (RFC 8446
/// section 4.4.2.4).
#[test]
fn a_replica_that_refuses_our_certificate_is_a_failure_of_tls_in_either_version() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("replicas"));
    authority.write(&folder.path().join("ca.pem"));
    let pair = authority.issue(folder.path(), "replica", &["replica.test"]);
    let (clients, others) = (Authority::new("clients"), Authority::new("others"));
    clients.write(&folder.path().join("clients.pem"));
    others.issue(folder.path(), "proxy", &[]);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("proxy.pem"), path("proxy.key"));
    let trusted = format!("protocol = \"https\"\n[pool.app.tls]\nserver_name = \"replica.test\"\nca = \"{ca}\"");
    for alpn in ["h2", "http/1.1"] {
        let server = tls(&pair, &[alpn], Some(&folder.path().join("clients.pem")));
        let replica =
            H2Backend::start_with(h2::server::Builder::new(), Some(server), |call| async move { call.say("in") });
        let server = tls(&pair, &["h2"], None);
        let open =
            H2Backend::start_with(h2::server::Builder::new(), Some(server), |call| async move { call.say("in") });
        for own in [String::new(), format!("\ncert = \"{cert}\"\nkey = \"{key}\"")] {
            // Whoever refuses our certificate has read no request: it may go to another replica, whatever its method.
            let pool = format!("{trusted}{own}\n[pool.app.eject]\nfailures = 0");
            let app = App::builder(&[replica.address, open.address]).pool(&pool).start();
            let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx";
            for round in 0..12 {
                let response = exchange(&mut connect(app.address), post);
                assert_eq!((response.status, response.text().as_str()), (200, "in"), "{alpn} {own} {round}");
            }
            let app = App::builder(&[replica.address]).pool(&format!("{trusted}{own}")).start();
            for round in 0..20 {
                let response = client::get(app.address, "/");
                let found = (response.status, response.field("x-unstick-error"));
                assert_eq!(found, (502, Some("tls-failed")), "{alpn} {own} {round}");
            }
        }
    }
}

#[test]
fn a_certificate_for_the_replicas_may_be_replaced_on_disk() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("replicas"));
    authority.write(&folder.path().join("ca.pem"));
    let pair = authority.issue(folder.path(), "replica", &["replica.test"]);
    let (clients, others) = (Authority::new("clients"), Authority::new("others"));
    clients.write(&folder.path().join("clients.pem"));
    others.issue(folder.path(), "proxy", &[]);
    let server = tls(&pair, &["h2"], Some(&folder.path().join("clients.pem")));
    let replica = H2Backend::start_with(h2::server::Builder::new(), Some(server), |call| async move { call.say("in") });
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("proxy.pem"), path("proxy.key"));
    let pool = format!(
        "protocol = \"https\"\n[pool.app.tls]\nserver_name = \"replica.test\"\nca = \"{ca}\"\ncert = \"{cert}\"\n\
            key = \"{key}\""
    );
    let app = App::builder(&[replica.address]).pool(&pool).start();
    assert_eq!(client::get(app.address, "/").status, 502, "nobody knows who signed it");
    clients.issue(folder.path(), "proxy", &[]);
    eventually("the new one is shown", || client::get(app.address, "/").status == 200);
    // A broken file changes nothing, and it does not block another edit.
    std::fs::write(&cert, "rubbish").unwrap();
    app.apply(&crate::support::pool_of(&[replica.address], &pool, "[limits]\nrequest_fields = 50"));
    assert_eq!(client::get(app.address, "/").text(), "in");
    // An unfinished config file does not keep a certificate from being renewed.
    app.refuse("[pool.app");
    let renewed = app.reloads().0;
    clients.issue(folder.path(), "proxy", &[]);
    eventually("it is renewed", || app.reloads().0 > renewed);
    assert_eq!(client::get(app.address, "/").text(), "in");
}

#[test]
fn a_replica_in_tls_that_knows_only_http1_is_spoken_to_in_it_and_websockets_are_in_any_case() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("replicas"));
    authority.write(&folder.path().join("ca.pem"));
    authority.issue(folder.path(), "replica", &["replica.test"]);
    // unstick itself in front of a plain replica: it speaks both protocols.
    let plain = Backend::start(|peer| {
        while let Some(seen) = peer.next() {
            if seen.field("upgrade").is_some() {
                send(&mut peer.stream, "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n");
                let mut byte = [0];
                while std::io::Read::read(&mut peer.stream, &mut byte).is_ok_and(|n| n == 1) {
                    send(&mut peer.stream, byte.map(|byte| byte.to_ascii_uppercase()));
                }
                return;
            }
            let via: Vec<&str> = seen.head.lines().filter_map(|line| line.strip_prefix("via: ")).collect();
            let body = format!("{} {}", via.join(", "), seen.field("x-forwarded-proto").unwrap());
            send(&mut peer.stream, crate::support::backend::answer(&body));
        }
    });
    for (protocols, via) in [("[\"h1\"]", "1.1 unstick, 1.1 unstick"), ("[\"h1\", \"h2\"]", "1.1 unstick, 2.0 unstick")]
    {
        let path = |name: &str| folder.path().join(name).display().to_string();
        let listen = format!(
            "[listen.web]\naddress = \"127.0.0.1:0\"\nprotocols = {protocols}\n\
                tls = {{ cert = \"{}\", key = \"{}\" }}\n",
            path("replica.pem"),
            path("replica.key")
        );
        let inner = App::start(&format!("{listen}{}", crate::support::pool_of(&[plain.address], "", "")));
        let pool = format!(
            "protocol = \"https\"\n[pool.app.health]\npath = \"/\"\n[pool.app.tls]\nca = \"{}\"\n\
                server_name = \"replica.test\"",
            path("ca.pem")
        );
        let app = App::builder(&[inner.address]).pool(&pool).start();
        app.wait_for(inner.address, "healthy");
        let mut stream = connect(app.address);
        for _ in 0..3 {
            let response = exchange(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
            assert_eq!(response.text(), format!("{via} https"));
        }
        send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n");
        crate::support::read_until(&mut stream, b"\r\n\r\n");
        send(&mut stream, "hear");
        assert_eq!(crate::support::read_until(&mut stream, b"R"), b"HEAR");
    }
}

#[test]
fn an_upgrade_that_no_replica_can_take_says_so() {
    let backend = H2Backend::named("one");
    let app = App::builder(&[backend.address]).pool(H2C).start();
    let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let response = exchange(&mut connect(app.address), ask);
    assert_eq!((response.status, response.field("x-unstick-error")), (501, Some("no-upgrade")));
}

#[test]
fn the_protocol_of_a_pool_changes_live() {
    let (old, new) = (Backend::named("old"), H2Backend::named("new"));
    let app = App::over(&[old.address]);
    let mut stream = connect(app.address);
    assert_eq!(exchange(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "old");
    app.apply(&crate::support::pool_of(&[new.address], H2C, ""));
    assert_eq!(exchange(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "new");
    let why = app.refuse(&crate::support::pool_of(
        &[new.address],
        "protocol = \"https\"\n[pool.app.tls]\nca = \"/none.pem\"",
        "",
    ));
    assert!(why.contains("pool app: cannot read /none.pem"), "{why}");
    assert_eq!(exchange(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n").text(), "new");
}

#[test]
fn a_burst_on_a_replica_that_chooses_http1_does_not_shake_hands_one_by_one() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("replicas"));
    authority.write(&folder.path().join("ca.pem"));
    authority.issue(folder.path(), "replica", &["replica.test"]);
    let plain = Backend::named("one");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let listen = format!(
        "[listen.web]\naddress = \"127.0.0.1:0\"\nprotocols = [\"h1\"]\ntls = {{ cert = \"{}\", key = \"{}\" }}\n",
        path("replica.pem"),
        path("replica.key")
    );
    let inner = App::start(&format!("{listen}{}", crate::support::pool_of(&[plain.address], "", "")));
    let pool =
        format!("protocol = \"https\"\n[pool.app.tls]\nca = \"{}\"\nserver_name = \"replica.test\"", path("ca.pem"));
    let app = App::builder(&[inner.address]).pool(&pool).start();
    run(async {
        let client = h2_client(app.address).await;
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..64 {
            let client = client.clone();
            tasks.spawn(async move { get(&client, "/").await.unwrap() });
        }
        while let Some(answer) = tasks.join_next().await {
            assert_eq!(answer.unwrap(), (200, "one".to_owned()));
        }
    });
    let endpoint = app.endpoint(inner.address).unwrap();
    assert_eq!(endpoint["failures"], 0);
    let timed = |what: &str| app.metric(&format!("unstick_{what}_duration_seconds_count{{pool=\"app\"}}"));
    assert_eq!([timed("tls_handshake"), timed("connect")], [endpoint["connects"].as_f64().unwrap(); 2]);
}

#[test]
fn goaway_while_a_stream_is_open_delays_nobody() {
    let app =
        App::start_with(&crate::support::pool_of(&[leaving_backend()], H2C, "[timeouts]\nresponse_head = \"1h\""), 1);
    for _ in 0..5 {
        let mut held = connect(app.address);
        send(&mut held, "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
        crate::support::read_until(&mut held, b"left");
        for _ in 0..3 {
            let response =
                exchange(&mut connect(app.address), "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
            assert_eq!((response.status, response.text().as_str()), (200, "left"));
        }
    }
}

#[test]
fn a_reset_without_an_error_is_no_end_of_an_answer() {
    let backend = H2Backend::start(|mut call| async move {
        let mut body = call.answer(Response::builder());
        body.send_data(Bytes::from_static(b"half"), false).unwrap();
        sleep(Duration::from_millis(50)).await;
        body.send_reset(h2::Reason::NO_ERROR);
    });
    let app = App::builder(&[backend.address]).pool(H2C).start();
    let mut stream = connect(app.address);
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (bytes, is_orderly) = crate::support::read_to_close(&mut stream);
    assert!(!bytes.ends_with(b"0\r\n\r\n") && !is_orderly, "{}", crate::support::text(&bytes));
    eventually("it is counted", || app.metric("unstick_requests_total{pool=\"app\",outcome=\"cut\"}") == 1.0);
}

#[test]
fn who_wants_an_upgrade_of_replicas_that_know_only_http2_is_told_so_and_harms_nobody() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("replicas"));
    authority.write(&folder.path().join("ca.pem"));
    let pair = authority.issue(folder.path(), "replica", &["replica.test"]);
    let replica =
        H2Backend::start_with(h2::server::Builder::new(), Some(tls(&pair, &["h2"], None)), |call| async move {
            call.say("in");
        });
    let ca = folder.path().join("ca.pem").display().to_string();
    let pool = format!("protocol = \"https\"\n[pool.app.tls]\nserver_name = \"replica.test\"\nca = \"{ca}\"");
    let app = App::builder(&[replica.address]).pool(&pool).start();
    for _ in 0..10 {
        let ask = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        let response = exchange(&mut connect(app.address), ask);
        assert_eq!((response.status, response.field("x-unstick-error")), (501, Some("no-upgrade")));
    }
    assert_eq!(app.endpoint(replica.address).unwrap()["failures"], 0);
    assert_eq!(client::get(app.address, "/").text(), "in");
}
