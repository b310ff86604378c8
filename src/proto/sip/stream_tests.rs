use super::*;

const OPTIONS: &[u8] = b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h\r\nl: 0\r\n\r\n";
const INFO: &[u8] = b"INFO sip:h SIP/2.0\r\nContent-Length : 6\r\nVia: SIP/2.0/TCP h\r\n\r\n\r\n\r\nab";

/// What comes out, in words, when the bytes arrive in pieces of `size`.
fn frames(bytes: &[u8], size: usize) -> Vec<String> {
    let mut framer = Framer::default();
    let mut out = Vec::new();
    for piece in bytes.chunks(size) {
        framer.push(piece);
        loop {
            match framer.next_frame() {
                Ok(None) => break,
                Ok(Some(Frame::Message(m))) => out.push(format!("{} {}", m.method(), m.body_slice().len())),
                Ok(Some(Frame::Ping)) => out.push("ping".into()),
                Ok(Some(Frame::Pong)) => out.push("pong".into()),
                Err(error) => {
                    out.push(error.to_string());
                    return out;
                }
            }
        }
    }
    if framer.is_waiting() {
        out.push("...".into());
    }
    out
}

#[test]
fn messages_come_out_whole_however_they_arrive() {
    let stream = [OPTIONS, INFO, b"\r\n", OPTIONS, OPTIONS, &INFO[..INFO.len() - 1]].concat();
    for size in 1..stream.len() {
        assert_eq!(frames(&stream, size), ["OPTIONS 0", "INFO 6", "pong", "OPTIONS 0", "OPTIONS 0", "..."], "{size}");
    }
}

#[test]
fn keep_alives() {
    assert_eq!(frames(b"\r\n\r\n", 4), ["ping"]);
    assert_eq!(frames(b"\r\n", 2), ["pong"]);
    // Whether a lone CRLF was the half of a ping shows only when the other half comes.
    assert_eq!(frames(b"\r\n\r\n", 2), ["pong", "ping"]);
    assert_eq!(frames(b"\r\n\r\n", 3), ["ping"]);
    assert_eq!(frames(&[b"\r\n\r\n", OPTIONS].concat(), 100), ["ping", "OPTIONS 0"]);
}

#[test]
fn a_message_without_length_is_refused_and_ends_the_stream() {
    for header in ["", "Content-Length: -1\r\n", "l: 0\r\nContent-Length: 4\r\n", "Content-Length: 99999999999\r\n"] {
        let mut framer = Framer::default();
        framer.push(format!("OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/TCP h\r\n{header}\r\nabcd").as_bytes());
        let Ok(Some(Frame::Message(message))) = framer.next_frame() else { panic!("{header}") };
        let invalid = message.validate().unwrap_err();
        assert_eq!((invalid.status, invalid.answerable), (400, true));
        for _ in 0..2 {
            assert_eq!(framer.next_frame().unwrap_err(), StreamError::NoLength);
        }
    }
}

#[test]
fn what_is_no_sip_ends_the_stream_at_once() {
    assert!(frames(b"\x16\x03\x01\x02", 4)[0].contains("Bad Start Line"));
    assert!(frames(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 100)[0].contains("Bad Start Line"));
    assert!(frames(b"\rx\r\n\r\n", 100)[0].contains("Bad Start Line"));
}

#[test]
fn nothing_grows_without_bound() {
    let endless = [b"OPTIONS sip:h SIP/2.0\r\n".to_vec(), b"A: b\r\n".repeat(12_000)].concat();
    assert_eq!(frames(&endless, 1000), [StreamError::TooLong.to_string()]);
    assert_eq!(frames(&[b'a'; 70_000], 1000), [StreamError::TooLong.to_string()]);
    assert_eq!(frames(b"OPTIONS sip:h SIP/2.0\r\nl: 70000\r\n\r\n", 100), [StreamError::TooLong.to_string()]);
}
