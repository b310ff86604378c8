//! What the phones of the fuzzer say: whole messages made of choices, so that they get past the parser and deep into the
//! engine, and then, maybe, with a few bytes changed.

use super::wire::text::{Msg, Start};
use crate::script::Script;

pub const METHODS: [&str; 12] = [
    "INVITE",
    "ACK",
    "BYE",
    "PRACK",
    "UPDATE",
    "INFO",
    "OPTIONS",
    "MESSAGE",
    "REFER",
    "SUBSCRIBE",
    "NOTIFY",
    "REGISTER",
];
pub const STATUSES: [u16; 24] = [
    180, 200, 183, 486, 100, 202, 302, 401, 404, 407, 408, 422, 480, 481, 487, 488, 491, 500, 503, 600, 603, 199, 181,
    399,
];
pub const NUMBERS: [&str; 10] = ["1002", "1001", "1003", "1099", "8001", "*97", "911", "0123456789", "1002;x=y", ""];

const EXTRAS: [&str; 28] = [
    "Supported: 100rel, timer, replaces",
    "Require: 100rel",
    "Session-Expires: 90;refresher=uac",
    "Session-Expires: 1800;refresher=uas",
    "Min-SE: 120",
    "Min-SE: 4000000000",
    "Expires: 0",
    "Expires: 4294967295",
    "RSeq: 1",
    "RSeq: 4294967295",
    "RAck: 1 1 INVITE",
    "Contact: *",
    "Contact: <sip:1003@192.0.2.12:5060>;expires=0",
    "Contact: <sip:1002@192.0.2.99;transport=tcp>;q=0.5;+sip.instance=\"<urn:uuid:1>\";reg-id=1",
    "Contact: <tel:+4930123>",
    "Record-Route: <sip:192.0.2.200;lr>, <sip:192.0.2.201>",
    "Route: <sip:192.0.2.1;lr>",
    "Path: <sip:192.0.2.200;lr>",
    "Replaces: x;to-tag=1;from-tag=2",
    "Refer-To: <sip:1003@192.0.2.1?Replaces=a%3Bto-tag%3Db>",
    "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK",
    "Retry-After: 5",
    "Privacy: id",
    "Reason: SIP;cause=200;text=\"Call completed elsewhere\"",
    "Require: a-thing-nobody-knows",
    "Max-Forwards: 0",
    "Event: dialog",
    "P-Asserted-Identity: \"Eve\" <sip:1099@192.0.2.1>",
];

const BODIES: [&str; 12] = [
    "",
    "v=0\r\no=- 1 1 IN IP4 192.0.2.10\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0 8 101\r\n\
     a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n",
    "v=0\r\no=- 1 2 IN IP4 192.0.2.11\r\ns=-\r\nc=IN IP4 192.0.2.11\r\nt=0 0\r\nm=audio 4100 RTP/AVP 8 96\r\n\
     a=rtpmap:96 opus/48000/2\r\na=sendonly\r\n",
    "v=0\r\no=- 1 3 IN IP4 192.0.2.11\r\ns=-\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\nm=audio 4100 RTP/AVP 8\r\n",
    "v=0\r\no=- 1 4 IN IP4 192.0.2.11\r\ns=-\r\nc=IN IP4 192.0.2.11\r\nt=0 0\r\na=inactive\r\nm=audio 4100 RTP/AVP 0\r\n",
    "v=0\r\no=- 2 1 IN IP4 192.0.2.11\r\ns=-\r\nc=IN IP4 192.0.2.11\r\nt=0 0\r\nm=audio 4100 RTP/AVP 8\r\n\
     m=video 4200 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\na=rtcp:4203\r\n",
    "v=0\r\no=- 2 2 IN IP4 192.0.2.11\r\ns=-\r\nc=IN IP4 192.0.2.11\r\nt=0 0\r\nm=audio 0 RTP/AVP 8\r\nm=image 4400 udptl t38\r\n",
    "v=0\r\no=- 3 1 IN IP6 2001:db8::7\r\ns=-\r\nc=IN IP6 2001:db8::7\r\nt=0 0\r\nm=audio 4100 RTP/AVP 9\r\n",
    "v=0\r\no=- 4 1 IN IP4 192.0.2.10\r\ns=-\r\nt=0 0\r\nm=audio 4000 RTP/SAVP 0\r\nc=IN IP4 192.0.2.10\r\n\
     a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n",
    "v=1\r\n",
    "Signal=5\r\nDuration=160\r\n",
    "--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=-\r\nc=IN IP4 192.0.2.10\r\nm=audio 4000 RTP/AVP 0\r\n--x--\r\n",
];

/// Adds what the script wants: a body, more fields.
pub fn dress(msg: &mut Msg, script: &mut Script<'_>) {
    let body = script.byte();
    if body == 255 {
        msg.body = String::from_utf8_lossy(script.bytes()).into_owned();
    } else {
        msg.body = BODIES[usize::from(body) % BODIES.len()].to_owned();
    }
    let kind = match msg.body.as_bytes() {
        [] => None,
        [b'-', ..] => Some("multipart/mixed;boundary=x"),
        [b'S', ..] => Some("application/dtmf-relay"),
        _ => Some("application/sdp"),
    };
    if let Some(kind) = kind {
        msg.set("Content-Type", kind);
    }
    for _ in 0..script.byte() % 4 {
        let (name, value) = script.pick(&EXTRAS).split_once(": ").expect("a field");
        // Some replace what is there, some come on top.
        if script.byte() & 1 == 0 { msg.set(name, value) } else { msg.headers.push((name.into(), value.into())) }
    }
}

/// The message as bytes, a few of them changed if the script wants it.
pub fn encode(msg: &Msg, script: &mut Script<'_>) -> Vec<u8> {
    let choice = script.byte();
    let mut bytes = msg.encode(choice & 16 != 0);
    for _ in 0..(choice & 15).saturating_sub(12) {
        let at = usize::from(script.u16()) % bytes.len().max(1);
        match script.byte() {
            0..64 => bytes.insert(at, script.byte()),
            64..128 => drop(bytes.drain(at..(at + script.below(32)).min(bytes.len()))),
            128..160 => {
                let piece = script.bytes().to_vec();
                bytes.splice(at..at, piece);
            }
            _ if at < bytes.len() => bytes[at] = script.byte(),
            _ => {}
        }
    }
    bytes
}

/// A response to a request, with this tag of ours.
pub fn response(request: &Msg, code: u16, tag: &str, contact: &str) -> Msg {
    let mut msg =
        Msg { start: Start::Status { code, reason: "Said".into() }, headers: Vec::new(), body: String::new() };
    for (name, value) in &request.headers {
        match name.as_str() {
            "Via" | "From" | "Call-ID" | "CSeq" | "Record-Route" => msg.headers.push((name.clone(), value.clone())),
            "To" if code > 100 && !value.contains("tag=") => {
                msg.headers.push((name.clone(), format!("{value};tag={tag}")));
            }
            "To" => msg.headers.push((name.clone(), value.clone())),
            _ => {}
        }
    }
    msg.with("Contact", contact)
}
