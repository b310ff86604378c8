//! Target `sip`: one datagram. Every view of it, and the reply to it.

use bytes::Bytes;
use strowger::proto::sip::address::{Address, Contact};
use strowger::proto::sip::digest::Credentials;
use strowger::proto::sip::headers::{CSeq, DialogRef, Item, MediaType, RAck, SessionExpires};
use strowger::proto::sip::lex::{List, percent_decode, unfold, unquote};
use strowger::proto::sip::message::Message;
use strowger::proto::sip::method::Method;
use strowger::proto::sip::name::Name;
use strowger::proto::sip::uri::Uri;
use strowger::proto::sip::via::Via;
use strowger::proto::sip::writer::Writer;

pub fn run(bytes: &[u8]) {
    let Ok(message) = Message::parse(Bytes::copy_from_slice(bytes)) else { return };
    let verdict = message.validate();
    if let Err(invalid) = verdict {
        assert!(invalid.offset as usize <= bytes.len(), "{invalid:?}");
    }
    for (name, raw, value) in message.all() {
        assert!(!raw.is_empty() && Name::of(raw) == name);
        let is_space = |b: Option<&u8>| b.is_some_and(|b| b" \t\r\n".contains(b));
        assert!(!is_space(value.first()) && !is_space(value.last()), "not trimmed: {value:?}");
        look(value);
    }
    if let Ok(uri) = message.target() {
        assert!(uri.equivalent(&uri));
        let _ = (uri.comparable(), uri.user_decoded(), uri.header_fields().count());
    }
    let _ = (message.via(), message.from(), message.to(), message.contact(), message.cseq(), message.reason());
    let _ = (message.vias().count(), message.contacts().count(), message.routes(Name::Route).count());
    let _ = (message.session_expires(), message.rack(), message.content_type(), message.retry_after());
    let _ = (message.dialog_ref(Name::Replaces), message.item(Name::Event), message.max_forwards(), message.rseq());
    assert!(message.body_slice().len() <= bytes.len() && message.body() == message.body_slice());
    if message.is_request() {
        look_at_reply(&message);
        if verdict.is_ok() {
            copy(&message);
        }
    }
}

fn look(value: &[u8]) {
    for element in List::new(value) {
        let _ = (Via::parse(element), Contact::parse(element), Uri::parse(element));
        if let Ok(address) = Address::parse(element) {
            let _ = (address.display_text(), address.q(), address.tag(), address.expires());
            if address.uri.is_sip() {
                let key = address.uri.comparable();
                let again = Uri::parse(key.as_bytes()).unwrap_or_else(|e| panic!("{key}: {e}"));
                assert_eq!(again.comparable(), key);
            }
        }
    }
    let _ = (CSeq::parse(value), RAck::parse(value), Item::parse(value), MediaType::parse(value));
    let _ = (SessionExpires::parse(value), DialogRef::parse(value), Credentials::parse(value));
    let _ = (unquote(value), percent_decode(value));
    assert!(!unfold(value).contains(&b'\n'));
}

/// A reply has the fields we put there and no other, whatever the request had in them.
fn look_at_reply(request: &Message) {
    let source = "[2001:db8::1]:5060".parse().expect("an address");
    let bytes = Writer::reply_to(request, 400, "Bad Request", Some(b"t"), source).finish();
    let reply = Message::parse(bytes).expect("our reply can be read");
    let count = |m: &Message, n| m.fields(n).count();
    let expected = request.values(Name::Via).count()
        + [Name::From, Name::To, Name::CallId, Name::CSeq].iter().map(|n| count(request, *n).min(1)).sum::<usize>();
    assert_eq!(reply.all().count(), expected + 1, "{reply:?}");
    assert_eq!(reply.index().flaw(), None);
}

/// A request we accept, written out field by field and read again, says the same.
fn copy(message: &Message) {
    let mut writer = Writer::request(Method::of(message.method().as_str().as_bytes()), message.request_uri());
    for (name, raw, value) in message.all() {
        let Ok(raw) = std::str::from_utf8(raw) else { return };
        if !matches!(name, Name::ContentLength | Name::ContentType) {
            writer.header(raw, unfold(value));
        }
    }
    let again = Message::parse(writer.body("text/plain", message.body_slice())).expect("what we write can be read");
    assert_eq!(again.index().flaw(), None, "{again:?}");
    assert_eq!(again.request_uri(), message.request_uri());
    assert_eq!(again.body_slice(), message.body_slice());
    for name in [Name::From, Name::To, Name::CallId, Name::CSeq, Name::Contact, Name::Via] {
        // The writer makes a NUL a space, which at the end of a value is none.
        let clean = |value: &[u8]| unfold(value).iter().copied().filter(|b| *b > b' ').collect::<Vec<u8>>();
        let values = |m: &Message| m.values(name).map(clean).filter(|value| !value.is_empty()).collect::<Vec<_>>();
        assert_eq!(values(&again), values(message));
    }
}
