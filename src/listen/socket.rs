//! Listening sockets, one per worker.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::Path;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::address::Address;
use crate::net::Stream;

/// Connections that the kernel queues until they are accepted, per worker. It may allow fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// The peer address of a client over a Unix socket: it has none of its own, and runs on this machine.
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A listening socket that is not registered with a runtime: it is on its way to the worker that will accept.
#[derive(Debug)]
pub(crate) enum StdListener {
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

/// A connection that is not registered with a runtime: it is on its way from one worker to another.
#[derive(Debug)]
pub(crate) enum StdStream {
    Tcp(StdTcpStream),
    Unix(StdUnixStream),
}

/// A listening socket, registered with the runtime of its worker.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Binds one socket per worker to the same address, and returns the real address too (port 0 asks for any). For TCP
/// each worker gets a socket of its own (`SO_REUSEPORT`); for a Unix socket all get copies of one.
///
/// With `exclusive`, it fails if another socket listens there already. With `SO_REUSEPORT` the kernel would silently
/// share the port with another process of the same user, which would get half of the connections.
///
/// # Errors
/// The error of the kernel.
pub(crate) fn bind(
    address: &Address,
    unix_mode: Option<u32>,
    workers: usize,
    exclusive: bool,
) -> io::Result<(Address, Vec<StdListener>)> {
    match address {
        Address::Tcp(address) => bind_tcp(*address, workers, exclusive),
        Address::Unix(file) => bind_unix(file, unix_mode, workers).map(|sockets| (address.clone(), sockets)),
    }
}

fn bind_tcp(address: SocketAddr, workers: usize, exclusive: bool) -> io::Result<(Address, Vec<StdListener>)> {
    if exclusive && address.port() != 0 {
        let probe = socket(address)?;
        probe.set_reuse_address(true)?;
        probe.bind(&address.into())?;
        probe.listen(1)?;
    }
    let mut sockets = Vec::with_capacity(workers);
    let mut real = address;
    for _ in 0..workers {
        let socket = socket(address)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&real.into())?;
        socket.listen(BACKLOG)?;
        let listener = StdTcpListener::from(socket);
        real = listener.local_addr()?;
        sockets.push(StdListener::Tcp(listener));
    }
    Ok((real.into(), sockets))
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn bind_unix(file: &Path, mode: Option<u32>, workers: usize) -> io::Result<Vec<StdListener>> {
    remove_if_dead(file)?;
    let listener = StdUnixListener::bind(file)?;
    set_mode(file, mode).inspect_err(|_| _ = fs::remove_file(file))?;
    listener.set_nonblocking(true)?;
    (0..workers).map(|_| listener.try_clone().map(StdListener::Unix)).collect()
}

/// Sets the mode of the file of a Unix socket: whoever may write to the file may connect. `None` leaves it unchanged.
pub(crate) fn set_mode(file: &Path, mode: Option<u32>) -> io::Result<()> {
    mode.map_or(Ok(()), |mode| fs::set_permissions(file, fs::Permissions::from_mode(mode)))
}

/// Removes the file of a Unix socket if no process listens on it any more: one that crashed leaves its file behind.
fn remove_if_dead(file: &Path) -> io::Result<()> {
    let Ok(metadata) = fs::symlink_metadata(file) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of this name, and it is not a socket",
        ));
    }
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    match probe.connect(&SockAddr::unix(file)?) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(file),
        // A process accepts, or is too busy to, or we may not know.
        Ok(()) | Err(_) => Err(io::ErrorKind::AddrInUse.into()),
    }
}

/// Removes the file of a Unix socket on which no listener is left.
pub(crate) fn remove(address: &Address) {
    if let Address::Unix(file) = address {
        fs::remove_file(file).ok();
    }
}

impl Listener {
    pub(crate) fn from_std(listener: StdListener) -> io::Result<Self> {
        match listener {
            StdListener::Tcp(listener) => TcpListener::from_std(listener).map(Self::Tcp),
            StdListener::Unix(listener) => UnixListener::from_std(listener).map(Self::Unix),
        }
    }

    /// The next connection, and the address of its peer.
    pub(crate) async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| (Stream::Tcp(stream), peer)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| (Stream::Unix(stream), LOCAL)),
        }
    }

    /// Closes the socket, and returns the connections that the kernel had queued already.
    pub(crate) fn into_rest(self) -> Vec<(StdStream, SocketAddr)> {
        let mut rest = Vec::new();
        match self {
            Self::Tcp(listener) => {
                if let Ok(listener) = listener.into_std() {
                    while let Ok((stream, peer)) = listener.accept() {
                        rest.extend(stream.set_nonblocking(true).ok().map(|()| (StdStream::Tcp(stream), peer)));
                    }
                }
            }
            Self::Unix(listener) => {
                if let Ok(listener) = listener.into_std() {
                    while let Ok((stream, _)) = listener.accept() {
                        rest.extend(stream.set_nonblocking(true).ok().map(|()| (StdStream::Unix(stream), LOCAL)));
                    }
                }
            }
        }
        rest
    }
}

impl StdStream {
    pub(crate) fn into_tokio(self) -> io::Result<Stream> {
        match self {
            Self::Tcp(stream) => TcpStream::from_std(stream).map(Stream::Tcp),
            Self::Unix(stream) => UnixStream::from_std(stream).map(Stream::Unix),
        }
    }

    pub(crate) fn from_tokio(stream: Stream) -> io::Result<Self> {
        match stream {
            Stream::Tcp(stream) => stream.into_std().map(Self::Tcp),
            Stream::Unix(stream) => stream.into_std().map(Self::Unix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_shared() {
        let any = Address::Tcp(([127, 0, 0, 1], 0).into());
        let (address, sockets) = bind(&any, None, 2, true).unwrap();
        assert_eq!(sockets.len(), 2);
        assert_eq!(bind(&address, None, 1, true).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(bind(&address, None, 1, false).is_ok(), "our own listener may be replaced by one at the same address");
    }

    #[test]
    fn the_file_of_a_dead_socket_is_replaced_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.sock");
        let address = Address::Unix(file.as_path().into());
        let (_, sockets) = bind(&address, None, 2, true).unwrap();
        assert_eq!(bind(&address, None, 1, true).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(sockets);
        assert!(bind(&address, None, 1, true).is_ok());
        remove(&address);
        fs::write(&file, "precious").unwrap();
        assert_eq!(bind(&address, None, 1, true).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}
