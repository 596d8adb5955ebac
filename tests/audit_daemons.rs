//! Processes that a replica has started and that have left everything by which they were known end with it, and nobody
//! else does.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::cli::unstick;
use crate::support::{eventually, signal, text};

/// One step that every replica can do, and one that takes longer than any test.
const FAST: &str = "name = \"fast\"\n[[step]]\nname = \"one\"\nrequest = \"GET /one\"\n\
                    [[step]]\nname = \"two\"\nrequest = \"GET /two\"\n";
const SLOW: &str = "name = \"slow\"\n[[step]]\nname = \"slow\"\nrequest = \"GET /slow\"\n";

/// A folder with the journey and the replica in it.
fn folder(journey: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("journey.toml"), journey).unwrap();
    fs::write(folder.path().join("daemon.py"), include_str!("support/daemon.py")).unwrap();
    folder
}

/// The audit of these replicas.
fn audit(folder: &Path) -> Command {
    let spawn = format!("exec python3 daemon.py {{port}} {} {}", word(folder), folder.join("asked").display());
    let mut audit = unstick(&["audit", "journey.toml", "--spawn", &spawn]);
    audit.current_dir(folder);
    audit
}

fn word(folder: &Path) -> String {
    folder.file_name().unwrap().to_string_lossy().replace('.', "")
}

/// Processes that run and have this word among their arguments, alone.
fn told(word: &str) -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    let arguments = all.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    arguments.filter(|arguments| arguments.split(|byte| *byte == 0).any(|one| one == word.as_bytes())).count()
}

/// Somebody's daemon, which has no more than those of replicas have. It ends with the test.
struct Bystander(Child);

impl Bystander {
    fn start(word: &str) -> Self {
        let mut bystander = Command::new("setsid");
        bystander.args(["python3", "-c", "import time; time.sleep(600)", word]).stdout(Stdio::null());
        bystander.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        Self(bystander.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Bystander {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn daemons_end_with_their_replica_and_nobody_else_does() {
    let folder = folder(FAST);
    let word = word(folder.path());
    let mut bystander = Bystander::start(&word);
    // A replica is killed and started again: its helper must be gone by then, and that of the other must not.
    let output = audit(folder.path()).output().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("1 crash point"), "{stdout}");
    assert_eq!(told(&format!("helper-{word}")), 0);
    assert_eq!(bystander.0.try_wait().unwrap(), None);
}

#[test]
fn daemons_end_when_the_audit_is_interrupted() {
    for number in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
        let folder = folder(SLOW);
        let helper = format!("helper-{}", word(folder.path()));
        let mut child = audit(folder.path()).spawn().unwrap();
        eventually("a replica is asked", || folder.path().join("asked").exists());
        eventually("all four helpers have started another one", || told(&helper) == 8);
        signal(child.id(), number);
        assert_eq!(child.wait().unwrap().code(), (number != Signal::KILL).then_some(3));
        eventually("no process is left", || told(&helper) == 0);
    }
}

/// A shell that becomes the audit leaves it its own children. Whose their orphans are nobody can tell.
#[test]
fn what_was_there_before_the_replicas_is_nobody_s_daemon() {
    let folder = folder(SLOW);
    let (word, helper) = (format!("other-{}", word(folder.path())), format!("helper-{}", word(folder.path())));
    let audit = audit(folder.path());
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"setsid env -i "$(command -v python3)" -c 'import time; time.sleep(600)' "$0" & exec "$@""#]);
    let mut child =
        shell.arg(&word).arg(audit.get_program()).args(audit.get_args()).current_dir(&folder).spawn().unwrap();
    eventually("a replica is asked", || folder.path().join("asked").exists() && told(&word) == 1);
    signal(child.id(), Signal::TERM);
    child.wait().unwrap();
    assert_eq!(told(&word), 1);
    end(&word);
    end(&helper);
}

/// Ends the processes that have this word among their arguments.
fn end(word: &str) {
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let pid = entry.file_name().to_string_lossy().parse();
        if let Ok(pid) = pid
            && arguments.split(|byte| *byte == 0).any(|one| one == word.as_bytes())
        {
            signal(pid, Signal::KILL);
        }
    }
}
