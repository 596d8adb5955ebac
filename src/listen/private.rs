//! A Unix socket that only the user of this process may open.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use socket2::{Domain, SockAddr, Socket, Type};

use super::socket::{remove_if_dead, set_mode};

/// Only the user of the process, and root, may connect.
const MODE: u32 = 0o600;

/// Binds the socket. The file of a dead one is replaced, that of one on which a process listens never.
///
/// # Errors
/// The error of the kernel.
pub(crate) fn bind_private(file: &Path, backlog: i32) -> io::Result<UnixListener> {
    let _alone = alone_in(file.parent().unwrap_or(Path::new("/")))?;
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
/// first. So only one at a time looks. A folder that cannot be read is not locked.
fn alone_in(folder: &Path) -> io::Result<Option<File>> {
    let Ok(folder) = File::open(folder) else { return Ok(None) };
    match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(io::ErrorKind::AddrInUse.into()),
        _ => Ok(Some(folder)),
    }
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
        let alone = alone_in(folder.path()).unwrap();
        let file = folder.path().join("a.sock");
        assert_eq!(bind_private(&file, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(alone);
        assert!(bind_private(&file, 1).is_ok());
    }
}
