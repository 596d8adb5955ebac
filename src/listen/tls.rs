//! TLS towards clients: certificates by name (SNI, RFC 6066 section 3), replaced on disk without a reload; session
//! tickets that every worker understands; client certificates.
//!
//! One [`ServerTls`] is used by all workers of a listener. Only the control thread reads the files. A new configuration
//! is swapped in as a whole; files that cannot be used leave everything as it was.

mod names;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::CipherSuite;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConfig};
use rustls::sign::CertifiedKey;

use self::names::Names;
use crate::config::model::{CertificateFiles, ClientCa, Protocols, Tls};
use crate::net::pem::{self, Stamps, Watched};
use crate::net::tls::{provider, wants_chacha};
use crate::net::trust::{Ask, Trusted};

/// A certificate that expires this soon is logged as a warning.
const EXPIRY_WARNING: Duration = Duration::from_secs(14 * 24 * 3600);

/// The TLS settings of a listener. All workers share it; only the control thread changes it.
pub(crate) struct ServerTls {
    settings: Tls,
    protocols: Protocols,
    /// The keys of session tickets, one set for all workers and all future certificates: a client can resume on any
    /// worker (RFC 8446 section 2.2). The ticketer draws new keys every six hours by itself. It is replaced when the
    /// file of `client_ca` changes, because the client certificate in a ticket is not verified again.
    tickets: Mutex<Tickets>,
    config: ArcSwap<Orders>,
    files: Mutex<Files>,
}

/// What makes session tickets and reads them.
type Tickets = Arc<dyn ProducesTickets>;

/// The same configuration twice: once the server's order of cipher suites counts, once the client's.
struct Orders {
    of_server: Arc<ServerConfig>,
    of_client: Arc<ServerConfig>,
}

/// What a look has read.
struct Renewed {
    certificates: Vec<Certificate>,
    /// What is to be used with them, if that can be.
    config: Option<(Orders, Tickets)>,
    /// What cannot be used, and why.
    refused: Vec<String>,
}

/// What is known about the certificate files.
#[derive(Default)]
struct Files {
    watched: Watched,
    /// The number of the latest look. An earlier one that hangs throws away what it reads: it may be older.
    latest_look: u64,
    /// The certificates in use, in the order of the settings.
    certificates: Vec<Certificate>,
    /// Why the latest files are not used, if they are not.
    refused: Option<String>,
}

/// How long a certificate is valid.
#[derive(Debug, Clone)]
pub(crate) struct Validity {
    /// The path of its file.
    pub(crate) file: String,
    /// The moment it expires.
    pub(crate) not_after: SystemTime,
}

/// The time until a certificate expires.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    Enough,
    /// So few whole days that the operator should be told.
    Days(u64),
    Nothing,
}

impl Validity {
    fn left(&self, now: SystemTime) -> Left {
        match self.not_after.duration_since(now) {
            Ok(left) if left > EXPIRY_WARNING => Left::Enough,
            Ok(left) if !left.is_zero() => Left::Days(left.as_secs() / 86_400),
            _ => Left::Nothing,
        }
    }
}

/// A certificate with its key, ready for use.
#[derive(Clone)]
struct Certificate {
    validity: Validity,
    leaf: Arc<pem::Certificate>,
    key: Arc<CertifiedKey>,
}

impl Certificate {
    fn read(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, String> {
        let key = Arc::new(pem::certified_key(files, provider)?);
        let leaf = key.end_entity_cert().map_err(|error| pem::at(&files.cert, error))?;
        let leaf = Arc::new(pem::parse(leaf).map_err(|error| pem::at(&files.cert, error))?);
        let not_after = leaf.tbs_certificate().validity().not_after.to_system_time();
        Ok(Self { validity: Validity { file: files.cert.display().to_string(), not_after }, leaf, key })
    }

    /// Reads the files again. It fails if they cannot be used, or if the new certificate has expired while this one is
    /// still valid.
    fn renewed(&self, files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, String> {
        let (next, now) = (Self::read(files, provider)?, SystemTime::now());
        if next.validity.left(now) == Left::Nothing && self.validity.left(now) != Left::Nothing {
            return Err(format!("{}: the certificate has expired already", next.validity.file));
        }
        Ok(next)
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Reads the files and builds the configuration.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub(crate) fn load(settings: &Tls, protocols: Protocols) -> Result<Self, String> {
        let tickets = new_tickets()?;
        let (seen, provider) = (stamps(settings), provider());
        let certificates = settings.certificates.iter().map(|files| Certificate::read(files, &provider));
        let certificates: Vec<_> = certificates.collect::<Result<_, _>>()?;
        let config = configure(settings, protocols, &tickets, &certificates, provider)?;
        let files = Files { watched: Watched::new(seen), latest_look: 0, certificates, refused: None };
        files.warn_of_expiry(SystemTime::now());
        let (settings, config) = (settings.clone(), ArcSwap::from_pointee(config));
        Ok(Self { settings, protocols, tickets: Mutex::new(tickets), config, files: Mutex::new(files) })
    }

    /// Whether it was loaded from just these settings.
    pub(crate) fn serves(&self, settings: &Tls, protocols: Protocols) -> bool {
        self.settings == *settings && self.protocols == protocols
    }

    /// Whether clients are asked for certificates.
    pub(crate) fn asks_for_certificates(&self) -> bool {
        self.settings.client_ca.is_some()
    }

    /// The configuration for a client that offers these.
    pub(crate) fn config(&self, offered: &[CipherSuite]) -> Arc<ServerConfig> {
        let Orders { of_server, of_client } = &**self.config.load();
        Arc::clone(if wants_chacha(offered) { of_client } else { of_server })
    }

    /// Reads the files again if they have changed. The control thread has it called a few times a second, on threads
    /// that it leaves behind if they hang; see [`Self::give_up_look`].
    pub(crate) fn look(&self, listener: &str) {
        let number = self.begin_look();
        self.put_to_use(listener, number, self.read_again(number));
    }

    /// Begins a look, and gives it a number.
    fn begin_look(&self) -> u64 {
        let mut files = self.files();
        files.latest_look += 1;
        files.latest_look
    }

    /// Reads the files if they have changed. It may hang, so the lock, which the admin port takes, is not held.
    fn read_again(&self, number: u64) -> Option<Renewed> {
        let now = stamps(&self.settings);
        let ca = now.last().copied();
        let (before, present) = {
            let mut files = self.files();
            if files.latest_look != number {
                return None;
            }
            (files.watched.look(now)?, files.certificates.clone())
        };
        let has_new_ca = self.settings.client_ca.is_some() && ca.as_ref() != before.last();
        let (certificates, mut refused) = self.renewed(&present);
        let config = self.reconfigured(&certificates, has_new_ca).map_err(|why| refused.push(why)).ok();
        Some(Renewed { certificates, config, refused })
    }

    /// Puts to use what the look with this number has read, unless it was left behind.
    fn put_to_use(&self, listener: &str, number: u64, renewed: Option<Renewed>) {
        let Some(Renewed { certificates, config, refused }) = renewed else { return };
        let mut files = self.files();
        if files.latest_look != number {
            return;
        }
        if let Some((config, tickets)) = config {
            *self.tickets.lock().unwrap_or_else(PoisonError::into_inner) = tickets;
            self.config.store(Arc::new(config));
            files.certificates = certificates;
            files.warn_of_expiry(SystemTime::now());
        }
        files.refused = (!refused.is_empty()).then(|| refused.join("; "));
        match &files.refused {
            None => tracing::info!(listener, "new certificates are in use"),
            Some(why) => tracing::error!(listener, "new certificates refused, the old ones stay in use: {why}"),
        }
    }

    /// The latest look could not be made, or hangs. What it may still read does not count, and the next look reads the
    /// files whatever their stamps are.
    pub(crate) fn give_up_look(&self, listener: &str, why: &str) {
        let mut files = self.files();
        files.latest_look += 1;
        files.watched = Watched::default();
        if files.refused.as_deref() != Some(why) {
            tracing::error!(listener, "certificates cannot be looked at, the old ones stay in use: {why}");
            files.refused = Some(why.to_owned());
        }
    }

    /// Renews each certificate by itself, so that one that cannot be renewed does not hold up the others. Returns those
    /// in use from now on, and why others were refused.
    fn renewed(&self, before: &[Certificate]) -> (Vec<Certificate>, Vec<String>) {
        let (provider, mut refused) = (provider(), Vec::new());
        let renew = |(files, old): (&CertificateFiles, &Certificate)| {
            old.renewed(files, &provider).map_err(|why| refused.push(why)).unwrap_or_else(|()| old.clone())
        };
        let certificates = self.settings.certificates.iter().zip(before).map(renew).collect();
        (certificates, refused)
    }

    /// The configuration with these certificates, and its ticketer. With `has_new_ca` that is a fresh one, so that
    /// older tickets no longer resume.
    fn reconfigured(&self, certificates: &[Certificate], has_new_ca: bool) -> Result<(Orders, Tickets), String> {
        let tickets = if has_new_ca {
            new_tickets()?
        } else {
            Arc::clone(&*self.tickets.lock().unwrap_or_else(PoisonError::into_inner))
        };
        Ok((configure(&self.settings, self.protocols, &tickets, certificates, provider())?, tickets))
    }

    /// Logs certificates that expire soon. The control thread calls it once a day.
    pub(crate) fn warn_of_expiry(&self) {
        self.files().warn_of_expiry(SystemTime::now());
    }

    /// The files and expiry times of the certificates in use.
    pub(crate) fn certificates(&self) -> Vec<Validity> {
        self.files().certificates.iter().map(|certificate| certificate.validity.clone()).collect()
    }

    /// Why the present files are not used, if they are not.
    pub(crate) fn refused(&self) -> Option<String> {
        self.files().refused.clone()
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files {
    fn warn_of_expiry(&self, now: SystemTime) {
        for Certificate { validity, .. } in &self.certificates {
            let file = &validity.file;
            match validity.left(now) {
                Left::Enough => {}
                Left::Days(0) => tracing::warn!(file, "the certificate expires in less than a day: renew it"),
                Left::Days(1) => tracing::warn!(file, "the certificate expires in one day: renew it"),
                Left::Days(days) => tracing::warn!(file, "the certificate expires in {days} days: renew it"),
                Left::Nothing => tracing::error!(file, "the certificate has expired, clients refuse it: renew it"),
            }
        }
    }
}

fn new_tickets() -> Result<Tickets, String> {
    aws_lc_rs::Ticketer::new().map_err(|error| format!("no keys for session tickets: {error}"))
}

fn stamps(settings: &Tls) -> Stamps {
    let certificates = settings.certificates.iter().flat_map(|files| [&files.cert, &files.key]);
    pem::stamps(certificates.chain(settings.client_ca.iter().map(|ca| &ca.file)))
}

fn configure(
    settings: &Tls,
    protocols: Protocols,
    tickets: &Tickets,
    certificates: &[Certificate],
    provider: Arc<CryptoProvider>,
) -> Result<Orders, String> {
    let mut names = Names::default();
    certificates.iter().for_each(|certificate| names.add(certificate));
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &settings.client_ca {
        Some(ca) => builder.with_client_cert_verifier(verifier(ca, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(names));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = Arc::clone(tickets);
    config.alpn_protocols = [(protocols.h2, pem::ALPN_H2), (protocols.h1, pem::ALPN_H1)]
        .into_iter()
        .filter(|(is_spoken, _)| *is_spoken)
        .map(|(_, name)| name.to_vec())
        .collect();
    let of_client = Arc::new(config.clone());
    config.ignore_client_order = true;
    Ok(Orders { of_server: Arc::new(config), of_client })
}

fn verifier(ca: &ClientCa, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let ask = if ca.required { Ask::Required } else { Ask::Optional };
    Trusted::read(&ca.file)?.clients(ask, provider).map_err(|error| pem::at(&ca.file, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a certificate and its key.
    fn folder_with_pair() -> (tempfile::TempDir, Tls) {
        let folder = tempfile::tempdir().unwrap();
        let [cert, key] = ["a.pem", "a.key"].map(|name| folder.path().join(name));
        let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
        std::fs::write(&cert, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        (folder, Tls { certificates: vec![CertificateFiles { cert, key }], client_ca: None })
    }

    #[test]
    fn a_look_that_was_left_behind_changes_nothing_and_the_next_one_reads_the_files() {
        let (_folder, settings) = folder_with_pair();
        let tls = ServerTls::load(&settings, Protocols { h1: true, h2: true }).unwrap();
        let first = tls.config(&[]);
        let number = tls.begin_look();
        // It hangs before it has the stamps, or while it reads.
        tls.give_up_look("web", "it hangs");
        assert_eq!(tls.refused().as_deref(), Some("it hangs"));
        assert!(tls.read_again(number).is_none(), "it was left behind");
        // The stamps are as they were when the files were read last. It takes two looks that find the same.
        let number = tls.begin_look();
        assert!(tls.read_again(number).is_none());
        let number = tls.begin_look();
        let read = tls.read_again(number);
        assert!(read.is_some());
        tls.give_up_look("web", "it hangs");
        tls.put_to_use("web", number, read);
        assert!(Arc::ptr_eq(&first, &tls.config(&[])), "older files are not put to use");
        (0..2).for_each(|_| tls.look("web"));
        assert!(!Arc::ptr_eq(&first, &tls.config(&[])) && tls.refused().is_none());
    }

    #[test]
    fn fourteen_days_before_the_end_is_the_time_to_tell() {
        const DAY: u64 = 86_400;
        let start = SystemTime::UNIX_EPOCH;
        let validity = Validity { file: String::new(), not_after: start + Duration::from_secs(100 * DAY) };
        for (now, expected) in [
            (0, Left::Enough),
            (86 * DAY - 1, Left::Enough),
            (86 * DAY, Left::Days(14)),
            (99 * DAY + 1, Left::Days(0)),
            (100 * DAY, Left::Nothing),
            (101 * DAY, Left::Nothing),
        ] {
            assert_eq!(validity.left(start + Duration::from_secs(now)), expected, "{now}");
        }
    }
}
