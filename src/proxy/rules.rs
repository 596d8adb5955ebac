//! The settings of a listener that an edit can change for connections that are already established: they hold from the
//! next request on.

use std::cell::{Cell, Ref, RefCell};
use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use super::client_address::{ClientAddresses, client_addresses};

/// The settings of one listener that are looked at for each request. Its connections share them; see the module.
#[derive(Debug, Default)]
pub struct Rules {
    trusted_proxies: RefCell<Vec<IpNet>>,
    redirect_to_https: Cell<Option<u16>>,
    /// The name of the listener.
    listener: RefCell<String>,
    /// How often they have been renewed. A connection that has seen the same number knows the present rules.
    renewals: Cell<u64>,
}

impl Rules {
    /// Puts other settings in force.
    pub fn renew(&self, listener: &str, trusted_proxies: &[IpNet], redirect_to_https: Option<u16>) {
        listener.clone_into(&mut self.listener.borrow_mut());
        trusted_proxies.clone_into(&mut self.trusted_proxies.borrow_mut());
        self.redirect_to_https.set(redirect_to_https);
        self.renewals.set(self.renewals.get() + 1);
    }

    /// The name of the listener.
    #[inline]
    pub(super) fn listener(&self) -> Ref<'_, str> {
        Ref::map(self.listener.borrow(), String::as_str)
    }

    /// How often they have been renewed.
    pub(super) fn renewals(&self) -> u64 {
        self.renewals.get()
    }

    /// Whether this peer is one of the `trusted_proxies`, so that what it says about its clients is believed.
    pub fn trusts(&self, peer: IpAddr) -> bool {
        // On an IPv6 socket, IPv4 peers appear as mapped addresses.
        let peer = peer.to_canonical();
        self.trusted_proxies.borrow().iter().any(|network| network.contains(&peer))
    }

    /// The address of the client that sent these fields by way of a trusted `peer`.
    #[cold]
    pub(super) fn clients_behind(&self, peer: IpAddr, headers: &HeaderMap) -> ClientAddresses {
        client_addresses(headers, peer, &self.trusted_proxies.borrow())
    }

    /// If set, every request is redirected to this port by `https`.
    pub(super) fn redirect_to_https(&self) -> Option<u16> {
        self.redirect_to_https.get()
    }
}
