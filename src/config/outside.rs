//! What a config takes from outside of its text: other files, within a time and a size, and the environment.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel, sync_channel};
use std::time::{Duration, Instant};

use unstick_reading::Outside;

use super::include::Pattern;
use super::origin::{Contents, Link, detached};

/// How long reading all files of a config may take.
const READ_MAX: Duration = Duration::from_secs(5);
/// The most bytes of all these files.
const BYTES_MAX: u64 = 64 << 20;
/// The most bytes of a secret.
const SECRET_MAX: u64 = 64 << 10;
/// The most files of a folder that are looked at.
const ENTRIES_MAX: usize = 100_000;

/// The rest of the world, as far as it concerns a config.
pub(super) trait World: Outside {
    /// The files that a pattern means, by name. A file that is called by its name is there, whether it exists or not.
    fn files(&self, pattern: &Pattern) -> io::Result<Vec<PathBuf>>;

    /// The contents of a file of TOML.
    fn text(&self, file: &Path) -> io::Result<Vec<u8>>;

    /// What two names of the same file have in common.
    fn identity(&self, file: &Path) -> PathBuf;
}

/// There is nothing but the text.
pub(super) struct TextAlone;

impl Outside for TextAlone {
    fn variable(&self, _: &str) -> Option<OsString> {
        None
    }

    fn secret(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

impl World for TextAlone {
    fn files(&self, pattern: &Pattern) -> io::Result<Vec<PathBuf>> {
        Ok(pattern.file().into_iter().collect())
    }

    fn text(&self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn identity(&self, file: &Path) -> PathBuf {
        file.to_owned()
    }
}

/// The system. Files are read on a thread of its own, which is left behind if one hangs: a FIFO that nobody writes to,
/// or a mount that is gone.
pub(super) struct System {
    jobs: Sender<Job>,
    until: Instant,
    bytes_left: Cell<u64>,
    /// What was read so far, and what could not be.
    contents: RefCell<Contents>,
    secrets: RefCell<BTreeMap<PathBuf, Vec<u8>>>,
}

type Job = Box<dyn FnOnce() + Send>;

/// The most threads that read, or hang, at one time.
const THREADS_MAX: usize = 16;

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// Counts a thread while it runs.
struct Running(());

impl Running {
    fn count() -> Option<Self> {
        let counted = Self(());
        (RUNNING.fetch_add(1, Relaxed) < THREADS_MAX).then_some(counted)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Relaxed);
    }
}

/// What kind of file may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Also a FIFO and its like.
    Any,
    Regular,
}

impl System {
    #[expect(clippy::disallowed_methods, reason = "this crate waits for files only, and has no other clock")]
    pub(super) fn new() -> Self {
        let (jobs, received) = channel::<Job>();
        // Without a thread there is nobody who receives jobs, which they report.
        if let Some(counted) = Running::count() {
            let run = move || {
                let _counted = counted;
                received.into_iter().for_each(|job| job());
            };
            std::thread::Builder::new().name("unstick-config".into()).spawn(run).ok();
        }
        let until = Instant::now() + READ_MAX;
        let bytes_left = Cell::new(BYTES_MAX);
        Self { jobs, until, bytes_left, contents: RefCell::default(), secrets: RefCell::default() }
    }

    /// The contents of the first file, which may be of any kind.
    pub(super) fn first(&self, file: &Path) -> io::Result<Vec<u8>> {
        self.read(file, Kind::Any, self.bytes_left.get())
    }

    /// What was read, and what could not be.
    pub(super) fn into_contents(self) -> Contents {
        self.contents.into_inner()
    }

    fn read(&self, file: &Path, kind: Kind, bytes_max: u64) -> io::Result<Vec<u8>> {
        let path = file.to_owned();
        let read = self.within(move || contents(&path, kind, bytes_max));
        let (read, link) = read.map_or_else(|error| (Err(error), None), |(bytes, link)| (Ok(bytes), link));
        if let Ok(bytes) = &read {
            self.bytes_left.set(self.bytes_left.get().saturating_sub(bytes.len() as u64));
        }
        self.contents.borrow_mut().add(file, read.as_deref().ok(), link);
        read
    }

    /// Runs a job on the thread that reads, for as long as there is time.
    #[expect(clippy::disallowed_methods, reason = "as above")]
    fn within<T: Send + 'static>(&self, job: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
        let (done, result) = sync_channel(1);
        let no_thread = |_| io::Error::other("no thread to read files: too many hang already");
        self.jobs.send(Box::new(move || _ = done.send(job()))).map_err(no_thread)?;
        match result.recv_timeout(self.until.saturating_duration_since(Instant::now())) {
            Ok(result) => result,
            Err(RecvTimeoutError::Timeout) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, format!("nothing came within {READ_MAX:?}")))
            }
            Err(RecvTimeoutError::Disconnected) => Err(io::Error::other("reading files ended in a panic")),
        }
    }
}

impl Outside for System {
    fn variable(&self, name: &str) -> Option<OsString> {
        std::env::var_os(name)
    }

    fn secret(&self, file: &Path) -> io::Result<Vec<u8>> {
        if let Some(known) = self.secrets.borrow().get(file) {
            return Ok(known.clone());
        }
        let secret = self.read(file, Kind::Regular, SECRET_MAX.min(self.bytes_left.get()))?;
        self.secrets.borrow_mut().insert(file.to_owned(), secret.clone());
        Ok(secret)
    }
}

impl World for System {
    fn files(&self, pattern: &Pattern) -> io::Result<Vec<PathBuf>> {
        if let Some(file) = pattern.file() {
            return Ok(vec![file]);
        }
        let wanted = pattern.clone();
        let listed = self.within(move || listed(&wanted));
        if listed.is_err() {
            self.contents.borrow_mut().add(&pattern.folder, None, None);
        }
        listed
    }

    fn text(&self, file: &Path) -> io::Result<Vec<u8>> {
        self.read(file, Kind::Regular, self.bytes_left.get())
    }

    fn identity(&self, file: &Path) -> PathBuf {
        let path = file.to_owned();
        self.within(move || fs::canonicalize(path)).unwrap_or_else(|_| file.to_owned())
    }
}

/// The bytes of a file, and what identifies it if it has no name any more. It blocks.
fn contents(path: &Path, kind: Kind, bytes_max: u64) -> io::Result<(Vec<u8>, Option<Link>)> {
    // Before it is opened: a FIFO would wait for its writer.
    if kind == Kind::Regular && !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let file = File::open(path)?;
    let link = detached(path, &file.metadata()?);
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok((bytes, link)) }
}

/// The files of a folder that fit, by name; none if there is no folder. It blocks.
fn listed(pattern: &Pattern) -> io::Result<Vec<PathBuf>> {
    let folder = if pattern.folder.as_os_str().is_empty() { Path::new(".") } else { &pattern.folder };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for (nth, entry) in entries.enumerate() {
        let name = entry?.file_name();
        if nth >= ENTRIES_MAX {
            return Err(io::Error::other(format!("it has more than {ENTRIES_MAX} files")));
        }
        // A link that leads nowhere stays, so that reading it says so.
        if pattern.fits(&name) && fs::metadata(folder.join(&name)).map_or(true, |found| found.is_file()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names.into_iter().map(|name| pattern.folder.join(name)).collect())
}
