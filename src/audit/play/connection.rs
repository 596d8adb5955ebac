//! A connection to a replica, in plain text or TLS, and which version of HTTP is spoken on it.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::CONNECT_DEADLINE;
use crate::replicas::{Origin, Scheme};

/// Whatever bytes go over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens connections.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    tls_http1: TlsConnector,
}

/// Which certificates of replicas are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Those that the system's roots vouch for.
    System,
    /// All: for replicas with certificates that nobody vouches for.
    Anything,
}

/// What requests are sent over.
pub(super) enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connector {
    /// One that believes these certificates.
    ///
    /// # Errors
    /// The TLS library cannot be set up.
    pub fn new(trust: Trust) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = |protocols: &[&str]| {
            let builder =
                ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
            let mut config = match trust {
                Trust::System => {
                    let mut roots = RootCertStore::empty();
                    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                    builder.with_root_certificates(roots).with_no_client_auth()
                }
                Trust::Anything => {
                    let verifier = Arc::new(Believer(Arc::clone(&provider)));
                    builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
                }
            };
            config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
            Ok::<_, rustls::Error>(TlsConnector::from(Arc::new(config)))
        };
        Ok(Self { tls: config(&["h2", "http/1.1"])?, tls_http1: config(&["http/1.1"])? })
    }

    /// Opens a connection for requests. The replica chooses the version, if it speaks TLS.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub(super) async fn connect(&self, origin: &Origin) -> Result<Sender, String> {
        timeout(CONNECT_DEADLINE, self.handshake(origin)).await.unwrap_or_else(|_| Err("cannot connect in time".into()))
    }

    async fn handshake(&self, origin: &Origin) -> Result<Sender, String> {
        let failed = |error: hyper::Error| format!("cannot connect: {error}");
        let tcp = tcp(origin).await?;
        if origin.scheme == Scheme::Http {
            let (sender, connection) = http1::handshake(TokioIo::new(tcp)).await.map_err(failed)?;
            tokio::spawn(connection);
            return Ok(Sender::Http1(sender));
        }
        let tls = tls(&self.tls, origin, tcp).await?;
        if tls.get_ref().1.alpn_protocol() == Some(b"h2") {
            let executor = TokioExecutor::new();
            let (sender, connection) = http2::handshake(executor, TokioIo::new(tls)).await.map_err(failed)?;
            tokio::spawn(connection);
            return Ok(Sender::Http2(sender));
        }
        let (sender, connection) = http1::handshake(TokioIo::new(tls)).await.map_err(failed)?;
        tokio::spawn(connection);
        Ok(Sender::Http1(sender))
    }

    /// Opens a connection for a WebSocket (RFC 6455), which begins with HTTP/1.1.
    ///
    /// # Errors
    /// Why it could not be opened.
    pub(crate) async fn stream(&self, origin: &Origin) -> Result<Box<dyn Stream>, String> {
        let open = async {
            let tcp = tcp(origin).await?;
            Ok(match origin.scheme {
                Scheme::Http => Box::new(tcp) as Box<dyn Stream>,
                Scheme::Https => Box::new(tls(&self.tls_http1, origin, tcp).await?),
            })
        };
        timeout(CONNECT_DEADLINE, open).await.unwrap_or_else(|_| Err("cannot connect in time".into()))
    }
}

async fn tcp(origin: &Origin) -> Result<TcpStream, String> {
    let stream = TcpStream::connect((origin.host.as_str(), origin.port)).await;
    let stream = stream.map_err(|error| format!("cannot connect: {error}"))?;
    stream.set_nodelay(true).ok();
    Ok(stream)
}

async fn tls(
    connector: &TlsConnector,
    origin: &Origin,
    tcp: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, String> {
    let name = ServerName::try_from(origin.host.clone()).map_err(|error| format!("{}: {error}", origin.host))?;
    connector.connect(name, tcp).await.map_err(|error| format!("TLS failed: {error}"))
}

/// Believes every certificate, because the user said so.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
