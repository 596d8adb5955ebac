//! A Unix socket that only the user of this process may open.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock};
use rustix::process::geteuid;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::time::Instant;

use super::socket::{remove_if_dead, set_mode};

/// Only the user of the process, and root, may connect.
const MODE: u32 = 0o600;
/// How long a start waits for another one at the same file, and how often it looks.
const TURN_WITHIN: Duration = Duration::from_secs(1);
const TURN_PAUSE: Duration = Duration::from_millis(10);

/// Binds the socket. The file of a dead one is replaced, that of one on which a process listens never.
///
/// # Errors
/// The error of the kernel.
pub(crate) fn bind_private(file: &Path, backlog: i32) -> io::Result<UnixListener> {
    let _turn = Turn::at(file)?;
    remove_if_dead(file)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Linux gives its mode to the file, less the umask. It may fail elsewhere.
    fchmod(&socket, Mode::from_raw_mode(MODE)).ok();
    socket.bind(&SockAddr::unix(file)?)?;
    // Nobody can connect before it listens, so nobody could while its mode was another one.
    make_private(file).and_then(|()| socket.listen(backlog)).inspect_err(|_| _ = fs::remove_file(file))?;
    Ok(socket.into())
}

/// Two processes that start at one time could both find a dead socket, and the second could remove the file of the
/// first. So only one at a time looks: the one that has locked a file beside the socket, which is removed afterwards.
struct Turn {
    /// Closing it ends the lock.
    _locked: File,
    lock: PathBuf,
}

impl Turn {
    /// Waits for the turn, not for long. `None` where there can be no lock of this user: then nobody is waited for,
    /// because nobody else may keep this process from its start.
    #[expect(clippy::disallowed_methods, reason = "a lock wakes nobody who does not block for it without a deadline")]
    fn at(file: &Path) -> io::Result<Option<Self>> {
        let mut lock = file.as_os_str().to_owned();
        lock.push(".lock");
        let (lock, deadline) = (PathBuf::from(lock), Instant::now() + TURN_WITHIN);
        loop {
            let Some(locked) = own_file(&lock) else { return Ok(None) };
            match flock(&locked, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&locked, &lock) => return Ok(Some(Self { _locked: locked, lock })),
                // The one that had it has removed the file.
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Ok(None),
            }
            if Instant::now() >= deadline {
                let why = format!("another process of this user has locked {} to start there", lock.display());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, why));
            }
            thread::sleep(TURN_PAUSE);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        fs::remove_file(&self.lock).ok();
    }
}

/// The file, which only this user may open, so that nobody else can lock it.
fn own_file(file: &Path) -> Option<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut options = File::options();
    options.read(true).write(true).create(true).mode(MODE).custom_flags(i32::try_from(flags.bits()).ok()?);
    let opened = options.open(file).ok()?;
    let found = opened.metadata().ok()?;
    let is_own = found.is_file() && found.uid() == geteuid().as_raw() && found.permissions().mode() & 0o077 == 0;
    is_own.then_some(opened)
}

fn is_at(open: &File, file: &Path) -> bool {
    let id = |found: fs::Metadata| (found.dev(), found.ino());
    open.metadata().map(id).ok() == fs::symlink_metadata(file).map(id).ok()
}

fn make_private(file: &Path) -> io::Result<()> {
    let mode = || fs::symlink_metadata(file).map(|found| found.permissions().mode() & 0o777);
    if mode()? != MODE {
        set_mode(file, MODE)?;
    }
    if mode()? == MODE { Ok(()) } else { Err(io::Error::other("its file cannot be made private")) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    fn mode(file: &Path) -> u32 {
        fs::symlink_metadata(file).unwrap().permissions().mode() & 0o777
    }

    /// The umask belongs to the process, so it is not changed here; the usual one would leave 755.
    #[test]
    fn the_file_is_private_before_anybody_can_connect() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&file).unwrap()).unwrap();
        let error = UnixStream::connect(&file).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused, "it does not listen yet");
        drop(socket);
        let _listener = bind_private(&file, 1).unwrap();
        assert_eq!(mode(&file), MODE);
        assert!(UnixStream::connect(&file).is_ok());
    }

    #[test]
    fn a_live_socket_is_left_alone_and_a_dead_one_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.sock");
        let first = bind_private(&file, 1).unwrap();
        assert_eq!(bind_private(&file, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(UnixStream::connect(&file).is_ok(), "the first one still listens");
        drop(first);
        assert!(bind_private(&file, 1).is_ok());
        fs::remove_file(&file).unwrap();
        fs::write(&file, "precious").unwrap();
        assert_eq!(bind_private(&file, 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }

    #[test]
    fn only_one_process_at_a_time_looks_for_dead_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.sock");
        let turn = Turn::at(&file).unwrap().unwrap();
        let error = bind_private(&file, 1).unwrap_err();
        assert!(error.to_string().contains("a.sock.lock"), "{error}");
        thread::scope(|scope| {
            let waiting = scope.spawn(|| bind_private(&file, 1));
            drop(turn);
            assert!(waiting.join().unwrap().is_ok(), "it waits for its turn");
        });
        assert!(!folder.path().join("a.sock.lock").exists());
    }

    #[test]
    fn nobody_else_keeps_a_process_from_its_start() {
        let folder = tempfile::tempdir().unwrap();
        let lock_of = |file: &File| flock(file, FlockOperation::NonBlockingLockExclusive).unwrap();
        let others = File::open(folder.path()).unwrap();
        lock_of(&others);
        assert!(bind_private(&folder.path().join("a.sock"), 1).is_ok(), "anybody may lock a folder");
        let lock = folder.path().join("b.sock.lock");
        let others = File::create(&lock).unwrap();
        set_mode(&lock, 0o666).unwrap();
        lock_of(&others);
        assert!(bind_private(&folder.path().join("b.sock"), 1).is_ok(), "anybody may lock what anybody may open");
        assert!(lock.exists());
        std::os::unix::fs::symlink(&lock, folder.path().join("c.sock.lock")).unwrap();
        assert!(bind_private(&folder.path().join("c.sock"), 1).is_ok(), "links are not followed");
    }
}
