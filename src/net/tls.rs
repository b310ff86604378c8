//! TLS for SIP: certificate and key, read again when their files change.
//!
//! A connection keeps the certificate it began with; new ones get the newest that could be read. TLS 1.2 and 1.3 only.

use crate::net::certificate::fingerprint;
use crate::net::told::Told;
use crate::net::validity::good_until;
use arc_swap::ArcSwap;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConnection, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{AlertDescription, Error, PeerIncompatible, RootCertStore, ServerConfig};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// How often the files are looked at.
pub const WATCH: Duration = Duration::from_secs(5);
/// How often the log tells that the certificate runs out.
const DAY: Duration = Duration::from_secs(86_400);
/// From how many days before.
const SOON: i64 = 14;

/// The files, in PEM.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsFiles {
    /// Ours first, then those that signed it.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// With it, phones must show a certificate one of these has signed.
    pub client_ca: Option<PathBuf>,
}

/// Why there is no TLS, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{setting}: {} can't be read: {source}", path.display())]
    Unreadable { setting: &'static str, path: PathBuf, source: io::Error },
    #[error("{setting}: {} holds no {what} in PEM form (-----BEGIN …)", path.display())]
    Empty { setting: &'static str, path: PathBuf, what: &'static str },
    #[error("{setting}: {} is damaged: {reason}", path.display())]
    Damaged { setting: &'static str, path: PathBuf, reason: String },
    #[error("tls.key: {} does not belong to the certificate {}", key.display(), certificate.display())]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("tls.certificate: {} can't be used: {source}", path.display())]
    Unusable { path: PathBuf, source: Error },
    #[error("tls.certificate: {} ran out on {day}", path.display())]
    RanOut { path: PathBuf, day: Date },
    #[error("tls.client_ca: {} can't be used: {source}", path.display())]
    Authority { path: PathBuf, source: VerifierBuilderError },
    #[error("{} is there, but {} is not: remove the first to have both made anew", there.display(), missing.display())]
    Half { there: PathBuf, missing: PathBuf },
    #[error("a certificate can't be made: {0}. Name one with tls.certificate and tls.key")]
    NotMade(rcgen::Error),
    #[error("{} can't be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

/// Which files these are, and when they were last changed in any way, as seconds and nanoseconds.
type Stamp = [Option<(u64, i64, i64)>; 3];

/// What new connections get.
struct Identity {
    config: Arc<ServerConfig>,
    /// When the certificate runs out.
    until: Option<Timestamp>,
}

pub struct Tls {
    files: TlsFiles,
    loaded: Stamp,
    current: ArcSwap<Identity>,
    refused: Mutex<[Told; 4]>,
}

impl Tls {
    pub fn new(files: TlsFiles) -> Result<Tls, TlsError> {
        // Before reading: a change in between is seen later.
        let loaded = files.stamp();
        let current = ArcSwap::from_pointee(files.load()?);
        let tls = Tls { files, loaded, current, refused: Mutex::default() };
        tls.tell_age();
        Ok(tls)
    }

    /// TLS for a new connection.
    pub fn session(&self) -> Result<ServerConnection, Error> {
        ServerConnection::new(self.current.load().config.clone())
    }

    /// Reads the files again whenever they changed, for ever.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let (mut loaded, mut seen, mut told) = (self.loaded, self.loaded, Instant::now());
        loop {
            tokio::time::sleep(every).await;
            if told.elapsed() >= DAY {
                told = Instant::now();
                self.tell_age();
            }
            let now = self.files.stamp();
            // What changed since the last look may still be being written, or its other half be missing.
            if now == seen && now != loaded {
                loaded = now;
                self.reload();
            }
            seen = now;
        }
    }

    fn reload(&self) {
        // One that has run out is a mistake: even the old one may be better.
        let fresh =
            self.files.load().and_then(|identity| match identity.until.filter(|until| *until < Timestamp::now()) {
                Some(until) => Err(TlsError::RanOut { path: self.files.certificate.clone(), day: day(until) }),
                None => Ok(identity),
            });
        match fresh {
            Ok(identity) => {
                self.current.store(Arc::new(identity));
                self.tell_age();
                let path = self.files.certificate.display();
                let fingerprint = fingerprint(&self.files.certificate).unwrap_or_default();
                info!("new connections over TLS get the certificate now in {path}; SHA-256 fingerprint {fingerprint}");
            }
            Err(error) => warn!("TLS goes on with the certificate it has, for the new one is of no use: {error}"),
        }
    }

    /// Says in the log when the certificate in use soon is, or already was, good for the last time.
    fn tell_age(&self) {
        let Some(until) = self.current.load().until else { return };
        let left = until.duration_since(Timestamp::now());
        let (path, day, days) = (self.files.certificate.display(), day(until), left.as_hours() / 24);
        if left.is_negative() {
            warn!("the certificate {path} ran out on {day}: phones that verify it can't connect over TLS. Renew it");
        } else if days < SOON {
            warn!("the certificate {path} runs out in {days} days, on {day}. Renew it: the new one is used at once");
        }
    }

    /// Says in the log why a phone got no connection, a line a minute of each kind.
    pub fn tell_refused(&self, peer: SocketAddr, error: &io::Error) {
        let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let Some((kind, why)) = of_tls.and_then(explain) else {
            return debug!("the TLS handshake of {peer} failed: {error}");
        };
        let mut told = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match told[kind].tell(Instant::now()) {
            Some(0) => warn!("{peer} was refused: {why}"),
            Some(hidden) => warn!("{peer} was refused, and {hidden} before it: {why}"),
            None => debug!("{peer} was refused: {why}"),
        }
    }
}

/// What an administrator can mend, with its place in `Tls::refused`. Else it was no phone.
fn explain(error: &Error) -> Option<(usize, String)> {
    use PeerIncompatible::{SignatureAlgorithmsExtensionRequired, Tls12NotOffered, Tls12NotOfferedOrEnabled};
    Some(match error {
        // TLS 1.2 brought signature_algorithms: who has none is older, and rustls looks at that first.
        Error::PeerIncompatible(Tls12NotOffered | Tls12NotOfferedOrEnabled | SignatureAlgorithmsExtensionRequired) => {
            let why = "it speaks TLS 1.1 or older, which is broken, and we TLS 1.2 and 1.3: give it new firmware, or \
                       connect it over TCP or UDP";
            (0, why.to_owned())
        }
        Error::PeerIncompatible(reason) => {
            let why = "its TLS has nothing in common with ours; new firmware may help, or, with a phone that knows RSA \
                       only, an RSA certificate";
            (1, format!("{why} ({reason:?})"))
        }
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => {
            (2, format!("it has no certificate signed by one of tls.client_ca ({error})"))
        }
        Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired,
        ) => {
            let why = "it does not trust our certificate: give it the certificate's authority, tell it not to verify, or \
                       give us a certificate it trusts";
            (3, format!("{why} ({error})"))
        }
        _ => return None,
    })
}

impl TlsFiles {
    fn stamp(&self) -> Stamp {
        // Not the time of modification: `cp -p` and archives set that back.
        let stamp = |path: &Path| fs::metadata(path).ok().map(|file| (file.ino(), file.ctime(), file.ctime_nsec()));
        [stamp(&self.certificate), stamp(&self.key), self.client_ca.as_deref().and_then(stamp)]
    }

    /// Errors: these files are of no use.
    pub fn check(&self) -> Result<(), TlsError> {
        self.load().map(drop)
    }

    /// What they say, checked: a key that does not belong to the certificate is an error.
    fn load(&self) -> Result<Identity, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates("tls.certificate", &self.certificate)?;
        let until = chain.first().and_then(|certificate| good_until(certificate));
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|error| unreadable("tls.key", &self.key, "private key", error))?;
        let unusable = |source| match source {
            Error::InconsistentKeys(_) => {
                TlsError::Mismatch { certificate: self.certificate.clone(), key: self.key.clone() }
            }
            source => TlsError::Unusable { path: self.certificate.clone(), source },
        };
        let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_protocol_versions(&versions).map_err(unusable)?;
        let mut config = match &self.client_ca {
            None => builder.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?,
            Some(path) => builder
                .with_client_cert_verifier(authorities(path, provider)?)
                .with_single_cert(chain, key)
                .map_err(unusable)?,
        };
        // Tickets are good for this configuration only: who came with another certificate shakes hands in full.
        config.ticketer = ring::Ticketer::new().map_err(unusable)?;
        config.send_tls13_tickets = 1;
        Ok(Identity { config: Arc::new(config), until })
    }
}

/// In UTC.
fn day(moment: Timestamp) -> Date {
    moment.to_zoned(TimeZone::UTC).date()
}

fn authorities(
    path: &Path,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.client_ca", path)? {
        let damaged =
            |error: Error| TlsError::Damaged { setting: "tls.client_ca", path: path.into(), reason: error.to_string() };
        roots.add(certificate).map_err(damaged)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|source| TlsError::Authority { path: path.into(), source })
}

/// At least one.
fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(found) if found.is_empty() => Err(TlsError::Empty { setting, path: path.into(), what: "certificate" }),
        Ok(found) => Ok(found),
        Err(error) => Err(unreadable(setting, path, "certificate", error)),
    }
}

fn unreadable(setting: &'static str, path: &Path, what: &'static str, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Unreadable { setting, path, source },
        pem::Error::NoItemsFound => TlsError::Empty { setting, path, what },
        error => TlsError::Damaged { setting, path, reason: error.to_string() },
    }
}

#[cfg(test)]
#[path = "tls_tests.rs"]
mod tests;
