//! The certificate we make ourselves at the first start, for phones that are content with any.

use crate::net::tls::TlsError;
use jiff::{Timestamp, ToSpan, Zoned, tz::TimeZone};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// How long it is good. Phones count time in 32 bits: it ends before they do, in 2038.
const YEARS: i32 = 10;

/// The paths of certificate and key in `folder`, which are made when there are none, for the host names and addresses `names`.
pub fn of_our_own(folder: &Path, names: Vec<String>) -> Result<(PathBuf, PathBuf), TlsError> {
    let (certificate, key) = (folder.join(CERTIFICATE), folder.join(KEY));
    match (certificate.exists(), key.exists()) {
        (true, true) => {}
        (false, false) => make(&certificate, &key, names)?,
        (true, false) => return Err(TlsError::Half { there: certificate, missing: key }),
        (false, true) => return Err(TlsError::Half { there: key, missing: certificate }),
    }
    Ok((certificate, key))
}

fn make(certificate: &Path, key: &Path, names: Vec<String>) -> Result<(), TlsError> {
    let shown = names.join(", ");
    let (text, secret) = generate(names).map_err(TlsError::NotMade)?;
    write(key, &secret, 0o600)?;
    write(certificate, &text, 0o644)?;
    let fingerprint = fingerprint(certificate).unwrap_or_default();
    tracing::info!(
        "made a certificate for SIP over TLS, signed by nobody but itself: {} for {shown}; SHA-256 fingerprint {fingerprint}",
        certificate.display()
    );
    Ok(())
}

/// Certificate and key as PEM.
fn generate(names: Vec<String>) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let common_name = names.first().cloned().unwrap_or_default();
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    // A phone whose clock is a day off is content, too.
    let today = Timestamp::now().to_zoned(TimeZone::UTC);
    let date = |day: &Zoned, years: i32| {
        let month = u8::try_from(day.month()).unwrap_or(1);
        // No 29 February, which other years lack.
        let day_of_month = u8::try_from(day.day()).unwrap_or(1).min(28);
        date_time_ymd(i32::from(day.year()) + years, month, day_of_month)
    };
    params.not_before = date(&today.checked_sub(1.day()).unwrap_or_else(|_| today.clone()), 0);
    params.not_after = date(&today, YEARS);
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// Never over a file that is there, and never seen half written.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), TlsError> {
    let new = path.with_extension("new");
    let written = || -> io::Result<()> {
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(|source| TlsError::Unwritable { path: path.into(), source })
}

/// The SHA-256 digest of the first certificate in a file, as phones and `openssl x509 -fingerprint` show it.
pub fn fingerprint(path: &Path) -> Option<String> {
    let certificate = CertificateDer::from_pem_file(path).ok()?;
    let mut text = String::new();
    for byte in Sha256::digest(&certificate) {
        let colon = if text.is_empty() { "" } else { ":" };
        let _ = write!(text, "{colon}{byte:02X}");
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn it_is_made_once_and_its_key_is_nobody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let names = || vec!["pbx".to_owned(), "192.0.2.1".to_owned()];
        let (certificate, key) = of_our_own(folder.path(), names()).unwrap();
        let first = fs::read(&certificate).unwrap();
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fingerprint(&certificate).unwrap().len(), 32 * 3 - 1);
        of_our_own(folder.path(), names()).unwrap();
        assert_eq!(fs::read(&certificate).unwrap(), first);
    }

    #[test]
    fn half_of_it_is_not_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = of_our_own(folder.path(), vec!["pbx".to_owned()]).unwrap();
        fs::remove_file(&certificate).unwrap();
        let said = of_our_own(folder.path(), vec!["pbx".to_owned()]).unwrap_err().to_string();
        assert!(said.contains("tls.key is there, but ") && key.exists(), "{said}");
    }
}
