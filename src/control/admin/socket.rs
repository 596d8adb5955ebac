//! The sockets of the admin port: how they come to be, and how its file goes.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

use crate::config::address::Address;
use crate::config::model::{self, USUAL_SOCKET};
use crate::control::inherited::Inherited;
use crate::listen::private::bind_private;
use crate::listen::socket::{FileId, StdListener, bind_alone, file_id, remove};

/// Connections that the kernel queues until they are accepted.
const BACKLOG: i32 = 1024;

/// A socket that the admin port can be served on.
#[derive(Debug)]
pub(crate) enum Opened {
    Tcp(TcpListener),
    Unix(UnixSocket),
}

/// The sockets of the admin port at a start.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// Those that were bound here.
    pub(crate) fresh: Vec<Opened>,
    /// Those that another process still serves.
    pub(crate) taken: Vec<Opened>,
}

impl Sockets {
    /// Takes the sockets of another process, and binds the others.
    ///
    /// # Errors
    /// An address or a file that cannot be bound.
    pub(crate) fn open(config: &model::Admin, inherited: &mut Inherited) -> Result<Self, String> {
        let mut sockets = Self::default();
        if let Some(address) = config.address {
            match inherited.take_admin(address) {
                Some(socket) => sockets.taken.push(Opened::Tcp(socket)),
                None => sockets.fresh.push(Opened::Tcp(bind_tcp(address)?)),
            }
        }
        if let Some(file) = &config.socket {
            match inherited.take_admin_socket(file) {
                Some(socket) => sockets.taken.push(Opened::Unix(socket)),
                None => sockets.fresh.extend(bind_unix(file, Path::new(USUAL_SOCKET))?.map(Opened::Unix)),
            }
        }
        Ok(sockets)
    }

    /// Whether there are any.
    pub(crate) fn are_any(&self) -> bool {
        !self.fresh.is_empty() || !self.taken.is_empty()
    }
}

fn bind_tcp(address: SocketAddr) -> Result<TcpListener, String> {
    bind_alone(address, BACKLOG).map_err(|error| format!("cannot listen on {address} (admin): {error}"))
}

/// Binds the Unix socket. Where the file is the `usual` one, nobody may have asked for it, so the process goes on
/// without.
fn bind_unix(file: &Arc<Path>, usual: &Path) -> Result<Option<UnixSocket>, String> {
    match UnixSocket::bind(file) {
        Ok(socket) => Ok(Some(socket)),
        Err(_) if **file == *usual && !file.parent().is_some_and(Path::is_dir) => Ok(None),
        Err(error) if **file == *usual => {
            let shown = file.display();
            match error.kind() {
                io::ErrorKind::AddrInUse => tracing::warn!(
                    "unstick ctl does not reach this process at {shown}: \
                    another one listens there; give this one another admin.socket"
                ),
                _ => tracing::info!("unstick ctl does not reach this process at {shown}: {error}"),
            }
            Ok(None)
        }
        Err(error) => Err(format!("cannot listen on {} (admin.socket): {error}", file.display())),
    }
}

/// A Unix socket and its file.
#[derive(Debug)]
pub(crate) struct UnixSocket {
    listener: UnixListener,
    file: Arc<Path>,
    /// Which file it is, as long as it is ours to remove.
    own: Option<FileId>,
}

impl UnixSocket {
    fn bind(file: &Arc<Path>) -> io::Result<Self> {
        let listener = bind_private(file, BACKLOG)?;
        let own = file_id(&Address::Unix(Arc::clone(file)));
        Ok(Self { listener, file: Arc::clone(file), own })
    }

    /// One of another process, which goes on using it for the time being.
    pub(crate) fn inherit(listener: UnixListener, file: Arc<Path>) -> Self {
        Self { listener, file, own: None }
    }

    /// Its file.
    pub(crate) fn file(&self) -> &Arc<Path> {
        &self.file
    }

    /// Another handle of the same socket, to be served, and this one, which removes the file in the end.
    pub(super) fn serve(mut self) -> io::Result<(StdListener, Self)> {
        self.own = file_id(&self.address());
        Ok((StdListener::Unix(self.listener.try_clone()?), self))
    }

    /// Another handle of the same socket and which file it is, if clients can still find it.
    pub(super) fn offer(&self) -> io::Result<Option<StdListener>> {
        let is_there = self.own.is_some() && self.own == file_id(&self.address());
        is_there.then(|| self.listener.try_clone().map(StdListener::Unix)).transpose()
    }

    /// Another process has the file now.
    pub(super) fn leave(&mut self) {
        self.own = None;
    }

    fn address(&self) -> Address {
        Address::Unix(Arc::clone(&self.file))
    }
}

/// Its file goes first, so that clients notice.
impl Drop for UnixSocket {
    fn drop(&mut self) {
        remove(&self.address(), self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket_at(file: &Path, usual: &Path) -> Result<bool, String> {
        bind_unix(&file.into(), usual).map(|socket| socket.is_some())
    }

    #[test]
    fn the_usual_file_is_left_out_where_it_cannot_be() {
        let folder = tempfile::tempdir().unwrap();
        let (usual, nowhere) = (folder.path().join("ctl.sock"), folder.path().join("none/ctl.sock"));
        assert_eq!(socket_at(&nowhere, &nowhere), Ok(false));
        assert!(socket_at(&nowhere, &usual).unwrap_err().contains("none/ctl.sock (admin.socket): "));
        let held = bind_unix(&usual.as_path().into(), &usual).unwrap().unwrap();
        assert_eq!(socket_at(&usual, &usual), Ok(false), "a live one is not replaced");
        assert!(socket_at(&usual, &nowhere).is_err());
        assert!(std::os::unix::net::UnixStream::connect(&usual).is_ok());
        drop(held);
        assert!(!usual.exists(), "its file goes with it");
    }

    #[test]
    fn a_file_that_is_left_to_another_process_stays() {
        let folder = tempfile::tempdir().unwrap();
        let file: Arc<Path> = folder.path().join("ctl.sock").into();
        let mut socket = UnixSocket::bind(&file).unwrap();
        let StdListener::Unix(copy) = socket.offer().unwrap().unwrap() else { panic!("it is a Unix socket") };
        socket.leave();
        drop(socket);
        assert!(file.exists());
        drop(UnixSocket::inherit(copy.try_clone().unwrap(), Arc::clone(&file)));
        assert!(file.exists(), "who never served has nothing to remove");
        drop(UnixSocket::inherit(copy, Arc::clone(&file)).serve().unwrap());
        assert!(!file.exists());
    }

    #[test]
    fn a_socket_that_nobody_can_find_is_not_handed_over() {
        let folder = tempfile::tempdir().unwrap();
        let file: Arc<Path> = folder.path().join("ctl.sock").into();
        let socket = UnixSocket::bind(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        assert!(socket.offer().unwrap().is_none());
        let other = UnixSocket::bind(&file).unwrap();
        drop(socket);
        assert!(file.exists(), "the file is that of the other one");
        drop(other);
    }
}
