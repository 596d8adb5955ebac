//! Backends by name: there is one endpoint per address record, and the name is resolved again when the records expire.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::time::Instant;

use crate::support::backend::Backend;
use crate::support::client::{get, who};
use crate::support::{App, eventually, free_address, pool_of, skipped};

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const THREE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// Frequent enough that a test need not wait.
const CHECK: &str = "[pool.app.health]\npath = \"/healthz\"\ninterval = \"20ms\"\n";

/// The response of a name server to queries for any name.
#[derive(Clone)]
enum Zone {
    /// These addresses, for one second.
    Addresses(Vec<Ipv4Addr>, Vec<Ipv6Addr>),
    /// The name has no addresses.
    Empty,
    /// An error code.
    Failed(ResponseCode),
    /// No response at all.
    Silence,
}

/// A name server that responds as the test says.
struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    zone: Mutex<Zone>,
    asked: AtomicUsize,
    is_closing: AtomicBool,
}

impl NameServer {
    fn start(addresses: &[Ipv4Addr]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let zone = Mutex::new(Zone::Addresses(addresses.to_vec(), Vec::new()));
        let shared = Arc::new(Shared { zone, asked: AtomicUsize::new(0), is_closing: AtomicBool::new(false) });
        let answering = Arc::clone(&shared);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((n, peer)) = socket.recv_from(&mut buffer)
                && !answering.is_closing.load(Relaxed)
            {
                let zone = answering.zone.lock().unwrap().clone();
                if let Some(answer) = Message::from_vec(&buffer[..n]).ok().and_then(|query| zone.answer(query)) {
                    socket.send_to(&answer.to_vec().unwrap(), peer).unwrap();
                }
                answering.asked.fetch_add(1, Relaxed);
            }
        });
        Self { address, shared }
    }

    fn set(&self, zone: Zone) {
        *self.shared.zone.lock().unwrap() = zone;
    }

    fn set_addresses(&self, addresses: &[Ipv4Addr]) {
        self.set(Zone::Addresses(addresses.to_vec(), Vec::new()));
    }

    /// Waits until it was asked more than once. By then its first response is in force.
    #[track_caller]
    fn wait_for_questions(&self) {
        let before = self.shared.asked.load(Relaxed);
        eventually("the name is asked for again", || self.shared.asked.load(Relaxed) >= before + 4);
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.is_closing.store(true, Relaxed);
        UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"", self.address)).ok();
    }
}

impl Zone {
    fn answer(self, query: Message) -> Option<Message> {
        let question = query.queries.first()?.clone();
        let mut answer = query.into_response();
        let record = |data: RData| Record::from_rdata(question.name().clone(), 1, data);
        match self {
            Self::Addresses(v4, _) if question.query_type() == RecordType::A => {
                answer.add_answers(v4.into_iter().map(|address| record(RData::A(address.into()))));
            }
            Self::Addresses(_, v6) if question.query_type() == RecordType::AAAA => {
                answer.add_answers(v6.into_iter().map(|address| record(RData::AAAA(address.into()))));
            }
            Self::Addresses(..) | Self::Empty => {}
            Self::Failed(code) => answer.metadata.response_code = code,
            Self::Silence => return None,
        }
        Some(answer)
    }
}

/// Three replicas on one port, each at an address of its own.
fn three() -> (u16, [Backend; 3]) {
    let port = free_address().port();
    let at = |ip: Ipv4Addr, name| Backend::named_at((ip, port).into(), name);
    (port, [at(ONE, "one"), at(TWO, "two"), at(THREE, "three")])
}

fn config(server: &NameServer, port: u16, rest: &str) -> String {
    format!("[pool.app]\nbackends = [\"app.test:{port}\"]\n{rest}\n[dns]\nservers = [\"{}\"]\n", server.address)
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> BTreeMap<String, usize> {
    expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// Addresses of the endpoints of the first pool.
fn endpoints(app: &App) -> Vec<String> {
    let status = app.status();
    let endpoints = status["pools"][0]["endpoints"].as_array().unwrap();
    endpoints.iter().map(|endpoint| endpoint["address"].as_str().unwrap().to_owned()).collect()
}

fn at(port: u16, ips: &[Ipv4Addr]) -> Vec<String> {
    ips.iter().map(|ip| SocketAddr::from((*ip, port)).to_string()).collect()
}

#[test]
fn a_name_is_one_endpoint_per_address_and_follows_its_records() {
    let (port, _backends) = three();
    let server = NameServer::start(&[TWO, ONE]);
    let app = App::start(&config(&server, port, ""));
    assert_eq!(endpoints(&app), at(port, &[ONE, TWO]));
    assert_eq!(app.status()["pools"][0]["endpoints"][0]["backend"], format!("app.test:{port}"));
    assert_eq!(who(app.address, "/", 10), counts([("one", 5), ("two", 5)]), "from the first request on");
    let kept = (TWO, port).into();
    let before = app.lasting(kept).unwrap();

    server.set_addresses(&[TWO, THREE]);
    eventually("the endpoints follow", || endpoints(&app) == at(port, &[TWO, THREE]));
    assert_eq!(app.lasting(kept).unwrap(), before, "an address that stays keeps what it had");
    let last = &app.status()["reloads"]["last"];
    assert_eq!((&last["trigger"], &last["ok"]), (&"name resolution".into(), &true.into()));
    assert_eq!(who(app.address, "/", 10), counts([("three", 5), ("two", 5)]));
    let reloads = app.reloads();
    server.set_addresses(&[THREE, TWO]);
    server.wait_for_questions();
    assert_eq!(app.reloads(), reloads, "another order is no change");
}

#[test]
fn the_last_good_answer_stays() {
    let (port, _backends) = three();
    let stays = &|zone: Zone| {
        let server = NameServer::start(&[ONE, TWO]);
        let app = App::start(&config(&server, port, ""));
        server.set(zone);
        server.wait_for_questions();
        assert_eq!(endpoints(&app), at(port, &[ONE, TWO]));
        assert_eq!(who(app.address, "/", 10), counts([("one", 5), ("two", 5)]));
        server.set_addresses(&[THREE]);
        eventually("it recovers", || endpoints(&app) == at(port, &[THREE]));
        assert_eq!(who(app.address, "/", 4), counts([("three", 4)]));
    };
    let failures = [ResponseCode::ServFail, ResponseCode::NXDomain, ResponseCode::Refused].map(Zone::Failed);
    thread::scope(|scope| {
        for zone in failures.into_iter().chain([Zone::Empty, Zone::Silence]) {
            scope.spawn(move || stays(zone));
        }
    });
}

#[test]
fn new_addresses_must_pass_before_the_old_ones_go() {
    let (port, [one, two, three]) = three();
    let server = NameServer::start(&[ONE, TWO]);
    let app = App::start(&config(&server, port, CHECK));
    three.set_healthy(false);
    server.set_addresses(&[THREE]);
    eventually("the answer is taken in", || endpoints(&app).len() == 3);
    app.wait_for(three.address, "unhealthy");
    assert_eq!([&one, &two].map(|b| app.endpoint(b.address).unwrap()["wanted"].clone()), ["held", "held"]);
    assert_eq!(who(app.address, "/", 10), counts([("one", 5), ("two", 5)]));
    three.set_healthy(true);
    eventually("the old ones are let go", || endpoints(&app) == at(port, &[THREE]));
    assert_eq!(who(app.address, "/", 10), counts([("three", 10)]));
}

#[test]
fn an_edit_to_a_name_keeps_the_old_serving_until_it_is_resolved() {
    let (port, [one, _two, _three]) = three();
    let old = one.address;
    let keeps = &|rest: &str| {
        let server = NameServer::start(&[]);
        server.set(Zone::Failed(ResponseCode::ServFail));
        let dns = format!("[dns]\nservers = [\"{}\"]\n", server.address);
        let app = App::start(&format!("{}{dns}", pool_of(&[old], "", rest)));
        app.apply(&config(&server, port, rest));
        server.wait_for_questions();
        assert_eq!(app.endpoint(old).unwrap()["wanted"], "held");
        assert_eq!(who(app.address, "/", 4), counts([("one", 4)]));
        server.set_addresses(&[TWO, THREE]);
        eventually("the name is resolved", || endpoints(&app) == at(port, &[TWO, THREE]));
        eventually("all have passed", || who(app.address, "/", 2).len() == 2);
        assert_eq!(who(app.address, "/", 10), counts([("three", 5), ("two", 5)]));
    };
    thread::scope(|scope| {
        for rest in ["", CHECK] {
            scope.spawn(move || keeps(rest));
        }
    });
}

#[test]
fn a_name_that_is_not_resolved_at_the_start_is_waited_for_but_not_for_ever() {
    let (port, _backends) = three();
    let server = NameServer::start(&[ONE]);
    server.set(Zone::Failed(ResponseCode::ServFail));
    let app = App::start(&config(&server, port, ""));
    let response = get(app.address, "/");
    assert_eq!((response.status, response.field("x-unstick-error")), (503, Some("no-endpoint")));
    server.set_addresses(&[ONE]);
    eventually("it serves when the name is known", || get(app.address, "/").status == 200);
}

#[test]
fn other_name_servers_are_asked_at_once() {
    let (port, _backends) = three();
    let (first, second) = (NameServer::start(&[ONE]), NameServer::start(&[TWO]));
    let app = App::start(&config(&first, port, ""));
    assert_eq!(get(app.address, "/").text(), "one");
    app.apply(&config(&second, port, ""));
    eventually("the other answer counts", || get(app.address, "/").text() == "two");
    let asked = first.shared.asked.load(Relaxed);
    second.wait_for_questions();
    assert_eq!(first.shared.asked.load(Relaxed), asked, "the first is left alone");
}

#[test]
fn addresses_of_both_families_are_used() {
    let port = free_address().port();
    let Ok(listener) = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port)) else {
        return skipped("this machine has no IPv6");
    };
    drop(listener);
    let _one = Backend::named_at((ONE, port).into(), "one");
    let _six = Backend::named_at((Ipv6Addr::LOCALHOST, port).into(), "six");
    let server = NameServer::start(&[]);
    server.set(Zone::Addresses(vec![ONE], vec![Ipv6Addr::LOCALHOST]));
    let app = App::start(&config(&server, port, ""));
    assert_eq!(who(app.address, "/", 10), counts([("one", 5), ("six", 5)]));
}

#[test]
fn a_stuck_name_server_delays_nobody() {
    let (port, [one, ..]) = three();
    let server = NameServer::start(&[]);
    server.set(Zone::Silence);
    let pools = |rest: &str| {
        format!(
            "[[route]]\npool = \"app\"\n{rest}[pool.app]\nbackends = [\"{}\"]\n[dns]\nservers = [\"{}\"]\n",
            one.address, server.address
        )
    };
    let app = App::start(&pools(""));
    let route = "[[route]]\npath = \"/name\"\npool = \"name\"\n";
    app.apply(&pools(&format!("{route}[pool.name]\nbackends = [\"app.test:{port}\"]\n")));
    let began = Instant::now();
    assert_eq!(who(app.address, "/", 10), counts([("one", 10)]));
    assert_eq!(app.admin_get("/readyz").status, 200);
    assert_eq!(get(app.address, "/name").status, 503);
    assert!(began.elapsed() < Duration::from_secs(4), "nobody waits for two seconds: {:?}", began.elapsed());
}
