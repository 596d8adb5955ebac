//! Reads certificates and keys from PEM files (RFC 7468), and notices when the files change.

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

/// Inode, length, time of modification, time of change (seconds, nanoseconds). It differs when a file was replaced,
/// written to, or given other permissions.
type Stamp = (u64, u64, SystemTime, (i64, i64));

/// The stamps of several files; `None` for a missing file.
pub(crate) type Stamps = Vec<Option<Stamp>>;

/// The present stamps of `files`.
pub(crate) fn stamps<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Stamps {
    let stamp = |metadata: Metadata| {
        // The time of change changes with the permissions too: a file that could not be read may be readable now.
        let changed = (metadata.ctime(), metadata.ctime_nsec());
        (metadata.ino(), metadata.len(), metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), changed)
    };
    files.map(|file| std::fs::metadata(file).ok().map(stamp)).collect()
}

/// Files that are looked at a few times a second. New contents count when they are the same in two looks in a row,
/// which leaves time to replace two files that belong together.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    /// The stamps when the files were last read, even if they could not be used.
    seen: Stamps,
    /// The stamps at the last look.
    settling: Stamps,
}

impl Watched {
    /// The files have just been read, with these stamps.
    pub(crate) fn new(seen: Stamps) -> Self {
        Self { settling: seen.clone(), seen }
    }

    /// Returns the former stamps if it is time to read the files again.
    pub(crate) fn look(&mut self, now: Stamps) -> Option<Stamps> {
        if now != self.seen && now == self.settling {
            return Some(std::mem::replace(&mut self.seen, now));
        }
        self.settling = now;
        None
    }
}

/// Reads a certificate chain with its private key.
///
/// # Errors
/// The text names the file and says what is wrong with it.
pub(crate) fn certified_key(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let chain = read_certificates(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| key_problem(&files.key, error))?;
    CertifiedKey::from_der(chain, key, provider).map_err(|error| {
        format!("{} and {} cannot be used together: {error}", files.cert.display(), files.key.display())
    })
}

/// A parsed certificate. It need not follow RFC 5280 in every respect.
pub(crate) type Certificate = CertificateInner<Raw>;

/// Parses a certificate in DER.
///
/// # Errors
/// The bytes are not a certificate.
pub(crate) fn parse(certificate: &[u8]) -> der::Result<Certificate> {
    Certificate::from_der(certificate)
}

/// Reads the certificates of a PEM file. There is at least one.
///
/// # Errors
/// The text names the file and says what is wrong with it.
pub(crate) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let problem = |error| pem_problem(file, "certificate", error);
    let certificates = CertificateDer::pem_file_iter(file).map_err(problem)?.collect::<Result<Vec<_>, _>>();
    let certificates = certificates.map_err(problem)?;
    if certificates.is_empty() {
        return Err(format!("{}: there is no certificate in it (BEGIN CERTIFICATE)", file.display()));
    }
    Ok(certificates)
}

/// Reads the certificates of a PEM file as roots of trust.
///
/// # Errors
/// The text names the file and says what is wrong with it.
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

/// An error message that begins with its file.
pub(crate) fn at(file: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}
