//! Certificates and keys on disk, in PEM (RFC 7468).

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{self, Decode as _};

use crate::config::model::CertificateFiles;

/// ALPN protocol identifiers (RFC 7301, RFC 9113 section 3.1).
pub(crate) const ALPN_H2: &[u8] = b"h2";
pub(crate) const ALPN_H1: &[u8] = b"http/1.1";

/// Tells whether a file has been replaced, written to, or given other permissions.
type Stamp = (u64, u64, SystemTime, (i64, i64));

/// What several files are; `None` for one that is not there.
pub(crate) type Stamps = Vec<Option<Stamp>>;

/// What these files are now.
pub(crate) fn stamps<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Stamps {
    let stamp = |metadata: Metadata| {
        // The last one changes with the permissions too: what could not be read before may be readable now.
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        (metadata.ino(), metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), changed)
    };
    files.map(|file| std::fs::metadata(file).ok().map(stamp)).collect()
}

/// Files that are looked at a few times a second. New contents count when they have stayed the same from one look to the next:
/// who replaces two files is given the time to write both.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// What they were when they were read last, whatever came of it.
    seen: Stamps,
    /// What they were at the last look.
    settling: Stamps,
}

impl Watched {
    /// They have just been read.
    pub(crate) fn new(seen: Stamps) -> Self {
        Self { settling: seen.clone(), seen }
    }

    /// What they were before, if it is time to read them again.
    pub(crate) fn look(&mut self, now: Stamps) -> Option<Stamps> {
        if now != self.seen && now == self.settling {
            return Some(std::mem::replace(&mut self.seen, now));
        }
        self.settling = now;
        None
    }
}

/// A certificate with its key.
///
/// # Errors
/// The file, and what is wrong with it.
pub(crate) fn certified_key(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = read_certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| key_problem(&files.key, error))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        format!("{} and {} cannot be used together: {error}", files.cert.display(), files.key.display())
    })
}

/// A certificate taken apart, also one that does not keep to RFC 5280 in all points.
pub(crate) type Certificate = CertificateInner<Raw>;

/// Takes a certificate in DER apart.
///
/// # Errors
/// It is none.
pub(crate) fn parse(certificate: &[u8]) -> der::Result<Certificate> {
    Certificate::from_der(certificate)
}

/// The certificates in a PEM file; at least one.
///
/// # Errors
/// The file, and what is wrong with it.
pub(crate) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let problem = |error| pem_problem(file, "certificate", error);
    let certificates = CertificateDer::pem_file_iter(file).map_err(problem)?.collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(problem)?;
    if certificates.is_empty() {
        return Err(format!("{}: there is no certificate in it (BEGIN CERTIFICATE)", file.display()));
    }
    Ok(certificates)
}

/// The certificates of a PEM file as roots of trust.
///
/// # Errors
/// The file, and what is wrong with it.
pub(crate) fn read_roots(file: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots.add(certificate).map_err(|error| at(file, error))?;
    }
    Ok(roots)
}

fn key_problem(file: &Path, error: rustls::pki_types::pem::Error) -> String {
    let is_encrypted = std::fs::read(file).is_ok_and(|text| text.windows(9).any(|word| word == b"ENCRYPTED"));
    if is_encrypted {
        return at(file, "the key is encrypted: write it without a passphrase (openssl pkey -in OLD -out NEW)");
    }
    pem_problem(file, "private key", error)
}

fn pem_problem(file: &Path, what: &str, error: rustls::pki_types::pem::Error) -> String {
    match error {
        rustls::pki_types::pem::Error::Io(error) => format!("cannot read {}: {error}", file.display()),
        rustls::pki_types::pem::Error::NoItemsFound => format!("{}: there is no {what} in it", file.display()),
        error => at(file, error),
    }
}

/// A message with its file.
pub(crate) fn at(file: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}
