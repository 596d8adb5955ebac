//! How the endpoints of a pool are spoken to: in plain text or in TLS, in HTTP/1.1 or HTTP/2.
//!
//! Certificates of endpoints are always verified, by the roots of the system or by those of the pool.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::address;
use crate::config::model::{Protocol, ProxyVersion, UpstreamTls};
use crate::net::outbox::SocketIo;
use crate::net::pem::{self, Stamps};

/// See the module.
#[derive(Debug, Clone)]
pub enum Wire {
    /// HTTP/1.1 in plain text.
    Http1,
    /// HTTP/2 in plain text, by prior knowledge (RFC 9113 section 3.3).
    H2c,
    /// TLS, in which the endpoint chooses (ALPN, RFC 7301).
    Tls(Arc<ClientTls>),
}

/// All that it takes to speak to the endpoints of a backend.
#[derive(Debug, Clone)]
pub struct Speech {
    /// What is spoken.
    pub wire: Wire,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: Option<ProxyVersion>,
    /// The backend as written, for its name.
    pub backend: Arc<str>,
}

impl Speech {
    /// Whether connections made by one serve the other.
    pub fn is_same(&self, other: &Self) -> bool {
        self.wire.is_same(&other.wire) && self.proxy_protocol == other.proxy_protocol && self.backend == other.backend
    }
}

/// How to speak TLS to endpoints.
#[derive(Debug)]
pub struct ClientTls {
    settings: UpstreamTls,
    /// What the files were when they were read last, whatever came of it.
    stamps: Mutex<Stamps>,
    any: Arc<ClientConfig>,
    /// Without HTTP/2, for who wants to upgrade.
    h1: Arc<ClientConfig>,
}

/// What an endpoint is offered to speak in TLS (ALPN).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/2 or HTTP/1.1.
    Any,
    /// HTTP/1.1 alone: the connection is to be upgraded, or to serve one client only.
    Http1,
}

/// What an endpoint chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Agreed {
    /// HTTP/1.1, or nothing.
    Http1,
    /// HTTP/2.
    H2,
}

/// A connection in TLS.
pub(crate) type Session = TlsStream<TokioIo<SocketIo>>;

impl Wire {
    /// Reads what is needed for these settings; keeps `before` if nothing has changed, or if it has and does not serve.
    ///
    /// # Errors
    /// The file that does not serve, and why.
    pub fn load(protocol: Protocol, settings: &UpstreamTls, before: Option<&Self>) -> Result<Self, String> {
        match (protocol, before) {
            (Protocol::Http1, _) => Ok(Self::Http1),
            (Protocol::H2c, _) => Ok(Self::H2c),
            (Protocol::Https, Some(Self::Tls(tls)))
                if tls.settings == *settings && *tls.stamps() == pem::stamps(files(settings)) =>
            {
                Ok(Self::Tls(Arc::clone(tls)))
            }
            (Protocol::Https, Some(Self::Tls(tls))) if tls.settings == *settings => {
                // An edit that has nothing to do with these files does not fail because of them.
                let stamps = pem::stamps(files(settings));
                Ok(Self::Tls(ClientTls::load(settings).map(Arc::new).unwrap_or_else(|why| {
                    tracing::error!("what was read before stays in use: {why}");
                    *tls.stamps() = stamps;
                    Arc::clone(tls)
                })))
            }
            (Protocol::Https, _) => ClientTls::load(settings).map(|tls| Self::Tls(Arc::new(tls))),
        }
    }

    /// What the files are now that were read for it, and what they were then.
    pub(crate) fn stamps(&self) -> (Stamps, Stamps) {
        match self {
            Self::Http1 | Self::H2c => Default::default(),
            Self::Tls(tls) => (pem::stamps(files(&tls.settings)), tls.stamps().clone()),
        }
    }

    /// Whether connections made by one serve the other.
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
    fn stamps(&self) -> MutexGuard<'_, Stamps> {
        self.stamps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn load(settings: &UpstreamTls) -> Result<Self, String> {
        let stamps = Mutex::new(pem::stamps(files(settings)));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let roots = match &settings.ca {
            Some(file) => pem::read_roots(file)?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
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

    /// Shakes hands with an endpoint of `backend`, which is written as `host:port`.
    ///
    /// # Errors
    /// The endpoint is not who it should be, or the connection broke.
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
        let session = TlsConnector::from(Arc::clone(config)).connect(name, io).await?;
        let is_h2 = session.get_ref().1.alpn_protocol() == Some(pem::ALPN_H2);
        Ok((session, if is_h2 { Agreed::H2 } else { Agreed::Http1 }))
    }
}

fn system_roots() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("the system has no root certificates (install ca-certificates, or set tls.ca)".to_owned());
    }
    Ok(roots)
}

/// The host of `host:port`, without the brackets of an IPv6 address.
fn host_of(backend: &str) -> &str {
    let backend = address::host_field(backend);
    let host = backend.rsplit_once(':').map_or(backend, |(host, _)| host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() { bare } else { host }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_a_backend() {
        for (backend, host) in [("a.test:80", "a.test"), ("10.0.0.1:80", "10.0.0.1"), ("[::1]:80", "::1")] {
            assert_eq!(host_of(backend), host);
        }
    }
}
