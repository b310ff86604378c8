use super::*;
use crate::base::ids::{ListenerId, TenantId};
use crate::directory::plan::Plan;
use crate::engine::flow::Transport;
use crate::proto::sip::digest::{Algorithm, ha1_md5, ha1_sha256};
use md5::Md5;
use std::time::Duration;

const REALM: &str = "strowger";

fn tenant() -> Tenant {
    let extension = |number: &str, password: &str| {
        let secret = Secret { md5: ha1_md5(number, REALM, password), sha256: ha1_sha256(number, REALM, password) };
        let number: Box<str> = number.into();
        let extension =
            Extension { number: number.clone(), name: "".into(), email: "".into(), allow_external: false, secret };
        (number, Arc::new(extension))
    };
    Tenant {
        id: TenantId(1),
        name: "default".into(),
        domains: vec!["pbx.example".into()],
        realm: REALM.into(),
        time_zone: "UTC".into(),
        extensions: [extension("1001", "secret"), extension("1002", "other")].into(),
        plan: Plan::sample(),
    }
}

fn flow(remote: &str) -> Flow {
    Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        local: "192.0.2.1".parse().unwrap(),
        remote: remote.parse().unwrap(),
        connection: None,
    }
}

fn at(seconds: u64) -> Now {
    Now { mono: Micros(seconds * 1_000_000), ..Now::default() }
}

/// A phone that answers challenges; its digest is computed here, not by the code under test.
struct Phone {
    user: &'static str,
    password: &'static str,
    sha256: bool,
    qop: bool,
    uri: &'static str,
    header: &'static str,
    flow: Flow,
}

const PHONE: Phone = Phone {
    user: "1001",
    password: "secret",
    sha256: false,
    qop: true,
    uri: "sip:pbx.example",
    header: "Authorization",
    flow: Flow {
        listener: ListenerId(0),
        transport: Transport::Udp,
        local: IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        remote: std::net::SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)), 5060),
        connection: None,
    },
};

fn request(method: &str, uri: &str, headers: &str) -> Message {
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP h;branch=z9hG4bKa\r\nFrom: <sip:1001@pbx.example>;tag=f\r\n\
         To: <sip:1001@pbx.example>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{headers}\r\n"
    );
    let message = Message::parse(text.into()).unwrap();
    message.validate().unwrap();
    message
}

fn digest(sha256: bool, text: &str) -> String {
    let bytes = if sha256 { Sha256::digest(text).to_vec() } else { Md5::digest(text).to_vec() };
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

impl Phone {
    fn authorization(&self, method: &str, nonce: &str, nc: u32) -> String {
        let Phone { user, password, sha256, uri, header, .. } = self;
        let h = |text: &str| digest(*sha256, text);
        let (ha1, ha2) = (h(&format!("{user}:{REALM}:{password}")), h(&format!("{method}:{uri}")));
        let algorithm = if *sha256 { "SHA-256" } else { "MD5" };
        let common =
            format!("{header}: Digest username=\"{user}\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"{uri}\"");
        if self.qop {
            let response = h(&format!("{ha1}:{nonce}:{nc:08x}:abc:auth:{ha2}"));
            format!(
                "{common}, response=\"{response}\", algorithm={algorithm}, qop=auth, nc={nc:08x}, cnonce=\"abc\"\r\n"
            )
        } else {
            format!("{common}, response=\"{}\"\r\n", h(&format!("{ha1}:{nonce}:{ha2}")))
        }
    }

    fn send(&self, auth: &mut Auth, now: Now, target: &str, nonce: &str, nc: u32) -> Verdict {
        let request = request("REGISTER", target, &self.authorization("REGISTER", nonce, nc));
        auth.check(now, &request, &self.flow, &tenant())
    }
}

fn auth() -> Auth {
    Auth::new(&mut Rng::new([7; 32]), AuthConfig::default())
}

fn challenge(auth: &mut Auth, now: Now, flow: &Flow) -> Message {
    challenge_to(auth, now, flow, "")
}

/// The challenge of a request with more header fields.
fn challenge_to(auth: &mut Auth, now: Now, flow: &Flow, fields: &str) -> Message {
    let mut writer = Writer::response(401, "Unauthorized");
    auth.challenge(now, flow, &request("REGISTER", "sip:example.com", fields), REALM, false, &mut writer);
    Message::parse(writer.finish()).unwrap()
}

#[test]
fn a_phone_that_fails_at_several_challenges_gets_the_one_it_knows() {
    let (now, flow) = (at(0), flow("192.0.2.1:5060"));
    let offered = |fields: &str| challenge_to(&mut auth(), now, &flow, fields).fields(Name::WwwAuthenticate).count();
    assert_eq!(offered("User-Agent: Yealink SIP-T46U\r\n"), 2);
    let old = challenge_to(&mut auth(), now, &flow, "User-Agent: baresip v1.0.0 (x86_64/linux)\r\n");
    let fields: Vec<&[u8]> = old.fields(Name::WwwAuthenticate).collect();
    assert_eq!(fields.len(), 1);
    assert!(fields[0].windows(3).any(|word| word == b"MD5"));
}

fn nonce(auth: &mut Auth, now: Now, flow: &Flow) -> String {
    let challenge = challenge(auth, now, flow);
    let value = String::from_utf8(challenge.header(Name::WwwAuthenticate).unwrap().to_vec()).unwrap();
    value.split("nonce=\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
}

fn is_ok(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Ok(extension) if &*extension.number == "1001")
}

fn refused(stale: bool, why: Why) -> Verdict {
    Verdict::Challenge { stale, why }
}

#[test]
fn each_algorithm_is_offered_in_order_with_the_same_nonce() {
    let mut auth = auth();
    let challenge = challenge(&mut auth, at(1), &PHONE.flow);
    let fields: Vec<_> = challenge.fields(Name::WwwAuthenticate).map(String::from_utf8_lossy).collect();
    assert_eq!(fields.len(), 2);
    assert!(
        fields[0].starts_with("Digest realm=\"strowger\", nonce=\"")
            && fields[0].contains("algorithm=MD5, qop=\"auth\"")
    );
    assert_eq!(fields[0].replace("MD5", "SHA-256"), fields[1]);
    assert_ne!(nonce(&mut auth, at(1), &PHONE.flow), nonce(&mut auth, at(1), &PHONE.flow));
}

#[test]
fn the_right_password_opens_with_either_algorithm_and_either_header() {
    for (sha256, qop, header) in [
        (false, true, "Authorization"),
        (true, true, "Authorization"),
        (false, false, "Authorization"),
        (false, true, "Proxy-Authorization"),
    ] {
        let mut auth = auth();
        let phone = Phone { sha256, qop, header, ..PHONE };
        let nonce = nonce(&mut auth, at(1), &phone.flow);
        assert!(is_ok(phone.send(&mut auth, at(2), phone.uri, &nonce, 1)));
    }
}

#[test]
fn without_credentials_for_our_realm_one_is_challenged() {
    let mut auth = auth();
    for headers in [
        "",
        "Authorization: NoOneKnowsThisScheme opaque-data=here\r\n",
        "Authorization: Digest username=\"1001\", realm=\"elsewhere\", nonce=\"n\", uri=\"sip:x\", response=\"0\"\r\n",
    ] {
        let request = request("REGISTER", "sip:pbx.example", headers);
        assert_eq!(
            auth.check(at(1), &request, &PHONE.flow, &tenant()),
            refused(false, Why::NoCredentials),
            "{headers}"
        );
    }
    let request = request("REGISTER", "sip:pbx.example", "Authorization: Digest realm=\"strowger\"\r\n");
    assert_eq!(auth.check(at(1), &request, &PHONE.flow, &tenant()), Verdict::Malformed);
}

#[test]
fn credentials_for_others_do_not_hide_ours() {
    let mut auth = auth();
    let nonce = nonce(&mut auth, at(1), &PHONE.flow);
    let other =
        "Authorization: Digest username=\"x\", realm=\"elsewhere\", nonce=\"n\", uri=\"sip:x\", response=\"0\"\r\n";
    let headers = format!("{other}{}", PHONE.authorization("REGISTER", &nonce, 1));
    assert!(is_ok(auth.check(at(1), &request("REGISTER", PHONE.uri, &headers), &PHONE.flow, &tenant())));
}

#[test]
fn an_unknown_user_and_a_wrong_password_are_told_the_same() {
    let mut auth = auth();
    let nonce = nonce(&mut auth, at(1), &PHONE.flow);
    let unknown = Phone { user: "9999", ..PHONE }.send(&mut auth, at(1), PHONE.uri, &nonce, 1);
    let wrong = Phone { password: "guess", ..PHONE }.send(&mut auth, at(1), PHONE.uri, &nonce, 1);
    assert_eq!(unknown, refused(false, Why::UnknownUser));
    // The user is the number alone: what is stored is a digest of it.
    for user in ["1001@pbx.example", "1001@other.example"] {
        let with_domain = Phone { user, ..PHONE }.send(&mut auth, at(1), PHONE.uri, &nonce, 1);
        assert_eq!(with_domain, unknown);
    }
    assert_eq!(wrong, refused(false, Why::WrongPassword));
    assert_eq!(auth.remembered(), 0);
}

#[test]
fn a_guess_on_a_nonce_that_is_not_ones_own_counts_for_nobody_and_learns_nothing() {
    let mut auth = auth();
    let others = nonce(&mut auth, at(1), &flow("203.0.113.1:5060"));
    let made_up = ["", "x", "0000000000000001000000000000000", &"f".repeat(32), &"f".repeat(48), &"\u{e9}".repeat(16)];
    for nonce in made_up.into_iter().chain([others.as_str()]) {
        for phone in [PHONE, Phone { password: "guess", ..PHONE }, Phone { user: "9999", ..PHONE }] {
            let verdict = phone.send(&mut auth, at(1), PHONE.uri, nonce, 1);
            assert_eq!(verdict, refused(true, Why::ForeignNonce), "{nonce}");
        }
    }
}

#[test]
fn a_nonce_runs_out_and_the_phone_is_told_that_only_the_nonce_is_wrong() {
    let mut auth = auth();
    let nonce = nonce(&mut auth, at(10), &PHONE.flow);
    assert!(is_ok(PHONE.send(&mut auth, at(310), PHONE.uri, &nonce, 1)));
    assert_eq!(PHONE.send(&mut auth, at(311), PHONE.uri, &nonce, 2), refused(true, Why::NonceExpired));
    let guess = Phone { password: "guess", ..PHONE }.send(&mut auth, at(311), PHONE.uri, &nonce, 2);
    assert_eq!(guess, refused(false, Why::WrongPassword));
    // Given to another address, or by another run of the daemon.
    let moved = Phone { flow: flow("203.0.113.1:5060"), ..PHONE };
    assert_eq!(moved.send(&mut auth, at(20), PHONE.uri, &nonce, 3), refused(true, Why::ForeignNonce));
    let mut restarted = Auth::new(&mut Rng::new([8; 32]), AuthConfig::default());
    assert_eq!(PHONE.send(&mut restarted, at(20), PHONE.uri, &nonce, 3), refused(true, Why::ForeignNonce));
    // A new port of the same address is the same phone behind a NAT.
    let rebound = Phone { flow: flow("198.51.100.7:61000"), ..PHONE };
    assert!(is_ok(rebound.send(&mut auth, at(20), PHONE.uri, &nonce, 3)));
}

#[test]
fn a_count_is_good_once() {
    let mut auth = auth();
    let nonce = nonce(&mut auth, at(1), &PHONE.flow);
    let mut send = |nc| PHONE.send(&mut auth, at(2), PHONE.uri, &nonce, nc);
    for nc in [1, 2, 0x0a, 9, 8, 100, 99, 37] {
        assert!(is_ok(send(nc)), "{nc}");
    }
    for nc in [1, 2, 8, 9, 10, 36, 37, 99, 100] {
        assert_eq!(send(nc), refused(true, Why::Replayed), "{nc}");
    }
    assert!(is_ok(send(u32::MAX)));
    assert_eq!(send(u32::MAX), refused(true, Why::Replayed));
}

#[test]
fn without_qop_a_nonce_is_good_for_one_request() {
    let mut auth = auth();
    let phone = Phone { qop: false, ..PHONE };
    let nonce = nonce(&mut auth, at(1), &phone.flow);
    assert!(is_ok(phone.send(&mut auth, at(2), phone.uri, &nonce, 0)));
    assert_eq!(phone.send(&mut auth, at(2), phone.uri, &nonce, 0), refused(true, Why::Replayed));
    assert_eq!(PHONE.send(&mut auth, at(2), PHONE.uri, &nonce, 5), refused(true, Why::Replayed));
    // Nor may it follow uses with a count.
    let nonce = self::nonce(&mut auth, at(3), &phone.flow);
    assert!(is_ok(PHONE.send(&mut auth, at(3), PHONE.uri, &nonce, 1)));
    assert_eq!(phone.send(&mut auth, at(3), phone.uri, &nonce, 0), refused(true, Why::Replayed));
}

#[test]
fn credentials_are_good_for_their_target_alone() {
    let phone = Phone { uri: "sip:1002@pbx.example", ..PHONE };
    for (target, good) in [
        ("sip:1002@pbx.example", true),
        ("sip:1002@192.0.2.1:5060;transport=udp", true),
        ("sip:%31002@pbx.example", true),
        ("sip:pbx.example", true),
        ("sip:1003@pbx.example", false),
    ] {
        let mut auth = auth();
        let nonce = nonce(&mut auth, at(1), &phone.flow);
        let verdict = phone.send(&mut auth, at(1), target, &nonce, 1);
        if good {
            assert!(is_ok(verdict), "{target}");
        } else {
            assert_eq!(verdict, refused(false, Why::OtherTarget));
        }
    }
    // The method is part of what is signed.
    let mut auth = auth();
    let nonce = nonce(&mut auth, at(1), &PHONE.flow);
    let message = request("INVITE", PHONE.uri, &PHONE.authorization("REGISTER", &nonce, 1));
    assert_eq!(auth.check(at(1), &message, &PHONE.flow, &tenant()), refused(false, Why::WrongPassword));
}

#[test]
fn what_is_not_offered_is_challenged_again() {
    let config = AuthConfig { algorithms: vec![Algorithm::Sha256], ..AuthConfig::default() };
    let mut auth = Auth::new(&mut Rng::new([7; 32]), config);
    let nonce = nonce(&mut auth, at(1), &PHONE.flow);
    assert_eq!(PHONE.send(&mut auth, at(1), PHONE.uri, &nonce, 1), refused(false, Why::NotOffered));
    assert!(is_ok(Phone { sha256: true, ..PHONE }.send(&mut auth, at(1), PHONE.uri, &nonce, 1)));
}

#[test]
fn the_table_of_used_nonces_is_bounded_and_what_it_forgets_counts_as_run_out() {
    let mut auth = auth();
    let first = auth.issue(Micros(1), PHONE.flow.remote.ip());
    let text = std::str::from_utf8(&first).unwrap().to_owned();
    assert!(is_ok(PHONE.send(&mut auth, at(0), PHONE.uri, &text, 1)));
    for i in 0..limits::NONCES as u64 {
        assert!(auth.first_use(100 + i, None));
    }
    assert_eq!(auth.remembered(), limits::NONCES);
    assert_eq!(PHONE.send(&mut auth, at(1), PHONE.uri, &text, 2), refused(true, Why::NonceExpired));
    // With time it empties by itself.
    let nonce = nonce(&mut auth, at(1000), &PHONE.flow);
    assert!(is_ok(PHONE.send(&mut auth, at(1000), PHONE.uri, &nonce, 1)));
    assert_eq!(auth.remembered(), 1);
}

#[test]
fn nonces_last_as_long_as_configured() {
    let config = AuthConfig { nonce_life: Duration::from_secs(5), ..AuthConfig::default() };
    let mut auth = Auth::new(&mut Rng::new([7; 32]), config);
    let nonce = nonce(&mut auth, at(1), &PHONE.flow);
    assert_eq!(PHONE.send(&mut auth, at(7), PHONE.uri, &nonce, 1), refused(true, Why::NonceExpired));
    assert!(is_ok(PHONE.send(&mut auth, at(6), PHONE.uri, &nonce, 1)));
}
