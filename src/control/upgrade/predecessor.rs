//! The process before this one, as this one sees it.

use std::env;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use rustix::stdio::dup2_stdin;
use tokio::io::BufReader;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::launch::VARIABLE;
use super::steered;
use super::wire::{self, Offer, VERSION, Word};
use crate::config::address::Address;
use crate::control::admin::UnixSocket;
use crate::control::inherited::{Entry, Inherited, Taken};
use crate::listen::socket::StdListener;

/// How long each read of the offer, and each word to the process before, may take.
const STEP_MAX: Duration = Duration::from_secs(10);

/// How long that process may take to let this one accept.
const LEFT_MAX: Duration = Duration::from_secs(60);

/// The process that has started this one, and goes on until this one serves.
#[derive(Debug)]
pub struct Predecessor(StdUnixStream);

/// The means to tell that process why this one cannot serve.
#[derive(Debug)]
pub struct Refusal(Option<StdUnixStream>);

impl Predecessor {
    /// Takes the sockets from the process that has started this one for an upgrade; `None` if nobody has. It blocks,
    /// and may be called once.
    ///
    /// # Errors
    /// Why they cannot be taken.
    pub fn meet() -> Result<Option<(Self, Inherited)>, String> {
        let Some(version) = env::var_os(VARIABLE) else { return Ok(None) };
        if version != VERSION {
            return Err(format!(
                "the process before this one hands over in another way, version {}",
                version.display()
            ));
        }
        let failed = |error: io::Error| format!("cannot take over from the process before this one: {error}");
        let stream = take_channel().map_err(failed)?;
        let (offer, descriptors) = wire::receive(&stream).map_err(failed)?;
        let mut sockets = Vec::new();
        for descriptor in descriptors {
            sockets.push(StdListener::inherit(descriptor).map_err(failed)?);
        }
        let inherited = inherit(offer, sockets).ok_or("the process before this one has sent too few sockets")?;
        Ok(Some((Self(stream), inherited)))
    }

    /// The means to refuse.
    pub fn refusal(&self) -> Refusal {
        Refusal(self.0.try_clone().ok())
    }

    /// Says that this process could serve at once, and waits until it may. If the process before has ended, it may.
    pub(crate) async fn until_left(self, taken: &Taken) -> io::Result<Heirship> {
        self.0.set_nonblocking(true)?;
        let mut stream = BufReader::new(UnixStream::from_std(self.0)?);
        wire::say(&mut stream, &Word::Ready(taken.clone())).await.ok();
        timeout(LEFT_MAX, wire::hear(&mut stream)).await.map_err(|_| io::ErrorKind::TimedOut)?.ok();
        Ok(Heirship(stream))
    }
}

/// The sockets are this process's.
pub(crate) struct Heirship(BufReader<UnixStream>);

impl Heirship {
    /// Says that this process accepts.
    pub(crate) async fn serving(mut self) {
        wire::say(&mut self.0, &Word::Serving).await.ok();
    }
}

impl Refusal {
    /// Nobody is there to be told.
    pub fn to_nobody() -> Self {
        Self(None)
    }

    /// Says why this process cannot serve.
    pub fn say(&mut self, why: &str) {
        if let (Some(stream), Ok(line)) = (&mut self.0, Word::Refused(why.to_owned()).line()) {
            stream.set_nonblocking(false).ok();
            stream.write_all(&line).ok();
        }
    }
}

/// The channel is our standard input. Nothing else is to read it.
fn take_channel() -> io::Result<StdUnixStream> {
    let stream = StdUnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.set_read_timeout(Some(STEP_MAX))?;
    stream.set_write_timeout(Some(STEP_MAX))?;
    dup2_stdin(File::open("/dev/null")?)?;
    Ok(stream)
}

/// Deals the sockets out as the offer names them; `None` if there are not as many as it says.
fn inherit(offer: Offer, sockets: Vec<(StdListener, Address)>) -> Option<Inherited> {
    let mut sockets = sockets.into_iter();
    let mut entries = Vec::new();
    for listener in offer.listeners {
        let (own, addresses): (Vec<_>, Vec<_>) = sockets.by_ref().take(listener.sockets).unzip();
        let address = addresses.into_iter().next()?;
        (own.len() == listener.sockets).then_some(())?;
        let wanted = listener.wanted.into();
        entries.push(Entry { name: listener.name, wanted, address, file: listener.file, sockets: own });
    }
    let admin = match offer.admin.then(|| sockets.next()) {
        Some(Some((StdListener::Tcp(socket), _))) => Some(socket),
        Some(_) => return None,
        None => None,
    };
    let admin_socket = match offer.admin_socket.map(|file| (file, sockets.next())) {
        Some((file, Some((StdListener::Unix(socket), _)))) => Some(UnixSocket::inherit(socket, file.into())),
        Some(_) => return None,
        None => None,
    };
    Some(Inherited::new(entries, admin, admin_socket, steered::take(offer.steered)))
}
