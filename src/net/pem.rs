//! Reads certificates and keys from PEM files (RFC 7468), and notices when the files change.

mod section;

use std::fs::{Metadata, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::OFlags;
use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{self, Decode as _};

use self::section::{Section, sections};
use crate::config::model::CertificateFiles;

/// ALPN protocol identifiers (RFC 7301, RFC 9113 section 3.1).
pub(crate) const ALPN_H2: &[u8] = b"h2";
pub(crate) const ALPN_H1: &[u8] = b"http/1.1";

/// The most bytes of a file. The bundle of all public authorities has a quarter of a megabyte.
const FILE_MAX: u64 = 16 << 20;

/// The private keys that are read.
const KEYS: [&[u8]; 3] = [b"PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY"];

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
/// The text names the file, and says what is wrong with it and what to do.
pub(crate) fn certified_key(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let (chain, key) = (read_certificates(&files.cert)?, read_key(&files.key)?);
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        let kinds = "RSA of 2048 to 8192 bits, ECDSA over P-256, P-384 or P-521, or Ed25519";
        at(&files.key, format!("the private key cannot be used: it must be {kinds}"))
    })?;
    let key = CertifiedKey::new(chain, key);
    match key.keys_match() {
        // Some keys cannot tell.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(key),
        Err(rustls::Error::InconsistentKeys(_)) => Err(mismatch(files, &key)),
        Err(error) => Err(at(&files.cert, format!("the first certificate cannot be used: {}", plain(&error)))),
    }
}

/// Why a key and a chain do not belong together, and what to do.
fn mismatch(files: &CertificateFiles, pair: &CertifiedKey) -> String {
    let (cert, key) = (files.cert.display(), files.key.display());
    let fits = |other: &CertificateDer<'static>| {
        CertifiedKey::new(vec![other.clone()], Arc::clone(&pair.key)).keys_match().is_ok()
    };
    let advice = match pair.cert.iter().position(fits) {
        Some(place) => {
            let number = place + 1;
            format!("it is that of certificate {number} there, which must come first, before those that signed it")
        }
        None => format!(
            "name the files that were made together (`openssl x509 -noout -pubkey -in {cert}` and `openssl pkey \
             -pubout -in {key}` print the same then)"
        ),
    };
    format!("{key}: the key is not that of the first certificate in {cert}: {advice}")
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
/// The text names the file, and says what is wrong with it and what to do.
pub(crate) fn read_certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    Ok(numbered_certificates(file)?.into_iter().map(|(_, certificate)| certificate).collect())
}

/// The certificates of a PEM file, each with the number of its first line. There is at least one.
///
/// # Errors
/// The text names the file, and says what is wrong with it and what to do.
pub(super) fn numbered_certificates(file: &Path) -> Result<Vec<(usize, CertificateDer<'static>)>, String> {
    let text = read(file)?;
    let sections = sections(&text).map_err(|problem| in_line(file, problem.line, problem.what))?;
    let mut certificates = Vec::new();
    for section in &sections {
        match section.label {
            b"CERTIFICATE" => {
                let certificate = CertificateDer::from_pem_slice(section.text);
                certificates.push((section.line, certificate.map_err(|error| broken(file, section, &error))?));
            }
            b"TRUSTED CERTIFICATE" | b"X509 CERTIFICATE" => {
                let label = section.label.escape_ascii();
                let advice = "`openssl x509 -in OLD -out NEW` writes it as CERTIFICATE";
                return Err(in_line(file, section.line, format!("{label} is not read: {advice}")));
            }
            _ => {}
        }
    }
    if certificates.is_empty() {
        let convert = "openssl x509 -inform der -in OLD -out NEW";
        return Err(at(file, nothing("certificate (BEGIN CERTIFICATE)", &text, &sections, convert)));
    }
    Ok(certificates)
}

/// Reads the first private key of a PEM file.
fn read_key(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let text = read(file)?;
    let sections = sections(&text).map_err(|problem| in_line(file, problem.line, problem.what))?;
    let is_key = |section: &&Section<'_>| section.label.ends_with(b"PRIVATE KEY");
    let is_read = |section: &&Section<'_>| KEYS.contains(&section.label);
    let Some(section) = sections.iter().find(is_read).or(sections.iter().find(is_key)) else {
        let convert = "openssl pkey -inform der -in OLD -out NEW";
        return Err(at(file, nothing("private key (BEGIN PRIVATE KEY)", &text, &sections, convert)));
    };
    let advice = "openssl pkey -in OLD -out NEW";
    if section.text.windows(9).any(|word| word == b"ENCRYPTED") {
        let what = format!("the key is encrypted: write it without a passphrase ({advice})");
        return Err(in_line(file, section.line, what));
    }
    if !is_read(&section) {
        let what = format!("{} is not read: write it as PRIVATE KEY ({advice})", section.label.escape_ascii());
        return Err(in_line(file, section.line, what));
    }
    PrivateKeyDer::from_pem_slice(section.text).map_err(|error| broken(file, section, &error))
}

/// Reads a regular file. Others, a FIFO for example, could hang, and give their contents once.
fn read(file: &Path) -> Result<Vec<u8>, String> {
    let cannot = |error| format!("cannot read {}: {error}", file.display());
    let open = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(file);
    let (open, mut text) = (open.map_err(cannot)?, Vec::new());
    let found = open.metadata().map_err(cannot)?;
    if !found.is_file() && !found.is_dir() {
        return Err(at(file, "it is no regular file: write the certificates or keys into one"));
    }
    open.take(FILE_MAX + 1).read_to_end(&mut text).map_err(cannot)?;
    if text.len() as u64 > FILE_MAX {
        return Err(at(file, format!("it is larger than {} MiB: these are not certificates", FILE_MAX >> 20)));
    }
    Ok(text)
}

/// Says what is there instead of what was looked for.
fn nothing(what: &str, text: &[u8], sections: &[Section<'_>], convert: &str) -> String {
    // The outermost value in DER is a sequence.
    let is_der = text.starts_with(&[0x30]) && !text.is_ascii();
    let labels: Vec<_> = sections.iter().map(|section| section.label.escape_ascii().to_string()).collect();
    match (is_der, labels.as_slice()) {
        (true, _) => format!("there is no {what} in it: it is in DER, convert it into PEM ({convert})"),
        (false, []) => format!("there is no {what} in it"),
        (false, labels) => format!("there is no {what} in it, only {}", labels.join(", ")),
    }
}

fn broken(file: &Path, section: &Section<'_>, error: &rustls::pki_types::pem::Error) -> String {
    let label = section.label.escape_ascii();
    in_line(file, section.line, format!("{label} is damaged, write the file again: {error}"))
}

/// An error about a certificate in a file; rustls speaks of the certificates of peers only.
pub(super) fn plain(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(why) => format!("this is no valid certificate ({why:?})"),
        error => error.to_string(),
    }
}

/// An error message that begins with its file and line.
pub(super) fn in_line(file: &Path, line: usize, error: impl std::fmt::Display) -> String {
    format!("{}:{line}: {error}", file.display())
}

/// An error message that begins with its file.
pub(crate) fn at(file: &Path, error: impl std::fmt::Display) -> String {
    format!("{}: {error}", file.display())
}
