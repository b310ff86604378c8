use super::*;
use crate::base::limits;
use crate::proto::sip::via::Rport;

const INVITE: &str = "INVITE sip:1002@pbx.example;transport=udp SIP/2.0\r\n\
    Via: SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bKa;rport, SIP/2.0/TCP h;branch=z9hG4bKb\r\n\
    v: SIP/2.0/TLS j.example;branch=z9hG4bKc\r\n\
    f: \"One, \\\"1\\\"\" <sip:1001@pbx.example>;tag=ft\r\n\
    To: <sip:1002@pbx.example>\r\n\
    Call-ID: abc@10.0.0.5\r\n\
    CSeq: 7 INVITE\r\n\
    Contact: <sip:1001@10.0.0.5;line=1>;q=0.5,\r\n <sip:1001@10.0.0.6>\r\n\
    Max-Forwards: 70\r\n\
    Supported: 100rel, Timer\r\n\
    X-Odd: \t a\r\n\t b  \r\n\
    Content-Type: application/sdp\r\n\
    Content-Length: 4\r\n\
    \r\n\
    v=0\n and more";

fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

#[test]
fn a_request_and_its_views() {
    let m = message(INVITE);
    assert_eq!(m.validate(), Ok(()));
    assert!(m.is_request());
    assert_eq!((m.method(), m.status()), (Method::Invite, None));
    assert_eq!(m.target().unwrap().user, Some(&b"1002"[..]));
    let branches: Vec<_> = m.vias().map(|v| v.unwrap().branch.unwrap()).collect();
    assert_eq!(branches, [b"z9hG4bKa", b"z9hG4bKb", b"z9hG4bKc"]);
    assert_eq!(m.via().unwrap().rport, Some(Rport::Asked));
    assert_eq!(m.from().unwrap().display_text(), "One, \"1\"");
    assert_eq!(m.from().unwrap().tag(), Some(&b"ft"[..]));
    assert_eq!(m.to().unwrap().tag(), None);
    assert_eq!(m.call_id(), b"abc@10.0.0.5");
    assert_eq!(m.cseq().unwrap().number, 7);
    let contacts: Vec<_> = m.contacts().map(|c| c.unwrap().address().unwrap()).collect();
    assert_eq!((contacts.len(), contacts[0].q(), contacts[1].q()), (2, Some(500), None));
    assert_eq!(m.max_forwards(), Some(70));
    assert!(m.has_option(Name::Supported, "timer") && !m.has_option(Name::Require, "timer"));
    assert_eq!(m.field_named("x-odd"), Some(&b"a\r\n\t b"[..]));
    assert!(m.content_type().unwrap().is("application", "sdp"));
    assert_eq!(m.body_slice(), b"v=0\n");
    assert_eq!(&m.body()[..], b"v=0\n");
    assert_eq!(m.all().count(), 12);
    assert_eq!(m.all().nth(2).unwrap().1, b"f");
}

#[test]
fn a_response() {
    let m = message(
        "SIP/2.0 180 Ringing now\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>;tag=1\r\nTo: sip:c@d;tag=2\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n\r\n",
    );
    assert_eq!(m.validate(), Ok(()));
    assert_eq!((m.status(), m.reason(), m.method()), (Some(180), &b"Ringing now"[..], Method::Invite));
    assert_eq!(message("SIP/2.0 100 \r\n\r\n").reason(), b"");
    assert_eq!(message("SIP/2.0 100\r\n\r\n").reason(), b"");
}

#[test]
fn a_response_is_dropped_for_what_matching_needs_and_for_nothing_else() {
    let response = |headers: &str| {
        let text = format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\nFrom: <sip:a@b>;tag=1\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\n{headers}\r\n"
        );
        message(&text).validate().map_err(|invalid| (invalid.problem, invalid.answerable))
    };
    assert_eq!(response("To: <sip:c@d>\r\nContact: <\r\nDate: now\r\nRecord-Route: x\r\n"), Ok(()));
    assert_eq!(response("To: <sip:c@d\r\n"), Err((Problem::Brackets, false)));
    assert_eq!(response("Contact: <sip:c@d>\r\n"), Err((Problem::Missing, false)));
}

#[test]
fn what_nobody_could_answer() {
    for (bytes, problem) in [
        (&b""[..], Problem::Empty),
        (b"\r\n\r\n", Problem::Empty),
        (b"\0\0\0\0", Problem::StartLine),
        (b"INVITE sip:a@b", Problem::StartLine),
        (b"GET / HTTP/1.1\r\n\r\n", Problem::StartLine),
        (b"INVITE  SIP/2.0\r\n\r\n", Problem::StartLine),
        (b"SIP/2.0 4294967301 no\r\n\r\n", Problem::Status),
        (b"SIP/2.0 099 no\r\n\r\n", Problem::Status),
        (b"SIP/2.0\r\n\r\n", Problem::StartLine),
    ] {
        assert_eq!(Message::parse(Bytes::copy_from_slice(bytes)).unwrap_err().problem, problem, "{bytes:?}");
    }
    let long = vec![b'a'; 65_536];
    assert_eq!(Message::parse(long.into()).unwrap_err().problem, Problem::TooLong);
}

fn refused(edit: impl Fn(String) -> String) -> (u16, Problem, bool) {
    let invalid = message(&edit(INVITE.to_owned())).validate().unwrap_err();
    (invalid.status, invalid.problem, invalid.answerable)
}

#[test]
fn what_is_answered_with_400_505_and_513() {
    let replace = |a: &'static str, b: &'static str| {
        assert!(INVITE.contains(a));
        refused(move |t| t.replace(a, b))
    };
    assert_eq!(replace("CSeq: 7", "CSeq: 2147483648"), (400, Problem::CSeq, true));
    assert_eq!(replace("7 INVITE", "7 INVITED"), (400, Problem::CSeqMethod, true));
    assert_eq!(replace("Content-Length: 4", "Content-Length: 99"), (400, Problem::Truncated, true));
    assert_eq!(replace("Content-Length: 4", "Content-Length: -4"), (400, Problem::ContentLength, true));
    assert_eq!(replace("X-Odd:", "Content-Length: 4\r\nX:"), (400, Problem::Repeated, true));
    assert_eq!(replace("Call-ID: abc", "Call-ID: a bc"), (400, Problem::CallId, true));
    assert_eq!(replace("Call-ID: abc@10.0.0.5\r\n", ""), (400, Problem::Missing, true));
    assert_eq!(replace("Max-Forwards: 70", "Max-Forwards: 256"), (400, Problem::MaxForwards, true));
    assert_eq!(replace("To: <sip:", "To: <sip:x>\r\nTo: <sip:"), (400, Problem::Repeated, true));
    assert_eq!(replace("X-Odd:", "X Odd:"), (400, Problem::HeaderLine, true));
    assert_eq!(replace("udp SIP/2.0", "udp?a=b SIP/2.0"), (400, Problem::UriHeaders, true));
    assert_eq!(replace("udp SIP/2.0", "udp  SIP/2.0"), (400, Problem::RequestLine, true));
    assert_eq!(replace("udp SIP/2.0", "udp SIP/3.0"), (505, Problem::Version, true));
    let many = |field: &str| format!("{}{field}", "a: b\r\n".repeat(limits::HEADERS));
    assert_eq!(refused(|t| t.replace("X-Odd:", &many("X-Odd:"))), (513, Problem::TooManyHeaders, true));
    assert_eq!(refused(|t| t.replace("Via:", &many("Via:"))), (513, Problem::TooManyHeaders, false), "who asked?");
    assert_eq!(refused(|t| t.replace("INVITE", "ACK").replace("CSeq", "CSec")), (400, Problem::Missing, false));
    let cut = message(&INVITE[..INVITE.find("rel, T").unwrap()]).validate().unwrap_err();
    assert_eq!((cut.problem, cut.answerable), (Problem::Unterminated, true));
}

#[test]
fn offsets_count_from_the_start_of_the_message() {
    let text = INVITE.replace("q=0.5", "q=\"0.5");
    let invalid = message(&text).validate().unwrap_err();
    assert_eq!(invalid.problem, Problem::Quote);
    assert_eq!(invalid.offset as usize, text.find("q=\"0.5").unwrap() + 2);
}
