//! Audits of replicas of all kinds: some that crash, three, some that others start, and some that speak HTTP/2.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cli::unstick;
use crate::support::h2_backend::{H2Backend, tls};
use crate::support::tls::Authority;
use crate::support::{skipped, text};

/// Comes, and is asked for again.
const JOURNEY: &str = "name = \"come again\"\n[[step]]\nname = \"come\"\nrequest = \"GET /come?{{unique}}\"\n\
                       [[step]]\nname = \"again\"\nrequest = \"GET /again?{{unique}}\"\n";

/// A folder with the journey and an application in it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("journey.toml"), JOURNEY).unwrap();
    fs::write(folder.path().join("session.py"), include_str!("support/session.py")).unwrap();
    folder
}

/// The exit code, the report as text, and as JSON.
fn audit(folder: &tempfile::TempDir, args: &[&str]) -> (Option<i32>, String, Value) {
    let mut audit = unstick(&[&["audit", "journey.toml", "--json", "report.json"], args].concat());
    let output = audit.current_dir(folder).output().unwrap();
    let shown = text(&output.stdout) + &text(&output.stderr);
    let report = fs::read_to_string(folder.path().join("report.json")).unwrap_or_default();
    (output.status.code(), shown, serde_json::from_str(&report).unwrap_or_default())
}

#[test]
fn a_replica_that_crashes_when_it_is_crossed_is_started_again() {
    let folder = folder();
    let (code, shown, report) = audit(&folder, &["--spawn", "exec python3 session.py {port} crash"]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.starts_with("REPLICA-DEPENDENT  again needs the replica that served come"), "{shown}");
    // Both placements on one replica are right although the same replicas have crashed in the others.
    assert_eq!(shown.matches("(5/5)").count(), 2, "{shown}");
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(shown.contains("its replica ended by itself (exit status: 3)"), "{shown}");
    assert!(shown.contains("and was started again. It said last: a stranger: that was not thought of"), "{shown}");
    assert_eq!(report["coverage"]["pairs_crossed"], 1, "{report:#}");
}

/// As in a container whose first process is not the leader of its session: the numbers of group and session are 0.
#[test]
fn an_audit_whose_session_is_outside_of_its_process_namespace_runs() {
    let unshared = |command: &[&str], folder: &tempfile::TempDir| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--"]).args(command);
        unshare.current_dir(folder).output().unwrap()
    };
    let folder = folder();
    if !unshared(&["true"], &folder).status.success() {
        return skipped("no process namespace can be made here");
    }
    for (spawn, expected) in [
        ("exec python3 session.py {port} refuse", 1),
        // Daemons, too, are ended with their replica there.
        ("setsid python3 session.py {port} refuse & exit 0", 1),
        ("exec python3 session.py {port} store", 0),
    ] {
        let audit = [env!("CARGO_BIN_EXE_unstick"), "audit", "journey.toml", "--spawn", spawn];
        let output = unshared(&audit, &folder);
        let shown = text(&output.stdout) + &text(&output.stderr);
        assert_eq!(output.status.code(), Some(expected), "{shown}");
    }
}

#[test]
fn three_replicas_are_crossed_with_each_other() {
    let folder = folder();
    for (mode, expected) in [("refuse", 1), ("store", 0)] {
        let spawn = format!("exec python3 session.py {{port}} {mode}");
        let (code, shown, report) = audit(&folder, &["--spawn", &spawn, "--replicas", "3"]);
        assert_eq!(code, Some(expected), "{shown}");
        assert_eq!(report["replicas"], serde_json::json!(["A", "B", "C"]), "{report:#}");
        // Six ways to put two steps on two of three replicas.
        let crossings = report["coverage"]["crossings"].as_u64();
        assert!(expected == 1 || crossings.is_some_and(|crossings| crossings >= 6), "{report:#}");
    }
}

/// The first stranger is refused, and then every third one. What it needs may be found or not, but it is not as if
/// nothing had come out wrong.
#[test]
fn what_fails_across_replicas_now_and_then_is_not_none_found() {
    let folder = folder();
    let (code, shown, _) = audit(&folder, &["--spawn", "exec python3 session.py {port} seldom"]);
    let spaced = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    let is_doubtful = spaced.contains("of 24 runs across replicas, and in 0 of 24 on one");
    assert!(code == Some(1) || code == Some(3) && is_doubtful, "{code:?} {shown}");
}

/// What a replica keeps is wrong only if another one writes between two steps that both are on the first.
#[test]
fn what_a_replica_keeps_beside_a_store_is_found() {
    let step =
        |name: &str, path: &str| format!("[[step]]\nname = \"{name}\"\nrequest = \"GET /{path}?{{{{unique}}}}\"\n");
    let read = ["name = \"read\"\n", &step("before", "read"), &step("write", "write"), &step("after", "read")].concat();
    let paid = ["name = \"pay\"\n", &step("pay", "pay"), &step("again", "pay"), &step("account", "read")].concat();
    for (keeps, journey, expected) in [
        ("read", &read, Some(("after needs the replica that served write", "stale copy"))),
        ("paid", &paid, Some(("account needs the replica that served", "memory"))),
        ("nothing", &read, None),
        ("nothing", &paid, None),
    ] {
        let folder = folder();
        fs::write(folder.path().join("journey.toml"), journey).unwrap();
        fs::write(folder.path().join("kept.py"), include_str!("support/kept.py")).unwrap();
        let store = folder.path().join("store");
        fs::create_dir(&store).unwrap();
        let spawn = format!("exec python3 kept.py {{port}} '{}' {keeps}", store.display());
        let (code, shown, _) = audit(&folder, &["--spawn", &spawn]);
        assert_eq!(code, Some(i32::from(expected.is_some())), "{shown}");
        if let Some((headline, cause)) = expected {
            assert!(shown.contains(headline) && shown.contains(&format!("cause: {cause}")), "{shown}");
        }
    }
}

/// Replicas that somebody else has started, with a script that starts one again.
struct Elsewhere<'a> {
    folder: &'a tempfile::TempDir,
    ports: [u16; 2],
}

impl<'a> Elsewhere<'a> {
    fn start(folder: &'a tempfile::TempDir, mode: &str) -> Self {
        fs::write(folder.path().join("restart.sh"), RESTART.replace("MODE", mode)).unwrap();
        // Of the kernel: audits of other tests draw from the range of `free_address`, also while a replica is down.
        let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let elsewhere = Self { folder, ports: sockets.each_ref().map(|socket| socket.local_addr().unwrap().port()) };
        drop(sockets);
        for address in elsewhere.addresses() {
            let mut script = Command::new("sh");
            script.args(["restart.sh", &address]).current_dir(folder);
            assert!(script.status().unwrap().success());
        }
        elsewhere
    }

    fn addresses(&self) -> [String; 2] {
        self.ports.map(|port| format!("127.0.0.1:{port}"))
    }
}

impl Drop for Elsewhere<'_> {
    fn drop(&mut self) {
        for port in self.ports {
            let pid = fs::read_to_string(self.folder.path().join(format!("{port}.pid"))).unwrap_or_default();
            let pid = pid.trim().parse().ok().and_then(Pid::from_raw);
            pid.map(|pid| kill_process(pid, Signal::KILL));
        }
    }
}

/// What an operator would write: it ends the old one, and starts the new one in the background.
const RESTART: &str = r#"port=${1##*:}
if [ -e "$port.pid" ]; then
    kill -KILL "$(cat "$port.pid")"
    while kill -0 "$(cat "$port.pid")" 2>/dev/null; do sleep 0.02; done
fi
python3 session.py "$port" MODE </dev/null >"$port.log" 2>&1 &
echo $! > "$port.pid"
echo "$port" >> restarts
"#;

#[test]
fn replicas_that_run_already_are_started_again_by_a_command() {
    for (mode, expected, told) in [
        ("refuse", 1, "it is lost when its replica is started again"),
        // A store that all share outlives each of them.
        ("store", 0, "1 crash point"),
    ] {
        let folder = folder();
        let elsewhere = Elsewhere::start(&folder, mode);
        let backends = elsewhere.addresses().join(",");
        let args = ["--backends", &backends, "--restart-cmd", "sh restart.sh {address}"];
        let (code, shown, _) = audit(&folder, &args);
        assert_eq!(code, Some(expected), "{shown}");
        assert!(shown.split_whitespace().collect::<Vec<_>>().join(" ").contains(told), "{shown}");
        let restarts = fs::read_to_string(folder.path().join("restarts")).unwrap();
        assert!(restarts.lines().count() > 2, "no replica was started again");
    }
}

#[test]
fn replicas_over_http2_are_audited_as_others_are() {
    let folder = folder();
    let pair = Authority::new("replicas").issue(folder.path(), "replica", &["localhost"]);
    for (is_shared, expected) in [(false, 1), (true, 0)] {
        let store = Arc::new(Mutex::new(BTreeSet::new()));
        let replica = || {
            let own = if is_shared { Arc::clone(&store) } else { Arc::default() };
            H2Backend::start_with(h2::server::Builder::new(), Some(tls(&pair, &["h2"], None)), move |mut call| {
                let own = Arc::clone(&own);
                async move {
                    let uri = call.request.uri();
                    let (path, who) = (uri.path().to_owned(), uri.query().unwrap_or_default().to_owned());
                    let mut known = own.lock().unwrap();
                    if path == "/come" {
                        known.insert(who.clone());
                    }
                    let status = if known.contains(&who) { 200 } else { 401 };
                    let mut body = call.answer(http::Response::builder().status(status));
                    body.send_data("said".into(), true).unwrap();
                }
            })
        };
        let both = [replica(), replica()];
        let backends = both.each_ref().map(|replica| format!("https://{}", replica.address)).join(",");
        let (code, shown, report) = audit(&folder, &["--backends", &backends, "--insecure-skip-verify"]);
        assert_eq!(code, Some(expected), "{shown}");
        assert_eq!(report["coverage"]["pairs_crossed"], 1, "{report:#}");
    }
}

/// Most of it is the same in every run, so that it cannot be told what differs as long as it is packed.
#[test]
fn what_is_in_a_packed_body_is_compared() {
    let folder = folder();
    for (mode, expected) in [("packed", 1), ("packed-store", 0)] {
        let (code, shown, _) = audit(&folder, &["--spawn", &format!("exec python3 session.py {{port}} {mode}")]);
        assert_eq!(code, Some(expected), "{shown}");
        assert!(expected == 0 || shown.contains("welcome"), "{shown}");
    }
}
