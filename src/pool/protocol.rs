//! How the endpoints of a pool are spoken to: in plain text or TLS, with HTTP/1.1 or HTTP/2.
//!
//! The certificates of endpoints are always verified, against the roots of the system or those of the pool.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::address;
use crate::config::model::{Protocol, ProxyVersion, UpstreamTls};
use crate::net::is_own_lack;
use crate::net::pem::{self, Stamps};
use crate::net::socket_io::SocketIo;
use crate::net::tls::provider;
use crate::net::trust::Trusted;

/// The protocol that is spoken to endpoints.
#[derive(Debug, Clone)]
pub enum PoolProtocol {
    /// HTTP/1.1 in plain text.
    Http1,
    /// HTTP/2 in plain text, with prior knowledge (RFC 9113 section 3.3).
    H2c,
    /// TLS. The endpoint chooses between HTTP/2 and HTTP/1.1 (ALPN, RFC 7301).
    Tls(Arc<ClientTls>),
}

/// All that is needed to speak to the endpoints of a backend.
#[derive(Debug, Clone)]
pub struct ConnectSettings {
    /// The protocol.
    pub protocol: PoolProtocol,
    /// The version of the PROXY protocol header that begins each connection, if any.
    pub proxy_protocol: Option<ProxyVersion>,
    /// The backend as written in the config. Its host is the name in TLS and in probes.
    pub backend: Arc<str>,
}

impl ConnectSettings {
    /// Whether connections that were made with one can be used with the other.
    pub fn is_same(&self, other: &Self) -> bool {
        self.protocol.is_same(&other.protocol)
            && self.proxy_protocol == other.proxy_protocol
            && self.backend == other.backend
    }
}

/// The TLS settings towards endpoints, with the files they name.
#[derive(Debug)]
pub struct ClientTls {
    settings: UpstreamTls,
    /// The stamps of the files when they were last read, even if they could not be used.
    stamps: Mutex<Stamps>,
    any: Arc<ClientConfig>,
    /// Offers HTTP/1.1 alone, for connections that are to be upgraded.
    h1: Arc<ClientConfig>,
}

/// The protocols that an endpoint is offered in the TLS handshake (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/2 or HTTP/1.1.
    Any,
    /// HTTP/1.1 alone, because the connection is to be upgraded or is for one client only.
    Http1,
}

/// The protocol that an endpoint has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreed {
    /// HTTP/1.1, also if it has chosen nothing.
    Http1,
    /// HTTP/2.
    H2,
}

/// An established TLS connection to an endpoint.
pub(crate) type Session = TlsStream<SocketIo>;

impl PoolProtocol {
    /// Reads the files that these settings name. Keeps `before` if nothing has changed, or if the new files cannot be
    /// used.
    ///
    /// # Errors
    /// A file cannot be used. The text names it and says why.
    pub fn load(protocol: Protocol, settings: &UpstreamTls, before: Option<&Self>) -> Result<Self, String> {
        // Not while the lock of the former stamps is held: the files may be on a mount that hangs.
        let now = || pem::stamps(files(settings));
        match (protocol, before) {
            (Protocol::Http1, _) => Ok(Self::Http1),
            (Protocol::H2c, _) => Ok(Self::H2c),
            (Protocol::Https, Some(Self::Tls(tls))) if tls.settings == *settings && tls.has_stamps(&now()) => {
                Ok(Self::Tls(Arc::clone(tls)))
            }
            (Protocol::Https, Some(Self::Tls(tls))) if tls.settings == *settings => {
                // An edit that does not concern these files must not fail because of them.
                let stamps = now();
                Ok(Self::Tls(ClientTls::load(settings).map(Arc::new).unwrap_or_else(|why| {
                    tracing::error!("what was read before stays in use: {why}");
                    *tls.stamps() = stamps;
                    Arc::clone(tls)
                })))
            }
            (Protocol::Https, _) => ClientTls::load(settings).map(|tls| Self::Tls(Arc::new(tls))),
        }
    }

    /// Its files, and their stamps when they were read.
    pub(crate) fn files(&self) -> (Vec<PathBuf>, Stamps) {
        match self {
            Self::Http1 | Self::H2c => Default::default(),
            Self::Tls(tls) => (files(&tls.settings).cloned().collect(), tls.stamps().clone()),
        }
    }

    /// Whether connections that were made with one can be used with the other.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Http1, Self::Http1) | (Self::H2c, Self::H2c) => true,
            (Self::Tls(one), Self::Tls(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

fn files(settings: &UpstreamTls) -> impl Iterator<Item = &PathBuf> {
    let own = settings.certificate.iter().flat_map(|files| [&files.cert, &files.key]);
    settings.ca.iter().chain(own)
}

impl ClientTls {
    fn has_stamps(&self, now: &Stamps) -> bool {
        *self.stamps() == *now
    }

    fn stamps(&self) -> MutexGuard<'_, Stamps> {
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(settings: &UpstreamTls) -> Result<Self, String> {
        let stamps = Mutex::new(pem::stamps(files(settings)));
        let provider = provider();
        let trusted = match &settings.ca {
            Some(file) => Trusted::read(file)?,
            None => Trusted::of_system()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(trusted.servers(Arc::clone(&provider))?);
        let mut any = match &settings.certificate {
            Some(files) => {
                let key = Arc::new(pem::certified_key(files, &provider)?);
                builder.with_client_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(key)))
            }
            None => builder.with_no_client_auth(),
        };
        let mut h1 = any.clone();
        any.alpn_protocols = vec![pem::ALPN_H2.to_vec(), pem::ALPN_H1.to_vec()];
        h1.alpn_protocols = vec![pem::ALPN_H1.to_vec()];
        Ok(Self { settings: settings.clone(), stamps, any: Arc::new(any), h1: Arc::new(h1) })
    }

    /// Performs the TLS handshake with an endpoint of `backend`, which is written as `host:port`.
    ///
    /// # Errors
    /// The certificate of the endpoint is not valid for the name, or the connection broke.
    pub(crate) async fn connect<T>(&self, io: T, backend: &str, offer: Offer) -> io::Result<(TlsStream<T>, Agreed)>
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let name = self.settings.server_name.as_deref().unwrap_or_else(|| host_of(backend));
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let config = match offer {
            Offer::Any => &self.any,
            Offer::Http1 => &self.h1,
        };
        let session = TlsConnector::from(Arc::clone(config)).connect(name, io).await.map_err(in_handshake)?;
        let is_h2 = session.get_ref().1.alpn_protocol() == Some(pem::ALPN_H2);
        Ok((session, if is_h2 { Agreed::H2 } else { Agreed::Http1 }))
    }
}

/// A peer that does not want TLS, or nothing of what is offered, may just close. That is a failure of TLS too: there
/// was a connection.
fn in_handshake(error: io::Error) -> io::Error {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    if is_tls || is_own_lack(&error) {
        return error;
    }
    let kind = error.kind();
    let why = format!("the connection ended during the handshake ({error})");
    io::Error::new(kind, rustls::Error::General(why))
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_of(backend: &str) -> &str {
    if backend.starts_with(address::UNIX) {
        return "localhost";
    }
    let host = backend.rsplit_once(':').map_or(backend, |(host, _)| host);
    // The final dot of an absolute name is for name servers only (RFC 6066 section 3).
    let host = host.trim_end_matches('.');
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() { bare } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_backend() {
        for (backend, host) in [
            ("a.test:80", "a.test"),
            ("a.test.:80", "a.test"),
            ("unix:/a.:b", "localhost"),
            ("10.0.0.1:80", "10.0.0.1"),
            ("[::1]:80", "::1"),
        ] {
            assert_eq!(host_of(backend), host);
        }
    }
}
