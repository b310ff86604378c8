//! Digest access authentication: RFC 7616, with RFC 8760's SHA-256 and RFC 2617's clients without `qop`.
//!
//! Deliberately absent: `auth-int` (refused: no phone sends it), `-sess` algorithms, `userhash`. `nc` is hexadecimal.

use super::error::{ParseError, Problem};
use super::lex::{self, List};
use md5::Md5;
use sha2::Sha256;
use sha2::digest::Output;
use std::borrow::Cow;
use std::fmt;
use subtle::ConstantTimeEq;

/// RFC 7616 §3.2.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Algorithm {
    Md5,
    Sha256,
}

impl Algorithm {
    /// As written in `algorithm=`.
    pub fn token(self) -> &'static str {
        match self {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        }
    }

    fn of(token: &[u8]) -> Option<Algorithm> {
        [Algorithm::Md5, Algorithm::Sha256].into_iter().find(|a| a.token().as_bytes().eq_ignore_ascii_case(token))
    }
}

/// The value of one Authorization or Proxy-Authorization field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Credentials<'a> {
    pub username: Cow<'a, [u8]>,
    pub realm: Cow<'a, [u8]>,
    pub nonce: &'a [u8],
    pub uri: Cow<'a, [u8]>,
    /// Hex, as received.
    pub response: &'a [u8],
    pub algorithm: Algorithm,
    /// None from clients of RFC 2069's kind.
    pub protection: Option<Protection<'a>>,
    pub opaque: Option<&'a [u8]>,
}

/// What `qop=auth` adds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protection<'a> {
    /// How many requests used this nonce, this one included.
    pub count: u32,
    /// The same as written: the response is computed over its digits.
    pub count_text: &'a [u8],
    pub cnonce: &'a [u8],
}

/// Why credentials can't be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CredentialsError {
    /// Another scheme than Digest.
    Scheme,
    /// An algorithm we did not offer.
    Algorithm,
    /// A quality of protection other than `auth`.
    Qop,
    Syntax(ParseError),
}

impl From<ParseError> for CredentialsError {
    fn from(error: ParseError) -> Self {
        CredentialsError::Syntax(error)
    }
}

/// Parameters before they are checked.
#[derive(Default)]
struct Raw<'a> {
    username: Option<&'a [u8]>,
    realm: Option<&'a [u8]>,
    nonce: Option<&'a [u8]>,
    uri: Option<&'a [u8]>,
    response: Option<&'a [u8]>,
    algorithm: Option<&'a [u8]>,
    qop: Option<&'a [u8]>,
    nc: Option<&'a [u8]>,
    cnonce: Option<&'a [u8]>,
    opaque: Option<&'a [u8]>,
}

impl<'a> Credentials<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Credentials<'a>, CredentialsError> {
        let scheme = lex::skip_token(value, 0);
        if !value[..scheme].eq_ignore_ascii_case(b"Digest") {
            return Err(CredentialsError::Scheme);
        }
        let mut raw = Raw::default();
        for param in List::new(&value[scheme..]) {
            raw.note(param)?;
        }
        raw.checked()
    }

    /// Whether the response is right for `ha1`, which is H(user:realm:password) of `self.algorithm`. Takes the same time
    /// whatever the response is.
    pub fn is_right(&self, method: &[u8], ha1: &Ha1<'_>) -> bool {
        let mut given = [0u8; 32];
        match self.algorithm {
            Algorithm::Md5 => {
                let expected = self.expected::<Md5>(method, ha1.md5);
                let valid = decode_hex(self.response, &mut given[..16]);
                expected.ct_eq(&given[..16]).into() && valid
            }
            Algorithm::Sha256 => {
                let expected = self.expected::<Sha256>(method, ha1.sha256);
                let valid = decode_hex(self.response, &mut given);
                expected.ct_eq(&given[..]).into() && valid
            }
        }
    }

    /// KD(HA1, nonce ":" …) of RFC 7616 §3.4.1, or RFC 2069's without `qop`.
    fn expected<D: sha2::Digest>(&self, method: &[u8], ha1: &[u8]) -> Output<D> {
        let ha2 = D::new().chain_update(method).chain_update(b":").chain_update(&self.uri).finalize();
        let mut hash = D::new();
        let mut hex = [0u8; 64];
        hash.update(encode_hex(ha1, &mut hex));
        hash.update(b":");
        hash.update(self.nonce);
        if let Some(protection) = self.protection {
            hash.update(b":");
            hash.update(protection.count_text);
            hash.update(b":");
            hash.update(protection.cnonce);
            hash.update(b":auth");
        }
        hash.update(b":");
        hash.update(encode_hex(&ha2, &mut hex));
        hash.finalize()
    }
}

impl<'a> Raw<'a> {
    fn note(&mut self, param: &'a [u8]) -> Result<(), ParseError> {
        let equals = memchr::memchr(b'=', param).ok_or(Problem::Value.at(0))?;
        let (name, value) = (lex::trim(&param[..equals]), lex::trim(&param[equals + 1..]));
        let slots: [(&[u8], &mut Option<&'a [u8]>); 10] = [
            (b"username", &mut self.username),
            (b"realm", &mut self.realm),
            (b"nonce", &mut self.nonce),
            (b"uri", &mut self.uri),
            (b"response", &mut self.response),
            (b"algorithm", &mut self.algorithm),
            (b"qop", &mut self.qop),
            (b"nc", &mut self.nc),
            (b"cnonce", &mut self.cnonce),
            (b"opaque", &mut self.opaque),
        ];
        for (known, slot) in slots {
            if known.len() == name.len() && known.eq_ignore_ascii_case(name) {
                return match slot.replace(value) {
                    // Which of two would be meant? Nobody honest sends both.
                    Some(_) => Err(Problem::Repeated.at(0)),
                    None => Ok(()),
                };
            }
        }
        Ok(())
    }

    fn checked(self) -> Result<Credentials<'a>, CredentialsError> {
        let missing = Problem::Missing.at(0);
        let algorithm = match self.algorithm.map(inside) {
            None => Algorithm::Md5,
            Some(token) => Algorithm::of(token).ok_or(CredentialsError::Algorithm)?,
        };
        let protection = match self.qop.map(inside) {
            None => None,
            Some(qop) if qop.eq_ignore_ascii_case(b"auth") => {
                let count_text = inside(self.nc.ok_or(missing)?);
                let count = hex_number(count_text).ok_or(Problem::Value.at(0))?;
                Some(Protection { count, count_text, cnonce: inside(self.cnonce.ok_or(missing)?) })
            }
            Some(_) => return Err(CredentialsError::Qop),
        };
        Ok(Credentials {
            username: lex::unquote(self.username.ok_or(missing)?),
            realm: lex::unquote(self.realm.ok_or(missing)?),
            nonce: inside(self.nonce.ok_or(missing)?),
            uri: lex::unquote(self.uri.ok_or(missing)?),
            response: inside(self.response.ok_or(missing)?),
            algorithm,
            protection,
            opaque: self.opaque.map(inside),
        })
    }
}

/// A value without its quotes, its escapes left: both sides hash what is between the quotes.
fn inside(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inner @ .., b'"'] => inner,
        _ => value,
    }
}

/// What a user's secret is stored as: H(user:realm:password) in both algorithms.
#[derive(Clone, Copy)]
pub struct Ha1<'a> {
    pub md5: &'a [u8; 16],
    pub sha256: &'a [u8; 32],
}

/// H(user:realm:password) with MD5.
pub fn ha1_md5(user: &str, realm: &str, password: &str) -> [u8; 16] {
    ha1::<Md5>(user, realm, password).into()
}

/// H(user:realm:password) with SHA-256.
pub fn ha1_sha256(user: &str, realm: &str, password: &str) -> [u8; 32] {
    ha1::<Sha256>(user, realm, password).into()
}

fn ha1<D: sha2::Digest>(user: &str, realm: &str, password: &str) -> Output<D> {
    D::new()
        .chain_update(user)
        .chain_update(b":")
        .chain_update(realm)
        .chain_update(b":")
        .chain_update(password)
        .finalize()
}

/// The value of a WWW-Authenticate or Proxy-Authenticate field.
#[derive(Clone, Copy, Debug)]
pub struct Challenge<'a> {
    pub realm: &'a str,
    pub nonce: &'a str,
    pub algorithm: Algorithm,
    /// The nonce had run out but the credentials were right: the phone need not ask for a password again.
    pub stale: bool,
}

impl fmt::Display for Challenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest realm=\"")?;
        let mut rest = self.realm;
        while let Some(at) = rest.find(['"', '\\']) {
            write!(f, "{}\\{}", &rest[..at], &rest[at..=at])?;
            rest = &rest[at + 1..];
        }
        write!(f, "{rest}\", nonce=\"{}\", algorithm={}, qop=\"auth\"", self.nonce, self.algorithm.token())?;
        if self.stale { f.write_str(", stale=true") } else { Ok(()) }
    }
}

/// Lower-case hex of `bytes`, at most 32 of them, in `out`.
fn encode_hex<'o>(bytes: &[u8], out: &'o mut [u8; 64]) -> &'o [u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (byte, pair) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    &out[..(bytes.len() * 2).min(64)]
}

/// Whether `hex` is exactly the digits of as many bytes as `out` has.
fn decode_hex(hex: &[u8], out: &mut [u8]) -> bool {
    if hex.len() != out.len() * 2 {
        return false;
    }
    let mut valid = true;
    for (pair, byte) in hex.chunks_exact(2).zip(out) {
        match (lex::hex_digit(pair[0]), lex::hex_digit(pair[1])) {
            (Some(high), Some(low)) => *byte = high << 4 | low,
            _ => valid = false,
        }
    }
    valid
}

/// Up to eight hex digits.
fn hex_number(text: &[u8]) -> Option<u32> {
    if text.is_empty() || text.len() > 8 {
        return None;
    }
    text.iter().try_fold(0u32, |n, b| Some(n << 4 | u32::from(lex::hex_digit(*b)?)))
}

#[cfg(test)]
#[path = "digest_tests.rs"]
mod tests;
