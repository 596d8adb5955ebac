//! Tunnels: WebSockets over HTTP/1.1 and HTTP/2, other protocols, reloads, draining, limits.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use socket2::SockRef;
use tokio::time::Instant;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::{Message, WebSocket};
use unstick::app::Ended;

use crate::support::backend::{Backend, Peer, answer};
use crate::support::client::{self, exchange, read_response};
use crate::support::h2::{begin, client as h2_client, run, whole};
use crate::support::{App, SOON, connect, eventually, pause, pool_of, read_to_close, read_until, send, text};

const ASK: &str = "GET /ws HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// A replica that echoes everything, and sends its name when asked.
fn echo(name: &'static str) -> Backend {
    Backend::start(move |peer| {
        while let Some(seen) = peer.next() {
            if seen.line().contains("/ws") {
                let key = seen.field("sec-websocket-key").unwrap().to_owned();
                return serve(peer, name, &key);
            }
            send(&mut peer.stream, answer(name));
        }
    })
}

fn serve(peer: &mut Peer, name: &str, key: &str) {
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    // The greeting comes in one write with the head.
    send(&mut peer.stream, [head.as_bytes(), &[0x81, 5], b"hello"].concat());
    peer.stream.set_read_timeout(None).unwrap();
    let mut socket = WebSocket::from_raw_socket(peer.stream.try_clone().unwrap(), Role::Server, None);
    while let Ok(message) = socket.read() {
        let back = match message {
            Message::Text(text) if text.as_str() == "who" => Message::text(name),
            Message::Text(_) | Message::Binary(_) => message,
            _ => continue,
        };
        if socket.send(back).is_err() {
            return;
        }
    }
}

/// Opens a WebSocket through the proxy and reads the greeting.
fn open(address: SocketAddr) -> WebSocket<TcpStream> {
    let mut stream = connect(address);
    send(&mut stream, ASK);
    let head = text(&read_until(&mut stream, b"\r\n\r\n"));
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(client::field(&head, "sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    let mut socket = WebSocket::from_raw_socket(stream, Role::Client, None);
    assert_eq!(socket.read().unwrap(), Message::text("hello"));
    socket
}

fn ask(socket: &mut WebSocket<TcpStream>, message: impl Into<Message>) -> Message {
    socket.send(message.into()).unwrap();
    socket.read().unwrap()
}

fn who(socket: &mut WebSocket<TcpStream>) -> String {
    ask(socket, Message::text("who")).to_string()
}

/// Waits for the close frame. Returns its code, and when it came.
fn closed(socket: &mut WebSocket<TcpStream>) -> (Option<CloseCode>, Instant) {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => {
                let at = Instant::now();
                // The reply comes, and then an orderly end of the connection.
                while socket.read().is_ok() {}
                return (frame.map(|frame| frame.code), at);
            }
            Ok(_) => {}
            Err(_) => return (None, Instant::now()),
        }
    }
}

#[test]
fn messages_of_all_kinds_pass_both_ways() {
    let backend = echo("one");
    let app = App::over(&[backend.address]);
    let mut socket = open(app.address);
    assert_eq!(who(&mut socket), "one");
    for length in [0, 1, 125, 126, 65_535, 65_536, 3_000_000] {
        let message = Message::binary(vec![7; length]);
        assert_eq!(ask(&mut socket, message.clone()), message, "{length}");
    }
    assert_eq!(ask(&mut socket, Message::Ping(Bytes::from("x"))), Message::Pong(Bytes::from("x")));
    let seen = &backend.seen()[0];
    assert_eq!((seen.field("connection"), seen.field("upgrade")), (Some("upgrade"), Some("websocket")));
    assert_eq!(app.endpoint(backend.address).unwrap()["in_flight"], 1);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    eventually("it is no longer under way", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
    assert_eq!(app.metric("unstick_requests_total{pool=\"app\",outcome=\"1xx\"}"), 1.0);
}

#[test]
fn who_is_refused_goes_on_in_http() {
    let backend =
        Backend::start(|peer| peer.serve(|_| b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_vec()));
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    for _ in 0..2 {
        let response = exchange(&mut stream, ASK);
        assert_eq!((response.status, response.text().as_str()), (403, "no"));
    }
}

#[test]
fn an_endpoint_that_switches_to_something_else_is_not_believed() {
    for head in [
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let backend = Backend::start(move |peer| {
            peer.next();
            send(&mut peer.stream, head);
            peer.wait_for_close();
        });
        let app = App::over(&[backend.address]);
        let response = exchange(&mut connect(app.address), ASK);
        assert_eq!((response.status, response.field("x-unstick-error")), (502, Some("upstream-invalid")));
        // A client that did not ask is not switched.
        assert_eq!(client::get(app.address, "/").status, 502);
    }
}

#[test]
fn any_other_protocol_passes_and_each_half_ends_by_itself() {
    let backend = Backend::start(|peer| {
        peer.next();
        send(&mut peer.stream, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n");
        let mut all = std::mem::take(&mut peer.ahead);
        peer.stream.read_to_end(&mut all).unwrap();
        all.make_ascii_uppercase();
        send(&mut peer.stream, all);
        peer.stream.shutdown(Shutdown::Both).ok();
    });
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    // The first bytes do not wait for the response.
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\nearly ");
    let head = text(&read_until(&mut stream, b"\r\n\r\n"));
    assert_eq!(client::field(&head, "upgrade"), Some("shout"));
    send(&mut stream, "bird ".repeat(100_000));
    stream.shutdown(Shutdown::Write).unwrap();
    let (all, is_orderly) = read_to_close(&mut stream);
    assert_eq!(all.len(), 500_006);
    assert!(all.starts_with(b"EARLY BIRD BIRD") && is_orderly);
}

/// The endpoint takes so little of the head that most of it waits here when the agreement comes.
#[test]
fn an_endpoint_may_agree_before_it_has_read_the_whole_request() {
    for (body, status) in [("", 101), ("Content-Length: 9\r\n", 502)] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        SockRef::from(&listener).set_recv_buffer_size(2048).unwrap();
        SockRef::from(&listener).set_tcp_mss(88).unwrap();
        let app = App::builder(&[listener.local_addr().unwrap()]).limits("request_head = \"256KiB\"").start();
        let mut stream = connect(app.address);
        let fields: String = (0..90).map(|i| format!("x-{i}: {}\r\n", "v".repeat(2_400))).collect();
        let begin = "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: shout\r\n";
        send(&mut stream, format!("{begin}{body}{fields}\r\n{}", if body.is_empty() { "early " } else { "some body" }));
        let (mut replica, _) = listener.accept().unwrap();
        replica.read_exact(&mut [0; 100]).unwrap();
        send(&mut replica, "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\nahead");
        let head = text(&read_until(&mut stream, b"\r\n\r\n"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        if status == 502 {
            continue;
        }
        read_until(&mut stream, b"ahead");
        // The rest of the head goes out although the client says nothing more.
        let rest = text(&read_until(&mut replica, b"\r\n\r\nearly "));
        assert!(rest.contains("x-50: v") && rest.contains("via: 1.1 unstick"), "{} bytes", rest.len());
        send(&mut stream, "bird");
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_close(&mut replica), (b"bird".to_vec(), true));
    }
}

/// In a protocol that nobody here knows a part looks like the whole, so only an end in order is passed on as one.
#[test]
fn a_tunnel_that_breaks_off_looks_whole_to_nobody() {
    for does_reset in [true, false] {
        let (sender, seen) = std::sync::mpsc::channel();
        let sender = std::sync::Mutex::new(sender);
        let backend = Backend::start(move |peer| {
            peer.next();
            send(&mut peer.stream, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
            read_until(&mut peer.stream, b"half");
            send(&mut peer.stream, "of it");
            sender.lock().unwrap().send(read_to_close(&mut peer.stream)).unwrap();
        });
        let app = App::builder(&[backend.address]).timeouts("tunnel_idle = \"400ms\"").start();
        let mut stream = connect(app.address);
        send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
        read_until(&mut stream, b"\r\n\r\n");
        send(&mut stream, "half");
        read_until(&mut stream, b"of it");
        if does_reset {
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            drop(stream);
        } else {
            assert!(!read_to_close(&mut stream).1, "nor to the client");
        }
        assert_eq!(seen.recv_timeout(SOON).unwrap(), (vec![], false), "{does_reset}");
    }
}

/// What follows a request for another protocol is not read when it is refused. Closing at once would reset the
/// connection, and with it the response.
#[test]
fn a_refused_upgrade_that_ends_its_connection_does_so_in_order() {
    let backend = Backend::start(|peer| {
        peer.serve(|_| [&b"HTTP/1.1 403 Forbidden\r\nContent-Length: 50000\r\n\r\n"[..], &[b'n'; 50_000]].concat());
    });
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: tcp\r\n\r\n");
    send(&mut stream, "early ".repeat(100_000));
    let (all, is_orderly) = read_to_close(&mut stream);
    assert!(text(&all).starts_with("HTTP/1.1 403") && all.ends_with(&[b'n'; 50_000]), "{}", all.len());
    assert!(is_orderly, "it was reset");
}

#[test]
fn a_replica_that_closes_its_half_of_a_tunnel_still_gets_what_the_client_sends() {
    let (sender, came) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let backend = Backend::start(move |peer| {
        peer.next();
        send(&mut peer.stream, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\nbye");
        peer.stream.shutdown(Shutdown::Write).unwrap();
        let mut all = std::mem::take(&mut peer.ahead);
        peer.stream.read_to_end(&mut all).ok();
        sender.lock().unwrap().send(all.len()).unwrap();
    });
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    send(&mut stream, "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
    assert!(read_to_close(&mut stream).0.ends_with(b"bye"));
    // Longer than a connection that is over is still read.
    for _ in 0..25 {
        send(&mut stream, "x".repeat(1000));
        pause("the client takes its time", 100);
    }
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(came.recv_timeout(SOON).unwrap(), 25_000);
    eventually("the tunnel is over", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
}

#[test]
fn five_hundred_live_through_fifty_reloads_and_a_drain_closes_only_its_own_spread_over_the_window() {
    const DRAIN: Duration = Duration::from_secs(3);
    let backends = ["one", "two", "three", "four", "five"].map(echo);
    let config = |balance: &str, state: &str| {
        let long = |backend: &Backend| format!("[[pool.app.backend]]\naddress = \"{}\"\n", backend.address);
        let all: String = backends[1..].iter().map(long).collect();
        format!(
            "[timeouts]\ndrain = \"3s\"\n[pool.app]\nbalance = \"{balance}\"\n{all}{}state = \"{state}\"\n",
            long(&backends[0])
        )
    };
    let app = App::start(&config("round-robin", "ready"));
    let mut sockets: Vec<_> = (0..500).map(|_| open(app.address)).collect();
    for nth in 0..50 {
        app.apply(&config(if nth % 2 == 0 { "random" } else { "round-robin" }, "ready"));
    }
    let names: Vec<String> = sockets.iter_mut().map(who).collect();
    assert_eq!(names.iter().filter(|name| *name == "one").count(), 100, "evenly spread, and none was closed");

    app.apply(&config("round-robin", "drain"));
    let began = Instant::now();
    let (going, mut staying): (Vec<_>, Vec<_>) = sockets.into_iter().zip(names).partition(|(_, name)| name == "one");
    let waiting: Vec<_> =
        going.into_iter().map(|(mut socket, _)| std::thread::spawn(move || closed(&mut socket))).collect();
    let closed: Vec<_> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert!(closed.iter().all(|(code, _)| *code == Some(CloseCode::Away)));
    let mut quarters = [0; 4];
    for (_, at) in &closed {
        let share = at.duration_since(began).as_secs_f64() / DRAIN.as_secs_f64();
        quarters[(share * 4.0).min(3.0) as usize] += 1;
        // An idle worker notices an edit within half a second.
        assert!(share < 1.0 + 0.5 / DRAIN.as_secs_f64(), "within the window: {share}");
    }
    // In each of the first three quarters 29 of 100 are expected, and 12 in the last one, which is empty four times in
    // a million.
    assert!(quarters.iter().all(|&count| count >= 1), "evenly: {quarters:?}");
    assert!(staying.iter_mut().all(|(socket, name)| who(socket) == *name), "nobody else was touched");
    assert_eq!(app.endpoint(backends[0].address).unwrap()["in_flight"], 0);
}

#[test]
fn least_connections_counts_what_is_open() {
    let backends = [echo("one"), echo("two")];
    let pool = "balance = \"least-connections\"";
    let app = App::builder(&[backends[0].address, backends[1].address]).pool(pool).start();
    let mut first = open(app.address);
    let busy = who(&mut first);
    for _ in 0..5 {
        assert_ne!(client::get(app.address, "/").text(), busy);
    }
}

#[test]
fn a_tunnel_ends_when_it_is_silent_or_old_for_too_long() {
    for (limit, chats) in [("tunnel_idle", false), ("tunnel", true)] {
        let backend = echo("one");
        let app = App::builder(&[backend.address]).timeouts(&format!("{limit} = \"400ms\"")).start();
        let mut socket = open(app.address);
        let began = Instant::now();
        if chats {
            while socket.send(Message::text("who")).is_ok() && matches!(socket.read(), Ok(Message::Text(_))) {}
        } else {
            assert_eq!(closed(&mut socket).0, Some(CloseCode::Away), "{limit}");
        }
        assert!(began.elapsed() > Duration::from_millis(300), "{limit} {:?}", began.elapsed());
        eventually("it is over for the replica too", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
    }
}

#[test]
fn traffic_keeps_a_tunnel_open() {
    let backend = echo("one");
    let app = App::builder(&[backend.address])
        .timeouts("tunnel_idle = \"500ms\"\nclient_idle = \"100ms\"\nrequest_head = \"100ms\"")
        .start();
    let mut socket = open(app.address);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        assert_eq!(who(&mut socket), "one");
        pause("a chat has its pauses", 50);
    }
}

#[test]
fn stopping_closes_with_1001_and_a_dead_replica_without() {
    let backend = echo("one");
    let app = App::builder(&[backend.address]).timeouts("drain = \"1s\"").start();
    let mut socket = open(app.address);
    assert_eq!(who(&mut socket), "one");
    app.stop();
    assert_eq!(closed(&mut socket).0, Some(CloseCode::Away));
    assert_eq!(app.wait(), Ended::Drained);

    let backend = echo("one");
    let app = App::over(&[backend.address]);
    let mut socket = open(app.address);
    drop(backend);
    assert_eq!(closed(&mut socket).0, None);
}

#[test]
fn stopping_ends_every_tunnel_within_the_time_to_drain_even_if_nobody_says_goodbye() {
    let backend = Backend::start(|peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
            peer.wait_for_close();
        }
    });
    let app = App::builder(&[backend.address]).timeouts("drain = \"4s\"").start();
    let mut clients: Vec<TcpStream> = (0..100).map(|_| connect(app.address)).collect();
    for client in &mut clients {
        send(client, ASK);
        read_until(client, b"\r\n\r\n");
    }
    app.stop();
    assert_eq!(app.wait(), Ended::Drained);
    for client in &mut clients {
        assert_eq!(read_to_close(client).0, [0x88, 2, 3, 0xe9], "told to go, and then closed");
    }
}

#[test]
fn a_goodbye_waits_for_the_end_of_a_frame() {
    // A frame of 10 bytes: 4 come before the drain, the rest after it.
    let backend = Backend::start(|peer| {
        let seen = peer.next().unwrap();
        let accept = tungstenite::handshake::derive_accept_key(seen.field("sec-websocket-key").unwrap().as_bytes());
        let head = format!(
            "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        send(&mut peer.stream, [head.as_bytes(), &[0x81, 10], b"half"].concat());
        pause("the tunnel has been silent for longer than it may", 900);
        send(&mut peer.stream, b"whole!\x81\x01x");
        peer.wait_for_close();
    });
    let app = App::builder(&[backend.address]).timeouts("tunnel_idle = \"300ms\"").start();
    let mut stream = connect(app.address);
    send(&mut stream, ASK);
    read_until(&mut stream, b"\r\n\r\n");
    let (seen, _) = read_to_close(&mut stream);
    assert_eq!(seen, [&[0x81, 10][..], b"halfwhole!", &[0x88, 2, 3, 0xe9]].concat());
}

#[test]
fn a_websocket_over_http2_is_one_of_http1_to_the_replica() {
    let backend = echo("one");
    let app = App::builder(&[backend.address]).timeouts("drain = \"500ms\"").start();
    let connect_to = |protocol: &'static str| {
        Request::builder()
            .method(Method::CONNECT)
            .uri("http://a.test/ws")
            .extension(h2::ext::Protocol::from_static(protocol))
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap()
    };
    run(async {
        let client = h2_client(app.address).await;
        // The settings of the server, which come with its first response, say what it can do.
        assert_eq!(crate::support::h2::get(&client, "/").await.unwrap().1, "one");
        let (response, _) = begin(&client, connect_to("chat"), true).await;
        assert_eq!(whole(response).await.unwrap().0.status().as_u16(), 501);

        let (response, mut up) = begin(&client, connect_to("websocket"), false).await;
        let mut response = response.await.unwrap();
        assert_eq!(response.status().as_u16(), 200);
        assert!(!response.headers().contains_key("upgrade") && !response.headers().contains_key("connection"));
        // A masked "who", in two pieces.
        up.send_data(Bytes::from_static(&[0x81, 0x83, 0]), false).unwrap();
        up.send_data(Bytes::from_static(b"\0\0\0who"), false).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 12 {
            seen.extend(response.body_mut().data().await.unwrap().unwrap());
        }
        assert_eq!(seen, b"\x81\x05hello\x81\x03one");
        assert_eq!(backend.seen().last().unwrap().field("upgrade"), Some("websocket"));
        // Other streams go on beside it. It is closed with 1001 when the replica is removed.
        assert_eq!(crate::support::h2::get(&client, "/").await.unwrap().1, "one");
        let other = echo("two");
        let address = other.address;
        std::thread::scope(|scope| {
            _ = scope.spawn(|| app.apply(&pool_of(&[address], "", "[timeouts]\ndrain = \"500ms\"\n")));
        });
        let mut seen = Vec::new();
        while let Some(part) = response.body_mut().data().await {
            seen.extend(part.expect("an orderly end: what comes with a reset may be lost"));
        }
        assert_eq!(seen, [0x88, 2, 3, 0xe9]);
        assert_eq!(crate::support::h2::get(&client, "/").await.unwrap().1, "two");
    });
}

#[test]
fn a_request_that_only_looks_like_an_upgrade_is_served_without() {
    let backend = Backend::named("one");
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    send(
        &mut stream,
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nhi",
    );
    assert_eq!(read_response(&mut stream, false).text(), "one");
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").unwrap();
    assert_eq!(read_response(&mut stream, false).text(), "one");
    assert!(backend.seen().iter().all(|seen| seen.field("upgrade").is_none()));
}

/// What docker exec (tcp, with a body) and kubectl exec (SPDY, without) send. RFC 9110 section 7.8 names no method.
#[test]
fn any_method_may_ask_for_another_protocol_also_with_a_body() {
    let backend = Backend::start(|peer| {
        let seen = peer.next().unwrap();
        let protocol = seen.field("upgrade").unwrap_or("none").to_owned();
        let head = format!("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        send(&mut peer.stream, format!("{head}{}:{}:", seen.line(), text(&seen.body)));
        let mut all = std::mem::take(&mut peer.ahead);
        peer.stream.read_to_end(&mut all).unwrap();
        all.make_ascii_uppercase();
        send(&mut peer.stream, all);
        peer.stream.shutdown(Shutdown::Both).ok();
    });
    let app = App::over(&[backend.address]);
    let large = "x".repeat(300_000);
    let expecting = "Expect: 100-continue\r\nContent-Length: 2\r\n\r\n{}";
    for (method, protocol, rest, body) in [
        ("POST", "tcp", "Content-Length: 2\r\n\r\n{}".to_owned(), "{}"),
        ("POST", "tcp", "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n".to_owned(), "2\r\n{}\r\n0\r\n\r\n"),
        ("POST", "tcp", format!("Content-Length: 300000\r\n\r\n{large}"), &large),
        ("POST", "tcp", expecting.to_owned(), "{}"),
        ("POST", "SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n".to_owned(), ""),
        ("PUT", "x", "Content-Length: 0\r\n\r\n".to_owned(), ""),
        ("HEAD", "x", "\r\n".to_owned(), ""),
    ] {
        for is_early in [true, false] {
            let mut stream = connect(app.address);
            let head =
                format!("{method} /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n{rest}");
            send(&mut stream, head + if is_early { "<early> `\u{e9} " } else { "" });
            let mut head = text(&read_until(&mut stream, b"\r\n\r\n"));
            if head.starts_with("HTTP/1.1 100") {
                head = text(&read_until(&mut stream, b"\r\n\r\n"));
            }
            assert!(head.starts_with("HTTP/1.1 101"), "{method} {protocol} {is_early}: {head}");
            assert_eq!(client::field(&head, "upgrade"), Some(protocol));
            send(&mut stream, "<b> \"ird\"");
            stream.shutdown(Shutdown::Write).unwrap();
            let (all, is_orderly) = read_to_close(&mut stream);
            let said = if is_early { "<EARLY> `\u{e9} <B> \"IRD\"" } else { "<B> \"IRD\"" };
            assert_eq!(text(&all), format!("{method} /exec HTTP/1.1:{body}:{said}"), "{rest:.30}");
            assert!(is_orderly);
        }
    }
}

/// The client cannot speak the new protocol while it is still sending its request (RFC 9110 section 7.8).
#[test]
fn an_endpoint_that_switches_before_it_has_the_request_is_not_believed() {
    let backend = Backend::start(|peer| {
        read_until(&mut peer.stream, b"\r\n\r\n");
        send(&mut peer.stream, "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
        peer.wait_for_close();
    });
    let app = App::over(&[backend.address]);
    let mut stream = connect(app.address);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 9\r\n\r\nhalf";
    let response = exchange(&mut stream, head);
    assert_eq!((response.status, response.field("x-unstick-error")), (502, Some("upstream-invalid")));
}

#[test]
fn nobody_switches_to_another_version_of_http() {
    // It would be a way around routes, limits and the fields that a client cannot forge.
    let backend = Backend::named("one");
    let app = App::over(&[backend.address]);
    for protocol in ["h2c", "H2C", "HTTP/2.0", "TLS/1.3", "h2c, websocket", "websocket, h2c"] {
        let ask = format!(
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n\
                HTTP2-Settings: AAMAAABk\r\n\r\n"
        );
        assert_eq!(exchange(&mut connect(app.address), &ask).text(), "one", "{protocol}");
        let seen = backend.seen();
        let last = seen.last().unwrap();
        assert!(last.field("upgrade").is_none() && last.field("http2-settings").is_none(), "{}", last.head);
    }
}

#[test]
fn a_page_in_place_of_a_websocket_over_http2_is_not_taken_for_one() {
    let backend = Backend::named("a page");
    let app = App::over(&[backend.address]);
    run(async {
        let client = h2_client(app.address).await;
        assert_eq!(crate::support::h2::get(&client, "/").await.unwrap().1, "a page");
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri("http://a.test/ws")
            .extension(h2::ext::Protocol::from_static("websocket"))
            .body(())
            .unwrap();
        let (response, _up) = begin(&client, request, false).await;
        assert_eq!(response.await.unwrap().status().as_u16(), 502);
    });
}

/// To a replica that has gone over to the protocol already, an orderly end would be one of an empty conversation.
#[test]
fn an_upgrade_that_is_given_up_before_its_response_is_no_orderly_end() {
    let (ended, how) = std::sync::mpsc::channel();
    let backend = Backend::start(move |peer| {
        if peer.next().is_some_and(|seen| seen.line().starts_with("POST")) {
            peer.stream.set_read_timeout(Some(SOON)).unwrap();
            ended.send(peer.stream.read(&mut [0; 9]).map_err(|error| error.kind())).unwrap();
        }
    });
    let app = App::builder(&[backend.address]).start();
    let mut client = connect(app.address);
    send(&mut client, "POST /attach HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    eventually("the replica has it", || backend.seen().len() == 1);
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(how.recv_timeout(SOON).unwrap(), Err(std::io::ErrorKind::ConnectionReset));
}
