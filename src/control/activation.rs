//! Listening sockets that a service manager has bound, by the protocol of sd_listen_fds(3).
//!
//! A socket is that of the listener whose name it has (`FileDescriptorName=`), else of the one with its address.

use std::env;
use std::fs;
use std::os::fd::OwnedFd;

use rustix::io::{FdFlags, fcntl_setfd};

use super::inherited::{Entry, Inherited};
use super::overrides::Overrides;
use crate::config::address::Address;
use crate::config::{Config, Listener};
use crate::listen::socket::StdListener;

/// The number of the first descriptor.
const FIRST: usize = 3;
/// The most sockets that are taken.
const SOCKETS_MAX: usize = 1024;

/// The sockets that a service manager has passed to this process.
#[derive(Debug, Default)]
pub struct Activation(Vec<(String, OwnedFd)>);

/// One of them that listens.
struct Passed {
    name: String,
    socket: StdListener,
    address: Address,
}

impl Activation {
    /// Takes the sockets that were passed to this process. It must be called once, and before the process opens
    /// anything: a number that the environment names wrongly must not be one of ours.
    ///
    /// # Errors
    /// What the environment says cannot be true.
    pub fn take() -> Result<Self, String> {
        let (process, count) = (env::var("LISTEN_PID"), env::var("LISTEN_FDS"));
        let (Ok(process), Ok(count)) = (process, count) else { return Ok(Self::default()) };
        if process != std::process::id().to_string() {
            return Ok(Self::default());
        }
        let known = count.parse::<usize>().ok().filter(|count| *count <= SOCKETS_MAX);
        let numbers = known.ok_or_else(|| format!("LISTEN_FDS={count} is no number from 0 to {SOCKETS_MAX}"))?;
        let is_missing = |number: &usize| fs::read_link(format!("/proc/self/fd/{number}")).is_err();
        if let Some(missing) = (FIRST..FIRST + numbers).find(is_missing) {
            return Err(format!("LISTEN_FDS={count}, but there is no descriptor {missing}"));
        }
        let passed = sd_listen_fds::get().map_err(|error| error.to_string())?;
        let passed = passed.into_iter().map(|(name, socket)| (name.unwrap_or_default(), socket.into_std()));
        Ok(Self(passed.collect()))
    }

    /// Deals the sockets out among the listeners of a config and its admin port, and logs which of them nobody wants.
    pub fn inherited(self, config: &Config) -> Inherited {
        let mut passed = Vec::new();
        for (name, socket) in self.0 {
            // A successor gets what it needs in another way, and must not keep the rest open.
            fcntl_setfd(&socket, FdFlags::CLOEXEC).ok();
            match StdListener::inherit(socket) {
                Ok((socket, address)) => passed.push(Passed { name, socket, address }),
                Err(error) => tracing::warn!("a socket of the service manager{} is closed: {error}", called(&name)),
            }
        }
        let (inherited, unwanted) = deal(passed, config);
        for Passed { name, address, .. } in unwanted {
            let name = called(&name);
            tracing::warn!("the socket {address} of the service manager{name} is closed: no listener wants it");
        }
        inherited
    }
}

/// The name of a socket, for a message.
fn called(name: &str) -> String {
    if name.is_empty() { String::new() } else { format!(" (`{}`)", name.replace(char::is_control, "?")) }
}

/// What goes to the listeners and the admin port, and what is left.
fn deal(mut passed: Vec<Passed>, config: &Config) -> (Inherited, Vec<Passed>) {
    let (mut entries, mut admin, mut unwanted) = (Vec::<Entry>::new(), None, Vec::new());
    // A name was given on purpose, so it comes before an address.
    passed.sort_by_key(|passed| named(passed, config).is_none());
    for passed in passed {
        let listener = named(&passed, config).or_else(|| addressed(&passed, config));
        match (listener, passed) {
            (Some(listener), passed) => unwanted.extend(give(&mut entries, listener, passed)),
            (None, Passed { socket: StdListener::Tcp(socket), address, .. })
                if admin.is_none() && address.tcp() == config.admin.address =>
            {
                admin = Some(socket);
            }
            (None, passed) => unwanted.push(passed),
        }
    }
    (Inherited::new(entries, admin, None, Overrides::default()), unwanted)
}

/// Gives a socket to a listener, or back if it has one at another address: it can have several of one address only.
fn give(entries: &mut Vec<Entry>, listener: &Listener, passed: Passed) -> Option<Passed> {
    let Passed { name, socket, address } = passed;
    match entries.iter_mut().find(|entry| entry.name == listener.name) {
        Some(entry) if entry.address == address => entry.sockets.push(socket),
        Some(_) => return Some(Passed { name, socket, address }),
        None => {
            if address != listener.address {
                tracing::info!("listener {} has the socket {address} of the service manager", listener.name);
            }
            let (name, wanted) = (listener.name.clone(), listener.address.clone());
            // Its file is that of the service manager.
            entries.push(Entry { name, wanted, address, file: None, sockets: vec![socket] });
        }
    }
    None
}

/// The listener whose name a socket has, if it is of the same kind.
fn named<'a>(passed: &Passed, config: &'a Config) -> Option<&'a Listener> {
    let is_alike = |listener: &&Listener| listener.address.tcp().is_some() == passed.address.tcp().is_some();
    config.listeners.iter().find(|listener| listener.name == passed.name).filter(is_alike)
}

/// The listener whose address a socket has.
fn addressed<'a>(passed: &Passed, config: &'a Config) -> Option<&'a Listener> {
    config.listeners.iter().find(|listener| listener.address == passed.address)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::path::Path;

    use super::*;
    use crate::config;

    fn tcp(name: &str) -> Passed {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().into();
        Passed { name: name.into(), socket: StdListener::Tcp(socket), address }
    }

    fn unix(name: &str, file: &Path) -> Passed {
        let socket = StdListener::Unix(UnixListener::bind(file).unwrap());
        Passed { name: name.into(), socket, address: Address::Unix(file.into()) }
    }

    /// A config with these listeners, and the admin port at another address.
    fn listening(listeners: &[(&str, &Address)], admin: &str) -> Config {
        let listeners = listeners.iter().map(|(name, address)| format!("[listen.{name}]\naddress = '{address}'\n"));
        let rest = format!("[admin]\naddress = '{admin}'\n[pool.app]\nbackends = ['127.0.0.1:1']\n");
        config::parse("test.toml", &(listeners.collect::<String>() + &rest)).unwrap()
    }

    /// The address that each listener gets, in the order of the config, and what is left.
    fn dealt(passed: Vec<Passed>, config: &Config) -> (Vec<Option<Address>>, Vec<Address>) {
        let (mut inherited, unwanted) = deal(passed, config);
        let taken = config.listeners.iter().map(|listener| inherited.take(listener).map(|entry| entry.address));
        (taken.collect(), unwanted.into_iter().map(|passed| passed.address).collect())
    }

    #[test]
    fn a_name_comes_before_an_address() {
        let [one, other] = [tcp(""), tcp("a")];
        let [at_one, at_other] = [&one, &other].map(|passed| passed.address.clone());
        let config = listening(&[("a", &at_one), ("b", &Address::from(([127, 0, 0, 1], 9)))], "off");
        let (taken, unwanted) = dealt(vec![one, other], &config);
        assert_eq!(taken, [Some(at_other), None], "its own name, at another address");
        assert_eq!(unwanted, [at_one], "it can have one address only");
    }

    #[test]
    fn a_socket_goes_where_its_address_is_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.sock");
        let (web, internal, stray) = (tcp("unstick.socket"), unix("unstick.socket", &file), tcp("unstick.socket"));
        let [at_web, at_internal, at_stray] = [&web, &internal, &stray].map(|passed| passed.address.clone());
        let config = listening(&[("internal", &at_internal), ("web", &at_web)], "off");
        let (taken, unwanted) = dealt(vec![web, stray, internal], &config);
        assert_eq!((taken, unwanted), (vec![Some(at_internal), Some(at_web)], vec![at_stray]));
    }

    #[test]
    fn a_name_of_another_kind_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let internal = unix("web", &folder.path().join("a.sock"));
        let at_internal = internal.address.clone();
        let config = listening(&[("web", &Address::from(([127, 0, 0, 1], 9)))], "off");
        assert_eq!(dealt(vec![internal], &config), (vec![None], vec![at_internal]));
    }

    #[test]
    fn several_sockets_of_one_address_are_one_listener_and_the_admin_port_has_its_own() {
        let (one, admin) = (tcp("web"), tcp(""));
        let at_admin = admin.address.clone();
        let copy = Passed { name: "web".into(), socket: one.socket.try_clone().unwrap(), address: one.address.clone() };
        let config = listening(&[("web", &one.address)], &at_admin.to_string());
        let (mut inherited, unwanted) = deal(vec![admin, one, copy], &config);
        assert_eq!(inherited.take(&config.listeners[0]).map(|entry| entry.sockets.len()), Some(2));
        assert!(inherited.take_admin(config.admin.address.unwrap()).is_some());
        assert!(unwanted.is_empty());
    }
}
