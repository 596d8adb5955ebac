//! What is recorded of the applications of the selftest is a journey that the audit can play: on one replica it is
//! right, and across two it finds what is planted.

use std::net::SocketAddr;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{Recording, field};
use crate::command::{Order, Replicas, run};
use crate::course::Listener;
use crate::journey::Journey;
use crate::play::Trust;
use crate::report::{Cause, Report, Verdict};
use crate::selftest::{Fault, Planted, Replica, serve_on};

/// Replicas A and B of an application, which end with this.
struct Running {
    addresses: Vec<SocketAddr>,
    servers: Vec<JoinHandle<std::io::Result<()>>>,
    _folder: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.servers.iter().for_each(JoinHandle::abort);
    }
}

async fn two(fault: Fault, planted: Planted) -> Running {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running { addresses: Vec::new(), servers: Vec::new(), _folder: folder };
    for name in ["A", "B"] {
        let [dir, shared] = [name, "shared"].map(|name| running._folder.path().join(name));
        let replica = Replica { fault, planted, dir, shared, key: format!("the key of {name}") };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        running.addresses.push(listener.local_addr().unwrap());
        running.servers.push(tokio::spawn(serve_on(listener, replica)));
    }
    running
}

/// Nobody looks.
struct Silent;

impl Listener for Silent {
    fn begin(&self, _: &str, _: usize) {}
    fn step(&self) {}
}

async fn audit(journey: &Journey, running: &Running) -> Report {
    let origins = running.addresses.iter().map(|address| address.to_string().parse().unwrap()).collect();
    let order = Order {
        replicas: Replicas::Running { origins, restart: None, ready: None },
        host: None,
        trust: Trust::System,
        seed: 7,
        budget: Duration::from_secs(60),
    };
    run(order, journey, &Silent).await.report
}

/// Two dependences at most are told apart by their causes.
fn causes(report: &Report) -> Vec<Cause> {
    match &report.verdict {
        Verdict::NoneFound => Vec::new(),
        Verdict::Dependent { dependences } => dependences.iter().map(|found| found.cause).collect(),
        Verdict::Inconclusive { why, .. } => panic!("inconclusive: {why}"),
    }
}

#[tokio::test]
async fn a_form_with_csrf_is_recorded_and_played() {
    let clean = two(Fault::CsrfSecret, Planted::Clean).await;
    let recording = Recording::of(clean.addresses[0]).await;
    let (head, page) = recording.ask("GET /form", "Accept: text/html,*/*\r\nUser-Agent: Mozilla/5.0\r\n", "").await;
    let cookie = field(&head, "set-cookie").split(';').next().unwrap().to_owned();
    let (_, rest) = page.split_once("name=\"csrf\" value=\"").unwrap();
    let token = rest.split('"').next().unwrap();
    let fields = format!("Cookie: {cookie}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
    let (head, body) = recording.ask("POST /form", &fields, &format!("text=hello&csrf={token}")).await;
    assert!(head.starts_with("HTTP/1.1 200") && body == "saved hello", "{head}\n{body}");

    let (text, journey) = recording.written().await;
    for part in ["regex:name=\"csrf\"", "csrf = \"{{csrf}}\"", "text = \"hello\"", "# review: `csrf` was taken"] {
        assert!(text.contains(part), "{part}:\n{text}");
    }
    assert!(!text.contains(token) && !text.contains(&cookie), "what is of this run stands in it:\n{text}");

    let report = audit(&journey, &clean).await;
    assert!(matches!(report.verdict, Verdict::NoneFound), "{:?}", report.verdict);
    assert_eq!((report.coverage.pairs_crossed, report.coverage.failures), (1, 0));
    let faulty = two(Fault::CsrfSecret, Planted::Faulty).await;
    assert_eq!(causes(&audit(&journey, &faulty).await).len(), 1, "{text}");
}

#[tokio::test]
async fn a_login_is_recorded_and_played() {
    let clean = two(Fault::MemorySession, Planted::Clean).await;
    let recording = Recording::of(clean.addresses[0]).await;
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let (head, _) = recording.ask("POST /login", form, "user=ada&password=pw").await;
    let cookie = field(&head, "set-cookie").split(';').next().unwrap().to_owned();
    let (head, body) = recording.ask("GET /me", &format!("Cookie: {cookie}\r\n"), "").await;
    assert!(head.starts_with("HTTP/1.1 200") && body.contains("ada"), "{head}\n{body}");
    let (text, journey) = recording.written().await;
    assert!(text.contains("# review: `password` is a secret"), "{text}");
    assert_eq!(causes(&audit(&journey, &clean).await), []);
    let faulty = two(Fault::MemorySession, Planted::Faulty).await;
    assert_eq!(causes(&audit(&journey, &faulty).await).len(), 1, "{text}");
}
