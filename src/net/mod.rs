//! Sockets: TCP and Unix connections, and the layers between them and HTTP.

mod ahead;
pub(crate) mod empty_frames;
pub(crate) mod h1_decode;
pub(crate) mod h1_encode;
pub(crate) mod h1_read;
pub(crate) mod h2;
pub(crate) mod h2_backlog;
pub(crate) mod h2_signals;
pub(crate) mod h2_values;
pub(crate) mod outbox;
pub(crate) mod pem;
pub(crate) mod proxy_protocol;
#[cfg(feature = "sim")]
pub mod sim;
pub(crate) mod socket;
pub(crate) mod socket_io;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod trust;

use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::config::address::Address;

/// The pause before a Unix socket with a full backlog is tried again.
const QUEUE_FULL_PAUSE: Duration = Duration::from_millis(5);

/// How long an endpoint may send nothing until the kernel asks whether it is there, how often it asks, and how many
/// times.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
const KEEPALIVE_PROBES: u32 = 3;
/// How long what was sent to an endpoint may be unacknowledged. It is long because it counts too while an endpoint
/// lives but takes nothing; the deadlines of the config end that earlier.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(120);

/// Wakes the present task when all others have had their turn, and the runtime has asked the kernel what has come for
/// them.
#[cold]
pub(crate) fn give_way(cx: &mut Context<'_>) {
    if pin!(yield_now()).poll(cx).is_ready() {
        // Not in this version of the runtime, but nothing would wake the task.
        cx.waker().wake_by_ref();
    }
}

/// Whether a connection could not be opened for lack of descriptors, ports or memory of this process or machine: the
/// other side is not to blame.
pub(crate) fn is_own_lack(error: &io::Error) -> bool {
    let own = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    error.raw_os_error().is_some_and(|code| own.iter().any(|errno| errno.raw_os_error() == code))
}

/// Whether that was for lack of descriptors. They belong to the whole process: whoever closes one helps.
pub(crate) fn lacks_descriptors(error: &io::Error) -> bool {
    let own = [Errno::MFILE, Errno::NFILE];
    error.raw_os_error().is_some_and(|code| own.iter().any(|errno| errno.raw_os_error() == code))
}

/// The network by which clients are counted: an IPv4 address, or an IPv6 /64, because a client usually controls a whole
/// /64.
pub(crate) fn network_of(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// A simulated socket, for tests.
    #[cfg(feature = "sim")]
    Sim(Box<dyn sim::Wire>),
}

impl Stream {
    /// Connects to `address`. Small messages are sent without delay, and a peer that is gone without a word is found.
    pub(crate) async fn connect(address: &Address) -> io::Result<Self> {
        #[cfg(feature = "sim")]
        if let Some(connecting) = sim::connect(address) {
            return connecting.await.map(Self::Sim);
        }
        let stream = match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                find_dead_peer(&stream)?;
                Self::Tcp(stream)
            }
            Address::Unix(file) => Self::Unix(connect_unix(file).await?),
        };
        stream.set_nodelay()?;
        Ok(stream)
    }

    /// Sends small messages without delay: sets `TCP_NODELAY`. A Unix socket needs no such option.
    pub(crate) fn set_nodelay(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_nodelay(true),
            Self::Unix(_) => Ok(()),
            #[cfg(feature = "sim")]
            Self::Sim(_) => Ok(()),
        }
    }

    /// See [`TcpStream::try_write`].
    pub(crate) fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            #[cfg(feature = "sim")]
            Self::Sim(wire) => wire.try_write(bytes),
        }
    }

    /// Whether the peer has neither closed nor sent anything that was not read yet. It asks the kernel, which knows
    /// before the runtime does.
    pub(crate) fn is_silent(&self) -> bool {
        let peeked = match self {
            Self::Tcp(stream) => peek(SockRef::from(stream)),
            Self::Unix(stream) => peek(SockRef::from(stream)),
            #[cfg(feature = "sim")]
            Self::Sim(wire) => return wire.is_silent(),
        };
        is_nothing_there(peeked)
    }

    /// The same, as far as the runtime knows: as of the events that it took from the kernel last. Without any, this
    /// costs no system call.
    pub(crate) fn is_silent_so_far(&self) -> bool {
        let peeked = match self {
            Self::Tcp(stream) => stream.try_io(Interest::READABLE, || peek(SockRef::from(stream))),
            Self::Unix(stream) => stream.try_io(Interest::READABLE, || peek(SockRef::from(stream))),
            // There, it never knows in time.
            #[cfg(feature = "sim")]
            Self::Sim(_) => return true,
        };
        is_nothing_there(peeked)
    }

    /// Makes closing it send a reset (TCP RST).
    pub(crate) fn reset_when_closed(&self) {
        let socket = match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
            #[cfg(feature = "sim")]
            Self::Sim(wire) => return wire.reset_when_closed(),
        };
        socket.set_linger(Some(Duration::ZERO)).ok();
    }

    /// Shuts down both directions, even if others still hold the socket.
    pub(crate) fn shut_down(&self) {
        let socket = match self {
            Self::Tcp(stream) => SockRef::from(stream),
            Self::Unix(stream) => SockRef::from(stream),
            #[cfg(feature = "sim")]
            Self::Sim(wire) => return wire.shut_down(),
        };
        socket.shutdown(std::net::Shutdown::Both).ok();
    }

    /// The local address; `None` for a Unix socket.
    pub(crate) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(stream) => stream.local_addr().ok(),
            Self::Unix(_) => None,
            #[cfg(feature = "sim")]
            Self::Sim(_) => None,
        }
    }
}

/// Whether there is a first byte to be read, which stays; the end of the stream counts as one.
fn peek(socket: SockRef<'_>) -> io::Result<usize> {
    socket.peek(&mut [MaybeUninit::uninit()])
}

fn is_nothing_there(peeked: io::Result<usize>) -> bool {
    peeked.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}

/// Lets the kernel find out that the peer is gone: by keep-alive when nothing is sent, by the missing acknowledgement
/// when something is (RFC 9293 section 3.8.4, RFC 5482).
fn find_dead_peer(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY);
    socket.set_tcp_keepalive(&keepalive.with_retries(KEEPALIVE_PROBES))?;
    socket.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN))
}

/// A full backlog of a Unix socket refuses at once (`EAGAIN`), where TCP waits. So this function waits. The caller
/// bounds the time.
async fn connect_unix(file: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(file).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(QUEUE_FULL_PAUSE).await,
            result => return result,
        }
    }
}

impl AsyncRead for Stream {
    #[inline(always)]
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "sim")]
            Self::Sim(wire) => wire.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    #[inline]
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(feature = "sim")]
            Self::Sim(wire) => wire.poll_write(cx, &[io::IoSlice::new(buf)]),
        }
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(feature = "sim")]
            Self::Sim(wire) => wire.poll_write(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "sim")]
            Self::Sim(_) => Poll::Ready(Ok(())),
        }
    }

    #[inline]
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "sim")]
            Self::Sim(wire) => wire.poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port that is taken does not become free by closing connections to somebody else.
    #[test]
    fn only_descriptors_are_freed_by_closing_something() {
        for (errno, lacks) in [(Errno::MFILE, true), (Errno::NFILE, true), (Errno::ADDRNOTAVAIL, false)] {
            let error = io::Error::from(errno);
            assert!(is_own_lack(&error));
            assert_eq!(lacks_descriptors(&error), lacks, "{error}");
        }
        assert!(!lacks_descriptors(&io::ErrorKind::ConnectionRefused.into()));
    }
}
