use super::*;

fn request(via: &str) -> Message {
    let text = format!(
        "INVITE sip:b@h SIP/2.0\r\nVia: {via}\r\nVia: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb\r\nFrom: <sip:a@h>;tag=1\r\n\
         To: \"B\r\n b\" <sip:b@h>\r\nCall-ID: x\r\nCSeq: 1 INVITE\r\nTimestamp: 54\r\nRecord-Route: <sip:p1;lr>, <sip:p2;lr>\r\nRecord-Route: <sip:p3;lr>\r\n\r\n"
    );
    Message::parse(text.into()).unwrap()
}

fn text(bytes: Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

const SOURCE: &str = "198.51.100.7:40000";

#[test]
fn a_reply() {
    let request = request("SIP/2.0/UDP 10.0.0.5;rport;received=1.2.3.4;branch=z9hG4bKa");
    let reply = Writer::reply_to(&request, 180, "Ringing", Some(b"tt"), SOURCE.parse().unwrap())
        .record_routes_of(&request)
        .header_fmt("Contact", format_args!("<sip:{}>", "us"))
        .finish();
    assert_eq!(
        text(reply),
        "SIP/2.0 180 Ringing\r\n\
         Via: SIP/2.0/UDP 10.0.0.5;rport=40000;branch=z9hG4bKa;received=198.51.100.7\r\n\
         Via: SIP/2.0/UDP 192.0.2.9;branch=z9hG4bKb\r\n\
         From: <sip:a@h>;tag=1\r\n\
         To: \"B   b\" <sip:b@h>;tag=tt\r\n\
         Call-ID: x\r\n\
         CSeq: 1 INVITE\r\n\
         Record-Route: <sip:p1;lr>, <sip:p2;lr>\r\n\
         Record-Route: <sip:p3;lr>\r\n\
         Contact: <sip:us>\r\n\
         Content-Length: 0\r\n\r\n"
    );
}

#[test]
fn received_is_added_when_sent_by_is_not_the_source() {
    let first_via = |via: &str| {
        let reply = Writer::reply_to(&request(via), 100, "Trying", None, SOURCE.parse().unwrap()).finish();
        assert!(text(reply.clone()).contains("\r\nTimestamp: 54\r\n"));
        Message::parse(reply).unwrap().header(Name::Via).map(|v| String::from_utf8(v.to_vec()).unwrap()).unwrap()
    };
    assert_eq!(first_via("SIP/2.0/UDP 198.51.100.7:5060;branch=a"), "SIP/2.0/UDP 198.51.100.7:5060;branch=a");
    assert_eq!(
        first_via("SIP/2.0/UDP 198.51.100.7;rport"),
        "SIP/2.0/UDP 198.51.100.7;rport=40000;received=198.51.100.7"
    );
    assert_eq!(first_via("SIP/2.0/UDP name;branch=a"), "SIP/2.0/UDP name;branch=a;received=198.51.100.7");
    assert_eq!(first_via("SIP/2.0/UDP 192.0.2.15;;,;,,"), "SIP/2.0/UDP 192.0.2.15;;");
}

#[test]
fn nothing_can_end_a_line() {
    let evil = "x\r\nEvil: 1\n\nEvil: 2\0";
    let bytes = Writer::request(Method::Other(evil.as_bytes()), "sip:a\r\nEvil: 3 SIP/2.0")
        .header("Subject", evil)
        .header_fmt("Reason", format_args!("{evil}"))
        .header_number("Expires", 0)
        .body("text/plain\r\nEvil: 4", b"body\r\nEvil: no header\r\n");
    let text = text(bytes);
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let lines: Vec<&str> = head.split("\r\n").collect();
    assert_eq!(lines.len(), 6);
    assert!(
        lines[1..].iter().all(|l| !l.starts_with("Evil")) && !head.replace("\r\n", "").contains(['\r', '\n', '\0'])
    );
    assert_eq!(lines[5], format!("Content-Length: {}", body.len()));
}

#[test]
fn a_request_reads_back() {
    let bytes =
        Writer::request(Method::Options, "sip:h").header_number("Max-Forwards", 70).header("To", "<sip:h>").finish();
    let read = Message::parse(bytes).unwrap();
    assert_eq!((read.method(), read.request_uri(), read.max_forwards()), (Method::Options, &b"sip:h"[..], Some(70)));
    assert_eq!(read.content_length(), Some(0));
}
