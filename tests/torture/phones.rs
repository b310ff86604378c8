//! Messages that real desk phones sent.

use crate::corpus::{files, message, read};
use strowger::proto::sip::digest::Credentials;
use strowger::proto::sip::headers::Refresher;
use strowger::proto::sip::message::Message;
use strowger::proto::sip::method::Method;
use strowger::proto::sip::name::Name;

fn load(name: &str) -> Message {
    message(&read(&format!("phones/{name}.sip")))
}

#[test]
fn all_are_accepted() {
    let files = files("phones");
    assert_eq!(files.len(), 27);
    for (name, bytes) in files {
        let m = message(&bytes);
        assert_eq!(m.validate(), Ok(()), "{name}");
        assert!(m.contacts().all(|c| c.is_ok()) && m.vias().all(|v| v.is_ok()), "{name}");
    }
}

#[test]
fn zultys() {
    let m = load("zultys-zip33g-000");
    assert_eq!((m.method(), m.expires()), (Method::Subscribe, Some(60)));
    assert_eq!(m.target().unwrap().user, Some(&b"*1537"[..]));
    assert!(m.item(Name::Event).unwrap().is("dialog"));
    assert_eq!(m.via().unwrap().rport, None);
    let m = load("zultys-zip33g-002");
    assert!(m.content_type().unwrap().is("application", "sdp"));
    assert!(m.body_slice().starts_with(b"v=0\r\n") && m.has_option(Name::Supported, "replaces"));
}

#[test]
fn threecom_with_compact_names_and_without_tags() {
    let m = load("3com_register_compact");
    assert_eq!((m.from().unwrap().tag(), m.via().unwrap().branch), (None, None));
    assert_eq!(m.contact().unwrap().param("dt"), Some(&b"544"[..]));
    assert_eq!(m.call_id(), b"e2d02388-01d6-0352-13c6-00e0bb36ca69");
}

#[test]
fn polycom_with_credentials() {
    let m = load("polycom_vvx350_register_auth");
    let credentials = Credentials::parse(m.header(Name::Authorization).unwrap()).unwrap();
    assert_eq!((&*credentials.username, credentials.protection.unwrap().count), (&b"1013"[..], 1));
    assert!(m.contact().unwrap().param("methods").unwrap().ends_with(b"REFER\""));
}

#[test]
fn snom_with_a_name_beyond_ascii() {
    let m = load("snom360_invite_utf8_display");
    assert_eq!(m.from().unwrap().display_text(), "\u{442}\u{435}\u{43b}\u{435} C\u{43d}\u{43e}\u{43c}_3606");
    assert_eq!(m.session_expires().unwrap().refresher, Some(Refresher::Uas));
    assert!(m.has_option(Name::Supported, "100REL"));
    assert_eq!(m.number(Name::MinSe), Some(90));
}

#[test]
fn yealink_blind_transfer() {
    let m = load("yealink_t46u_refer_blind");
    assert_eq!(m.address(Name::ReferTo).unwrap().uri.user, Some(&b"1002"[..]));
    assert_eq!(m.to().unwrap().uri.user, Some(&b"+15551230000"[..]));
}
