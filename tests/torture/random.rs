//! Round trips of generated messages, and bytes nobody meant.

use crate::corpus::everything;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index as Pick, select};
use strowger::proto::sip::address::{Address, Contact};
use strowger::proto::sip::digest::Credentials;
use strowger::proto::sip::headers::{CSeq, DialogRef, Item, MediaType, RAck, SessionExpires};
use strowger::proto::sip::lex::{List, percent_decode, unfold, unquote};
use strowger::proto::sip::message::Message;
use strowger::proto::sip::method::Method;
use strowger::proto::sip::name::Name;
use strowger::proto::sip::stream::{Frame, Framer};
use strowger::proto::sip::uri::Uri;
use strowger::proto::sip::via::Via;
use strowger::proto::sip::writer::Writer;

/// Looks at everything there is to see, and checks what must hold of any message.
fn look(bytes: &[u8]) {
    let Ok(message) = Message::parse(Bytes::copy_from_slice(bytes)) else { return };
    let invalid = message.validate().err();
    if let Some(invalid) = invalid {
        assert!(invalid.offset as usize <= bytes.len(), "{invalid:?}");
    }
    for (name, raw, value) in message.all() {
        assert!(!raw.is_empty() && Name::of(raw) == name);
        let is_space = |b: Option<&u8>| b.is_some_and(|b| b" \t\r\n".contains(b));
        assert!(!is_space(value.first()) && !is_space(value.last()));
        assert!(message.fields(name).next().is_some());
        look_at_value(value);
    }
    if let Ok(uri) = message.target() {
        assert!(uri.equivalent(&uri));
        let _ = (uri.comparable(), uri.user_decoded(), uri.header_fields().count());
    }
    let _ = (message.via(), message.from(), message.to(), message.contact(), message.cseq(), message.reason());
    let _ = (message.vias().count(), message.contacts().count(), message.routes(Name::Route).count());
    let _ = (message.session_expires(), message.rack(), message.content_type(), message.retry_after());
    assert!(message.body_slice().len() <= bytes.len() && message.body() == message.body_slice());
    if message.is_request() {
        look_at_reply(&message);
    }
}

fn look_at_value(value: &[u8]) {
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
    let source = "[2001:db8::1]:5060".parse().unwrap();
    let bytes = Writer::reply_to(request, 400, "Bad Request", Some(b"t"), source).finish();
    let reply = Message::parse(bytes).unwrap();
    let count = |m: &Message, n| m.fields(n).count();
    let expected = request.values(Name::Via).count()
        + [Name::From, Name::To, Name::CallId, Name::CSeq].iter().map(|n| count(request, *n).min(1)).sum::<usize>();
    assert_eq!(reply.all().count(), expected + 1, "{reply:?}");
    assert_eq!(reply.index().flaw(), None);
}

#[derive(Clone, Debug)]
enum Change {
    Flip(Pick, u8),
    Cut(Pick, Pick),
    Repeat(Pick, Pick),
    Insert(Pick, &'static [u8]),
}

const TOKENS: [&[u8]; 16] =
    [b"\r\n", b"\r\n ", b"\n\n", b"\"", b"<", b">", b";", b",", b"%", b"\0", b"\xff", b"@", b":", b"[", b"]", b"\\"];

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<Pick>(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (any::<Pick>(), any::<Pick>()).prop_map(|(a, b)| Change::Cut(a, b)),
        (any::<Pick>(), any::<Pick>()).prop_map(|(a, b)| Change::Repeat(a, b)),
        (any::<Pick>(), select(&TOKENS[..])).prop_map(|(at, token)| Change::Insert(at, token)),
    ];
    vec(change, 1..6)
}

fn apply(mut bytes: Vec<u8>, changes: &[Change]) -> Vec<u8> {
    for change in changes {
        if bytes.is_empty() {
            break;
        }
        let range = |a: &Pick, b: &Pick| {
            let (a, b) = (a.index(bytes.len()), b.index(bytes.len()));
            a.min(b)..a.max(b)
        };
        match change {
            Change::Flip(at, byte) => {
                let at = at.index(bytes.len());
                bytes[at] ^= *byte;
            }
            Change::Cut(a, b) => {
                let range = range(a, b);
                bytes.drain(range);
            }
            Change::Repeat(a, b) => {
                let range = range(a, b);
                let (end, piece) = (range.end, bytes[range].to_vec());
                bytes.splice(end..end, piece);
            }
            Change::Insert(at, token) => {
                let at = at.index(bytes.len());
                bytes.splice(at..at, token.iter().copied());
            }
        }
    }
    bytes
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..config() })]

    #[test]
    fn changed_messages_never_break_the_parser(which in any::<Pick>(), changes in changes()) {
        thread_local!(static CORPUS: Vec<(String, Vec<u8>)> = everything());
        CORPUS.with(|corpus| look(&apply(which.get(corpus).1.clone(), &changes)));
    }

    #[test]
    fn arbitrary_bytes_never_break_the_parser(bytes in vec(any::<u8>(), 0..400)) {
        look(&bytes);
        look(&[b"INVITE sip:a SIP/2.0\r\n", &bytes[..]].concat());
        look(&[b"OPTIONS ", &bytes[..], b" SIP/2.0\r\n\r\n"].concat());
        look_at_value(&bytes);
    }

    #[test]
    fn sip_like_text_never_breaks_the_parser(text in "[a-z0-9 ;,:@<>\"\\\\=%?&/\\[\\]*#+.()\r\n\t-]{0,80}") {
        look_at_value(text.as_bytes());
        look(format!("INVITE sip:a SIP/2.0\r\nVia: {text}\r\nTo: {text}\r\nContact: {text}\r\n\r\n").as_bytes());
    }
}

#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    user: String,
    host: String,
    port: Option<u16>,
    display: String,
    tag: String,
    branch: String,
    cseq: u32,
    call_id: String,
    more: Vec<(String, String)>,
    body: Vec<u8>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let method = select(&["INVITE", "BYE", "REGISTER", "INFO", "MESSAGE", "FROBNICATE"][..]);
    let host = prop_oneof![
        "[a-z][a-z0-9-]{0,8}[a-z0-9](\\.[a-z]{2,5}){0,2}",
        any::<std::net::Ipv4Addr>().prop_map(|ip| ip.to_string()),
        any::<std::net::Ipv6Addr>().prop_map(|ip| format!("[{ip}]")),
    ];
    let more = vec(("X-[A-Za-z0-9]{1,10}", "[!-~\u{e9}\u{4e2d}]([ -~]{0,40}[!-~])?"), 0..6);
    let token = "[A-Za-z0-9.!%*_+`'~-]{1,40}";
    (
        (method, "[A-Za-z0-9_.!~*'()&=+$,;?/#-]{1,20}", host, any::<Option<u16>>(), "[ -~\u{e9}\u{442}]{0,20}"),
        (token, token, 0..1u32 << 31, "[!-~]{1,40}", more, vec(any::<u8>(), 0..200)),
    )
        .prop_map(|((method, user, host, port, display), (tag, branch, cseq, call_id, more, body))| Sent {
            method,
            user,
            host,
            port,
            display,
            tag,
            branch,
            cseq,
            call_id,
            more,
            body,
        })
}

impl Sent {
    fn uri(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!("sip:{}@{}{port}", self.user, self.host)
    }

    fn write(&self) -> Bytes {
        let display = self.display.replace('\\', "\\\\").replace('"', "\\\"");
        let mut writer = Writer::request(Method::of(self.method.as_bytes()), self.uri());
        writer
            .header_fmt("Via", format_args!("SIP/2.0/UDP {};branch={}", self.host, self.branch))
            .header_fmt("From", format_args!("\"{display}\" <{}>;tag={}", self.uri(), self.tag))
            .header_fmt("To", format_args!("<{}>", self.uri()))
            .header("Call-ID", &self.call_id)
            .header_fmt("CSeq", format_args!("{} {}", self.cseq, self.method));
        for (name, value) in &self.more {
            writer.header(name, value);
        }
        writer.body("application/octet-stream", &self.body)
    }

    fn check(&self, read: &Message) {
        assert_eq!(read.validate(), Ok(()));
        assert_eq!(read.method().as_str(), self.method);
        let uri = read.target().unwrap();
        assert_eq!(
            (uri.user, uri.host.to_string(), uri.port),
            (Some(self.user.as_bytes()), self.host.clone(), self.port)
        );
        assert!(uri.equivalent(&read.to().unwrap().uri));
        let from = read.from().unwrap();
        assert_eq!((from.display_text().as_ref(), from.tag()), (&*self.display, Some(self.tag.as_bytes())));
        assert_eq!(read.via().unwrap().branch, Some(self.branch.as_bytes()));
        assert_eq!((read.call_id(), read.cseq().unwrap().number), (self.call_id.as_bytes(), self.cseq));
        let more: Vec<_> = read
            .all()
            .filter(|(_, name, _)| name.starts_with(b"X-"))
            .map(|(_, name, value)| (String::from_utf8(name.into()).unwrap(), String::from_utf8(value.into()).unwrap()))
            .collect();
        assert_eq!(more, self.more);
        assert_eq!(read.body_slice(), self.body);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..config() })]

    #[test]
    fn what_we_write_is_what_is_read(sent in sent()) {
        sent.check(&Message::parse(sent.write()).unwrap());
    }

    #[test]
    fn streams_are_cut_where_messages_end(all in vec(sent(), 1..5), sizes in vec(1..400usize, 1..50)) {
        let stream: Vec<u8> = all.iter().flat_map(|sent| sent.write().to_vec()).collect();
        let mut framer = Framer::default();
        let mut read = Vec::new();
        let (mut rest, mut sizes) = (&stream[..], sizes.iter().cycle());
        while !rest.is_empty() {
            let (piece, after) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
            rest = after;
            framer.push(piece);
            while let Some(frame) = framer.next_frame().unwrap() {
                let Frame::Message(message) = frame else { panic!("{frame:?}") };
                read.push(message);
            }
        }
        assert_eq!(read.len(), all.len());
        for (sent, read) in all.iter().zip(&read) {
            sent.check(read);
        }
        assert!(!framer.is_waiting());
    }

    #[test]
    fn nothing_breaks_a_stream_but_its_end(bytes in vec(any::<u8>(), 0..300), changes in changes(), sent in sent()) {
        for stream in [bytes.clone(), apply(sent.write().to_vec(), &changes)] {
            let mut framer = Framer::default();
            'stream: for piece in stream.chunks(7) {
                framer.push(piece);
                loop {
                    match framer.next_frame() {
                        Ok(Some(Frame::Message(message))) => look(message.bytes()),
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => break 'stream,
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_contact_has_the_same_key(sent in sent()) {
        let uri = sent.uri();
        let escape = |b: u8| if b.is_ascii_alphanumeric() { format!("%{b:02x}") } else { char::from(b).to_string() };
        let escaped = Sent { user: sent.user.bytes().map(escape).collect(), ..sent };
        let other = escaped.uri().replacen("sip:", "SIP:", 1) + ";ob";
        let (a, b) = (Uri::parse(uri.as_bytes()).unwrap(), Uri::parse(other.as_bytes()).unwrap());
        prop_assert!(a.equivalent(&b), "{uri} {other}");
        prop_assert_eq!(a.comparable(), b.comparable());
    }
}
