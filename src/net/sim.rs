//! Simulated sockets in place of the kernel's, for tests with the feature `sim`.
//!
//! A simulated socket is whatever implements [`Wire`]. Within a thread that has a [`Network`], connections to endpoints
//! go through it.

use std::cell::RefCell;
use std::fmt::Debug;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use http::HeaderValue;
use tokio::io::ReadBuf;

use crate::config::address::Address;

/// The proxy's end of a simulated connection. Dropping it closes it.
pub trait Wire: Debug {
    /// As [`tokio::io::AsyncRead::poll_read`].
    fn poll_read(&self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>>;

    /// As [`tokio::io::AsyncWrite::poll_write_vectored`].
    fn poll_write(&self, cx: &mut Context<'_>, bufs: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// As [`tokio::net::TcpStream::try_write`].
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Closes the half that is written to.
    fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Whether the peer has neither closed nor sent anything that was not read yet.
    fn is_silent(&self) -> bool;

    /// Makes closing it send a reset.
    fn reset_when_closed(&self);

    /// Shuts down both directions.
    fn shut_down(&self);
}

/// A connection that is being opened.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<Box<dyn Wire>>>>>;

/// What connections to endpoints go through.
pub trait Network {
    /// Opens a connection to `address`.
    fn connect(&self, address: &Address) -> Connecting;
}

thread_local! {
    static NETWORK: RefCell<Option<Rc<dyn Network>>> = const { RefCell::new(None) };
}

/// Makes `network` the one of this thread; `None` is the kernel's.
pub fn install(network: Option<Rc<dyn Network>>) {
    NETWORK.set(network);
}

/// Opens a connection to `address` if this thread is simulated.
pub(super) fn connect(address: &Address) -> Option<Connecting> {
    NETWORK.with_borrow(|network| network.as_ref().map(|network| network.connect(address)))
}

/// The value of `Date` in a simulation, where the same seed must make the same bytes.
pub(crate) fn date() -> Option<HeaderValue> {
    let is_simulated = NETWORK.with_borrow(Option::is_some);
    is_simulated.then(|| HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}
