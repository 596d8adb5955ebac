//! Client connections without a request while their listener changes or drains: a request may be flying to each of
//! them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;
use unstick::app::Ended;

use crate::support::backend::{Backend, answer};
use crate::support::client::{Response, exchange};
use crate::support::h2::{begin, client, get, read, run};
use crate::support::tls::Authority;
use crate::support::{App, SOON, connect, eventually, free_address, pause, pool_of, read_to_close, try_connect};

const GET: &str = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\n\r\nx";

/// A client that keeps its connection, and looks for its end right before it sends. A request of it that meets the
/// close was sent in good faith.
#[derive(Default)]
struct Racer {
    stream: Option<TcpStream>,
    answered: usize,
    lost: usize,
    connects: usize,
    /// Whether the connection has carried a request before.
    is_kept: bool,
}

impl Racer {
    /// Sends one request. `false` means that nobody listens any more.
    fn turn(&mut self, address: SocketAddr) -> bool {
        let kept = self.stream.take().filter(is_open);
        self.is_kept = kept.is_some();
        let stream = match kept {
            Some(stream) => stream,
            None => match try_connect(address) {
                Ok(stream) => {
                    self.connects += 1;
                    stream
                }
                Err(_) => return false,
            },
        };
        self.stream = self.ask(stream);
        true
    }

    /// The connection, if it stays.
    fn ask(&mut self, mut stream: TcpStream) -> Option<TcpStream> {
        let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
        let mut sent = stream.write_all(POST);
        while sent.is_ok() && !bytes.ends_with(b"\r\n\r\na") {
            sent = stream.read(&mut buffer).map(|count| bytes.extend(&buffer[..count]));
            if bytes.is_empty() {
                break;
            }
        }
        if !bytes.starts_with(b"HTTP/1.1 200") {
            // A fresh connection may meet the closing of the listening socket, which is another matter.
            self.lost += usize::from(self.is_kept);
            return None;
        }
        self.answered += 1;
        (!crate::support::text(&bytes).contains("connection: close")).then_some(stream)
    }
}

fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let is_open = matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    is_open
}

/// Lets racers run until `act` has returned and `is_over` says so or nobody listens.
fn race(address: SocketAddr, count: usize, act: impl FnOnce()) -> Vec<Racer> {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let racers: Vec<_> = (0..count)
            .map(|_| {
                scope.spawn(|| {
                    let mut racer = Racer::default();
                    while racer.turn(address) && !is_over.load(Relaxed) {}
                    racer
                })
            })
            .collect();
        act();
        is_over.store(true, Relaxed);
        racers.into_iter().map(|racer| racer.join().unwrap()).collect()
    })
}

#[test]
fn edits_of_a_listener_lose_nothing_and_close_nothing() {
    let backend = Backend::named("a");
    let (address, pool) = (free_address(), pool_of(&[backend.address], "", ""));
    let config = |peers: &str| format!("[listen.web]\naddress = \"{address}\"\ntrusted_proxies = [{peers}]\n{pool}");
    let app = App::start(&config(""));
    let racers = race(address, 4, || (0..60).for_each(|nth| app.apply(&config(&format!("\"10.0.0.{nth}\"")))));
    for racer in racers {
        assert_eq!((racer.lost, racer.connects), (0, 1), "of {}", racer.answered);
        assert!(racer.answered > 60, "{}", racer.answered);
    }
}

#[test]
fn stops_lose_nothing() {
    let backend = Backend::named("a");
    for _ in 0..12 {
        let app = App::over(&[backend.address]);
        let address = app.address;
        let mut ended = None;
        let racers = race(address, 4, || {
            eventually("requests are under way", || backend.seen().len() > 20);
            app.stop();
            ended = Some(app.wait());
        });
        let lost: usize = racers.iter().map(|racer| racer.lost).sum();
        let answered: usize = racers.iter().map(|racer| racer.answered).sum();
        assert_eq!((lost, ended), (0, Some(Ended::Drained)), "of {answered}");
    }
}

#[test]
fn present_connections_have_new_settings_from_the_next_request_on() {
    let backend = Backend::start(|peer| {
        peer.serve(|seen| answer(seen.field("x-forwarded-for").unwrap_or_default()));
    });
    let (address, pool) = (free_address(), pool_of(&[backend.address], "", ""));
    let config = |keys: &str| format!("[listen.web]\naddress = \"{address}\"\n{keys}\n{pool}");
    let app = App::start(&config(""));
    let mut stream = connect(address);
    let mut ask = || exchange(&mut stream, "GET /x HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n");
    assert_eq!(ask().text(), "127.0.0.1");
    app.apply(&config("trusted_proxies = [\"127.0.0.1\"]"));
    eventually("the client is trusted", || ask().text() == "192.0.2.9, 127.0.0.1");
    app.apply(&config("redirect_to_https = 443\ntrusted_proxies = [\"127.0.0.1\"]"));
    eventually("the client is redirected", || ask().status == 308);
    let response = ask();
    assert_eq!((response.field("location"), response.field("connection")), (Some("https://a.test/x"), None));
    app.apply(&config(""));
    eventually("everything is undone", || ask().text() == "127.0.0.1");
    assert_eq!(ask().field("connection"), None);
}

#[test]
fn a_new_idle_time_holds_for_present_connections_from_their_next_request_on() {
    let backend = Backend::named("a");
    let config = |idle: &str| pool_of(&[backend.address], "", &format!("[timeouts]\nclient_idle = \"{idle}\"\n"));
    let app = App::start(&config("1h"));
    let mut stream = connect(app.address);
    assert_eq!(exchange(&mut stream, GET).text(), "a");
    app.apply(&config("300ms"));
    assert_eq!(exchange(&mut stream, GET).text(), "a");
    assert_eq!(read_to_close(&mut stream), (Vec::new(), true));
}

#[test]
fn new_times_for_heads_and_for_reading_hold_for_present_connections() {
    let backend = Backend::start(|peer| {
        peer.serve(|seen| answer(&"x".repeat(if seen.line().contains("/long") { 16 << 20 } else { 1 })));
    });
    let config = |time: &str| {
        let keys = format!("[timeouts]\nrequest_head = \"{time}\"\nclient_write = \"{time}\"\n");
        pool_of(&[backend.address], "", &keys)
    };
    let app = App::start(&config("1h"));
    let (mut slow, mut reader) = (connect(app.address), connect(app.address));
    assert_eq!((exchange(&mut slow, GET).status, exchange(&mut reader, GET).status), (200, 200));
    run(async {
        let client = client(app.address).await;
        assert_eq!(get(&client, "/").await.unwrap().0, 200);
        app.apply(&config("300ms"));
        slow.write_all(b"GET / HTTP/1.1\r\nHost: ").unwrap();
        read_to_close(&mut slow);
        reader.write_all(b"GET /long HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
        eventually("a request is served", || app.endpoint(backend.address).unwrap()["in_flight"] == 1);
        eventually("who does not read is cut off", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
        let request = http::Request::get("http://a.test/long").body(()).unwrap();
        let response = begin(&client, request, true).await.0.await.unwrap();
        eventually("so it is over HTTP/2", || app.endpoint(backend.address).unwrap()["in_flight"] == 0);
        assert!(read(&mut response.into_body()).await.is_err());
    });
}

#[test]
fn what_cannot_change_on_a_present_connection_lets_it_bring_one_more_request() {
    let (folder, authority) = (tempfile::tempdir().unwrap(), Authority::new("ca"));
    authority.issue(folder.path(), "a", &["a.test"]);
    let backend = Backend::named("a");
    let (address, pool) = (free_address(), pool_of(&[backend.address], "", ""));
    let folder = folder.path().display();
    let config = |keys: &str| format!("[listen.web]\naddress = \"{address}\"\n{keys}\n{pool}");
    let ask = |stream: &mut TcpStream| -> Response { exchange(stream, GET) };
    for keys in [
        format!("tls = {{ cert = \"{folder}/a.pem\", key = \"{folder}/a.key\" }}"),
        "proxy_protocol = \"accept\"\ntrusted_proxies = [\"127.0.0.1\"]".to_owned(),
        "protocols = [\"h2\"]".to_owned(),
    ] {
        let app = App::start_with(&config(""), 1);
        let (mut first, mut idle, mut fresh) = (connect(address), connect(address), connect(address));
        assert_eq!(ask(&mut idle).field("connection"), None);
        app.apply(&config(&keys));
        eventually("the only worker knows", || ask(&mut first).field("connection") == Some("close"));
        for stream in [&mut idle, &mut fresh] {
            let response = ask(stream);
            assert_eq!((response.text().as_str(), response.field("connection")), ("a", Some("close")), "{keys}");
            assert_eq!(read_to_close(stream), (Vec::new(), true));
        }
    }
    let app = App::start_with(&config(""), 1);
    let mut idle = connect(address);
    assert_eq!(ask(&mut idle).status, 200);
    let trusting = "trusted_proxies = [\"127.0.0.1\"]\nredirect_to_https = 443";
    app.apply(&config(&format!("protocols = [\"h1\"]\n{trusting}")));
    eventually("the only worker knows", || ask(&mut idle).status == 308);
    assert_eq!(ask(&mut idle).field("connection"), None, "it speaks what is left");
}

/// How long it takes until the proxy closes this connection.
fn closed_after(stream: &mut TcpStream, began: Instant) -> Duration {
    stream.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "closed in order");
    began.elapsed()
}

#[test]
fn silent_connections_are_closed_when_their_time_to_ask_is_over() {
    let backend = Backend::named("a");
    for (keys, least_ms, most_ms) in [
        ("drain_idle = \"700ms\"", 700, 5000),
        ("drain_idle = \"1h\"\ndrain = \"800ms\"", 700, 5000),
        ("drain_idle = \"0s\"", 0, 5000),
    ] {
        let app = App::builder(&[backend.address]).timeouts(keys).start();
        let (mut idle, mut fresh) = (connect(app.address), connect(app.address));
        assert_eq!(exchange(&mut idle, GET).text(), "a");
        eventually("both are served", || app.metric("unstick_connections") == 2.0);
        let began = Instant::now();
        app.stop();
        for stream in [&mut idle, &mut fresh] {
            let took = closed_after(stream, began).as_millis();
            assert!((least_ms..most_ms).contains(&took), "{keys}: {took} ms");
        }
        assert_eq!(app.wait(), Ended::Drained);
    }
}

#[test]
fn an_interrupt_closes_silent_connections_at_once_and_finishes_the_rest() {
    let backend = Backend::named("a");
    let app = App::builder(&[backend.address]).timeouts("drain_idle = \"1h\"\ndrain = \"1h\"").start();
    let mut idle = connect(app.address);
    assert_eq!(exchange(&mut idle, GET).text(), "a");
    app.interrupt();
    assert!(closed_after(&mut idle, Instant::now()) < Duration::from_secs(10));
    assert_eq!(app.wait(), Ended::Drained);
}

/// Connections that have carried a request.
fn crowd(address: SocketAddr) -> Vec<TcpStream> {
    let idle = |_| {
        let mut stream = connect(address);
        assert_eq!(exchange(&mut stream, GET).text(), "a");
        stream
    };
    (0..200).map(idle).collect()
}

/// Lets half of a crowd send, one after the other, while `act` takes away the time to ask of all of them. Then the
/// worker has to close many connections in one turn. Some requests arrive within that turn, after it has asked the
/// kernel for events, and before it looks whether their connection is silent.
fn send_while(crowd: &mut [TcpStream], act: impl FnOnce()) {
    thread::scope(|scope| {
        scope.spawn(|| {
            for stream in crowd.iter_mut().step_by(2) {
                stream.write_all(POST).ok();
                std::thread::yield_now();
            }
        });
        act();
    });
}

#[test]
fn requests_that_arrive_as_their_time_is_over_do_not_stop_the_worker() {
    let backend = Backend::named("a");
    for _ in 0..4 {
        let app = App::builder(&[backend.address]).timeouts("drain = \"10s\"").workers(1).start();
        let mut crowd = crowd(app.address);
        send_while(&mut crowd, || app.interrupt());
        assert_eq!(app.wait(), Ended::Drained);
    }
}

#[test]
fn requests_that_arrive_as_an_edit_leaves_them_no_time_do_not_stop_the_worker() {
    let backend = Backend::named("a");
    let (address, pool) = (free_address(), pool_of(&[backend.address], "", "[timeouts]\ndrain_idle = \"0s\"\n"));
    let config = |keys: &str| {
        format!("[listen.web]\naddress = \"{address}\"\ntrusted_proxies = [\"192.0.2.1\"]\n{keys}\n{pool}")
    };
    let app = App::start_with(&config(""), 1);
    for keys in ["proxy_protocol = \"accept\"", ""].repeat(2) {
        let mut crowd = crowd(address);
        send_while(&mut crowd, || app.apply(&config(keys)));
        assert_eq!(exchange(&mut connect(address), GET).text(), "a", "the only worker serves");
    }
}

/// A client that is still sending is not idle. The response to it must not be destroyed by a reset.
#[test]
fn an_interrupt_lets_a_client_read_why_its_upload_is_refused() {
    let (refuse, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let backend = Backend::start(move |peer| {
        if peer.next_head().is_some_and(|head| head.starts_with("POST")) {
            told.lock().unwrap().recv_timeout(SOON).ok();
            let refused = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            peer.stream.write_all(refused.as_bytes()).ok();
            peer.own();
        }
    });
    for _ in 0..10 {
        let app = App::builder(&[backend.address]).workers(1).start();
        let mut client = connect(app.address);
        client.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbeginning").unwrap();
        eventually("the request is under way", || app.endpoint(backend.address).unwrap()["in_flight"] == 1);
        app.interrupt();
        eventually("the listener is closed", || try_connect(app.address).is_err());
        refuse.send(()).unwrap();
        for _ in 0..20 {
            pause("the client goes on", 5);
            client.write_all(&[b'x'; 1000]).ok();
        }
        let (response, is_orderly) = read_to_close(&mut client);
        assert!(response.starts_with(b"HTTP/1.1 413 ") && is_orderly, "{:?}", String::from_utf8_lossy(&response));
        drop(client);
        assert_eq!(app.wait(), Ended::Drained);
    }
}
