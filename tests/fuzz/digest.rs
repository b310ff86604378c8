//! Target `digest`: the value of an Authorization field. Whatever it is, it lets nobody in.

use std::net::SocketAddr;
use strowger::proto::sip::digest::{Algorithm, Challenge, Credentials, Ha1, ha1_md5, ha1_sha256};
use strowger::proto::sip::lex::percent_decode;

pub fn run(bytes: &[u8]) {
    challenge(bytes);
    let Ok(credentials) = Credentials::parse(bytes) else { return };
    let (md5, sha256) = (ha1_md5("1001", "strowger", PASSWORD), ha1_sha256("1001", "strowger", PASSWORD));
    let ha1 = Ha1 { md5: &md5, sha256: &sha256 };
    for method in [&b"REGISTER"[..], b"INVITE", b""] {
        assert!(!credentials.is_right(method, &ha1), "right without the password");
    }
    let _ = (percent_decode(&credentials.uri), percent_decode(&credentials.username), credentials.opaque);
    if let Some(protection) = &credentials.protection {
        assert!(protection.count_text.len() <= 8, "{:?}", protection.count_text);
    }
}

/// Not in any seed: the fuzzer can't know it.
const PASSWORD: &str = "f6c1b0e2-97a4-4b52-8d57-3f0f5c1f6c1e";

/// A realm made of these bytes does not break out of its quotes.
fn challenge(bytes: &[u8]) {
    let Ok(realm) = std::str::from_utf8(bytes) else { return };
    let is_clean = realm.bytes().all(|b| b != b'"' && b != b'\\' && !b.is_ascii_control());
    if !is_clean || realm.parse::<SocketAddr>().is_ok() {
        return;
    }
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let text = Challenge { realm, nonce: "n", algorithm, stale: true }.to_string();
        assert!(text.contains(&format!("realm=\"{realm}\"")) && text.contains(algorithm.token()), "{text}");
    }
}
