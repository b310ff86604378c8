//! The torture messages of RFC 4475: what becomes of each, and what is read out of those that can be read.

use crate::corpus::{Fate, Fate::*, fate, files, message, read};
use strowger::proto::sip::headers::CSeq;
use strowger::proto::sip::lex::unfold;
use strowger::proto::sip::message::Message;
use strowger::proto::sip::method::Method;
use strowger::proto::sip::name::Name;
use strowger::proto::sip::uri::Scheme;
use strowger::proto::sip::writer::Writer;

/// What we do with each, by section.
const FATES: [(&str, Fate); 50] = [
    ("TC_WSINV", Accepted),        // 3.1.1.1
    ("TC_INTMETH", Accepted),      // 3.1.1.2
    ("TC_ESC01_V", Accepted),      // 3.1.1.3
    ("TC_ESCNULL_V", Accepted),    // 3.1.1.4
    ("TC_ESC02_V", Accepted),      // 3.1.1.5
    ("TC_LWSDISP_V", Accepted),    // 3.1.1.6
    ("TC_LONGREQ_V", Accepted),    // 3.1.1.7
    ("TC_DBLREQ", Accepted),       // 3.1.1.8
    ("TC_SEMIURI_V", Accepted),    // 3.1.1.9
    ("TC_TRANSPORTS_V", Accepted), // 3.1.1.10
    ("TC_MPART01", Accepted),      // 3.1.1.11
    ("TC_UNREASON_V", Accepted),   // 3.1.1.12
    ("TC_NOREASON_V", Accepted),   // 3.1.1.13
    ("TC_BADINV01_I", Refused(400)),
    ("TC_CLERR_I", Refused(400)),
    ("TC_NCL_I", Refused(400)),
    ("TC_SCALAR02_V", Refused(400)),
    ("TC_SCALARLG_V", Dropped),
    ("TC_QUOTBAL_I", Refused(400)),
    ("TC_LTGTRURI_I", Refused(400)),
    ("TC_LWSRURI_I", Refused(400)),
    ("TC_LWSSTART_V", Refused(400)),
    ("TC_TRWS_I", Refused(400)),
    ("TC_ESCRURI_V", Refused(400)),
    ("TC_BADDATE_V", Refused(400)),
    ("TC_REGBADCT_I", Refused(400)),
    ("TC_BADASPEC_I", Refused(400)),
    ("TC_BADDN_I", Refused(400)),
    ("TC_BADVERS_V", Refused(505)),
    ("TC_MISMATCH01_V", Refused(400)),
    ("TC_MISMATCH02_V", Refused(400)),
    ("TC_BIGCODE_V", Dropped),
    ("TC_BADBRANCH_V", Accepted), // 3.2.1: identified by the rules of RFC 2543
    ("TC_INSUF_I", Refused(400)),
    ("TC_UNKSCM_V", Accepted),   // 3.3.2: 416 from the engine
    ("TC_NOVELSC_V", Accepted),  // 3.3.3: 416 from the engine
    ("TC_UNKSM2_V", Accepted),   // 3.3.4
    ("TC_BEXT01_V", Accepted),   // 3.3.5: 420 from the engine
    ("TC_INVUT_V", Accepted),    // 3.3.6: 415 from the engine
    ("TC_REGAUT01_V", Accepted), // 3.3.7: 401 from the engine
    ("TC_MULTI01_I", Refused(400)),
    ("TC_MCL01_I", Refused(400)),
    ("TC_BCAST_V", Accepted),    // 3.3.10: no transaction of ours
    ("TC_ZEROMF_V", Accepted),   // 3.3.11: 483 from the engine
    ("TC_CPARAM01_V", Accepted), // 3.3.12
    ("TC_CPARAM02_V", Accepted), // 3.3.13
    ("TC_REGESCRT_V", Accepted), // 3.3.14
    ("TC_SDP01_V", Accepted),    // 3.3.15: 406 from the engine
    ("TC_INV2543_I", Accepted),  // 3.4.1
    ("TC_TEST_I", Dropped),      // not of the RFC: no version in the request line
];

fn load(name: &str) -> Message {
    message(&read(&format!("rfc4475/{name}.dat")))
}

#[test]
fn each_message_meets_its_fate() {
    assert_eq!(files("rfc4475").len(), FATES.len());
    for (name, expected) in FATES {
        assert_eq!(fate(&read(&format!("rfc4475/{name}.dat"))), expected, "{name}");
    }
}

/// `expectations.json` says what other servers do. Where it says that a message is dropped and RFC 4475 wants it answered
/// with 400, we answer.
#[test]
fn our_fates_agree_with_the_published_expectations() {
    let json = String::from_utf8(read("rfc4475/expectations.json")).unwrap();
    let mut checked = 0;
    for entry in json.split('}').filter(|entry| entry.contains("\"file\"")) {
        let field = |name: &str| {
            let rest = entry.split(&format!("\"{name}\": ")).nth(1).unwrap();
            rest.split(['\n', ',']).next().unwrap().trim_matches('"')
        };
        let file = field("file");
        let ours = fate(&read(&format!("rfc4475/{file}")));
        match field("wire") {
            "accept" => assert_eq!(ours, Accepted, "{file}"),
            "drop" => assert_ne!(ours, Accepted, "{file}"),
            "null" => {}
            status => assert_eq!(ours, Refused(status.parse().unwrap()), "{file}"),
        }
        if field("parser") == "reject" {
            assert_ne!(ours, Accepted, "{file}");
        }
        checked += 1;
    }
    assert_eq!(checked, 50);
}

#[test]
fn what_is_refused_can_be_answered() {
    for (name, expected) in FATES {
        let Refused(status) = expected else { continue };
        let request = load(name);
        let source = "192.0.2.77:5062".parse().unwrap();
        let reply = Writer::reply_to(&request, status, "No", Some(b"tag"), source).finish();
        let reply = message(&reply);
        assert_eq!(reply.status(), Some(status));
        let text = |m: &Message, n| m.header(n).map(|v| unfold(v).into_owned());
        for header in [Name::From, Name::CallId, Name::CSeq] {
            assert_eq!(text(&reply, header), text(&request, header), "{name}");
        }
        let vias = |m: &Message| m.values(Name::Via).count();
        assert_eq!(vias(&reply), vias(&request), "{name}");
    }
}

#[test]
fn a_short_tortuous_invite() {
    let m = load("TC_WSINV");
    assert_eq!(m.to().unwrap().tag(), Some(&b"1918181833n"[..]));
    assert_eq!(m.from().unwrap().display_text(), "J Rosenberg \\\"");
    assert_eq!(m.from().unwrap().tag(), Some(&b"98asjd8"[..]));
    assert_eq!((m.max_forwards(), m.cseq().unwrap()), (Some(68), CSeq { number: 9, method: Method::Invite }));
    let vias: Vec<_> = m.vias().map(|v| v.unwrap()).collect();
    let transports: Vec<_> = vias.iter().map(|v| v.transport).collect();
    assert_eq!(transports, [&b"UDP"[..], b"TCP", b"UDP"]);
    assert_eq!(vias[1].rfc3261_branch(), Some(&b"z9hG4bK9ikj8"[..]));
    assert_eq!(vias[2].rfc3261_branch(), Some(&b"z9hG4bK30239"[..]));
    assert_eq!(m.header(Name::Subject), Some(&b""[..]));
    let folded = m.field_named("NewFangledHeader").unwrap();
    assert_eq!(&*unfold(folded), b"newfangled value continued newfangled value");
    let contact = m.contact().unwrap();
    assert_eq!((contact.display_text().as_ref(), contact.q()), ("Quoted string \"\"", Some(330)));
    assert_eq!(contact.param("newparam"), Some(&b"newvalue"[..]));
    assert!(m.routes(Name::Route).next().unwrap().unwrap().uri.is_loose());
    assert_eq!(m.body_slice().len(), 150);
}

#[test]
fn a_wide_range_of_valid_characters() {
    let m = load("TC_INTMETH");
    assert_eq!(m.method(), Method::Other(b"!interesting-Method0123456789_*+`.%indeed'~"));
    let uri = m.target().unwrap();
    assert_eq!(uri.user, Some(&b"1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*"[..]));
    assert_eq!(uri.password, Some(&b"&it+has=1,weird!*pas$wo~d_too.(doesn't-it)"[..]));
    let odd = "\u{feff}\u{5927}\u{505c}\u{96fb}";
    assert_eq!(m.field_named("extensionHeader-!.%*+_`'~"), Some(odd.as_bytes()));
    assert_eq!(m.from().unwrap().tag(), Some(&b"_token~1'+`*%!-."[..]));
}

#[test]
fn escapes() {
    let m = load("TC_ESC01_V");
    assert_eq!(&*m.target().unwrap().user_decoded(), b"sips:user@example.com");
    let contact = m.contact().unwrap().uri;
    assert_eq!(&*contact.user_decoded(), b"caller");
    assert_eq!(contact.host.name(), Some("host5.example.net"));
    let m = load("TC_ESC02_V");
    assert_eq!(m.method(), Method::Other(b"RE%47IST%45R"));
    let users: Vec<_> = load("TC_ESCNULL_V")
        .contacts()
        .map(|c| c.unwrap().address().unwrap().uri.user_decoded().into_owned())
        .collect();
    assert_eq!(users, [b"\0".to_vec(), b"\0\0".to_vec()]);
    let m = load("TC_REGESCRT_V");
    let headers: Vec<_> = m.contact().unwrap().uri.header_fields().collect();
    assert_eq!(headers, [(b"Route"[..].into(), b"<sip:sip.example.com>"[..].into())]);
}

#[test]
fn uris_of_many_kinds() {
    assert_eq!(load("TC_LWSDISP_V").from().unwrap().display, b"caller");
    let uri = load("TC_SEMIURI_V");
    assert_eq!(&*uri.target().unwrap().user_decoded(), b"user;par=u@example.net");
    assert_eq!(load("TC_UNKSCM_V").target().unwrap().scheme, Scheme::Other);
    assert_eq!(load("TC_NOVELSC_V").target().unwrap().scheme_name(), b"soap.beep");
    let m = load("TC_CPARAM01_V");
    assert!(m.contact().unwrap().params.has("unknownparam"));
    let m = load("TC_CPARAM02_V");
    assert!(m.contact().unwrap().uri.params.has("unknownparam") && m.contact().unwrap().params.is_empty());
    let m = load("TC_INV2543_I");
    assert_eq!((m.via().unwrap().branch, m.from().unwrap().tag()), (None, None));
    assert_eq!(load("TC_BADBRANCH_V").via().unwrap().rfc3261_branch(), None);
}

#[test]
fn transports_and_bodies() {
    let m = load("TC_TRANSPORTS_V");
    let transports: Vec<_> = m.vias().map(|v| v.unwrap().transport.to_vec()).collect();
    assert_eq!(transports, [&b"UDP"[..], b"SCTP", b"TLS", b"UNKNOWN", b"TCP"]);
    let m = load("TC_DBLREQ");
    assert_eq!((m.method(), m.body_slice(), m.bytes().len() > 400), (Method::Register, &b""[..], true));
    let m = load("TC_MPART01");
    assert!(m.content_type().unwrap().is("multipart", "mixed"));
    assert!(!m.body_slice().is_empty() && m.body_slice().iter().any(|b| *b >= 0x80));
    assert!(load("TC_NOREASON_V").reason().is_empty());
    let reason = load("TC_UNREASON_V");
    assert_eq!(
        String::from_utf8_lossy(reason.reason()),
        "= 2**3 * 5**2 \u{43d}\u{43e} \u{441}\u{442}\u{43e} \u{434}\u{435}\u{432}\u{44f}\u{43d}\u{43e}\u{441}\u{442}\u{43e} \u{434}\u{435}\u{432}\u{44f}\u{442}\u{44c} - \u{43f}\u{440}\u{43e}\u{441}\u{442}\u{43e}\u{435}"
    );
    assert!(load("TC_LONGREQ_V").vias().all(|via| via.is_ok()));
}
