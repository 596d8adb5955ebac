//! `unstick demo` as a user meets it: through the page, the pids that it prints, and signals to them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::Instant;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::support::tls::{TlsClient, shake_hands};
use crate::support::{pause, signal};

/// The time until the demo has started. It is generous, for a busy machine.
const START: Duration = Duration::from_secs(30);

/// The time until processes that were told to end have ended.
const END: Duration = Duration::from_secs(5);

/// Two demos that start at the same instant may both find the usual admin port free, so only one runs at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A running demo, and what it has printed.
struct Demo {
    parent: Child,
    lines: Receiver<String>,
    address: String,
    directory: PathBuf,
    replicas: Vec<(String, u32)>,
    introduction: String,
    _turn: MutexGuard<'static, ()>,
}

impl Demo {
    fn start() -> Self {
        Self::start_with(&[])
    }

    fn start_with(flags: &[&str]) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let mut parent = Command::new(env!("CARGO_BIN_EXE_unstick"))
            .args(["demo", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the binary starts");
        let output = BufReader::new(parent.stdout.take().expect("it was piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let (address, directory, replicas, introduction) = (String::new(), PathBuf::new(), Vec::new(), String::new());
        let mut demo = Self { parent, lines, address, directory, replicas, introduction, _turn: turn };
        demo.read_introduction();
        eventually(START, "the page answers", || demo.get("/", "").is_some_and(|page| page.contains("Your cart")));
        demo
    }

    fn read_introduction(&mut self) {
        loop {
            let line = self.lines.recv_timeout(START).expect("the introduction is printed to its end");
            self.introduction.push_str(&format!("{line}\n"));
            let words: Vec<&str> = line.split_whitespace().collect();
            match words[..] {
                ["replica", name, "pid", pid, _] => self.replicas.push((name.into(), pid.parse().expect("a pid"))),
                ["config", path] => self.directory = Path::new(path).parent().expect("a file in a directory").into(),
                ["1.", "Open", url, ..] => self.address = url.trim_matches(|c| "htps:/".contains(c)).into(),
                ["Ctrl-C", ..] => return,
                _ => {}
            }
        }
    }

    fn line_with(&self, text: &str) -> String {
        let deadline = Instant::now() + START;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|_| panic!("a line with {text:?}"));
            if line.contains(text) {
                return line;
            }
        }
    }

    fn get(&self, path: &str, cookie: &str) -> Option<String> {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: shop\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"))
    }

    /// Puts an item into the cart. Returns the cookie that the shop sets.
    fn put_into_cart(&self, item: &str, cookie: &str) -> String {
        let form = format!("item={item}");
        let length = form.len();
        let answer = self.exchange(&format!(
            "POST /cart HTTP/1.1\r\nHost: shop\r\nCookie: {cookie}\r\nContent-Length: {length}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n{form}"
        ));
        let answer = answer.expect("the form is answered");
        assert!(answer.starts_with("HTTP/1.1 303 "), "{answer}");
        let set = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).expect("a cookie is set");
        set.split(';').next().unwrap_or_default().to_owned()
    }

    /// Which replica responds, and how many items it sees in the cart.
    fn whoami(&self, cookie: &str) -> (String, u64) {
        let answer = self.get("/whoami", cookie).expect("every request is answered");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a whole head");
        assert!(head.starts_with("HTTP/1.1 200 "), "{answer}");
        let body: serde_json::Value = serde_json::from_str(body).expect("JSON");
        (body["replica"].as_str().expect("a name").to_owned(), body["items"].as_u64().expect("a count"))
    }

    /// Sends a request. `None` if there is no whole response.
    fn exchange(&self, request: &str) -> Option<String> {
        let certificate = self.directory.join("demo.pem");
        if certificate.exists() {
            let mut stream = trusting(&self.address, &certificate).ok()?;
            stream.write_all(request.as_bytes()).ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            return Some(answer);
        }
        let mut stream = TcpStream::connect(&self.address).ok()?;
        stream.set_read_timeout(Some(END)).ok()?;
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually(START, "the demo ends", || {
            status = self.parent.try_wait().expect("it can be waited for");
            status.is_some()
        });
        status.expect("it was just seen")
    }

    fn assert_no_replica_left(&self) {
        for (name, pid) in &self.replicas {
            eventually(END, &format!("replica {name} is gone"), || !runs(*pid));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // This matters after a failed assertion, or when the demo was killed and could not clean up.
        let _ = self.parent.kill();
        let _ = self.parent.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn eventually(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        pause("before the condition is looked at again", 10);
    }
}

/// A TLS connection that trusts this certificate only.
fn trusting(address: &str, certificate: &Path) -> std::io::Result<TlsClient> {
    let mut roots = rustls::RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(certificate).map_err(std::io::Error::other)?;
    roots.add(certificate).map_err(std::io::Error::other)?;
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(std::io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    shake_hands(address.parse().map_err(std::io::Error::other)?, "localhost", &Arc::new(config))
}

/// Whether a process exists and is not a zombie.
fn runs(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The text with every number replaced by 0.
fn without_numbers(text: &str) -> String {
    let mut last_is_digit = false;
    let keep = |c: char| match (c.is_ascii_digit(), std::mem::replace(&mut last_is_digit, c.is_ascii_digit())) {
        (true, true) => None,
        (true, false) => Some('0'),
        (false, _) => Some(c),
    };
    text.chars().filter_map(keep).collect()
}

#[test]
fn the_introduction_is_that_of_the_readme() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("it is text");
    let sample = readme.split("```text\n").find(|block| block.starts_with("replica a")).expect("the README shows it");
    let sample = sample.split("```").next().unwrap_or_default();
    let demo = Demo::start();
    let folder = std::env::temp_dir().display().to_string();
    assert_eq!(without_numbers(&demo.introduction.replace(&folder, "/tmp")), without_numbers(sample));
}

#[test]
fn the_cart_outlives_every_replica_change_and_no_child_outlives_a_killed_parent() {
    let mut demo = Demo::start();
    assert_eq!(demo.replicas.len(), 3);
    let mut cookie = String::new();
    for item in ["tea", "bread", "tea"] {
        cookie = demo.put_into_cart(item, &cookie);
    }
    let mut silent: Vec<_> = demo.replicas.iter().map(|(name, _)| name.clone()).collect();
    // This takes a moment: a replica gets requests only after its first health check.
    eventually(START, "every replica answers", || {
        let (answered, items) = demo.whoami(&cookie);
        assert_eq!(items, 3, "at replica {answered}");
        silent.retain(|name| *name != answered);
        silent.is_empty()
    });
    assert!(demo.replicas.iter().all(|(_, pid)| runs(*pid)));
    signal(demo.parent.id(), Signal::KILL);
    assert!(!demo.wait().success());
    demo.assert_no_replica_left();
}

#[cfg(feature = "demo-tls")]
#[test]
fn the_same_in_tls_with_a_certificate_made_on_the_spot() {
    let mut demo = Demo::start_with(&["--tls"]);
    assert!(demo.address.starts_with("127.0.0.1:"));
    let cookie = demo.put_into_cart("tea", "");
    let seen: std::collections::BTreeSet<String> = (0..6)
        .map(|_| demo.whoami(&cookie))
        .map(|(name, items)| {
            assert_eq!(items, 1);
            name
        })
        .collect();
    assert_eq!(seen.len(), 3, "each replica sees the cart");
    signal(demo.parent.id(), Signal::INT);
    assert_eq!(demo.wait().code(), Some(0));
    assert!(!demo.directory.exists());
}

#[cfg(not(feature = "demo-tls"))]
#[test]
fn a_build_without_demo_tls_says_how_to_get_it() {
    let demo = Command::new(env!("CARGO_BIN_EXE_unstick")).args(["demo", "--tls", "--listen", "127.0.0.1:0"]).output();
    let demo = demo.expect("the binary starts");
    let said = String::from_utf8_lossy(&demo.stderr);
    assert_eq!(demo.status.code(), Some(2), "{said}");
    assert!(said.contains("--features demo-tls -- demo --tls"), "{said}");
    assert!(demo.stdout.is_empty(), "nothing was started");
}

#[test]
fn ctrl_c_leaves_neither_child_nor_file() {
    let mut demo = Demo::start();
    assert!(demo.directory.join("unstick.toml").is_file());
    signal(demo.parent.id(), Signal::INT);
    assert_eq!(demo.wait().code(), Some(0));
    demo.assert_no_replica_left();
    assert!(!demo.directory.exists());
}

#[test]
fn a_killed_replica_is_not_missed_and_comes_back() {
    let mut demo = Demo::start();
    let cookie = demo.put_into_cart("soap", "");
    let (name, pid) = demo.replicas[1].clone();
    signal(pid, Signal::KILL);
    demo.line_with(&format!("replica {name} (pid {pid}) is gone; its traffic moved to a and c."));
    for _ in 0..12 {
        let (answered, items) = demo.whoami(&cookie);
        assert!(answered != name && items == 1, "{answered}, {items} items");
    }
    let back = demo.line_with(&format!("replica {name} is back (pid "));
    let pid = back.trim_matches(|c: char| !c.is_ascii_digit()).parse().expect("the new pid");
    demo.replicas.push((name.clone(), pid));
    eventually(START, "it gets requests again", || demo.whoami(&cookie) == (name.clone(), 1));
    signal(demo.parent.id(), Signal::TERM);
    assert_eq!(demo.wait().code(), Some(0));
    demo.assert_no_replica_left();
}
