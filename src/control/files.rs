//! Reads files away from the control thread.
//!
//! A file may hang: a FIFO that nobody writes to, a network mount that is gone. What reads one gets a thread of its
//! own, which is left behind when it takes too long, so that signals, probes and the admin port go on.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long reading files may take.
pub(crate) const READ_MAX: Duration = Duration::from_secs(10);
/// The most threads that read, or hang, at one time.
const THREADS_MAX: usize = 4;
/// The most bytes of a file that the system writes for everybody (`/etc/hosts`).
const SYSTEM_FILE_MAX: u64 = 4 << 20;

/// Starts threads that read files. All copies count together; each purpose has its own, so that one file that hangs
/// does not keep others from being read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    running: Arc<AtomicUsize>,
}

impl Files {
    /// Runs `job` on a thread of its own.
    ///
    /// # Errors
    /// It took longer than [`READ_MAX`], or too many others still hang.
    pub(crate) async fn read<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        let running = Running::count(&self.running).ok_or("too many reads of files hang already")?;
        let (done, result) = oneshot::channel();
        let thread = std::thread::Builder::new().name("unstick-files".into()).spawn(move || {
            let _running = running;
            done.send(job()).ok();
        });
        thread.map_err(|error| format!("no thread to read files: {error}"))?;
        match timeout(READ_MAX, result).await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err("reading files ended in a panic".to_owned()),
            Err(_) => Err(format!(
                "reading files took longer than {READ_MAX:?}: one of them is a FIFO, or on a mount that hangs"
            )),
        }
    }
}

/// Counts a thread while it runs.
struct Running(Arc<AtomicUsize>);

impl Running {
    fn count(running: &Arc<AtomicUsize>) -> Option<Self> {
        let counted = Self(Arc::clone(running));
        (running.fetch_add(1, Relaxed) < THREADS_MAX).then_some(counted)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Reads a file of the system. It blocks.
///
/// # Errors
/// The error of the system; a file that is too large.
pub(super) fn system_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(SYSTEM_FILE_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > SYSTEM_FILE_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_hangs_is_left_behind_and_counted() {
        let files = Files::default();
        let (release, hang) = std::sync::mpsc::channel::<()>();
        let hang = Arc::new(std::sync::Mutex::new(hang));
        tokio::time::pause();
        for _ in 0..THREADS_MAX {
            let hang = Arc::clone(&hang);
            let result = files.read(move || hang.lock().unwrap().recv().ok()).await;
            assert!(result.unwrap_err().contains("took longer"));
        }
        assert!(files.read(|| ()).await.unwrap_err().contains("too many"));
        tokio::time::resume();
        drop(release);
        let ends = async { while files.read(|| ()).await.is_err() {} };
        timeout(READ_MAX, ends).await.expect("what has ended does not count");
    }
}
