//! Which certificate a client gets, by the name that it asks for (SNI, RFC 6066 section 3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::Certificate;

/// Chooses the certificate that a client gets.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By host name, in lower case.
    exact: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// By what follows `*.`; the asterisk matches one label (RFC 9525 section 6.3).
    wildcard: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// For all other names, and for clients that send none: the certificates with the names of the first one.
    default: Vec<Arc<CertifiedKey>>,
}

impl Names {
    pub(super) fn add(&mut self, certificate: &Certificate) {
        let Certificate { leaf, key, validity } = certificate;
        let alternatives = leaf.tbs_certificate().get_extension::<SubjectAltName>().ok().flatten();
        let names = alternatives.iter().flat_map(|(_, names)| &names.0);
        let mut is_default = self.default.is_empty();
        let mut has_names = false;
        for name in names {
            let GeneralName::DnsName(name) = name else { continue };
            let name = name.as_str().to_ascii_lowercase();
            let keys = match name.strip_prefix("*.") {
                Some(domain) => self.wildcard.entry(domain.to_owned()),
                None => self.exact.entry(name),
            };
            let keys = keys.or_default();
            // The same names with another type of key: it is for clients that cannot use the first one.
            is_default |= self.default.first().is_some_and(|first| keys.iter().any(|known| Arc::ptr_eq(known, first)));
            keys.push(Arc::clone(key));
            has_names = true;
        }
        if is_default {
            self.default.push(Arc::clone(key));
        } else if !has_names {
            tracing::warn!(
                file = validity.file,
                "the certificate names no host (subjectAltName): no client will get it"
            );
        }
    }

    fn find(&self, name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let find = |name: &str| {
            let name = name.to_ascii_lowercase();
            let domain = || name.split_once('.').and_then(|(_, domain)| self.wildcard.get(domain));
            self.exact.get(&name).or_else(domain)
        };
        name.and_then(find).unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Names {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let keys = self.find(hello.server_name());
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(hello.signature_schemes()).is_some();
        keys.iter().find(fits).or(keys.first()).cloned()
    }
}
