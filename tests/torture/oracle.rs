//! An independent parser, `rsip`, on the messages it can read; and what it can't.

use crate::corpus::{Fate, everything, fate, message};
use proptest::prelude::*;
use proptest::sample::select;
use rsip::SipMessage;
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::message::HasHeaders;
use rsip::prelude::HeadersExt;
use strowger::proto::sip::digest::Credentials;
use strowger::proto::sip::message::Message;
use strowger::proto::sip::name::Name;
use strowger::proto::sip::uri::{Scheme, Uri};

/// What a parser sees in a message, in words.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    start: String,
    target: Option<String>,
    from: (String, Option<String>),
    to: (String, Option<String>),
    via: (String, String, Option<String>),
    contact: Option<String>,
    cseq: (u32, String),
    call_id: String,
    max_forwards: Option<u32>,
    fields: usize,
    body: Vec<u8>,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn our_uri(uri: &Uri<'_>) -> String {
    let port = uri.port.map(|port| format!(":{port}")).unwrap_or_default();
    let user = uri.user.map(|user| text(user) + "@").unwrap_or_default();
    format!("{user}{}{port}", uri.host)
}

fn their_uri(uri: &rsip::Uri) -> String {
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    let user = uri.user().map(|user| format!("{user}@")).unwrap_or_default();
    format!("{user}{}{port}", uri.host())
}

fn ours(m: &Message) -> Seen {
    let via = m.via().unwrap();
    let via_port = via.port.map(|port| format!(":{port}")).unwrap_or_default();
    let address = |a: strowger::proto::sip::address::Address<'_>| (our_uri(&a.uri), a.tag().map(text));
    Seen {
        start: m.status().map_or_else(|| m.method().to_string(), |status| status.to_string()),
        target: m.target().ok().map(|uri| our_uri(&uri)),
        from: address(m.from().unwrap()),
        to: address(m.to().unwrap()),
        via: (text(via.transport), format!("{}{via_port}", via.host), via.branch.map(text)),
        contact: m.contact().ok().map(|c| our_uri(&c.uri)),
        cseq: (m.cseq().unwrap().number, m.cseq().unwrap().method.to_string()),
        call_id: text(m.call_id()),
        max_forwards: m.max_forwards().map(u32::from),
        fields: m.all().count(),
        body: m.body_slice().to_vec(),
    }
}

fn read_by_rsip(bytes: &[u8]) -> Result<SipMessage, rsip::Error> {
    SipMessage::try_from(bytes)
}

fn theirs(m: &SipMessage) -> Result<Seen, rsip::Error> {
    let (from, to, via) = (m.from_header()?.typed()?, m.to_header()?.typed()?, m.via_header()?.typed()?);
    let (start, target, body) = match m {
        SipMessage::Request(r) => (r.method.to_string(), Some(their_uri(&r.uri)), r.body.clone()),
        SipMessage::Response(r) => (r.status_code.code().to_string(), None, r.body.clone()),
    };
    let cseq = m.cseq_header()?.typed()?;
    let contact = match m.contact_header() {
        Ok(contact) => Some(their_uri(&contact.typed()?.uri)),
        Err(_) => None,
    };
    let max_forwards = match m.max_forwards_header() {
        Ok(hops) => Some(hops.num()?),
        Err(_) => None,
    };
    Ok(Seen {
        start,
        target,
        from: (their_uri(&from.uri), from.tag().map(|tag| tag.to_string())),
        to: (their_uri(&to.uri), to.tag().map(|tag| tag.to_string())),
        via: (via.transport.to_string(), their_uri(&via.uri), via.branch().map(|branch| branch.to_string())),
        contact,
        cseq: (cseq.seq, cseq.method.to_string()),
        call_id: m.call_id_header()?.value().to_owned(),
        max_forwards,
        fields: m.headers().iter().count(),
        body,
    })
}

#[test]
fn both_see_the_same_in_the_messages_rsip_can_read() {
    let mut compared = Vec::new();
    for (name, bytes) in everything() {
        if fate(&bytes) != Fate::Accepted {
            continue;
        }
        if let Ok(theirs) = read_by_rsip(&bytes).and_then(|m| theirs(&m)) {
            let mut ours = ours(&message(&bytes));
            match name.as_str() {
                // A scheme that is not SIP: the rest is none of our business, rsip reads a host out of it.
                "TC_NOVELSC_V.dat" => ours.target.clone_from(&theirs.target),
                // rsip knows no compact names in capitals.
                "TC_REGESCRT_V.dat" => ours.contact = None,
                _ => {}
            }
            assert_eq!(ours, theirs, "{name}");
            compared.push(name);
        }
    }
    assert!(compared.len() > 30, "{compared:?}");
}

/// Messages of the kind rsip reads well.
fn plain() -> impl Strategy<Value = String> {
    let host =
        || prop_oneof!["[a-z]{2,8}(\\.[a-z]{2,5}){1,2}", any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string())];
    let port = || prop_oneof![Just(String::new()), (1..u16::MAX).prop_map(|port| format!(":{port}"))];
    let uri = || ("[a-z0-9]{1,10}", host(), port()).prop_map(|(user, host, port)| format!("sip:{user}@{host}{port}"));
    let method = select(
        &[
            "INVITE",
            "ACK",
            "BYE",
            "CANCEL",
            "REGISTER",
            "OPTIONS",
            "PRACK",
            "UPDATE",
            "INFO",
            "MESSAGE",
            "REFER",
            "SUBSCRIBE",
            "NOTIFY",
            "PUBLISH",
        ][..],
    );
    let start = prop_oneof![
        (Just(true), method.clone(), uri()).prop_map(|(_, method, uri)| (format!("{method} {uri} SIP/2.0"), method)),
        (Just(false), method, 100..700u16)
            .prop_map(|(_, method, status)| (format!("SIP/2.0 {status} Some Reason"), method)),
    ];
    let display = prop_oneof![Just(String::new()), "\"[A-Za-z ]{1,12}\" ", "[A-Za-z]{1,10} "];
    (
        (start, uri(), display, "[a-z0-9]{1,12}", host(), port()),
        (uri(), prop::option::of("[a-z0-9]{1,12}"), uri(), 0..1u32 << 31, "[a-zA-Z0-9@.-]{1,30}", 0..256u16, "[ -~]{0,60}"),
    )
        .prop_map(|(((start, method), from, display, tag, host, port), (to, to_tag, contact, cseq, call_id, hops, body))| {
            let to_tag = to_tag.map(|tag| format!(";tag={tag}")).unwrap_or_default();
            let length = body.len();
            format!(
                "{start}\r\nVia: SIP/2.0/UDP {host}{port};branch=z9hG4bK{tag}\r\nVia: SIP/2.0/TCP h.example;branch=x\r\n\
                 From: {display}<{from}>;tag={tag}\r\nTo: <{to}>{to_tag}\r\nContact: <{contact}>\r\nCall-ID: {call_id}\r\n\
                 CSeq: {cseq} {method}\r\nMax-Forwards: {hops}\r\nX-Any: {tag}\r\nContent-Length: {length}\r\n\r\n{body}"
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_see_the_same_in_generated_messages(text in plain()) {
        let ours = ours(&message(text.as_bytes()));
        let theirs = theirs(&read_by_rsip(text.as_bytes()).unwrap()).unwrap();
        prop_assert_eq!(ours, theirs);
    }
}

/// A request to this URI, with these header lines.
fn request(method: &str, target: &str, headers: &str) -> Vec<u8> {
    format!(
        "{method} {target} SIP/2.0\r\nVia: SIP/2.0/UDP h.example;branch=z9hG4bKa\r\nFrom: <sip:a@h.example>;tag=f\r\n\
         To: <sip:b@h.example>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{headers}Content-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

fn ours_accepts(bytes: &[u8]) -> Message {
    let message = message(bytes);
    assert_eq!(message.validate(), Ok(()));
    message
}

/// Why rsip is the oracle and not the parser: everyday messages it can't read, each of which we can.
mod what_rsip_cannot_read {
    use super::*;

    #[test]
    fn a_user_with_a_dot() {
        let bytes = request("INVITE", "sip:john.doe@h.example", "");
        let SipMessage::Request(theirs) = read_by_rsip(&bytes).unwrap() else { panic!() };
        assert_eq!(theirs.uri.user(), None);
        assert_eq!(ours_accepts(&bytes).target().unwrap().user, Some(&b"john.doe"[..]));
    }

    #[test]
    fn an_ipv6_request_uri() {
        let bytes = request("INVITE", "sip:1001@[2001:db8::1]:5060", "");
        assert!(read_by_rsip(&bytes).is_err());
        assert_eq!(our_uri(&ours_accepts(&bytes).target().unwrap()), "1001@[2001:db8::1]:5060");
    }

    #[test]
    fn a_telephone_number() {
        let bytes = request("INVITE", "tel:+12015550123", "");
        assert!(read_by_rsip(&bytes).is_err());
        let ours = ours_accepts(&bytes);
        let target = ours.target().unwrap();
        assert_eq!((target.scheme, target.user), (Scheme::Tel, Some(&b"+12015550123"[..])));
    }

    #[test]
    fn an_unknown_method() {
        let bytes = request("FROBNICATE", "sip:b@h.example", "");
        assert!(read_by_rsip(&bytes).is_err());
        assert_eq!(ours_accepts(&bytes).method().as_str(), "FROBNICATE");
    }

    #[test]
    fn compact_names() {
        let text = String::from_utf8(request("INVITE", "sip:b@h.example", "")).unwrap();
        let bytes = text.replace("Via:", "v:").replace("From:", "f:").replace("Call-ID:", "i:").into_bytes();
        let theirs = read_by_rsip(&bytes).and_then(|m| super::theirs(&m));
        assert!(theirs.is_err());
        assert_eq!(ours_accepts(&bytes).from().unwrap().tag(), Some(&b"f"[..]));
    }

    #[test]
    fn a_folded_field() {
        let bytes = request("INVITE", "sip:b@h.example", "Subject: one\r\n two\r\n");
        assert!(read_by_rsip(&bytes).is_err());
        assert_eq!(ours_accepts(&bytes).header(Name::Subject), Some(&b"one\r\n two"[..]));
    }

    #[test]
    fn the_second_via_of_a_list() {
        let text = String::from_utf8(request("INVITE", "sip:b@h.example", "")).unwrap();
        let text = text.replace("z9hG4bKa\r\n", "z9hG4bKa, SIP/2.0/TCP i.example;branch=x\r\n");
        let theirs = read_by_rsip(text.as_bytes()).unwrap();
        let seen = theirs.via_header().unwrap().typed().unwrap().to_string();
        assert!(!seen.contains("i.example"), "{seen}");
        let hosts: Vec<_> = ours_accepts(text.as_bytes()).vias().map(|via| via.unwrap().host.to_string()).collect();
        assert_eq!(hosts, ["h.example", "i.example"]);
    }

    #[test]
    fn a_nonce_count_is_hexadecimal() {
        let value = "Digest username=\"a\", realm=\"r\", nonce=\"n\", uri=\"sip:h\", response=\"00\", qop=auth, nc=0000001a, cnonce=\"c\"";
        assert!(rsip::headers::Authorization::new(value).typed().is_err());
        assert_eq!(Credentials::parse(value.as_bytes()).unwrap().protection.unwrap().count, 26);
    }
}
