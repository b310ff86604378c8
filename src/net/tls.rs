//! TLS for SIP: certificate and key, read again when their files change.
//!
//! A connection keeps the certificate it began with; new ones get the newest that could be read. TLS 1.2 and 1.3 only.

use crate::net::certificate::fingerprint;
use crate::net::told::Told;
use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConnection, VerifierBuilderError, WebPkiClientVerifier};
use rustls::{AlertDescription, Error, PeerIncompatible, RootCertStore, ServerConfig};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tracing::{debug, info, warn};

/// How often the files are looked at.
pub const WATCH: Duration = Duration::from_secs(5);

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
    #[error("tls.client_ca: {} can't be used: {source}", path.display())]
    Authority { path: PathBuf, source: VerifierBuilderError },
    #[error("{} is there, but {} is not: remove the first to have both made anew", there.display(), missing.display())]
    Half { there: PathBuf, missing: PathBuf },
    #[error("a certificate can't be made: {0}. Name one with tls.certificate and tls.key")]
    NotMade(rcgen::Error),
    #[error("{} can't be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
}

/// When the files were last changed, and how long they are.
type Stamp = [Option<(SystemTime, u64)>; 3];

pub struct Tls {
    files: TlsFiles,
    loaded: Stamp,
    current: ArcSwap<ServerConfig>,
    refused: Mutex<[Told; 4]>,
}

impl Tls {
    pub fn new(files: TlsFiles) -> Result<Tls, TlsError> {
        // Before reading: a change in between is seen later.
        let loaded = files.stamp();
        let current = ArcSwap::from(files.load()?);
        Ok(Tls { files, loaded, current, refused: Mutex::default() })
    }

    /// TLS for a new connection.
    pub fn session(&self) -> Result<ServerConnection, Error> {
        ServerConnection::new(self.current.load_full())
    }

    /// Reads the files again whenever they changed, for ever.
    pub async fn watch(self: Arc<Self>, every: Duration) {
        let (mut loaded, mut seen) = (self.loaded, self.loaded);
        loop {
            tokio::time::sleep(every).await;
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
        match self.files.load() {
            Ok(config) => {
                self.current.store(config);
                let path = self.files.certificate.display();
                let fingerprint = fingerprint(&self.files.certificate).unwrap_or_default();
                info!("new connections over TLS get the certificate now in {path}; SHA-256 fingerprint {fingerprint}");
            }
            Err(error) => warn!("TLS goes on with the certificate it has, for the new one is of no use: {error}"),
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
        let stamp = |path: &Path| {
            let file = fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        };
        [stamp(&self.certificate), stamp(&self.key), self.client_ca.as_deref().and_then(stamp)]
    }

    /// What they say, checked: a key that does not belong to the certificate is an error.
    pub fn load(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates("tls.certificate", &self.certificate)?;
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
        Ok(Arc::new(config))
    }
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
