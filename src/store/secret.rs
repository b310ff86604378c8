//! Passwords: the HA1 values digest authentication needs, and a copy sealed with `secret.key` for provisioning.
//!
//! A sealed copy is bound to its tenant and number: moved to another row it does not open. The key never enters the
//! database, a journal or a log.

use crate::base::ids::TenantId;
use crate::directory::Secret;
use crate::store::error::StoreError;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use md5::{Digest, Md5};
use sha2::Sha256;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Name of the key's file in the data directory and among a systemd service's credentials.
pub const KEY_FILE: &str = "secret.key";
/// The environment variable that replaces the file.
pub const KEY_VARIABLE: &str = "STROWGER_SECRET_KEY";

const VERSION: u8 = 1;
const ID_BYTES: usize = 4;
const NONCE_BYTES: usize = 24;
const HEAD_BYTES: usize = 1 + ID_BYTES + NONCE_BYTES;

/// Letters and digits nobody confuses on paper or a phone's keypad: no 0 o, no 1 i l, no 5 s, no 2 z, no u v, no 8 b, no q.
const TYPEABLE: &[u8; 22] = b"acdefghjkmnprtwxy34679";

/// What seals passwords (XChaCha20-Poly1305).
pub struct SealKey {
    cipher: XChaCha20Poly1305,
    id: [u8; ID_BYTES],
    /// Where it came from, in words.
    origin: String,
    /// There was none, and it has just been made.
    is_new: bool,
}

impl SealKey {
    /// The key of the environment variable, of the service's credentials or of `secret.key` in `data_dir`, in this
    /// order; a missing file is made.
    pub fn load(data_dir: &Path) -> Result<SealKey, StoreError> {
        if let Ok(text) = std::env::var(KEY_VARIABLE) {
            return SealKey::parse(&text, KEY_VARIABLE);
        }
        if let Some(directory) = std::env::var_os("CREDENTIALS_DIRECTORY") {
            let path = Path::new(&directory).join(KEY_FILE);
            if path.exists() {
                return SealKey::read(&path);
            }
        }
        let path = data_dir.join(KEY_FILE);
        let is_new = !path.exists();
        if is_new {
            create_key(&path)?;
        }
        let mode = std::fs::metadata(&path).map_err(StoreError::file("read", &path))?.mode();
        if mode & 0o077 != 0 {
            return Err(StoreError::KeyExposed { path });
        }
        Ok(SealKey { is_new, ..SealKey::read(&path)? })
    }

    fn read(path: &Path) -> Result<SealKey, StoreError> {
        let mut text = String::new();
        let file = File::open(path).map_err(StoreError::file("read", path))?;
        file.take(1024).read_to_string(&mut text).map_err(StoreError::file("read", path))?;
        SealKey::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, origin: &str) -> Result<SealKey, StoreError> {
        let key = unhex(text.trim()).ok_or_else(|| StoreError::KeyFormat { origin: origin.to_string() })?;
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&Sha256::digest(key)[..ID_BYTES]);
        Ok(SealKey { cipher: XChaCha20Poly1305::new(&key.into()), id, origin: origin.to_string(), is_new: false })
    }

    /// What stands after the first byte of everything it has sealed.
    pub(super) fn id(&self) -> &[u8] {
        &self.id
    }

    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    pub fn seal(&self, tenant: TenantId, number: &str, password: &str) -> Result<Vec<u8>, StoreError> {
        let mut sealed = vec![0; HEAD_BYTES];
        sealed[0] = VERSION;
        sealed[1..=ID_BYTES].copy_from_slice(&self.id);
        random(&mut sealed[1 + ID_BYTES..])?;
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&sealed[1 + ID_BYTES..]);
        let place = place(tenant, number);
        let payload = Payload { msg: password.as_bytes(), aad: place.as_bytes() };
        let text = self.cipher.encrypt(&XNonce::from(nonce), payload).map_err(|_| StoreError::Damaged)?;
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    pub fn open(&self, tenant: TenantId, number: &str, sealed: &[u8]) -> Result<String, StoreError> {
        let (head, text) = sealed.split_at_checked(HEAD_BYTES).ok_or(StoreError::Damaged)?;
        if head[0] != VERSION {
            return Err(StoreError::Damaged);
        }
        if head[1..=ID_BYTES] != self.id {
            return Err(StoreError::OtherKey);
        }
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&head[1 + ID_BYTES..]);
        let place = place(tenant, number);
        let payload = Payload { msg: text, aad: place.as_bytes() };
        let password = self.cipher.decrypt(&XNonce::from(nonce), payload).map_err(|_| StoreError::Damaged)?;
        String::from_utf8(password).map_err(|_| StoreError::Damaged)
    }
}

impl std::fmt::Debug for SealKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SealKey(..)")
    }
}

fn place(tenant: TenantId, number: &str) -> String {
    format!("extension/{tenant}/{number}")
}

/// Written whole under another name and then linked, so that of two processes at a first start both read the same key.
fn create_key(path: &Path) -> Result<(), StoreError> {
    let mut key = [0; 32];
    random(&mut key)?;
    let text: String = key.iter().map(|byte| format!("{byte:02x}")).chain(["\n".to_string()]).collect();
    let mut suffix = [0; 8];
    random(&mut suffix)?;
    let draft = path.with_extension(format!("key.{:016x}", u64::from_le_bytes(suffix)));
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::hard_link(&draft, path)
    };
    let written = write();
    // The link, if made, keeps the content; without it the draft is worth nothing.
    let _ = std::fs::remove_file(&draft);
    match written {
        Err(e) if e.kind() != ErrorKind::AlreadyExists => Err(StoreError::file("create", path)(e)),
        _ => Ok(()),
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (slot, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *slot = u8::try_from(high << 4 | low).ok()?;
    }
    Some(out)
}

pub(super) fn random(bytes: &mut [u8]) -> Result<(), StoreError> {
    getrandom::fill(bytes).map_err(StoreError::Random)
}

/// H(user:realm:password) in both algorithms (RFC 7616 §3.4.2).
pub fn digest_secret(user: &str, realm: &str, password: &str) -> Secret {
    let text = format!("{user}:{realm}:{password}");
    Secret { md5: Md5::digest(&text).into(), sha256: Sha256::digest(&text).into() }
}

/// A new password a person can type into a phone: 16 characters, 71 random bits.
pub fn typeable_password() -> Result<String, StoreError> {
    let mut password = String::with_capacity(16);
    let mut bytes = [0; 64];
    while password.len() < 16 {
        random(&mut bytes)?;
        // Draws beyond the alphabet are dropped: no letter is likelier than another.
        let letters = bytes.iter().filter_map(|byte| TYPEABLE.get(usize::from(byte & 31)));
        password.extend(letters.take(16 - password.len()).map(|letter| char::from(*letter)));
    }
    Ok(password)
}
