//! A process of a run that is no replica: a proxy, a server of the system, a tool that prepares one.
//!
//! It is in a group of its own, so that Ctrl-C reaches the run alone. It ends with whoever holds it, and the lifeline
//! ends it if the run is killed.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::account::{Account, open_itself};
use super::lifeline::Lifeline;

/// How long its end may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long it may take when it is dropped and nothing else can be done meanwhile: by its signal, and by SIGKILL.
const DROP_DEADLINE: Duration = Duration::from_secs(2);
const POLL: Duration = Duration::from_millis(10);
/// How long one look at whether it is ready may take.
const LOOK: Duration = Duration::from_secs(3);
/// How much of a log is said of a process that has failed.
const SAID_MAX: usize = 600;

/// The shell waits for a line before it becomes the program, and ends if none comes: the lifeline knows of the group
/// before the program begins.
const GATE: &str = r#"read -r _ && exec "$@" </dev/null"#;

/// What is started.
pub(super) struct Start {
    pub(super) program: PathBuf,
    pub(super) arguments: Vec<String>,
    /// Where it runs, if not where this process does.
    pub(super) directory: Option<PathBuf>,
    /// Where its errors go, and its output too if it is worth it.
    pub(super) log: PathBuf,
    pub(super) logs_output: bool,
    /// Who it runs as, if not as this process.
    pub(super) account: Option<Account>,
    /// The signal at which it ends with all processes of its own, whatever they do.
    pub(super) end: Signal,
    pub(super) lifeline: Rc<Lifeline>,
}

/// See the module. Dropping it ends it and waits until it has ended.
#[derive(Debug)]
pub(super) struct Process {
    name: String,
    log: PathBuf,
    child: Child,
    group: Pid,
    end: Signal,
    lifeline: Rc<Lifeline>,
    is_over: bool,
}

impl Start {
    /// Starts it.
    pub(super) async fn spawn(&self) -> anyhow::Result<Process> {
        let name = self.program.file_name().unwrap_or_default().display().to_string();
        let log = open_itself(std::fs::File::options().create(true).append(true), &self.log);
        let log = log.with_context(|| self.log.display().to_string())?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", GATE, "unstick-gate"]).arg(&self.program).args(&self.arguments).stdin(Stdio::piped());
        command.stdout(if self.logs_output { log.try_clone()?.into() } else { Stdio::null() }).stderr(log);
        command.process_group(0).kill_on_drop(true);
        super::secret::forget(command.as_std_mut());
        if let Some(directory) = &self.directory {
            // For what it makes beside its own files.
            command.current_dir(directory).env("TMPDIR", directory);
        }
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        let mut child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let group = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())).context("it ended at once")?;
        let gate = child.stdin.take();
        let (log, end, lifeline) = (self.log.clone(), self.end, Rc::clone(&self.lifeline));
        let process = Process { name, log, child, group, end, lifeline, is_over: false };
        process.lifeline.hold(group, end)?;
        if let Some(mut gate) = gate {
            gate.write_all(b"go\n").await.with_context(|| format!("cannot start {}", process.name))?;
        }
        Ok(process)
    }
}

impl Process {
    /// Asks until it is ready, as long as it runs, and for so long at most. What it found.
    pub(super) async fn ready<T>(
        &mut self,
        within: Duration,
        look: impl AsyncFn() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + within;
        loop {
            let ended = self.child.try_wait()?;
            if ended.is_some() && !has_members(self.group) {
                self.release();
            }
            let error = match timeout(LOOK, look()).await.context("no response").flatten() {
                Ok(found) => return Ok(found),
                Err(error) => error,
            };
            if let Some(status) = ended {
                anyhow::bail!("{} has ended ({status}){}", self.name, self.said());
            }
            if Instant::now() >= deadline {
                return Err(error.context(format!("{} is not ready in time{}", self.name, self.said())));
            }
            sleep(POLL).await;
        }
    }

    /// Waits until it has ended by itself, for so long at most.
    pub(super) async fn wait(&mut self, within: Duration) -> anyhow::Result<ExitStatus> {
        let status = timeout(within, self.child.wait()).await;
        let status = status.with_context(|| format!("{} does not end{}", self.name, self.said()))??;
        self.release();
        Ok(status)
    }

    /// Ends it by a signal, if it runs.
    pub(super) async fn end(&mut self, signal: Signal) -> anyhow::Result<()> {
        if !self.is_over {
            self.send(signal);
            self.wait(DEADLINE).await?;
        }
        Ok(())
    }

    /// Where its log is, and the end of that.
    pub(super) fn said(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text[text.len().saturating_sub(SAID_MAX)..]);
        let text = text.trim();
        if text.is_empty() { String::new() } else { format!("; {} says: {text}", self.log.display()) }
    }

    /// Kills it, when nothing can be awaited.
    pub(super) fn kill(&mut self) {
        if self.is_over {
            return;
        }
        let mut has_ended = false;
        for signal in [self.end, Signal::KILL] {
            self.send(signal);
            has_ended = has_ended || until(DROP_DEADLINE, || !matches!(self.child.try_wait(), Ok(None)));
            // What it has started is in its group, or ends with it.
            if has_ended && (signal != Signal::KILL || until(DROP_DEADLINE, || !has_members(self.group))) {
                return self.release();
            }
        }
    }

    /// This fails only if all of it has ended already.
    fn send(&self, signal: Signal) {
        kill_process_group(self.group, signal).ok();
    }

    /// Its number may belong to others from now on.
    fn release(&mut self) {
        self.is_over = true;
        self.lifeline.release(self.group);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

fn has_members(group: Pid) -> bool {
    test_kill_process_group(group).is_ok()
}

/// Waits until something is so, for so long at most, and keeps this thread from everything else. For what is dropped,
/// where nothing can be awaited.
pub(super) fn until(within: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !is_so() {
        if Instant::now() >= deadline {
            return false;
        }
        #[expect(clippy::disallowed_methods, reason = "nothing can be awaited here")]
        std::thread::sleep(POLL.min(Duration::from_millis(2)));
    }
    true
}

/// The name of a signal that ends servers, as a shell knows it.
pub(super) fn name_of(signal: Signal) -> &'static str {
    match signal {
        Signal::QUIT => "QUIT",
        Signal::TERM => "TERM",
        Signal::INT => "INT",
        _ => "KILL",
    }
}

/// A program on PATH, or in one of these folders.
pub(super) fn find(program: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::env::split_paths(&path).chain(folders.iter().cloned());
    all.map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found() {
        assert!(find("sh", &[]).is_some());
        assert_eq!(find("no-such-program", &["/bin".into()]), None);
    }

    fn shell(script: &str, directory: &std::path::Path, lifeline: &Rc<Lifeline>) -> Start {
        Start {
            program: find("sh", &[]).unwrap(),
            arguments: ["-c", script].map(str::to_owned).to_vec(),
            directory: Some(directory.to_owned()),
            log: directory.join("log"),
            logs_output: true,
            account: None,
            end: Signal::QUIT,
            lifeline: Rc::clone(lifeline),
        }
    }

    #[tokio::test]
    async fn what_is_not_ready_says_why() {
        let (directory, lifeline) = (tempfile::tempdir().unwrap(), Rc::new(Lifeline::start().unwrap()));
        let mut process = shell("echo no room; exit 3", directory.path(), &lifeline).spawn().await.unwrap();
        let error = process.ready::<()>(DEADLINE, async || anyhow::bail!("not yet")).await.unwrap_err();
        let (said, log) = (format!("{error:#}"), directory.path().join("log"));
        assert!(said.contains("sh has ended (exit status: 3)") && said.contains(log.to_str().unwrap()), "{said}");
        assert!(said.ends_with("says: no room"), "{said}");
        let mut process = shell("exec sleep 600", directory.path(), &lifeline).spawn().await.unwrap();
        let late = process.ready::<()>(Duration::ZERO, async || anyhow::bail!("not yet")).await.unwrap_err();
        assert!(format!("{late:#}").starts_with("sh is not ready in time"), "{late:#}");
        assert!(format!("{late:#}").ends_with(": not yet"), "{late:#}");
    }

    #[tokio::test]
    async fn what_is_dropped_has_ended_with_all_that_it_has_started() {
        let (directory, lifeline) = (tempfile::tempdir().unwrap(), Rc::new(Lifeline::start().unwrap()));
        // It takes no notice of its signal, and neither does its child.
        let script = "trap '' QUIT TERM; sleep 600 & echo $!; wait; sleep 600";
        let mut process = shell(script, directory.path(), &lifeline).spawn().await.unwrap();
        let says = async || {
            let text = std::fs::read_to_string(directory.path().join("log"))?;
            text.trim().parse::<i32>().context("it has said nothing yet")
        };
        let child = process.ready(DEADLINE, says).await.unwrap();
        let group = process.group;
        assert!(has_members(group));
        drop(process);
        assert!(!has_members(group) && !std::path::Path::new(&format!("/proc/{child}/exe")).exists());
    }
}
