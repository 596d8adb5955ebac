//! Backends by name: there is one endpoint per address record, and the name is resolved again when the records expire.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use tokio::time::Instant;

use crate::cli::{Running, unstick};
use crate::control::{JSON, path, post};
use crate::support::backend::Backend;
use crate::support::client::{get, who};
use crate::support::{App, eventually, free_address, pause, pool_of, skipped};

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
    /// These addresses, for an hour.
    Lasting(Vec<Ipv4Addr>),
    /// The name has no addresses.
    Empty,
    /// An error code.
    Failed(ResponseCode),
    /// No response at all.
    Silence,
    /// One response to questions for A records, another one to those for AAAA.
    ByFamily(Box<Zone>, Box<Zone>),
    /// A response for each name; no other name exists.
    ByName(Vec<(&'static str, Zone)>),
}

/// A name server that responds as the test says.
struct NameServer {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    zone: Mutex<Zone>,
    asked: AtomicUsize,
    /// The names and types that were asked for.
    questions: Mutex<BTreeSet<(String, RecordType)>>,
    is_closing: AtomicBool,
}

impl NameServer {
    fn start(addresses: &[Ipv4Addr]) -> Self {
        Self::start_on(UdpSocket::bind("127.0.0.1:0").unwrap(), Zone::Addresses(addresses.to_vec(), Vec::new()))
    }

    fn start_on(socket: UdpSocket, zone: Zone) -> Self {
        let address = socket.local_addr().unwrap();
        let zone = Mutex::new(zone);
        let (asked, questions, is_closing) = (AtomicUsize::new(0), Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { zone, asked, questions, is_closing });
        let answering = Arc::clone(&shared);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((n, peer)) = socket.recv_from(&mut buffer)
                && !answering.is_closing.load(Relaxed)
            {
                let zone = answering.zone.lock().unwrap().clone();
                let query = Message::from_vec(&buffer[..n]).unwrap();
                let question = query.queries.first().unwrap();
                let question = (question.name().to_ascii(), question.query_type());
                answering.questions.lock().unwrap().insert(question);
                if let Some(answer) = zone.answer(query) {
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

    /// The names and types that it was asked for since the last call.
    fn take_questions(&self) -> Vec<(String, RecordType)> {
        std::mem::take(&mut *self.shared.questions.lock().unwrap()).into_iter().collect()
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
        match self {
            Self::ByFamily(v4, v6) => {
                return if question.query_type() == RecordType::A { v4.answer(query) } else { v6.answer(query) };
            }
            Self::ByName(names) => {
                let name = question.name().to_ascii();
                let found = names.into_iter().find(|(known, _)| *known == name).map(|(_, zone)| zone);
                return found.unwrap_or(Self::Failed(ResponseCode::NXDomain)).answer(query);
            }
            _ => {}
        }
        let mut answer = query.into_response();
        let record = |data: RData| Record::from_rdata(question.name().clone(), 1, data);
        match self {
            Self::Addresses(v4, _) if question.query_type() == RecordType::A => {
                answer.add_answers(v4.into_iter().map(|address| record(RData::A(address.into()))));
            }
            Self::Addresses(_, v6) if question.query_type() == RecordType::AAAA => {
                answer.add_answers(v6.into_iter().map(|address| record(RData::AAAA(address.into()))));
            }
            Self::Lasting(v4) if question.query_type() == RecordType::A => {
                let record = |ip: Ipv4Addr| Record::from_rdata(question.name().clone(), 3600, RData::A(ip.into()));
                answer.add_answers(v4.into_iter().map(record));
            }
            Self::Addresses(..) | Self::Lasting(_) | Self::Empty => {}
            Self::Failed(code) => answer.metadata.response_code = code,
            Self::Silence | Self::ByFamily(..) | Self::ByName(_) => return None,
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
fn what_is_set_of_an_address_that_is_gone_is_seen_and_can_be_ended() {
    let (port, _backends) = three();
    let server = NameServer::start(&[ONE, TWO]);
    let app = App::start(&config(&server, port, ""));
    let gone = (TWO, port).into();
    let done = |verb: &str, body: &str| {
        let response = post(app.admin, &path(gone, verb), JSON, body);
        assert_eq!(response.status, 200, "{}", response.text());
        response.text()
    };
    done("drain", "");
    server.set_addresses(&[ONE]);
    eventually("the endpoints follow", || endpoints(&app) == at(port, &[ONE]));
    let absent = || app.status()["pools"][0]["absent"].take();
    let seen = absent();
    assert_eq!((&seen[0]["address"], &seen[0]["override"]["state"]), (&gone.to_string().into(), &"drain".into()));
    assert_eq!(app.metric("unstick_pool_overrides{pool=\"app\"}"), 1.0);
    let did = done("weight", "{\"weight\": 2}");
    assert!(did.contains("is not there now") && did.contains("it will be drain and weight 2\""), "{did}");
    assert!(done("drain", "").contains("it will be drain and weight 2, as before"));
    done("weight", "{\"weight\": 1}");
    assert!(done("ready", "").contains("it will be as the file says"));
    assert_eq!(absent(), serde_json::json!([]));
    let message = app.status()["reloads"]["recent"][0]["message"].to_string();
    assert!(message.contains("which is not there, will be as the file says (by 127.0.0.1)"), "{message}");
    assert_eq!(post(app.admin, &path(gone, "ready"), JSON, "").status, 404, "now nothing is known of it");
    server.set_addresses(&[ONE, TWO]);
    eventually("it comes back", || app.endpoint(gone).is_some());
    assert_eq!(app.endpoint(gone).unwrap()["wanted"], "ready");
}

/// A name that gets another address says nothing about an edit that was refused before.
#[test]
fn new_addresses_do_not_hide_that_the_last_edit_was_refused() {
    let (port, _backends) = three();
    let server = NameServer::start(&[ONE]);
    let app = App::start(&config(&server, port, ""));
    let applied = app.metric("unstick_config_applied_timestamp_seconds");
    app.refuse(&config(&server, port, "balanse = \"rr\""));
    let count = app.metric("unstick_reload_duration_seconds_count");
    assert!(count >= 1.0 && app.metric("unstick_reload_last_duration_seconds") > 0.0, "{count}");

    server.set_addresses(&[TWO]);
    eventually("the endpoints follow", || endpoints(&app) == at(port, &[TWO]));
    eventually("it is a reload", || app.status()["reloads"]["last"]["trigger"] == "name resolution");
    assert_eq!(app.metric("unstick_reload_last_success"), 0.0);
    assert_eq!(app.status()["reloads"]["config_refused"], true);
    assert_eq!(app.metric("unstick_reload_duration_seconds_count"), count, "nothing was read");
    assert_eq!(app.metric("unstick_config_applied_timestamp_seconds"), applied, "it is the config of the start");

    app.apply(&config(&server, port, "balance = \"random\""));
    assert_eq!(app.metric("unstick_reload_last_success"), 1.0);
    assert_eq!(app.status()["reloads"]["config_refused"], false);
    assert!(app.metric("unstick_config_applied_timestamp_seconds") > applied);
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
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        return skipped("this machine has no IPv6");
    }
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

/// One replica at an address of each family, on one port; `None` if this machine has no IPv6.
fn one_of_each() -> Option<(u16, [Backend; 2])> {
    let port = free_address().port();
    if std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_err() {
        skipped("this machine has no IPv6");
        return None;
    }
    let six = Backend::named_at((Ipv6Addr::LOCALHOST, port).into(), "six");
    Some((port, [Backend::named_at((ONE, port).into(), "four"), six]))
}

#[test]
fn a_family_that_fails_keeps_its_endpoints_while_the_other_answers() {
    let Some((port, _backends)) = one_of_each() else { return };
    let both = || Zone::Addresses(vec![ONE], vec![Ipv6Addr::LOCALHOST]);
    let failures = [Zone::Failed(ResponseCode::ServFail), Zone::Failed(ResponseCode::Refused), Zone::Silence];
    let keeps = &|failure: Zone, is_v4: bool| {
        let server = NameServer::start(&[]);
        server.set(both());
        let app = App::start(&config(&server, port, "").replace("[dns]", "[dns]\ngive_up = \"0s\""));
        let before = endpoints(&app);
        assert_eq!(before.len(), 2);
        let (failing, fine) = (Box::new(failure), Box::new(both()));
        server.set(if is_v4 { Zone::ByFamily(failing, fine) } else { Zone::ByFamily(fine, failing) });
        server.wait_for_questions();
        server.wait_for_questions();
        assert_eq!(endpoints(&app), before);
        assert_eq!(who(app.address, "/", 10), counts([("four", 5), ("six", 5)]));
    };
    thread::scope(|scope| {
        for failure in failures {
            scope.spawn(move || [true, false].map(|is_v4| keeps(failure.clone(), is_v4)));
        }
    });
}

#[test]
fn a_name_that_is_denied_for_long_is_given_up_and_comes_back() {
    let (port, _backends) = three();
    let gives_up = &|zone: Zone, check: &str| {
        let server = NameServer::start(&[ONE, TWO]);
        let app = App::start(&config(&server, port, check).replace("[dns]", "[dns]\ngive_up = \"1s\""));
        assert_eq!(who(app.address, "/", 10), counts([("one", 5), ("two", 5)]));
        server.set(zone);
        eventually("the addresses may be somebody else's by now", || endpoints(&app).is_empty());
        let response = get(app.address, "/");
        assert_eq!((response.status, response.field("x-unstick-error")), (503, Some("no-endpoint")));
        server.set_addresses(&[THREE]);
        eventually("it comes back", || get(app.address, "/").status == 200);
        assert_eq!(who(app.address, "/", 4), counts([("three", 4)]));
    };
    thread::scope(|scope| {
        for zone in [Zone::Failed(ResponseCode::NXDomain), Zone::Empty] {
            for check in ["", CHECK] {
                let zone = zone.clone();
                scope.spawn(move || gives_up(zone, check));
            }
        }
    });
}

#[test]
fn an_address_that_is_denied_and_fails_its_check_is_given_up_at_once() {
    let (port, [_one, two, _three]) = three();
    let server = NameServer::start(&[ONE, TWO]);
    let app = App::start(&config(&server, port, CHECK).replace("[dns]", "[dns]\ngive_up = \"1h\""));
    two.set_healthy(false);
    app.wait_for(two.address, "unhealthy");
    server.wait_for_questions();
    assert_eq!(endpoints(&app), at(port, &[ONE, TWO]), "a failing check alone is no reason");
    server.set(Zone::Failed(ResponseCode::NXDomain));
    eventually("it is given up", || endpoints(&app) == at(port, &[ONE]));
    two.set_healthy(true);
    server.wait_for_questions();
    assert_eq!(endpoints(&app), at(port, &[ONE]), "the other one is kept, and what was given up stays so");
    assert_eq!(who(app.address, "/", 4), counts([("one", 4)]));
}

#[test]
fn names_are_asked_for_as_written_when_servers_are_given() {
    let (port, _backends) = three();
    let server = NameServer::start(&[ONE]);
    for (host, asked) in [("my_app.test", "my_app.test."), ("app.", "app."), ("_x.a_b.test.", "_x.a_b.test.")] {
        let text = config(&server, port, "").replace("app.test", host);
        server.take_questions();
        let app = App::start(&text);
        assert_eq!(get(app.address, "/").text(), "one", "{host}");
        let asked = [RecordType::A, RecordType::AAAA].map(|record_type| (asked.to_owned(), record_type));
        assert_eq!(server.take_questions(), asked, "{host}");
        assert_eq!(app.status()["pools"][0]["endpoints"][0]["backend"], format!("{host}:{port}"));
    }
}

#[test]
fn only_the_families_that_are_wanted_are_asked_for() {
    let Some((port, _backends)) = one_of_each() else { return };
    let server = NameServer::start(&[]);
    server.set(Zone::Addresses(vec![ONE], vec![Ipv6Addr::LOCALHOST]));
    let text =
        |families: &str| config(&server, port, "").replace("[dns]", &format!("[dns]\nfamilies = \"{families}\""));
    let app = App::start(&text("ipv4"));
    assert_eq!(who(app.address, "/", 4), counts([("four", 4)]));
    server.wait_for_questions();
    assert!(server.take_questions().iter().all(|(_, record_type)| *record_type == RecordType::A));
    app.apply(&text("ipv6"));
    eventually("the other family is in use alone", || get(app.address, "/").text() == "six");
    assert_eq!(who(app.address, "/", 4), counts([("six", 4)]));
    app.apply(&text("both"));
    eventually("both are in use", || endpoints(&app).len() == 2);
}

#[test]
fn what_needs_no_name_server_or_does_not_exist_does_not_delay_the_start() {
    let port = free_address().port();
    let _one = Backend::named_at((ONE, port).into(), "one");
    let server = NameServer::start(&[]);
    let began = Instant::now();
    server.set(Zone::Failed(ResponseCode::NXDomain));
    let app = App::start(&config(&server, port, ""));
    assert_eq!(get(app.address, "/").status, 503);
    server.set(Zone::Silence);
    let text =
        config(&server, port, "").replace("app.test", "localhost").replace("[dns]", "[dns]\nfamilies = \"ipv4\"");
    let app = App::start(&text);
    assert_eq!(get(app.address, "/").text(), "one");
    assert!(began.elapsed() < Duration::from_secs(4), "neither waits for five seconds: {:?}", began.elapsed());
}

#[test]
fn a_reload_that_is_asked_for_asks_for_names_too() {
    let (port, _backends) = three();
    let server = NameServer::start(&[]);
    server.set(Zone::Lasting(vec![ONE]));
    let app = App::start(&config(&server, port, ""));
    assert_eq!(get(app.address, "/").text(), "one");
    server.set(Zone::Lasting(vec![TWO]));
    let began = Instant::now();
    app.reload();
    eventually("the new address is in use", || get(app.address, "/").text() == "two");
    assert!(began.elapsed() < Duration::from_secs(15), "not when the records expire: {:?}", began.elapsed());
}

/// `unstick run` that sees its own `/etc/resolv.conf` and `/etc/hosts`.
fn with_own_files(folder: &std::path::Path, file: &std::path::Path) -> Running {
    let mut command = std::process::Command::new("unshare");
    let mounts = "mount --bind \"$0/resolv.conf\" /etc/resolv.conf && mount --bind \"$0/hosts\" /etc/hosts";
    let script = &format!("{mounts} && exec \"$1\" run -c \"$2\"");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]);
    command.arg(folder).arg(unstick(&[]).get_program()).arg(file);
    Running::of(command)
}

/// The port of name servers, at an address of this test's own.
fn port_53(last: u8) -> Option<UdpSocket> {
    let process = std::process::id().to_be_bytes();
    UdpSocket::bind((Ipv4Addr::new(127, 100 + process[2] % 100, process[3], last), 53)).ok()
}

#[test]
fn the_files_of_the_system_are_followed() {
    let can_mount = std::process::Command::new("unshare").args(["--mount", "true"]).status();
    let (Some(first), Some(second), true) = (port_53(1), port_53(2), can_mount.is_ok_and(|status| status.success()))
    else {
        return skipped("only root may mount, and listen on port 53");
    };
    let (port, _backends) = three();
    let only = |name: &'static str, ip: Ipv4Addr| Zone::ByName(vec![(name, Zone::Addresses(vec![ip], Vec::new()))]);
    let first = NameServer::start_on(first, only("app.a.test.", ONE));
    let second = NameServer::start_on(second, only("app.b.test.", TWO));
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let resolv = |server: &NameServer| format!("nameserver {}\nsearch a.test b.test\n", server.address.ip());
    write("resolv.conf", &resolv(&first));
    write("hosts", "127.0.0.1 localhost\n");
    let text = "[listen.web]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"off\"\n";
    write("unstick.toml", &format!("{text}[pool.app]\nbackends = [\"app:{port}\"]\n[dns]\ngive_up = \"500ms\"\n"));
    let mut running = with_own_files(folder.path(), &folder.path().join("unstick.toml"));
    let address = running.address();
    assert_eq!(get(address, "/").text(), "one", "the search list is used");

    // The name is denied at two of three places, and nobody knows about the third.
    first.set(Zone::ByName(vec![("app.a.test.", Zone::Failed(ResponseCode::ServFail))]));
    first.wait_for_questions();
    pause("longer than the time to give up", 3000);
    first.wait_for_questions();
    assert_eq!(get(address, "/").text(), "one", "that is no denial");

    write("resolv.conf", &resolv(&second));
    eventually("the other name server is asked", || get(address, "/").text() == "two");
    write("hosts", "127.0.0.1 localhost\n127.0.0.3 app # by hand\n");
    eventually("the hosts file comes first", || get(address, "/").text() == "three");
}
