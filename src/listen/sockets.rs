//! The sockets of one listener: how they are dealt out among the workers, and how they come from another process.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::net::AddressFamily;
use rustix::net::sockopt::{socket_acceptconn, socket_domain};
use socket2::SockRef;

use super::socket::{StdListener, bind_tcp};
use crate::config::address::Address;

/// Deals copies of `sockets` out: worker number n accepts from those in place n. Every socket has a worker, since what
/// the kernel has queued on one that nobody accepts from would wait for ever. Every worker has a socket too, so several
/// may accept from the same one.
///
/// # Errors
/// There are no more file descriptors.
pub(crate) fn deal(sockets: &[StdListener], workers: usize) -> io::Result<Vec<Vec<StdListener>>> {
    let mut hands: Vec<Vec<StdListener>> = (0..workers).map(|_| Vec::new()).collect();
    for (nth, socket) in sockets.iter().cycle().take(sockets.len().max(workers)).enumerate() {
        if let Some(hand) = hands.get_mut(nth % workers.max(1)) {
            hand.push(socket.try_clone()?);
        }
    }
    Ok(hands)
}

/// Adds sockets to those of another process until every worker has its own. Where that is not possible, as beside a
/// socket without `SO_REUSEPORT` or one of another user, workers share.
///
/// The kernel sends connections to them from now on, so they must be accepted from.
pub(crate) fn fill_up(sockets: &mut Vec<StdListener>, address: &Address, workers: usize) {
    let missing = workers.saturating_sub(sockets.len());
    let (Some(StdListener::Tcp(first)), Address::Tcp(address)) = (sockets.first(), address) else { return };
    if missing > 0
        && SockRef::from(first).reuse_port().unwrap_or(false)
        && let Ok((_, more)) = bind_tcp(*address, missing)
    {
        sockets.extend(more);
    }
}

impl StdListener {
    /// A listening socket that another process has opened, and its address.
    ///
    /// # Errors
    /// It is no socket that listens, or of an unknown kind.
    pub(crate) fn inherit(socket: OwnedFd) -> io::Result<(Self, Address)> {
        if !socket_acceptconn(&socket)? {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it does not listen"));
        }
        let unknown = || io::Error::new(io::ErrorKind::Unsupported, "it is neither TCP nor the file of a Unix socket");
        match socket_domain(&socket)? {
            AddressFamily::INET | AddressFamily::INET6 => {
                let listener = TcpListener::from(socket);
                listener.set_nonblocking(true)?;
                let address: SocketAddr = listener.local_addr()?;
                Ok((Self::Tcp(listener), address.into()))
            }
            AddressFamily::UNIX => {
                let listener = UnixListener::from(socket);
                listener.set_nonblocking(true)?;
                let address = listener.local_addr()?;
                let file = address.as_pathname().ok_or_else(unknown)?;
                Ok((Self::Unix(listener), Address::Unix(file.into())))
            }
            _ => Err(unknown()),
        }
    }

    /// Another handle of the same socket, with the same queue.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(listener) => listener.try_clone().map(Self::Tcp),
            Self::Unix(listener) => listener.try_clone().map(Self::Unix),
        }
    }
}

impl AsFd for StdListener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::socket::bind;

    fn bound(sockets: usize) -> (Address, Vec<StdListener>) {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        bind(&any.into(), None, sockets).unwrap()
    }

    #[test]
    fn every_socket_has_a_worker_and_every_worker_a_socket() {
        for (sockets, workers, expected) in [
            (1, 1, &[1][..]),
            (2, 2, &[1, 1]),
            (1, 3, &[1, 1, 1]),
            (4, 3, &[2, 1, 1]),
            (2, 3, &[1, 1, 1]),
            (0, 2, &[0, 0]),
        ] {
            let hands = deal(&bound(sockets.max(1)).1[..sockets], workers).unwrap();
            let sizes: Vec<usize> = hands.iter().map(Vec::len).collect();
            assert_eq!(sizes, expected, "{sockets} sockets, {workers} workers");
        }
    }

    #[test]
    fn missing_sockets_are_bound_beside_those_that_allow_it() {
        let (address, mut sockets) = bound(1);
        fill_up(&mut sockets, &address, 3);
        assert_eq!(sockets.len(), 3);
        fill_up(&mut sockets, &address, 2);
        assert_eq!(sockets.len(), 3, "none is closed");

        let alone = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = alone.local_addr().unwrap().into();
        let mut sockets = vec![StdListener::Tcp(alone)];
        fill_up(&mut sockets, &address, 3);
        assert_eq!(sockets.len(), 1);
    }

    #[test]
    fn what_another_process_has_opened_is_looked_at() {
        let (address, sockets) = bound(1);
        let copy = sockets[0].as_fd().try_clone_to_owned().unwrap();
        assert_eq!(StdListener::inherit(copy).unwrap().1, address);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.sock");
        let listener = UnixListener::bind(&file).unwrap();
        assert_eq!(StdListener::inherit(listener.into()).unwrap().1, Address::Unix(file.into()));
        let (one, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let connected = StdListener::inherit(one.into()).unwrap_err();
        assert_eq!(connected.to_string(), "it does not listen");
        assert!(StdListener::inherit(std::fs::File::open("Cargo.toml").unwrap().into()).is_err());
    }
}
