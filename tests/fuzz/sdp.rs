//! Target `sdp`: a body. Read, written and read again it says the same; as an offer it is answered line by line.

use std::net::SocketAddr;
use strowger::engine::negotiate::LegSdp;
use strowger::proto::sdp::Sdp;
use strowger::proto::sdp::body;

pub fn run(bytes: &[u8]) {
    for content_type in [&b"application/sdp"[..], b"multipart/mixed;boundary=x", b"multipart/mixed; boundary=\"x y\""] {
        if let Some(part) = body::find(content_type, bytes) {
            assert!(part.len() <= bytes.len());
        }
    }
    let Ok(sdp) = Sdp::parse(bytes) else { return };
    for line in &sdp.media {
        let _ = (sdp.rtp_of(line), sdp.rtcp_of(line), sdp.direction_of(line));
    }
    // White space where a line ends, and part of a word elsewhere.
    if !bytes.contains(&b'\x0c') {
        say_again(&sdp);
    }
    carry(sdp);
}

fn say_again(sdp: &Sdp) {
    let written = sdp.to_bytes();
    let again = Sdp::parse(&written).expect("what we write can be read");
    assert_eq!(again.to_bytes(), written, "written twice it is the same");
    assert_eq!(again.media.len(), sdp.media.len());
    for (line, other) in sdp.media.iter().zip(&again.media) {
        assert_eq!(sdp.rtp_of(line), again.rtp_of(other));
        assert_eq!(sdp.direction_of(line), again.direction_of(other));
        assert_eq!(line.formats.len(), other.formats.len());
    }
}

/// From the caller's leg to the called one's, whose phone answers with the same description, and back.
fn carry(offer: Sdp) {
    let ports: Vec<SocketAddr> = (0..8).map(|n| SocketAddr::from(([192, 0, 2, 1], 10_000 + 2 * n))).collect();
    let lines = offer.media.len();
    let (mut caller, mut called) = (LegSdp::new(1), LegSdp::new(2));
    if caller.set_offer(offer.clone()).is_err() {
        return;
    }
    let sent = called.offer(&offer, &ports);
    let ours = Sdp::parse(&sent).expect("our offer can be read");
    assert_eq!(ours.media.len(), lines);
    if called.set_answer(offer.clone()).is_err() {
        return;
    }
    if let Ok(answer) = caller.answer(&offer, &ports) {
        let answer = Sdp::parse(&answer).expect("our answer can be read");
        assert_eq!(answer.media.len(), lines, "an answer has the offer's lines (RFC 3264 §6)");
        let pairs = answer.media.iter().zip(&offer.media);
        for (answered, offered) in pairs {
            assert!(offered.is_active() || !answered.is_active(), "a refused line stays refused");
        }
    }
}
