//! Listening sockets, one per worker.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdTcpListener, TcpStream as StdTcpStream};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::Path;

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::config::address::Address;
use crate::net::Stream;

/// Connections that the kernel queues until they are accepted, per worker. It may allow fewer (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// The umask of a process whose own cannot be read.
const USUAL_UMASK: u32 = 0o022;

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

/// Binds the sockets of a listener, and returns the real address too (port 0 asks for any): one per worker for TCP
/// (`SO_REUSEPORT`), and one for a Unix socket, of which all workers get copies.
///
/// Several may overlap, as a wildcard and a specific address, or both families: the kernel gives a connection to the
/// most specific one, and one of IPv4 rather to `0.0.0.0` than to `[::]`.
///
/// # Errors
/// The error of the kernel.
pub(crate) fn bind(
    address: &Address,
    unix_mode: Option<u32>,
    workers: usize,
) -> io::Result<(Address, Vec<StdListener>)> {
    match address {
        Address::Tcp(address) => bind_tcp(*address, workers),
        Address::Unix(file) => bind_unix(file, unix_mode).map(|socket| (address.clone(), vec![socket])),
    }
}

/// Fails if another socket listens there already. With `SO_REUSEPORT` the kernel would silently share the port with
/// another process of the same user, which would get half of the connections.
///
/// # Errors
/// The error of the kernel.
pub(crate) fn probe(address: &Address) -> io::Result<()> {
    match address {
        Address::Tcp(address) if address.port() != 0 => bind_alone(*address, 1).map(drop),
        Address::Tcp(_) | Address::Unix(_) => Ok(()),
    }
}

/// Binds one socket that shares its port with no other, with a queue of this length.
///
/// # Errors
/// The error of the kernel.
pub(crate) fn bind_alone(address: SocketAddr, backlog: i32) -> io::Result<StdTcpListener> {
    let (socket, address) = socket(address)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

pub(super) fn bind_tcp(address: SocketAddr, workers: usize) -> io::Result<(Address, Vec<StdListener>)> {
    let mut sockets = Vec::with_capacity(workers);
    let mut real = address;
    for _ in 0..workers {
        let (socket, wanted) = socket(real)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&wanted.into())?;
        socket.listen(BACKLOG)?;
        let listener = StdTcpListener::from(socket);
        real = listener.local_addr()?;
        sockets.push(StdListener::Tcp(listener));
    }
    Ok((real.into(), sockets))
}

/// A socket for this address, or for `0.0.0.0` in place of `[::]` where the system has no IPv6.
fn socket(address: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let made = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP));
    let (socket, address) = match without_v6(address, &made) {
        Some(address) => (Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?, address),
        None => (made?, address),
    };
    if address.is_ipv6() {
        // Both families, whatever `net.ipv6.bindv6only` says.
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// The address that stands in for `address` if the kernel knows no IPv6.
fn without_v6<T>(address: SocketAddr, made: &io::Result<T>) -> Option<SocketAddr> {
    let is_unknown = made.as_ref().is_err_and(|error| error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error()));
    let is_for_all = address.is_ipv6() && address.ip().is_unspecified();
    (is_unknown && is_for_all).then(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port()))
}

/// The address of a peer. A socket for both families shows IPv4 addresses in IPv6 clothes.
fn canonical(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

fn bind_unix(file: &Path, mode: Option<u32>) -> io::Result<StdListener> {
    remove_if_dead(file)?;
    let listener = StdUnixListener::bind(file)?;
    mode.map_or(Ok(()), |mode| set_mode(file, mode)).inspect_err(|_| _ = fs::remove_file(file))?;
    listener.set_nonblocking(true)?;
    Ok(StdListener::Unix(listener))
}

/// Sets the mode of the file of a Unix socket: whoever may write to the file may connect.
pub(crate) fn set_mode(file: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(file, fs::Permissions::from_mode(mode))
}

/// The mode that the file of a Unix socket gets if nobody sets one: what the umask of this process leaves.
pub(crate) fn default_mode() -> u32 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let umask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    let umask = umask.and_then(|umask| u32::from_str_radix(umask.trim(), 8).ok()).unwrap_or(USUAL_UMASK);
    0o777 & !umask
}

/// Which file is at the path of a Unix socket: device and inode. A socket keeps its inode as long as it is open, also
/// when its file was removed.
pub(crate) type FileId = (u64, u64);

/// The file of a Unix socket; `None` for TCP, or if there is none.
pub(crate) fn file_id(address: &Address) -> Option<FileId> {
    let Address::Unix(file) = address else { return None };
    fs::symlink_metadata(file).ok().map(|found| (found.dev(), found.ino()))
}

/// Removes the file of a Unix socket if no process listens on it any more: one that crashed leaves its file behind.
pub(super) fn remove_if_dead(file: &Path) -> io::Result<()> {
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

/// Removes the file of a Unix socket on which no listener is left, if it is still `own`: another process may have put
/// its own file there.
pub(crate) fn remove(address: &Address, own: Option<FileId>) {
    if let Address::Unix(file) = address
        && own.is_some()
        && file_id(address) == own
    {
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
            Self::Tcp(listener) => listener.accept().await.map(|(stream, peer)| (Stream::Tcp(stream), canonical(peer))),
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
                        let fresh = stream.set_nonblocking(true).ok();
                        rest.extend(fresh.map(|()| (StdStream::Tcp(stream), canonical(peer))));
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
            #[cfg(feature = "sim")]
            Stream::Sim(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_not_shared() {
        let any = Address::Tcp(([127, 0, 0, 1], 0).into());
        let (address, sockets) = bind(&any, None, 2).unwrap();
        assert_eq!(sockets.len(), 2);
        assert_eq!(probe(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(bind(&address, None, 1).is_ok(), "our own listener may be replaced by one at the same address");
        drop(sockets);
        assert!(probe(&address).is_ok());
    }

    #[test]
    fn without_ipv6_all_addresses_are_those_of_ipv4() {
        let unknown: io::Result<()> = Err(Errno::AFNOSUPPORT.into());
        let stands_in = |text: &str, made| without_v6(text.parse().unwrap(), made).map(|address| address.to_string());
        assert_eq!(stands_in("[::]:80", &unknown), Some("0.0.0.0:80".to_owned()));
        assert_eq!(stands_in("[::1]:80", &unknown), None);
        assert_eq!(stands_in("[::]:80", &Ok(())), None);
        assert_eq!(stands_in("[::]:80", &Err(Errno::MFILE.into())), None);
    }

    #[test]
    fn the_file_of_a_dead_socket_is_replaced_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.sock");
        let address = Address::Unix(file.as_path().into());
        let (_, sockets) = bind(&address, None, 2).unwrap();
        assert_eq!(bind(&address, None, 1).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(sockets);
        assert!(bind(&address, None, 1).is_ok());
        remove(&address, Some((0, 0)));
        assert!(file.exists(), "it is another one");
        remove(&address, file_id(&address));
        fs::write(&file, "precious").unwrap();
        assert_eq!(bind(&address, None, 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    }
}
