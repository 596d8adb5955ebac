//! Who a client has proven to be by its certificate, and how the replica hears of it.

use std::time::SystemTime;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::{CLIENT_CERT, X_CLIENT_CERT_SUBJECT};
use crate::net::pem;

/// A verified certificate, as field values.
#[derive(Debug, Clone)]
pub struct Identity {
    certificate: HeaderValue,
    subject: Option<HeaderValue>,
    not_after: SystemTime,
}

/// What a client has proven, if it was asked.
#[derive(Debug)]
pub enum Proof {
    /// The listener asks for no certificates.
    NotAskedFor,
    /// It has none.
    None,
    /// It has this one.
    Given(Identity),
}

impl Identity {
    /// Reads a certificate in DER that has been verified; `None` if it cannot be read. The subject is written as RFC 4514 has it.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let parsed = pem::parse(certificate).ok()?.tbs_certificate;
        let (subject, not_after) = (parsed.subject.to_string(), parsed.validity.not_after.to_system_time());
        // RFC 8941 section 3.3.5: a byte sequence stands between colons.
        let certificate = HeaderValue::try_from(format!(":{}:", BASE64_STANDARD.encode(certificate))).ok()?;
        Some(Self { certificate, subject: HeaderValue::try_from(subject).ok(), not_after })
    }

    /// Whether it does not hold any more.
    pub fn has_ended(&self, now: SystemTime) -> bool {
        self.not_after <= now
    }

    /// Tells the replica.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(CLIENT_CERT, self.certificate.clone());
        self.subject.iter().for_each(|subject| _ = headers.insert(X_CLIENT_CERT_SUBJECT, subject.clone()));
    }
}

/// Removes the fields of whose names this holds.
pub(super) fn strip(headers: &mut HeaderMap, is_forged: fn(&str) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| is_forged(name.as_str())).cloned().collect();
    names.iter().for_each(|name| _ = headers.remove(name));
}
