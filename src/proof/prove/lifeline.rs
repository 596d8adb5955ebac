//! What ends the processes of a run and removes its folders when the run itself is killed: a second process at the
//! other end of a pipe. The kernel closes the pipe however the run ends.
//!
//! A process is made known to it before the program in it begins (see `process`), so there is no moment in which a kill
//! of the run would leave one behind. It is in a group of its own, and ignores what a terminal sends.

use std::io::{PipeWriter, Write as _, pipe};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal};

use super::process::{name_of, until};

/// What the other process runs.
const SCRIPT: &str = include_str!("lifeline.sh");
/// How long its end is waited for. There is nothing left for it to do when a run ends by itself.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// This end of the pipe. Dropping it ends what still runs.
#[derive(Debug)]
pub(super) struct Lifeline {
    pipe: Mutex<Option<PipeWriter>>,
    child: Mutex<Child>,
}

impl Lifeline {
    /// Starts the other process.
    pub(super) fn start() -> anyhow::Result<Self> {
        let (reader, writer) = pipe().context("cannot make a pipe")?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "unstick-prove-lifeline"]).current_dir("/");
        super::secret::forget(&mut command);
        // What it cannot remove it says.
        command.stdin(reader).stdout(Stdio::null()).stderr(Stdio::inherit());
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let child = Mutex::new(command.spawn().context("cannot start sh")?);
        Ok(Self { pipe: Mutex::new(Some(writer)), child })
    }

    /// This group runs, and ends by this signal.
    pub(super) fn hold(&self, group: Pid, end: Signal) -> anyhow::Result<()> {
        let told = self.tell(&format!("+ {} {}\n", group.as_raw_nonzero(), name_of(end)));
        told.context("the process that would clear up after this one has ended")
    }

    /// This group is over, and its number may belong to others from now on.
    pub(super) fn release(&self, group: Pid) {
        // If the other process is gone there is nothing to release from.
        self.tell(&format!("- {}\n", group.as_raw_nonzero())).ok();
    }

    /// This is removed at the end.
    pub(super) fn remove(&self, path: &Path) -> anyhow::Result<()> {
        let text = path.to_str().filter(|text| !text.contains('\n') && path.is_absolute());
        let text =
            text.with_context(|| format!("the path {} is not absolute, or no text in one line", path.display()))?;
        self.tell(&format!("/ {text}\n")).context("the process that would clear up after this one has ended")
    }

    /// A line is far shorter than what a pipe takes at once, so this waits for nobody.
    fn tell(&self, line: &str) -> std::io::Result<()> {
        let mut pipe = self.pipe.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pipe) = pipe.as_mut() else { return Err(std::io::ErrorKind::BrokenPipe.into()) };
        pipe.write_all(line.as_bytes())
    }
}

impl Drop for Lifeline {
    fn drop(&mut self) {
        self.pipe.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        // If it takes longer, it goes on without us.
        until(END_DEADLINE, || !matches!(child.try_wait(), Ok(None)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_ends_and_what_is_to_be_removed_is_gone_when_it_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (kept, removed) = (folder.path().join("kept"), folder.path().join("a [k]* folder to remove"));
        std::fs::create_dir(&kept).unwrap();
        std::fs::create_dir(&removed).unwrap();
        let sleeper = || {
            let mut command = Command::new("sleep");
            std::os::unix::process::CommandExt::process_group(command.arg("600"), 0);
            let child = command.spawn().unwrap();
            let group = Pid::from_raw(child.id().cast_signed()).unwrap();
            (child, group)
        };
        let mut all: Vec<_> = (0..4).map(|_| sleeper()).collect();
        let lifeline = Lifeline::start().unwrap();
        for ((_, group), end) in all.iter().zip([Signal::KILL, Signal::QUIT, Signal::KILL, Signal::KILL]) {
            lifeline.hold(*group, end).unwrap();
        }
        lifeline.release(all[2].1);
        lifeline.remove(&removed).unwrap();
        assert!(lifeline.remove(Path::new("/two\nlines")).is_err() && lifeline.remove(Path::new("kept")).is_err());
        drop(lifeline);
        let is_over = |child: &mut Child| !matches!(child.try_wait(), Ok(None));
        for place in [0, 1, 3] {
            assert!(until(Duration::from_secs(10), || is_over(&mut all[place].0)), "{place}");
        }
        assert!(until(Duration::from_secs(10), || !removed.exists()), "it is removed");
        assert!(!is_over(&mut all[2].0) && kept.exists(), "it is not asked for");
        all[2].0.kill().unwrap();
        all[2].0.wait().unwrap();
    }
}
