//! Audits of replicas of all kinds: some that crash.

use std::fs;

use serde_json::Value;

use crate::cli::unstick;
use crate::support::text;

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
