//! Where clients connect, and what is spoken there.

use std::path::PathBuf;

use ipnet::IpNet;

use super::ErrorPages;
use crate::address::Address;

/// One address that accepts client connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The `NAME` of `[listen.NAME]`.
    pub name: String,
    /// Address and port, or a Unix socket; port 0 asks the kernel for a free one.
    pub address: Address,
    /// Permissions of the Unix socket's file; `None` means those of the process's umask.
    pub unix_mode: Option<u32>,
    /// Peers whose `X-Forwarded-*`, `Forwarded` and `X-Request-Id` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Versions of HTTP.
    pub protocols: Protocols,
    /// Certificates; `None` means plain text.
    pub tls: Option<Tls>,
    /// Whether trusted proxies begin a connection with a header of the PROXY protocol.
    pub proxy_protocol: AcceptProxy,
    /// Every request is redirected to `https` on this port.
    pub redirect_to_https: Option<u16>,
    /// What error responses of the proxy contain, where that differs from the general ones.
    pub errors: ErrorPages,
}

impl Listener {
    /// A listener with the default of every key.
    pub(crate) fn new(name: String, address: Address) -> Self {
        Self {
            name,
            address,
            unix_mode: None,
            trusted_proxies: Vec::new(),
            protocols: Protocols::default(),
            tls: None,
            proxy_protocol: AcceptProxy::default(),
            redirect_to_https: None,
            errors: ErrorPages::new(),
        }
    }
}

/// Whether a connection begins with a header of the PROXY protocol, version 1 or 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AcceptProxy {
    /// Never.
    #[default]
    Off,
    /// It may, if the peer is a trusted proxy.
    Accept,
    /// It must, and the peer must be a trusted proxy.
    Require,
}

/// Which versions of HTTP a listener speaks; at least one.
///
/// With TLS the client chooses by ALPN (RFC 7301). Without, its first bytes tell the version (RFC 9113 section 3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.1 and HTTP/1.0.
    pub h1: bool,
    /// HTTP/2.
    pub h2: bool,
}

impl Default for Protocols {
    fn default() -> Self {
        Self { h1: true, h2: true }
    }
}

/// The certificates of a listener, and those that its clients must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// A client that asks for a name that none of them has gets the first. Never empty.
    pub certificates: Vec<CertificateFiles>,
    /// The authorities for certificates of clients; `None` means that clients are not asked for one.
    pub client_ca: Option<ClientCa>,
}

/// A certificate on disk, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, followed by those between it and the root.
    pub cert: PathBuf,
    /// Its private key: PKCS #8, PKCS #1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// The authorities that sign the certificates of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCa {
    /// Root certificates, in PEM.
    pub file: PathBuf,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}
