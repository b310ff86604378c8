//! Digest authentication of every request from outside (RFC 7616, RFC 8760, RFC 3261 §22).
//!
//! A nonce describes itself: when it was issued, and a MAC over that and the address it was given to. So a flood of
//! requests leaves nothing behind; only nonces that were answered rightly are remembered, for `nc`, and of those at most
//! `limits::NONCES`: beyond that the oldest count as run out.
//!
//! Invariant: an unknown user and a wrong password get the same answer for the same work.

use crate::base::limits;
use crate::base::mutant::{self, Mutant};
use crate::base::now::{Micros, Now};
use crate::base::rng::Rng;
use crate::directory::{Extension, Secret, Tenant};
use crate::engine::config::AuthConfig;
use crate::engine::flow::Flow;
use crate::proto::sip::digest::{Algorithm, Challenge, Credentials, CredentialsError, Ha1, Protection};
use crate::proto::sip::message::Message;
use crate::proto::sip::name::Name;
use crate::proto::sip::uri::Uri;
use crate::proto::sip::writer::Writer;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use subtle::ConstantTimeEq;

pub struct Auth {
    config: AuthConfig,
    key: [u8; 16],
    /// Who unknown users are compared with.
    nobody: Secret,
    /// When the last nonce was issued: each gets a moment of its own, which is its identity.
    last_issued: u64,
    /// Nonces answered rightly, by moment of issue.
    used: BTreeMap<u64, Window>,
    /// Nonces issued up to here count as run out: they may have been used and forgotten.
    floor: u64,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The request comes from this extension.
    Ok(Arc<Extension>),
    /// To be answered with 401; `stale` tells the phone that its nonce is to blame, and to try once more with the new one.
    Challenge { stale: bool, why: Why },
    /// To be answered with 400.
    Malformed,
}

/// Why a request is challenged. For logs, traces and bans; its sender is told nothing but `stale`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// No credentials for our realm.
    NoCredentials,
    /// An algorithm or quality of protection we don't offer.
    NotOffered,
    /// The answer to a nonce of ours is wrong. The only one that may count towards a ban.
    UnknownUser,
    /// The same, for a user there is.
    WrongPassword,
    /// A nonce that is made up, was given to another address, or is from before our start. Whether the credentials are
    /// right is not looked at.
    ForeignNonce,
    /// Right credentials, but the nonce has run out.
    NonceExpired,
    /// Right credentials whose `nc` was seen before.
    Replayed,
    /// Right credentials for another Request-URI.
    OtherTarget,
}

/// Which `nc` values of one nonce were seen: the highest, and which of the 64 up to it. Phones send several requests at
/// once, and UDP reorders them.
#[derive(Clone, Copy)]
struct Window {
    highest: u32,
    seen: u64,
}

/// Moment of issue and MAC, 8 bytes each.
const NONCE_BYTES: usize = 16;

/// A nonce in hex.
type NonceText = [u8; NONCE_BYTES * 2];

/// What a nonce in a request says about itself.
enum Nonce {
    Fresh(u64),
    /// Ours, given to that address, but too old.
    Expired,
    Foreign,
}

/// Phones that fail when any of several challenges is not MD5, by the start of their User-Agent; they get that one alone.
const MD5_ALONE: [&[u8]; 2] = [b"baresip v0.", b"baresip v1."];

fn gives_up_on_others(software: &[u8]) -> bool {
    MD5_ALONE.iter().any(|start| software.starts_with(start))
}

impl Auth {
    pub fn new(rng: &mut Rng, config: AuthConfig) -> Auth {
        let mut key = [0u8; 16];
        rng.fill(&mut key);
        let mut nobody = Secret { md5: [0; 16], sha256: [0; 32] };
        rng.fill(&mut nobody.md5);
        rng.fill(&mut nobody.sha256);
        Auth { config, key, nobody, last_issued: 0, used: BTreeMap::new(), floor: 0 }
    }

    /// Who sent `request`, by the credentials in it.
    pub fn check(&mut self, now: Now, request: &Message, flow: &Flow, tenant: &Tenant) -> Verdict {
        let challenge = |why| Verdict::Challenge { stale: false, why };
        let credentials = match self.credentials(request, tenant) {
            Ok(Some(credentials)) => credentials,
            Ok(None) => return challenge(Why::NoCredentials),
            Err(CredentialsError::Syntax(_)) => return Verdict::Malformed,
            Err(_) => return challenge(Why::NotOffered),
        };
        let nonce = self.recognise(now.mono, credentials.nonce, flow.remote.ip());
        if matches!(nonce, Nonce::Foreign) {
            // Before the password is looked at: an answer that depended on it would let one guess without being counted.
            return Verdict::Challenge { stale: true, why: Why::ForeignNonce };
        }
        let extension = std::str::from_utf8(&credentials.username).ok().and_then(|user| tenant.extension(user));
        let secret = extension.map_or(&self.nobody, |extension| &extension.secret);
        let ha1 = Ha1 { md5: &secret.md5, sha256: &secret.sha256 };
        let right = credentials.is_right(request.method().as_bytes(), &ha1);
        let Some(extension) = extension.filter(|_| right) else {
            return challenge(if extension.is_some() { Why::WrongPassword } else { Why::UnknownUser });
        };
        let Nonce::Fresh(issued) = nonce else {
            return Verdict::Challenge { stale: true, why: Why::NonceExpired };
        };
        if !same_target(&credentials.uri, request.request_uri()) {
            return challenge(Why::OtherTarget);
        }
        if !self.first_use(issued, credentials.protection) && !mutant::on(Mutant::NcIgnored) {
            return Verdict::Challenge { stale: true, why: Why::Replayed };
        }
        Verdict::Ok(extension.clone())
    }

    /// The first Digest credentials for our realm. A phone that answers each of our challenges sends several; those it
    /// has for other servers on the way are not ours to judge.
    fn credentials<'m>(
        &self,
        request: &'m Message,
        tenant: &Tenant,
    ) -> Result<Option<Credentials<'m>>, CredentialsError> {
        let mut fault = None;
        for value in request.fields(Name::Authorization).chain(request.fields(Name::ProxyAuthorization)) {
            match Credentials::parse(value) {
                Ok(c) if *c.realm != *tenant.realm.as_bytes() => {}
                Ok(c) if self.config.algorithms.contains(&c.algorithm) => return Ok(Some(c)),
                Ok(_) => fault = fault.or(Some(CredentialsError::Algorithm)),
                Err(CredentialsError::Scheme) => {}
                Err(error) => fault = fault.or(Some(error)),
            }
        }
        fault.map_or(Ok(None), Err)
    }

    /// The user that a request's credentials for our realm name.
    pub fn claimed(&self, request: &Message, tenant: &Tenant) -> Option<Box<str>> {
        let credentials = self.credentials(request, tenant).ok()??;
        Some(user_text(&credentials).into())
    }

    /// Adds a WWW-Authenticate field for each algorithm, the preferred one first, with one new nonce.
    pub fn challenge(
        &mut self,
        now: Now,
        flow: &Flow,
        request: &Message,
        realm: &str,
        stale: bool,
        writer: &mut Writer,
    ) {
        let nonce = self.issue(now.mono, flow.remote.ip());
        let nonce = std::str::from_utf8(&nonce).unwrap_or_default();
        let software = request.header(Name::UserAgent).unwrap_or_default();
        let md5_alone = self.config.algorithms.contains(&Algorithm::Md5) && gives_up_on_others(software);
        let algorithms = self.config.algorithms.iter().copied();
        for algorithm in algorithms.filter(|algorithm| !md5_alone || *algorithm == Algorithm::Md5) {
            writer.header_fmt("WWW-Authenticate", format_args!("{}", Challenge { realm, nonce, algorithm, stale }));
        }
    }

    /// How many nonces are remembered.
    pub fn remembered(&self) -> usize {
        self.used.len()
    }

    fn issue(&mut self, now: Micros, to: IpAddr) -> NonceText {
        let issued = now.0.max(self.last_issued + 1);
        self.last_issued = issued;
        hex(&self.nonce(issued, to))
    }

    /// Moment of issue and MAC.
    fn nonce(&self, issued: u64, to: IpAddr) -> [u8; NONCE_BYTES] {
        let address = match to {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        // A fixed-length input after the key, and a quarter of the hash shown: no length extension. One block of SHA-256.
        // 64 bits can only be guessed online, and a guess is worth nothing without the password.
        let hash =
            Sha256::new().chain_update(self.key).chain_update(issued.to_be_bytes()).chain_update(address.octets());
        let mut nonce = [0u8; NONCE_BYTES];
        nonce[..8].copy_from_slice(&issued.to_be_bytes());
        nonce[8..].copy_from_slice(&hash.finalize()[..8]);
        nonce
    }

    fn recognise(&self, now: Micros, text: &[u8], from: IpAddr) -> Nonce {
        let digits = text.get(..16).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(issued) = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else {
            return Nonce::Foreign;
        };
        if !bool::from(hex(&self.nonce(issued, from)).ct_eq(text)) {
            return Nonce::Foreign;
        }
        let age = now.since(Micros(issued));
        if age > self.config.nonce_life || issued <= self.floor { Nonce::Expired } else { Nonce::Fresh(issued) }
    }

    /// Whether this use of a nonce is its first; remembers it. Without `nc` a nonce is good for one request.
    fn first_use(&mut self, issued: u64, protection: Option<Protection<'_>>) -> bool {
        let count = protection.map_or(u32::MAX, |protection| protection.count);
        if let Some(window) = self.used.get_mut(&issued) {
            return protection.is_some() && window.admit(count);
        }
        self.forget_old();
        self.used.insert(issued, Window { highest: count, seen: if protection.is_some() { 1 } else { u64::MAX } });
        true
    }

    /// Keeps the table within its bounds: the life of a nonce, and `limits::NONCES`.
    fn forget_old(&mut self) {
        let life = u64::try_from(self.config.nonce_life.as_micros()).unwrap_or(u64::MAX);
        let expired = self.last_issued.saturating_sub(life);
        while let Some(oldest) = self.used.first_entry() {
            if *oldest.key() >= expired && self.used.len() < limits::NONCES {
                break;
            }
            if let Some((issued, _)) = self.used.pop_first() {
                self.floor = issued;
            }
        }
    }
}

impl Window {
    fn admit(&mut self, count: u32) -> bool {
        if count > self.highest {
            let shift = count - self.highest;
            self.seen = if shift < 64 { self.seen << shift | 1 } else { 1 };
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        let fresh = behind < 64 && self.seen >> behind & 1 == 0;
        if fresh {
            self.seen |= 1 << behind;
        }
        fresh
    }
}

/// The user of credentials as it is shown and counted: what is too long for a number is cut.
pub fn user_text<'c>(credentials: &'c Credentials<'_>) -> Cow<'c, str> {
    let user = &*credentials.username;
    String::from_utf8_lossy(&user[..user.len().min(limits::NUMBER_BYTES)])
}

/// Whether the credentials were made for this Request-URI. Phones and NAT gateways change hosts, ports and parameters
/// between the two; the user they don't.
fn same_target(signed: &[u8], target: &[u8]) -> bool {
    if signed == target {
        return true;
    }
    let (Ok(signed), Ok(target)) = (Uri::parse(signed), Uri::parse(target)) else { return false };
    match (signed.user, target.user) {
        (Some(_), Some(_)) => signed.user_decoded() == target.user_decoded(),
        _ => true,
    }
}

fn hex(bytes: &[u8; NONCE_BYTES]) -> NonceText {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0u8; NONCE_BYTES * 2];
    for (byte, pair) in bytes.iter().zip(text.chunks_exact_mut(2)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
