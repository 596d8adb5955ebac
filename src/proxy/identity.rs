//! Who a client has proven to be by its certificate, and how the replica hears of it.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::header::{HeaderMap, HeaderName, HeaderValue};

use crate::fields::{self, CLIENT_CERT, X_CLIENT_CERT_SUBJECT};
use crate::pem;

/// A verified certificate, as field values.
#[derive(Debug, Clone)]
pub struct Identity {
    certificate: HeaderValue,
    subject: Option<HeaderValue>,
}

impl Identity {
    /// Reads a certificate in DER that has been verified; `None` if it cannot be read. The subject is written as RFC 4514 has it.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let subject = pem::parse(certificate).ok()?.tbs_certificate.subject.to_string();
        // RFC 8941 section 3.3.5: a byte sequence stands between colons.
        let certificate = HeaderValue::try_from(format!(":{}:", BASE64_STANDARD.encode(certificate))).ok()?;
        Some(Self { certificate, subject: HeaderValue::try_from(subject).ok() })
    }

    /// Tells the replica.
    pub(super) fn tell(&self, headers: &mut HeaderMap) {
        headers.insert(CLIENT_CERT, self.certificate.clone());
        self.subject.iter().for_each(|subject| _ = headers.insert(X_CLIENT_CERT_SUBJECT, subject.clone()));
    }
}

/// Removes what only the proxy may say.
pub(super) fn strip(headers: &mut HeaderMap) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| fields::is_identity(name.as_str())).cloned().collect();
    names.iter().for_each(|name| _ = headers.remove(name));
}
