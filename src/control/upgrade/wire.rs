//! What a process and its successor say to each other, over a Unix socket that is the successor's standard input.
//!
//! ```text
//! process                                successor
//!   offer, and the sockets ------------->
//!                                          reads the config, probes the endpoints
//!   <------------------------------------ ready, and which sockets it takes; or refused, and why
//!   go --------------------------------->
//!                                          accepts
//!   <------------------------------------ serving
//!   drains
//! ```
//!
//! Until `go` the successor touches nothing that the process needs, so it can be ended at any time. Unknown fields are
//! ignored and missing ones have defaults, so that versions of unstick understand each other.

use std::io::{self, IoSlice, IoSliceMut, Read as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage};
use rustix::net::{SendFlags, recvmsg, sendmsg};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Interest};
use tokio::net::UnixStream;

use super::steered::Steered;
use crate::config::address::Address;
use crate::control::inherited::Taken;
use crate::listen::socket::{FileId, StdListener};

/// The version of what is said. A successor that does not know it does not begin.
pub(super) const VERSION: &str = "1";

/// How an offer begins; the number of sockets and the length of the text follow, four bytes each.
const BEGIN: &[u8; 8] = b"unstick\n";
/// The most sockets that are sent with one message. The kernel allows 253.
const SOCKETS_AT_ONCE: usize = 64;
/// The most sockets of an offer.
const SOCKETS_MAX: usize = 65_536;
/// The most bytes of an offer's text.
const OFFER_MAX: usize = 16 << 20;
/// The most bytes of any other message.
const WORD_MAX: u64 = 1 << 20;

/// What a process has for its successor. The sockets come beside it, in the order in which they are named here.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Offer {
    /// The version of the program.
    #[serde(default)]
    pub(super) from: String,
    #[serde(default)]
    pub(super) listeners: Vec<OfferedListener>,
    /// Whether the socket of the admin port comes next.
    #[serde(default)]
    pub(super) admin: bool,
    /// What operators have set of endpoints.
    #[serde(default)]
    pub(super) steered: Vec<Steered>,
    /// The file of the admin port's Unix socket, which comes last.
    #[serde(default)]
    pub(super) admin_socket: Option<PathBuf>,
}

/// One listener.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct OfferedListener {
    pub(super) name: String,
    /// The address that its config has.
    pub(super) wanted: Place,
    /// The file of a Unix socket, device and inode, if it goes with the listener.
    #[serde(default)]
    pub(super) file: Option<FileId>,
    /// How many sockets it has.
    pub(super) sockets: usize,
}

/// An address, as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl From<&Address> for Place {
    fn from(address: &Address) -> Self {
        match address {
            Address::Tcp(address) => Self::Tcp(*address),
            Address::Unix(file) => Self::Unix(file.to_path_buf()),
        }
    }
}

impl From<Place> for Address {
    fn from(place: Place) -> Self {
        match place {
            Place::Tcp(address) => address.into(),
            Place::Unix(file) => Self::Unix(file.into()),
        }
    }
}

/// What is said after the offer, by either side.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    /// The successor could serve at once, and takes these sockets.
    Ready(Taken),
    /// The successor cannot serve.
    Refused(String),
    /// The successor may accept.
    Go,
    /// The successor accepts.
    Serving,
}

impl Word {
    /// One line of JSON.
    pub(super) fn line(&self) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
}

/// Sends an offer with its sockets.
pub(super) async fn send(stream: &mut UnixStream, offer: &Offer, sockets: &[StdListener]) -> io::Result<()> {
    let text = serde_json::to_vec(offer)?;
    let too_long = |_| io::Error::from(io::ErrorKind::InvalidInput);
    let sizes = [u32::try_from(sockets.len()).map_err(too_long)?, u32::try_from(text.len()).map_err(too_long)?];
    stream.write_all(BEGIN).await?;
    stream.write_all(&sizes.map(u32::to_be_bytes).concat()).await?;
    for some in sockets.chunks(SOCKETS_AT_ONCE) {
        let descriptors: Vec<BorrowedFd<'_>> = some.iter().map(|socket| socket.as_fd()).collect();
        stream.async_io(Interest::WRITABLE, || send_some(stream.as_fd(), &descriptors)).await?;
    }
    stream.write_all(&text).await
}

/// One byte, and sockets beside it.
fn send_some(stream: BorrowedFd<'_>, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_AT_ONCE))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    sendmsg(stream, &[IoSlice::new(b".")], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives an offer with its sockets. It blocks, as long as the stream lets it.
///
/// # Errors
/// What comes is no offer.
pub(super) fn receive(mut stream: &StdUnixStream) -> io::Result<(Offer, Vec<OwnedFd>)> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let (mut begin, mut sizes) = ([0; BEGIN.len()], [[0; 4]; 2]);
    stream.read_exact(&mut begin)?;
    if &begin != BEGIN {
        return Err(invalid("it does not begin as an offer does"));
    }
    for size in &mut sizes {
        stream.read_exact(size)?;
    }
    let [count, length] = sizes.map(|size| usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX));
    if count > SOCKETS_MAX || length > OFFER_MAX {
        return Err(invalid("it is too large"));
    }
    let mut sockets = Vec::new();
    while sockets.len() < count {
        let before = sockets.len();
        receive_some(stream, &mut sockets)?;
        if sockets.len() == before {
            return Err(invalid("sockets are missing, perhaps for lack of file descriptors"));
        }
    }
    let mut text = vec![0; length];
    stream.read_exact(&mut text)?;
    Ok((serde_json::from_slice(&text)?, sockets))
}

fn receive_some(stream: &StdUnixStream, sockets: &mut Vec<OwnedFd>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_AT_ONCE))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let receive = || recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut beside, RecvFlags::CMSG_CLOEXEC);
    rustix::io::retry_on_intr(receive)?;
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            sockets.extend(received);
        }
    }
    Ok(())
}

/// Says something.
pub(super) async fn say(stream: &mut BufReader<UnixStream>, word: &Word) -> io::Result<()> {
    stream.get_mut().write_all(&word.line()?).await
}

/// Waits for what the other side says; `None` if it is gone.
///
/// # Errors
/// It says what is not understood here.
pub(super) async fn hear(stream: &mut BufReader<UnixStream>) -> io::Result<Option<Word>> {
    let mut line = Vec::new();
    match stream.take(WORD_MAX).read_until(b'\n', &mut line).await {
        Ok(_) if !line.ends_with(b"\n") => Ok(None),
        Ok(_) => Ok(Some(serde_json::from_slice(&line)?)),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
