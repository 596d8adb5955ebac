//! `unstick audit` as a user sees it: that it finds what is planted, accuses nobody else, and ends whatever happens.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::time::Instant;

use crate::cli::unstick;
use crate::support::backend::{Backend, Peer, answer};
use crate::support::{eventually, text};

/// Two steps, of which the second shows what the first has brought.
const JOURNEY: &str = r#"name = "two steps"
[[step]]
name = "one"
request = "GET /one?token={{unique}}"
[[step]]
name = "two"
request = "GET /two"
"#;

/// A folder with a journey in it.
fn folder(journey: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("journey.toml"), journey).unwrap();
    folder
}

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = unstick(&[&["audit"], args].concat());
    command.current_dir(folder);
    command
}

/// The exit code, and what was written to both outputs.
fn audit(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(folder, args).output().unwrap();
    (status.code(), text(&stdout), text(&stderr))
}

/// Two replicas that run a script for each connection, as `--backends` takes them.
fn replicas(script: impl Fn(&mut Peer) + Clone + Send + Sync + 'static) -> ([Backend; 2], String) {
    let both = [Backend::start(script.clone()), Backend::start(script)];
    let addresses = both.each_ref().map(|replica| replica.address.to_string()).join(",");
    (both, addresses)
}

fn serve(peer: &mut Peer) {
    peer.serve(|_| answer("ok"));
}

/// An application of the selftest, for `--spawn`.
fn planted(fault: &str, form: &str, shared: &Path) -> String {
    let (program, shared) = (env!("CARGO_BIN_EXE_unstick"), shared.display());
    format!(
        "exec {program} audit-replica --fault {fault} --form {form} --port {{port}} --dir {{dir}} --shared {shared} \
         --key {{key}}"
    )
}

#[test]
fn planted_faults_are_found_and_clean_twins_are_not_accused() {
    let folder = folder("");
    let (code, stdout, stderr) = audit(folder.path(), &["--selftest", "--json"]);
    let matrix: Value = serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    let rows = matrix["rows"].as_array().unwrap();
    assert_eq!(rows.len(), 12, "{matrix:#}");
    let explained = rows.iter().filter(|row| row["faulty"]["dependent"][0] == row["cause"]).count();
    assert!(explained >= 11, "{matrix:#}");
    assert!(
        rows.iter().all(|row| row["faulty"]["dependent"][1].as_u64().is_some_and(|steps| steps <= 3)),
        "{matrix:#}"
    );
    assert!(rows.iter().all(|row| row["clean"] == "none_found"), "{matrix:#}");
    assert_eq!(code, Some(0));
}

#[test]
fn a_witness_can_be_played_again() {
    let journey = include_str!("../src/audit/selftest/journeys/memory_session.toml");
    let (folder, shared) = (folder(journey), tempfile::tempdir().unwrap());
    let spawn = planted("memory-session", "faulty", shared.path());
    let (code, report, stderr) = audit(folder.path(), &["journey.toml", "--spawn", &spawn, "--seed", "0x7"]);
    assert_eq!(code, Some(1), "{report}{stderr}");
    assert!(report.starts_with("REPLICA-DEPENDENT"), "{report}");
    assert!(report.contains("cause: memory") && report.contains("seed 0x7"), "{report}");
    for _ in 0..5 {
        let (code, again, stderr) = audit(folder.path(), &["--replay", "witness.json"]);
        assert!(code == Some(1) && again.starts_with("REPLICA-DEPENDENT"), "{again}{stderr}");
    }
    // The fault is mended: the same witness shows nothing.
    let witness = fs::read_to_string(folder.path().join("witness.json")).unwrap();
    fs::write(folder.path().join("mended.json"), witness.replace("--form faulty", "--form clean")).unwrap();
    let (code, again, stderr) = audit(folder.path(), &["--replay", "mended.json"]);
    assert!(code == Some(0) && again.starts_with("NONE FOUND"), "{again}{stderr}");
}

#[test]
fn a_clean_application_is_never_accused() {
    let (folder, (_replicas, backends)) = (folder(JOURNEY), replicas(serve));
    for seed in 0..20 {
        let seed = seed.to_string();
        let args = ["journey.toml", "--backends", &backends, "--seed", &seed, "--json"];
        let (code, stdout, stderr) = audit(folder.path(), &args);
        assert_eq!(code, Some(0), "{stdout}{stderr}");
        let report: Value = serde_json::from_str(&stdout).unwrap();
        assert_eq!(report["coverage"]["pairs_crossed"], 1);
        assert!(!folder.path().join("witness.json").exists());
    }
}

#[test]
fn a_journey_that_makes_no_sense_is_told_with_all_its_mistakes() {
    let folder =
        folder("[[step]]\nname = \"a\"\nreqest = \"GET /\"\n[[step]]\nname = \"a\"\nrequest = \"GET {{x}}\"\n");
    let (code, stdout, stderr) = audit(folder.path(), &["journey.toml", "--spawn", "true"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
    for part in ["did you mean `request`?", "journey.toml:3:1", "journey.toml:5", "problems"] {
        assert!(stderr.contains(part), "no {part:?}: {stderr}");
    }
    fs::write(folder.path().join("journey.toml"), JOURNEY).unwrap();
    for (args, part) in [
        (&["journey.toml"][..], "--spawn"),
        (&["nothing.toml", "--spawn", "true"], "nothing.toml"),
        (&["--pack", "nothing", "--spawn", "true"], "pack"),
        (&["--spawn", "true"], "there is no journey"),
        (&["--pack", "login", "--backends", "192.0.2.1:80,192.0.2.2:80,no address"], "no address"),
        (&["--pack", "login", "--backends", "1.1.1.1:80,1.0.0.1:80"], "--yes"),
        (&["--replay", "journey.toml"], "--witness"),
    ] {
        let (code, _, stderr) = audit(folder.path(), args);
        assert!(code == Some(2) && stderr.contains(part), "{args:?}: {stderr}");
    }
}

/// Whatever a replica does, the audit ends and says which step it was.
#[test]
fn what_cannot_be_played_is_inconclusive() {
    let refuses =
        |peer: &mut Peer| peer.serve(|_| b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever".to_vec());
    let loops = |peer: &mut Peer| {
        peer.serve(|_| b"HTTP/1.1 302 Found\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n".to_vec());
    };
    let hangs_up = |peer: &mut Peer| {
        peer.own();
        peer.next();
    };
    let follow = JOURNEY.replace("\"GET /one?token={{unique}}\"", "\"GET /one\"\nfollow = true");
    let listen = "[[step]]\nname = \"one\"\nsse = \"/events\"\nreceive = { until = \"regex:x\", within = \"1s\" }\n";
    let silent = |peer: &mut Peer| {
        peer.serve(|_| b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n: hello\n\n".to_vec());
    };
    for (journey, (_replicas, backends), part) in [
        (JOURNEY, replicas(refuses), "came out as 403, no error was expected; it said: never"),
        (&follow, replicas(loops), "more than 10 redirects"),
        (JOURNEY, replicas(hangs_up), "the connection was closed before a response came"),
        (listen, replicas(silent), "came within 1s"),
    ] {
        let folder = folder(journey);
        let (code, stdout, stderr) = audit(folder.path(), &["journey.toml", "--backends", &backends]);
        let shown = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(code == Some(3) && shown.contains(part), "{stdout}{stderr}");
        assert!(shown.contains("step `one`") && shown.contains("what to do:"), "{stdout}");
    }
}

/// More than is kept of a body, and more than is read of one.
#[test]
fn large_bodies_are_compared_by_their_hash() {
    const PART: usize = 1 << 20;
    let large = |megabytes: usize| {
        replicas(move |peer: &mut Peer| {
            while peer.next().is_some() {
                let length = megabytes * PART;
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                peer.stream.write_all(head.as_bytes()).ok();
                let part = vec![b'x'; PART];
                if (0..megabytes).any(|_| peer.stream.write_all(&part).is_err()) {
                    return;
                }
            }
        })
    };
    let (_replicas, backends) = large(9);
    let folder = folder(JOURNEY);
    let (code, stdout, stderr) = audit(folder.path(), &["journey.toml", "--backends", &backends]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
}

/// Processes whose environment names this value.
fn marked(mark: &str) -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let environments = all.filter_map(|entry| fs::read(entry.path().join("environ")).ok());
    environments.filter(|environment| text(environment).contains(mark)).count()
}

#[test]
fn no_process_is_left_when_the_audit_is_interrupted() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let folder = folder(JOURNEY);
        let mark = format!("UNSTICK_MARK={}", folder.path().display());
        let (name, value) = mark.split_once('=').unwrap();
        let spawn = "trap '' TERM INT; sleep 600 & sleep 600";
        let mut audit = command(folder.path(), &["journey.toml", "--spawn", spawn]);
        let mut child = audit.env(name, value).spawn().unwrap();
        // The audit, the shells and their sleeps.
        eventually("replicas run", || marked(&mark) > 3);
        kill_process(Pid::from_child(&child), signal).unwrap();
        let began = Instant::now();
        let status = child.wait().unwrap();
        assert!(began.elapsed() < Duration::from_secs(10));
        assert_eq!(status.code(), (signal != Signal::KILL).then_some(3));
        eventually("no process is left", || marked(&mark) == 0);
    }
}

#[test]
fn a_replica_that_does_not_start_is_told_with_what_it_said() {
    let folder = folder(JOURNEY);
    for (spawn, part) in [
        ("echo 'no such module: express' >&2; exit 7", "no such module: express"),
        ("sleep 600", "was not ready within 1 s"),
    ] {
        let args = ["journey.toml", "--spawn", spawn, "--start-deadline", "1s"];
        let (code, stdout, stderr) = audit(folder.path(), &args);
        assert!(code == Some(3) && stdout.contains(part), "{stdout}{stderr}");
    }
}

#[test]
fn a_report_comes_in_all_forms_and_hides_what_was_sent() {
    let secret = "s3cr3t-4711-0815-token";
    let journey = format!(
        "name = \"secrets\"\n[[step]]\nname = \"one\"\nrequest = \"POST /one?api_key={secret}\"\n\
         headers = {{ authorization = \"Bearer {secret}\" }}\nform = {{ password = \"{secret}\" }}\n\
         [[step]]\nname = \"two\"\nrequest = \"GET /two\"\n"
    );
    // Only the first one knows the session, and both give everything away.
    let tell = move |is_first: bool| {
        move |peer: &mut Peer| {
            peer.serve(move |seen| {
                let status = if is_first || seen.line().starts_with("POST") { "200 OK" } else { "401 Unauthorized" };
                let body = format!("{{\"token\":\"{secret}\",\"first\":{is_first}}}");
                let length = body.len();
                format!("HTTP/1.1 {status}\r\nSet-Cookie: sid={secret}\r\nContent-Length: {length}\r\n\r\n{body}")
                    .into()
            });
        }
    };
    let both = [Backend::start(tell(true)), Backend::start(tell(false))];
    let backends = both.each_ref().map(|replica| replica.address.to_string()).join(",");
    let folder = folder(&journey);
    let args = ["journey.toml", "--backends", &backends, "--html", "r.html", "--junit", "r.xml", "--sarif", "r.sarif"];
    let (code, stdout, stderr) = audit(folder.path(), &[&args[..], &["--json", "r.json"]].concat());
    assert_eq!(code, Some(1), "{stdout}{stderr}");
    assert!(stdout.contains("cause:"), "{stdout}");
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    for (name, begin) in [("r.html", "<!doctype html>"), ("r.xml", "<?xml"), ("r.sarif", "{"), ("r.json", "{")] {
        let form = read(name);
        assert!(form.starts_with(begin), "{name}: {}", &form[..form.len().min(200)]);
        assert!(!form.contains(secret), "{name} has the secret");
        assert!(form.contains('•') || name == "r.xml" || name == "r.sarif", "{name} hides nothing");
    }
    assert!(!stdout.contains(secret), "{stdout}");
}

#[test]
fn packs_are_listed_and_printed() {
    let folder = folder("");
    let (code, list, _) = audit(folder.path(), &["--pack", "help"]);
    assert_eq!(code, Some(0));
    for name in ["mcp", "socket.io", "login", "upload", "limit", "crud"] {
        assert!(list.lines().any(|line| line.starts_with(name)), "{list}");
        let (code, pack, stderr) = audit(folder.path(), &["--pack", name, "--print"]);
        assert_eq!(code, Some(0), "{stderr}");
        fs::write(folder.path().join("pack.toml"), &pack).unwrap();
        let (_, again, stderr) = audit(folder.path(), &["pack.toml", "--print"]);
        assert_eq!(again, pack, "{stderr}");
    }
}
