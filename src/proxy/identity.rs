//! Who a client has proven to be by its certificate, and how the replica is told.

use std::time::SystemTime;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::{CLIENT_CERT, X_CLIENT_CERT_SUBJECT};
use crate::net::pem;

/// A verified certificate, as field values for the replica.
#[derive(Debug, Clone)]
pub struct Identity {
    certificate: HeaderValue,
    subject: Option<HeaderValue>,
    not_after: SystemTime,
}

/// What a client has proven, if it was asked for a certificate.
#[derive(Debug)]
pub enum Proof {
    /// The listener does not ask for certificates.
    NotAskedFor,
    /// The client presented no certificate.
    None,
    /// The client presented this certificate, and it was verified.
    Given(Identity),
}

impl Identity {
    /// Reads a verified certificate in DER; `None` if it cannot be read. The subject is written as in RFC 4514.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let parsed = pem::parse(certificate).ok()?;
        let parsed = parsed.tbs_certificate();
        let (subject, not_after) = (parsed.subject().to_string(), parsed.validity().not_after.to_system_time());
        // RFC 8941 section 3.3.5: a byte sequence is written between colons.
        let certificate = HeaderValue::try_from(format!(":{}:", BASE64_STANDARD.encode(certificate))).ok()?;
        Some(Self { certificate, subject: HeaderValue::try_from(subject).ok(), not_after })
    }

    /// Whether the certificate has expired.
    pub fn has_ended(&self, now: SystemTime) -> bool {
        self.not_after <= now
    }

    /// Sets `Client-Cert` (RFC 9440 section 2.2) and `X-Client-Cert-Subject`.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(CLIENT_CERT, self.certificate.clone());
        self.subject.iter().for_each(|subject| _ = headers.insert(X_CLIENT_CERT_SUBJECT, subject.clone()));
    }
}

/// Removes every field whose name `is_forged` matches.
pub(super) fn strip(headers: &mut HeaderMap, is_forged: fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_forged(name.as_str())).cloned().collect();
    names.iter().for_each(|name| _ = headers.remove(name));
}
