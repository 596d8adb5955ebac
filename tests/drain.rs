//! Endpoints and listeners that are draining while responses are in progress.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::time::Instant;
use unstick::app::Ended;

use crate::support::backend::{Backend, signal};
use crate::support::client::{get, who};
use crate::support::{App, SOON, connect, eventually, h2, pause, pool_of, read_until, send};

/// A replica whose responses never end: it sends an event every few milliseconds.
fn endless() -> Backend {
    endless_every(Duration::from_millis(20))
}

/// The same with events that come so often.
fn endless_every(pause: Duration) -> Backend {
    Backend::start(move |peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            peer.stream.set_read_timeout(Some(pause)).unwrap();
            let event = b"9\r\ndata: x\n\n\r\n";
            while std::io::Write::write_all(&mut peer.stream, event).is_ok() {
                match peer.stream.read(&mut [0; 1]) {
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    _ => return,
                }
            }
        }
    })
}

/// A replica that always has more to send than anybody takes.
fn torrent() -> Backend {
    Backend::start(|peer| {
        if peer.next().is_some() {
            send(&mut peer.stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let chunk = [&b"10000\r\n"[..], &[b'x'; 0x10000], b"\r\n"].concat();
            while std::io::Write::write_all(&mut peer.stream, &chunk).is_ok() {}
        }
    })
}

/// A client in the middle of an endless response.
fn listen_to(app: &App) -> TcpStream {
    let mut client = connect(app.address);
    send(&mut client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    read_until(&mut client, b"data: x");
    client
}

/// Reads until the response ends. Returns whether it was whole, which an endless response must never seem to be, and
/// when it ended.
fn end_of(client: &mut TcpStream) -> (bool, Instant) {
    let (mut buffer, mut tail) = ([0; 4096], Vec::new());
    client.set_read_timeout(Some(SOON)).unwrap();
    while let Ok(count @ 1..) = client.read(&mut buffer) {
        tail = [&tail[tail.len().saturating_sub(8)..], &buffer[..count]].concat();
    }
    (tail.ends_with(b"0\r\n\r\n"), Instant::now())
}

fn is_streaming(client: &mut TcpStream) -> bool {
    client.set_read_timeout(Some(SOON)).unwrap();
    // After a cut, a stream has at most the bytes that were in transit.
    (0..4).all(|_| client.read_exact(&mut [0; 100]).is_ok())
}

fn config(endpoints: &[(SocketAddr, &str)], drain: &str) -> String {
    let backends: Vec<String> = endpoints
        .iter()
        .map(|(address, state)| format!("[[pool.app.backend]]\naddress = \"{address}\"\nstate = \"{state}\"\n"))
        .collect();
    format!("[pool.app]\n{}[timeouts]\ndrain = \"{drain}\"\n", backends.concat())
}

/// The process goes by the present time to drain. What went by an older one would be torn down by it, or end too early.
#[test]
fn what_began_before_an_edit_of_the_time_to_drain_ends_by_the_new_one() {
    let (endless, silent) = (
        endless(),
        Backend::start(|peer| {
            peer.next();
            send(&mut peer.stream, "HTTP/1.1 101 x\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n");
            peer.wait_for_close();
        }),
    );
    for (before, after, earliest_ms) in [("1h", "1s", 0), ("100ms", "2s", 1400)] {
        let config = |drain| config(&[(endless.address, "ready")], drain);
        let app = App::start_with(&config(before), 1);
        let mut stream = listen_to(&app);
        app.apply(&config(after));
        let stopped = Instant::now();
        app.stop();
        let (was_whole, at) = end_of(&mut stream);
        assert!(!was_whole && at.duration_since(stopped) >= Duration::from_millis(earliest_ms), "{before} -> {after}");
        assert_eq!(app.wait(), Ended::Drained, "{before} -> {after}");
    }
    let config = |drain| config(&[(silent.address, "ready")], drain);
    let app = App::start_with(&config("1h"), 1);
    let mut tunnel = connect(app.address);
    send(&mut tunnel, "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: shout\r\n\r\n");
    read_until(&mut tunnel, b"\r\n\r\n");
    app.apply(&config("1s"));
    app.stop();
    assert_eq!(app.wait(), Ended::Drained, "a tunnel");
}

#[test]
fn a_stream_outlives_its_endpoint_s_removal_until_the_time_to_drain_is_over() {
    let (leaving, staying) = (endless(), endless());
    let both = [(leaving.address, "ready"), (staying.address, "ready")];
    for without in [vec![both[1]], vec![(leaving.address, "drain"), both[1]], vec![(leaving.address, "down"), both[1]]]
    {
        let app = App::start_with(&config(&both, "1200ms"), 1);
        let mut clients = [listen_to(&app), listen_to(&app)];
        let on_leaving = |app: &App| app.endpoint(leaving.address).map_or(0, |e| e["in_flight"].as_u64().unwrap());
        assert_eq!(on_leaving(&app), 1, "one each");
        let edited = Instant::now();
        app.apply(&config(&without, "1200ms"));
        if without.len() == 1 {
            assert_eq!(app.status()["pools"][0]["draining"][0]["in_flight"], 1);
        }
        let (done, ended) = std::sync::mpsc::channel();
        let mut readers = clients.iter_mut().map(|client| client.try_clone().unwrap()).collect::<Vec<_>>();
        for (index, mut reader) in readers.drain(..).enumerate() {
            let done = done.clone();
            std::thread::spawn(move || done.send((index, end_of(&mut reader))));
        }
        let (index, (was_whole, at)) = ended.recv_timeout(SOON).unwrap();
        assert!(!was_whole, "a stream that was cut does not look complete");
        let lasted = at.duration_since(edited);
        assert!(lasted >= Duration::from_millis(850), "it was cut after {lasted:?}");
        assert!(ended.recv_timeout(Duration::from_millis(300)).is_err(), "the other stream goes on");
        assert!(is_streaming(&mut clients[1 - index]));
    }
}

/// Lets the stream see that its endpoint is draining, undoes that, and reads on for longer than the stream would have
/// been allowed.
#[track_caller]
fn outlives(leaving: &str, coming_back: &str, app: &App, client: &mut TcpStream) {
    app.apply(leaving);
    let left = Instant::now();
    // A request makes the only worker read the new snapshot. The stream checks it after the next event.
    assert_eq!(get(app.address, "/").text(), "other");
    client.set_nonblocking(true).unwrap();
    while client.read(&mut [0; 1024]).is_ok_and(|n| n > 0) {}
    client.set_nonblocking(false).unwrap();
    assert!(is_streaming(client));
    app.apply(coming_back);
    while left.elapsed() < LONG_DRAIN + Duration::from_millis(200) {
        assert!(client.read(&mut [0; 1024]).unwrap() > 0, "cut after {:?}", left.elapsed());
    }
}

/// This is long enough to undo an edit, even on a busy machine.
const LONG_DRAIN: Duration = Duration::from_secs(4);

#[test]
fn an_endpoint_that_is_ready_again_keeps_its_streams() {
    let (endless, other) = (endless(), Backend::named("other"));
    let with = |one, two| config(&[(endless.address, one), (other.address, two)], "4s");
    let app = App::start_with(&with("ready", "drain"), 1);
    let mut client = listen_to(&app);
    outlives(&with("drain", "ready"), &with("ready", "ready"), &app, &mut client);
}

#[test]
fn a_stream_goes_on_when_its_endpoint_comes_back() {
    let (gone, other) = (endless(), Backend::named("other"));
    let app = App::start_with(&config(&[(gone.address, "ready")], "4s"), 1);
    let mut client = listen_to(&app);
    let without = config(&[(other.address, "ready")], "4s");
    outlives(&without, &config(&[(gone.address, "ready"), (other.address, "ready")], "4s"), &app, &mut client);
}

#[test]
fn streams_end_one_after_the_other() {
    let (endless, other) = (endless(), Backend::named("other"));
    let app = App::start_with(&config(&[(endless.address, "ready")], "2s"), 2);
    let clients: Vec<TcpStream> = (0..16).map(|_| listen_to(&app)).collect();
    app.apply(&config(&[(other.address, "ready")], "2s"));
    let readers = clients.into_iter().map(|mut client| std::thread::spawn(move || end_of(&mut client).1));
    let readers: Vec<_> = readers.collect();
    let ends: Vec<Instant> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    let spread = ends.iter().max().unwrap().duration_since(*ends.iter().min().unwrap());
    assert!(spread >= Duration::from_millis(150), "within {spread:?}");
    assert_eq!(get(app.address, "/").text(), "other");
}

#[test]
fn stopping_ends_every_stream_within_the_time_to_drain() {
    const DRAIN: Duration = Duration::from_secs(3);
    // So seldom that 200 of them are no work.
    let endless = endless_every(Duration::from_millis(500));
    let app = App::start_with(&config(&[(endless.address, "ready")], "3s"), 2);
    let clients: Vec<TcpStream> = (0..100).map(|_| listen_to(&app)).collect();
    let (begun, has_begun) = signal();
    let address = app.address;
    // The same number again, on one HTTP/2 connection.
    let streams = std::thread::spawn(move || h2::run(cut_streams(address, 100, begun)));
    has_begun.wait("all streams have begun");
    let stopped = Instant::now();
    app.stop();
    let readers: Vec<_> =
        clients.into_iter().map(|mut client| std::thread::spawn(move || end_of(&mut client))).collect();
    let ends: Vec<_> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert!(ends.iter().all(|(was_whole, _)| !was_whole), "a stream that was cut does not look complete");
    let after = |at: &Instant| at.duration_since(stopped).as_secs_f64() / DRAIN.as_secs_f64();
    let first = ends.iter().map(|(_, at)| after(at)).fold(f64::MAX, f64::min);
    assert!(first >= 0.7, "one was cut after {first} of the time");
    streams.join().unwrap();
    assert_eq!(app.wait(), Ended::Drained, "nothing had to be torn down at the end");
}

/// Starts `count` streams on one connection, reports that, and reads each until it is cut.
async fn cut_streams(address: SocketAddr, count: usize, begun: Arc<Mutex<Sender<()>>>) {
    // h2 closes the connection to a server that sends many small frames while none is read. The number depends on the
    // window.
    let client = h2::client_with(address, ::h2::client::Builder::new().initial_connection_window_size(16 << 20)).await;
    let missing = Arc::new(AtomicUsize::new(count));
    let mut streams = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (client, missing, begun) = (client.clone(), Arc::clone(&missing), Arc::clone(&begun));
        streams.spawn(async move {
            let request = http::Request::get("http://a.test/").body(()).unwrap();
            let mut body = h2::begin(&client, request, true).await.0.await.unwrap().into_body();
            if missing.fetch_sub(1, Relaxed) == 1 {
                begun.lock().unwrap().send(()).unwrap();
            }
            let end = h2::read(&mut body).await;
            // The last streams may end together with the connection.
            let was_cut = end.as_ref().is_err_and(|error| error.is_reset() || error.is_io());
            assert!(was_cut, "{end:?}");
        });
    }
    streams.join_all().await;
}

#[test]
fn a_torrent_ends_in_time_too() {
    let (torrent, other) = (torrent(), Backend::named("other"));
    for way in ["removed", "stopped", "deadline"] {
        let drain = "[timeouts]\ndrain = \"3s\"\n";
        let app = App::start(&pool_of(&[torrent.address], "", drain));
        let mut client = connect(app.address);
        let deadline = if way == "deadline" { "Content-Type: application/grpc\r\ngrpc-timeout: 1S\r\n" } else { "" };
        send(&mut client, format!("POST / HTTP/1.1\r\nHost: x\r\n{deadline}Content-Length: 0\r\n\r\n"));
        read_until(&mut client, b"xxx");
        match way {
            "removed" => app.apply(&pool_of(&[other.address], "", drain)),
            "stopped" => app.stop(),
            _ => {}
        }
        let (is_whole, ended) = {
            let began = Instant::now();
            let (is_whole, at) = end_of(&mut client);
            (is_whole, at - began)
        };
        assert!(!is_whole && ended < Duration::from_secs(10), "{way}: {ended:?}");
        if way == "stopped" {
            assert_eq!(app.wait(), Ended::Drained);
        }
    }
}

/// What the kernel takes of a connection whose client has little room and does not read.
fn taken_unread() -> usize {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let _client = cramped(listener.local_addr().unwrap());
    let (mut server, _) = listener.accept().unwrap();
    server.set_nonblocking(true).unwrap();
    let mut taken = 0;
    while let Ok(more) = std::io::Write::write(&mut server, &[b'x'; 0x10000]) {
        taken += more;
    }
    taken
}

/// A client with little room.
fn cramped(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.into()
}

/// A response of which the client has yet to read the end is over for everybody else.
#[test]
fn the_end_of_a_response_that_is_read_byte_by_byte_ends_in_time_too() {
    let taken = taken_unread();
    let backend = Backend::start(|peer| {
        while let Some(request) = peer.next() {
            let length: usize = request.line().split(" ").nth(1).unwrap().trim_start_matches('/').parse().unwrap();
            send(&mut peer.stream, format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"));
            std::io::Write::write_all(&mut peer.stream, &vec![b'x'; length]).ok();
        }
    });
    let rest = "[timeouts]\ndrain = \"2s\"\nclient_write = \"20s\"\n";
    let app = App::start(&pool_of(&[backend.address], "", rest));
    let clients: Vec<_> = (1..=4)
        .map(|part| {
            let mut client = cramped(app.address);
            send(&mut client, format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", taken + part * 50_000));
            read_until(&mut client, b"xxx");
            std::thread::spawn(move || {
                let mut some = [0; 2_000];
                while client.read(&mut some).is_ok_and(|read| read > 0) {
                    pause("it reads slowly", 100);
                }
            })
        })
        .collect();
    app.stop();
    assert_eq!(app.wait(), Ended::Drained);
    clients.into_iter().for_each(|client| client.join().unwrap());
}

#[test]
fn counters_go_on_when_an_endpoint_comes_back() {
    let (a, b) = (Backend::named("a"), Backend::named("b"));
    let app = App::builder(&[a.address, b.address]).workers(1).start();
    who(app.address, "/", 10);
    app.apply(&pool_of(&[b.address], "", ""));
    assert!(app.endpoint(a.address).is_none());
    app.apply(&pool_of(&[a.address, b.address], "", ""));
    who(app.address, "/", 10);
    assert_eq!(app.endpoint(a.address).unwrap()["requests"], 10);
    let name = format!("unstick_endpoint_attempts_total{{pool=\"app\",endpoint=\"{}\"}}", a.address);
    eventually("the metric too", || app.metric(&name) == 10.0);
}

/// A client that was told of its tunnel a moment ago may not have read that yet.
#[test]
fn a_tunnel_that_begins_while_the_process_stops_begins() {
    let backend = Backend::start(|peer| {
        if peer.next().is_some() {
            pause("a part of the time to drain passes", 1500);
            send(&mut peer.stream, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: tcp\r\n\r\n");
        }
    });
    let app = App::builder(&[backend.address]).timeouts("drain = \"6s\"").start();
    let ask = "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    let mut clients: Vec<TcpStream> = (0..20).map(|_| connect(app.address)).collect();
    clients.iter_mut().for_each(|client| send(client, ask));
    eventually("all are under way", || app.endpoint(backend.address).unwrap()["in_flight"] == 20);
    app.stop();
    for client in &mut clients {
        assert!(read_until(client, b"\r\n\r\n").starts_with(b"HTTP/1.1 101 "));
    }
    drop(clients);
    assert_eq!(app.wait(), Ended::Drained);
}
