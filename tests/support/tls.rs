//! Certificates that are made for a test, and a client that checks them.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{CipherSuite, ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::try_connect;

/// A certificate authority that signs anything a test wants.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        Self { issuer: CertifiedIssuer::self_signed(params, key).unwrap() }
    }

    /// Writes its own certificate to a file.
    pub(crate) fn write(&self, file: &Path) {
        std::fs::write(file, self.issuer.pem()).unwrap();
    }

    /// Issues a certificate for these names, in files that begin with `stem`.
    pub(crate) fn issue(&self, folder: &Path, stem: &str, names: &[&str]) -> Pair {
        self.issue_with(folder, stem, names, |_| {})
    }

    /// As [`Self::issue`], with other parameters of the certificate.
    pub(crate) fn issue_with(
        &self,
        folder: &Path,
        stem: &str,
        names: &[&str],
        more: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        self.sign(folder, stem, names, &KeyPair::generate().unwrap(), more)
    }

    /// A client that offers these cipher suites in this order.
    pub(crate) fn offering(&self, suites: &[CipherSuite]) -> ClientConfig {
        let mut provider = aws_lc_rs::default_provider();
        let place = |suite: CipherSuite| suites.iter().position(|wanted| *wanted == suite);
        provider.cipher_suites.retain(|known| place(known.suite()).is_some());
        provider.cipher_suites.sort_by_key(|known| place(known.suite()));
        let builder =
            ClientConfig::builder_with_provider(Arc::new(provider)).with_safe_default_protocol_versions().unwrap();
        builder.with_root_certificates(self.roots()).with_no_client_auth()
    }

    /// As [`Self::issue`], with an RSA key.
    pub(crate) fn issue_rsa(&self, folder: &Path, stem: &str, names: &[&str]) -> Pair {
        let key = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
        self.sign(folder, stem, names, &key, |_| {})
    }

    fn sign(
        &self,
        folder: &Path,
        stem: &str,
        names: &[&str],
        key: &KeyPair,
        more: impl FnOnce(&mut CertificateParams),
    ) -> Pair {
        let mut params =
            CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        params.distinguished_name.push(DnType::CommonName, stem);
        more(&mut params);
        let certificate = params.signed_by(key, &self.issuer).unwrap();
        let pair = Pair { cert: folder.join(format!("{stem}.pem")), key: folder.join(format!("{stem}.key")) };
        std::fs::write(&pair.cert, certificate.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    /// The settings of a client that trusts this authority and speaks these protocols.
    pub(crate) fn client(&self, alpn: &[&str]) -> ClientConfig {
        self.client_with(alpn, None)
    }

    /// As [`Self::client`], with a certificate of its own.
    pub(crate) fn client_with(&self, alpn: &[&str], own: Option<&Pair>) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots());
        let mut config = match own {
            Some(Pair { cert, key }) => {
                let chain = CertificateDer::pem_file_iter(cert).unwrap().map(Result::unwrap).collect();
                builder.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = Resumption::disabled();
        config
    }
}

/// Writes a certificate that has signed itself, and its key. As `openssl req -x509` makes them, it may sign others too.
pub(crate) fn self_signed(
    folder: &Path,
    stem: &str,
    names: &[&str],
    more: impl FnOnce(&mut CertificateParams),
) -> Pair {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, stem);
    more(&mut params);
    let key = KeyPair::generate().unwrap();
    let pair = Pair { cert: folder.join(format!("{stem}.pem")), key: folder.join(format!("{stem}.key")) };
    std::fs::write(&pair.cert, params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(&pair.key, key.serialize_pem()).unwrap();
    pair
}

impl Authority {
    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.issuer.pem().as_bytes()).unwrap()).unwrap();
        roots
    }

    /// A client that knows only TLS 1.2, and only these cipher suites if any are named.
    pub(crate) fn old_client(&self, suites: &[CipherSuite]) -> ClientConfig {
        let mut provider = aws_lc_rs::default_provider();
        provider.cipher_suites.retain(|known| suites.is_empty() || suites.contains(&known.suite()));
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap();
        builder.with_root_certificates(self.roots()).with_no_client_auth()
    }
}

/// A TLS connection of a client.
pub(crate) type TlsClient = StreamOwned<ClientConnection, TcpStream>;

/// Connects and performs the handshake as a client that wants to talk to `name`.
pub(crate) fn shake_hands(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<TlsClient> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::clone(config), name).unwrap();
    let mut stream = try_connect(address)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    Ok(StreamOwned::new(connection, stream))
}

/// The certificate that is presented for `name`.
pub(crate) fn certificate_of(address: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> std::io::Result<Vec<u8>> {
    let stream = shake_hands(address, name, config)?;
    Ok(stream.conn.peer_certificates().unwrap()[0].as_ref().to_vec())
}

/// The certificate in a file.
pub(crate) fn certificate_in(pair: &Pair) -> Vec<u8> {
    CertificateDer::from_pem_file(&pair.cert).unwrap().as_ref().to_vec()
}
