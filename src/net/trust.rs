//! Which certificates of peers are believed.
//!
//! rustls believes what an authority has signed, and no certificate that could be an authority's own. So it refuses the
//! self-signed certificate that `openssl req -x509` makes, even where it is named as trusted. Here a certificate that
//! is itself among the trusted ones, byte for byte, is believed too. Its dates, purpose and names count as ever.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use x509_cert::der::oid::ObjectIdentifier;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use super::pem::{self, in_line, numbered_certificates};

/// The purposes of certificates (RFC 5280 section 4.2.1.12).
const SERVER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1");
const CLIENT: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2");

/// Trusted certificates.
#[derive(Debug)]
pub(crate) struct Trusted {
    /// They may sign others.
    roots: RootCertStore,
    /// The same ones as they are: a peer may have one of them.
    themselves: Vec<CertificateDer<'static>>,
}

impl Trusted {
    /// Reads a PEM file.
    ///
    /// # Errors
    /// The text names the file, and says what is wrong with it and what to do.
    pub(crate) fn read(file: &Path) -> Result<Self, String> {
        let (mut roots, mut themselves) = (RootCertStore::empty(), Vec::new());
        for (line, certificate) in numbered_certificates(file)? {
            roots.add(certificate.clone()).map_err(|error| in_line(file, line, pem::plain(&error)))?;
            themselves.push(certificate);
        }
        Ok(Self { roots, themselves })
    }

    /// The trusted certificates of the system.
    ///
    /// # Errors
    /// There are none. The text says what to do.
    pub(crate) fn of_system() -> Result<Self, String> {
        let rustls_native_certs::CertificateResult { certs: themselves, errors, .. } =
            rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(themselves.iter().cloned());
        if roots.is_empty() {
            let why = errors.first().map(|why| format!(": {why}")).unwrap_or_default();
            let advice = "install ca-certificates, or set tls.ca";
            return Err(format!("the system has no root certificates{why} ({advice})"));
        }
        errors.iter().for_each(|why| tracing::warn!("some root certificates of the system are not used: {why}"));
        Ok(Self { roots, themselves })
    }

    /// What verifies the certificates of endpoints.
    ///
    /// # Errors
    /// rustls cannot use the roots.
    pub(crate) fn servers(self, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, String> {
        let Self { roots, mut themselves } = self;
        // A certificate without names is no server's. Authorities have none, so the system's are not kept in memory.
        themselves.retain(has_names);
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        Ok(Arc::new(Servers { inner: inner.map_err(|error| error.to_string())?, themselves }))
    }

    /// What verifies the certificates of clients, which may be absent unless `required`.
    ///
    /// # Errors
    /// rustls cannot use the roots.
    pub(crate) fn clients(
        self,
        ask: Ask,
        provider: Arc<CryptoProvider>,
    ) -> Result<Arc<dyn ClientCertVerifier>, String> {
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots), provider);
        let builder = match ask {
            Ask::Required => builder,
            Ask::Optional => builder.allow_unauthenticated(),
        };
        let inner = builder.build().map_err(|error| error.to_string())?;
        Ok(Arc::new(Clients { inner, themselves: self.themselves }))
    }
}

/// Whether a client without a certificate is let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// It is refused.
    Required,
    /// It is let in.
    Optional,
}

/// Why there is no TLS with an endpoint, and what to do if its certificate was refused.
pub(crate) fn explained(error: &Error) -> String {
    match (advice(error), error) {
        (Some(advice), _) => format!("{error}: {advice}"),
        // A text of our own.
        (None, Error::General(text)) => text.clone(),
        (None, _) => error.to_string(),
    }
}

/// As [`explained`], for what the connection reports.
pub(crate) fn explained_io(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    tls.map_or_else(|| error.to_string(), explained)
}

fn advice(error: &Error) -> Option<&'static str> {
    let Error::InvalidCertificate(error) = error else { return None };
    match error {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            Some("add the certificate of the authority that signed it, or itself, to tls.ca of the pool")
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            Some("set tls.server_name of the pool to a name that the certificate is for")
        }
        // By its name alone: the type that it has is not ours.
        CertificateError::Other(other) if other.0.to_string() == "CaUsedAsEndEntity" => {
            Some("it is the certificate of an authority: add it to tls.ca of the pool if it is to be trusted by itself")
        }
        _ => None,
    }
}

/// Verifies the certificates of endpoints.
#[derive(Debug)]
struct Servers {
    inner: Arc<WebPkiServerVerifier>,
    themselves: Vec<CertificateDer<'static>>,
}

/// Verifies the certificates of clients.
#[derive(Debug)]
struct Clients {
    inner: Arc<dyn ClientCertVerifier>,
    themselves: Vec<CertificateDer<'static>>,
}

fn has_names(certificate: &CertificateDer<'static>) -> bool {
    let Ok(parsed) = pem::parse(certificate) else { return false };
    matches!(parsed.tbs_certificate().get_extension::<SubjectAltName>(), Ok(Some(_)))
}

/// Verifies what is independent of who has signed a certificate, for one of `trusted`; `None` for all others.
fn by_itself(
    certificate: &CertificateDer<'_>,
    trusted: &[CertificateDer<'static>],
    purpose: ObjectIdentifier,
    now: UnixTime,
) -> Option<Result<(), CertificateError>> {
    trusted.iter().any(|trusted| trusted == certificate).then(|| is_current(certificate, purpose, now))
}

fn is_current(
    certificate: &CertificateDer<'_>,
    purpose: ObjectIdentifier,
    time: UnixTime,
) -> Result<(), CertificateError> {
    let parsed = pem::parse(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let parsed = parsed.tbs_certificate();
    let validity = parsed.validity();
    let at = |time: &x509_cert::time::Time| UnixTime::since_unix_epoch(time.to_unix_duration());
    let (not_before, not_after) = (at(&validity.not_before), at(&validity.not_after));
    if time < not_before {
        return Err(CertificateError::NotValidYetContext { time, not_before });
    }
    if time > not_after {
        return Err(CertificateError::ExpiredContext { time, not_after });
    }
    match parsed.get_extension::<ExtendedKeyUsage>() {
        Ok(Some((_, purposes))) if !purposes.0.contains(&purpose) => Err(CertificateError::InvalidPurpose),
        Ok(_) => Ok(()),
        Err(_) => Err(CertificateError::BadEncoding),
    }
}

impl ServerCertVerifier for Servers {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = self.inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        let Err(why) = verdict else { return verdict };
        by_itself(end_entity, &self.themselves, SERVER, now).ok_or(why)??;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verdict = self.inner.verify_client_cert(end_entity, intermediates, now);
        let Err(why) = verdict else { return verdict };
        by_itself(end_entity, &self.themselves, CLIENT, now).ok_or(why)??;
        // What rustls reads of each certificate must be there.
        ParsedCertificate::try_from(end_entity)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
