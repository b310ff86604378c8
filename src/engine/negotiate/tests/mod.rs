//! Ladders of one call's descriptions: what each side said, what we told the other.

mod random;

use super::*;
use crate::base::ids::PortId;
use crate::engine::media::Stream;
use std::net::SocketAddr;

fn sdp(text: &str) -> Sdp {
    Sdp::parse(text.as_bytes()).unwrap()
}

/// A phone's description on 10.0.0.`host` with these lines after the session part.
fn phone(host: u8, lines: &str) -> Sdp {
    sdp(&format!("v=0\no=- {host} 1 IN IP4 10.0.0.{host}\ns=-\nc=IN IP4 10.0.0.{host}\nt=0 0\n{lines}"))
}

/// Relay ports on 192.0.2.1.
fn ports(numbers: &[u16]) -> Vec<SocketAddr> {
    numbers.iter().map(|n| SocketAddr::new([192, 0, 2, 1].into(), *n)).collect()
}

/// The lines of a description after the session part.
fn lines(bytes: &Bytes) -> Vec<String> {
    let text = std::str::from_utf8(bytes).unwrap();
    text.split_terminator("\r\n").skip_while(|line| !line.starts_with("m=")).map(str::to_owned).collect()
}

fn version(bytes: &Bytes) -> u64 {
    let sdp = Sdp::parse(bytes).unwrap();
    sdp.origin.unwrap().version.to_string().parse().unwrap()
}

const A_PORTS: [PortId; 2] = [PortId(1), PortId(2)];
const B_PORTS: [PortId; 2] = [PortId(3), PortId(4)];

struct Bridge {
    a: LegSdp,
    b: LegSdp,
    a_ports: Vec<SocketAddr>,
    b_ports: Vec<SocketAddr>,
}

impl Bridge {
    fn new() -> Bridge {
        Bridge {
            a: LegSdp::new(1),
            b: LegSdp::new(2),
            a_ports: ports(&[10_000, 10_002]),
            b_ports: ports(&[20_000, 20_002]),
        }
    }

    /// A offers; what B is offered.
    fn offer(&mut self, offer: Sdp) -> Bytes {
        self.a.set_offer(offer.clone()).unwrap();
        self.b.offer(&offer, &self.b_ports)
    }

    /// B answers; what A is answered.
    fn answer(&mut self, answer: Sdp) -> Result<Bytes, Unacceptable> {
        self.b.set_answer(answer)?;
        self.a.answer(self.b.remote().unwrap(), &self.a_ports)
    }

    /// The same from B's side.
    fn offer_back(&mut self, offer: Sdp) -> Bytes {
        self.b.set_offer(offer.clone()).unwrap();
        self.a.offer(&offer, &self.a_ports)
    }

    fn answer_back(&mut self, answer: Sdp) -> Result<Bytes, Unacceptable> {
        self.a.set_answer(answer)?;
        self.b.answer(self.a.remote().unwrap(), &self.b_ports)
    }

    fn stream(&self, port: PortId) -> Stream {
        let streams = wire(&self.a, &A_PORTS, &self.b, &B_PORTS);
        streams.into_iter().find(|(p, _)| *p == port).unwrap().1
    }

    fn payload(&self, port: PortId, number: u8) -> Option<u8> {
        self.stream(port).sink.unwrap().payloads.get(number)
    }
}

fn talking() -> Bridge {
    let mut call = Bridge::new();
    call.offer(phone(1, "m=audio 4000 RTP/AVP 0 8 101\na=rtpmap:101 telephone-event/8000\n"));
    call.answer(phone(2, "m=audio 5000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\n")).unwrap();
    call
}

#[test]
fn a_plain_call_is_anchored_on_our_ports() {
    let mut call = Bridge::new();
    let offered = call.offer(phone(
        1,
        "m=audio 4000 RTP/AVP 8 0 101\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\na=rtcp:4001\n\
         a=ssrc:1 cname:x\na=sendrecv\n",
    ));
    assert_eq!(
        std::str::from_utf8(&offered).unwrap(),
        "v=0\r\no=- 2 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=audio 20000 RTP/AVP 8 0 101\r\n\
         a=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n\
         a=ptime:20\r\na=sendrecv\r\n"
    );
    let answered = call
        .answer(phone(2, "m=audio 5000 RTP/AVP 0 101\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\n"))
        .unwrap();
    assert_eq!(
        lines(&answered),
        [
            "m=audio 10000 RTP/AVP 0 101",
            "a=rtpmap:0 PCMU/8000",
            "a=rtpmap:101 telephone-event/8000",
            "a=fmtp:101 0-16",
            "a=sendrecv"
        ]
    );
    let from_a = call.stream(PortId(1));
    assert_eq!(from_a.remote.unwrap().rtp, "10.0.0.1:4000".parse().unwrap());
    assert_eq!(from_a.remote.unwrap().rtcp, "10.0.0.1:4001".parse().unwrap());
    assert!(from_a.send && from_a.receive);
    assert_eq!(from_a.sink.as_ref().unwrap().port, PortId(3));
    assert_eq!(call.payload(PortId(1), 0), Some(0));
    assert_eq!(call.payload(PortId(1), 8), None, "B did not take PCMA");
    assert_eq!(call.payload(PortId(3), 8), Some(8), "A can receive whatever it offered");
    assert_eq!(call.stream(PortId(2)), Stream { generation: 1, ..Stream::default() }, "no second line, an idle port");
}

#[test]
fn numbers_are_each_sides_own() {
    let mut call = Bridge::new();
    let offered = call
        .offer(phone(1, "m=audio 4000 RTP/AVP 96 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000\n"));
    assert!(lines(&offered)[0].ends_with("RTP/AVP 96 101"));
    // B uses numbers of its own in its answer: packets to it carry those, packets from it ours.
    call.answer(phone(
        2,
        "m=audio 5000 RTP/AVP 111 100\na=rtpmap:111 OPUS/48000/2\na=rtpmap:100 telephone-event/8000\n",
    ))
    .unwrap();
    assert_eq!(lines(call.a.local().unwrap())[0], "m=audio 10000 RTP/AVP 96 101");
    assert_eq!(call.payload(PortId(1), 96), Some(111));
    assert_eq!(call.payload(PortId(1), 101), Some(100));
    assert_eq!(call.payload(PortId(3), 96), Some(96));
    assert_eq!(call.payload(PortId(3), 101), Some(101));
    assert_eq!(call.payload(PortId(3), 111), Some(96), "a phone that sends its own number is understood");

    // B offers anew with its numbers, of which 96 means something else: A keeps hearing of 96 as opus.
    let offered = call.offer_back(phone(
        2,
        "m=audio 5000 RTP/AVP 111 96 100\na=rtpmap:111 opus/48000/2\na=rtpmap:96 speex/16000\na=rtpmap:100 telephone-event/8000\n",
    ));
    let offered = lines(&offered);
    assert_eq!(offered[0], "m=audio 10000 RTP/AVP 96 97 101");
    assert_eq!(offered[2], "a=rtpmap:97 speex/16000");
    let answered = call
        .answer_back(phone(
            1,
            "m=audio 4000 RTP/AVP 97 101\na=rtpmap:97 speex/16000\na=rtpmap:101 telephone-event/8000\n",
        ))
        .unwrap();
    assert_eq!(lines(&answered)[0], "m=audio 20000 RTP/AVP 96 100", "an answer speaks the offer's numbers");
    assert_eq!(call.payload(PortId(1), 97), Some(96));
    assert_eq!(call.payload(PortId(3), 96), Some(97));
}

#[test]
fn the_media_plane_is_told_the_clock_of_dynamic_numbers() {
    let clocks = |a: &str, b: &str| {
        let mut bridge = Bridge::new();
        bridge.offer(phone(1, a));
        bridge.answer(phone(2, b)).unwrap();
        [A_PORTS[0], A_PORTS[1], B_PORTS[0]].map(|port| bridge.stream(port).clock_rate)
    };
    let opus = "m=audio 4000 RTP/AVP 101 111 0\na=rtpmap:101 telephone-event/8000\na=rtpmap:111 opus/48000/2\n";
    let video = "m=video 4002 RTP/AVP 99\na=rtpmap:99 H264/90000\n";
    assert_eq!(clocks(opus, opus), [48_000, 0, 48_000]);
    assert_eq!(clocks(&format!("{opus}{video}"), &format!("{opus}{video}")), [48_000, 90_000, 48_000]);
    // Static numbers have the clock of RFC 3551.
    assert_eq!(clocks(opus, "m=audio 4000 RTP/AVP 0\n"), [0, 0, 48_000], "B still may send what it was offered");
}

#[test]
fn hold_in_three_styles_is_passed_on_and_answered_mirrored() {
    let audio = |direction: &str| format!("m=audio 4000 RTP/AVP 0\na={direction}\n");
    for (offer, offered, answer, answered, held_by) in [
        ("sendonly", "a=sendonly", "recvonly", "a=recvonly", Held::ByPeer),
        ("inactive", "a=inactive", "inactive", "a=inactive", Held::Inactive),
        // A phone that ignores the direction: we don't repeat its mistake.
        ("sendonly", "a=sendonly", "sendrecv", "a=recvonly", Held::ByPeer),
        ("recvonly", "a=recvonly", "sendonly", "a=sendonly", Held::No),
    ] {
        let mut call = talking();
        let re_offer = call.offer(phone(1, &audio(offer)));
        assert_eq!(lines(&re_offer).last().unwrap(), offered);
        let re_answer = call.answer(phone(2, &audio(answer))).unwrap();
        assert_eq!(lines(&re_answer).last().unwrap(), answered);
        assert_eq!(held(&call.a), held_by);
        assert_eq!(held(&call.b), Held::No, "the held side holds nobody");
    }
}

#[test]
fn the_hold_of_rfc_2543_gets_a_real_address_and_a_direction() {
    let mut call = talking();
    let hold = sdp("v=0\no=- 1 2 IN IP4 10.0.0.1\ns=-\nc=IN IP4 0.0.0.0\nt=0 0\nm=audio 4000 RTP/AVP 0\n");
    let offered = call.offer(hold);
    let text = std::str::from_utf8(&offered).unwrap();
    assert!(text.contains("c=IN IP4 192.0.2.1\r\n") && text.ends_with("a=sendonly\r\n"), "{text}");
    call.answer(phone(2, "m=audio 5000 RTP/AVP 0\na=recvonly\n")).unwrap();
    assert_eq!(held(&call.a), Held::ByPeer);
    let to_a = call.stream(PortId(1));
    assert_eq!((to_a.send, to_a.receive, to_a.remote), (false, true, None));
    assert!(!call.stream(PortId(3)).receive, "what B says goes nowhere");

    let offered = call.offer(phone(1, "m=audio 4000 RTP/AVP 0\n"));
    assert!(offered.ends_with(b"a=sendrecv\r\n"));
    call.answer(phone(2, "m=audio 5000 RTP/AVP 0\n")).unwrap();
    assert_eq!(held(&call.a), Held::No);
    assert!(call.stream(PortId(1)).send);
}

#[test]
fn a_held_party_that_asks_for_an_offer_gets_one_as_its_partner_wishes() {
    let mut call = talking();
    call.offer(phone(1, "m=audio 4000 RTP/AVP 0\na=sendonly\n"));
    call.answer(phone(2, "m=audio 5000 RTP/AVP 0\na=recvonly\n")).unwrap();
    // A resumes with a re-INVITE without offer: B never wanted the hold.
    let wishes = call.b.wishes().unwrap();
    let offered = call.a.offer(&wishes, &call.a_ports);
    assert!(offered.ends_with(b"a=sendrecv\r\n"));
}

#[test]
fn video_has_its_own_port_and_may_come_and_go() {
    let mut call = talking();
    let with_video = "m=audio 4000 RTP/AVP 0\nm=video 4002 RTP/AVPF 99\na=rtpmap:99 H264/90000\n\
                      a=fmtp:99 profile-level-id=42e01f;packetization-mode=1\na=rtcp-fb:99 nack pli\na=rtcp-fb:* ccm fir\n\
                      a=extmap:1 urn:x\na=mid:v\nb=AS:512\n";
    assert_eq!(streams(&phone(1, with_video)), 2);
    let offered = call.offer(phone(1, with_video));
    assert_eq!(
        lines(&offered)[3..],
        [
            "m=video 20002 RTP/AVPF 99",
            "b=AS:512",
            "a=rtpmap:99 H264/90000",
            "a=fmtp:99 profile-level-id=42e01f;packetization-mode=1",
            "a=rtcp-fb:99 nack pli",
            "a=rtcp-fb:* ccm fir",
            "a=sendrecv"
        ]
    );
    let answered = call
        .answer(phone(
            2,
            "m=audio 5000 RTP/AVP 0\nm=video 5002 RTP/AVPF 120\na=rtpmap:120 H264/90000\na=fmtp:120 packetization-mode=1\n",
        ))
        .unwrap();
    assert_eq!(lines(&answered)[3], "m=video 10002 RTP/AVPF 99");
    assert_eq!(call.payload(PortId(2), 99), Some(120));
    assert_eq!(call.stream(PortId(4)).sink.unwrap().port, PortId(2));

    // B switches it off; the line stays.
    let offered = call.offer_back(phone(2, "m=audio 5000 RTP/AVP 0\nm=video 0 RTP/AVPF 120\n"));
    assert_eq!(lines(&offered)[3..], ["m=video 0 RTP/AVPF 99"]);
    let answered = call.answer_back(phone(1, "m=audio 4000 RTP/AVP 0\nm=video 0 RTP/AVPF 99\n")).unwrap();
    assert_eq!(lines(&answered)[3..], ["m=video 0 RTP/AVPF 120"]);
    assert_eq!(call.stream(PortId(4)).sink, None);

    // A later offer of B that forgets the line can't make A's dialog forget it.
    let offered = call.offer_back(phone(2, "m=audio 5000 RTP/AVP 0\n"));
    assert_eq!(lines(&offered)[3..], ["m=video 0 RTP/AVPF 99"]);
}

#[test]
fn lines_we_do_not_relay_keep_their_place_and_words() {
    let mut call = Bridge::new();
    let offer = "m=audio 3998 RTP/SAVP 0 101\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:x\nm=audio 4000 RTP/AVP 0\n\
                 m=image 4004 udptl t38\na=T38FaxVersion:0\nm=application 4006 UDP/DTLS/SCTP webrtc-datachannel\n";
    let refused = |port: u16| {
        [
            "m=audio 0 RTP/SAVP 0 101".to_owned(),
            format!("m=audio {port} RTP/AVP 0"),
            "a=rtpmap:0 PCMU/8000".to_owned(),
            "a=sendrecv".to_owned(),
            "m=image 0 udptl t38".to_owned(),
            "m=application 0 UDP/DTLS/SCTP webrtc-datachannel".to_owned(),
        ]
    };
    let offered = call.offer(phone(1, offer));
    assert_eq!(lines(&offered), refused(20_000));
    let answer = "m=audio 0 RTP/SAVP 0\nm=audio 5000 RTP/AVP 0\nm=image 0 udptl t38\nm=application 0 UDP/DTLS/SCTP x\n";
    let answered = call.answer(phone(2, answer)).unwrap();
    assert_eq!(lines(&answered), refused(10_000));
    assert_eq!(call.payload(PortId(1), 0), Some(0));
}

#[test]
fn what_cannot_be_carried_is_refused_in_words() {
    let mut leg = LegSdp::new(1);
    let mut why = |lines: &str| leg.set_offer(phone(1, lines)).unwrap_err();
    assert_eq!(why("m=audio 3008 RTP/SAVP 0 101\n"), Unacceptable::Encrypted);
    assert_eq!(why("m=audio 3008 UDP/TLS/RTP/SAVPF 0\n"), Unacceptable::Encrypted);
    assert_eq!(why("m=image 3008 udptl t38\n"), Unacceptable::NotRelayed);
    assert_eq!(why(""), Unacceptable::NoMedia);
    assert!(leg.remote().is_none(), "a refused offer leaves no trace");
}

#[test]
fn an_answer_without_a_common_codec_is_no_answer() {
    for answer in [
        "m=audio 5000 RTP/AVP 101\na=rtpmap:101 telephone-event/8000\n",
        "m=audio 5000 RTP/AVP 13 101\na=rtpmap:101 telephone-event/8000\n",
        "m=audio 5000 RTP/AVP 9\n",
    ] {
        let mut call = Bridge::new();
        call.offer(phone(1, "m=audio 4000 RTP/AVP 0 13 101\na=rtpmap:101 telephone-event/8000\n"));
        assert_eq!(call.answer(phone(2, answer)), Err(Unacceptable::NothingInCommon));
        assert!(call.a.must_answer(), "the offer still waits");
    }
}

#[test]
fn refusing_the_only_line_is_an_answer() {
    let mut call = Bridge::new();
    call.offer(phone(1, "m=audio 4000 RTP/AVP 0\n"));
    let answered = call.answer(phone(2, "m=audio 0 RTP/AVP 0\n")).unwrap();
    assert_eq!(lines(&answered), ["m=audio 0 RTP/AVP 0"]);
}

#[test]
fn the_version_grows_only_when_the_text_changes() {
    let mut call = talking();
    let first = call.a.local().unwrap().clone();
    assert_eq!(version(&first), 1);
    // A session refresh repeats the offer: the same answer, to the byte.
    let refresh = call.a.remote().unwrap().clone();
    assert!(call.a.repeats(&refresh));
    let generation = call.a.generation();
    call.a.set_offer(refresh).unwrap();
    let again = call.a.answer(&call.b.remote().unwrap().clone(), &call.a_ports).unwrap();
    assert_eq!(again, first);
    assert_eq!(call.a.generation(), generation);

    call.offer(phone(1, "m=audio 4000 RTP/AVP 0\na=sendonly\n"));
    let held = call.answer(phone(2, "m=audio 5000 RTP/AVP 0\na=recvonly\n")).unwrap();
    assert_eq!(version(&held), 2);
}

#[test]
fn a_failed_re_offer_leaves_what_was_agreed() {
    let mut call = talking();
    let agreed = (call.a.local().unwrap().clone(), call.b.local().unwrap().clone());
    let before = wire(&call.a, &A_PORTS, &call.b, &B_PORTS);
    call.offer(phone(1, "m=audio 4000 RTP/AVP 8\nm=video 4002 RTP/AVP 34\n"));
    // B says 488; A is told so.
    call.b.rollback();
    call.a.rollback();
    assert_eq!((call.a.local().unwrap(), call.b.local().unwrap()), (&agreed.0, &agreed.1));
    for ((port, now), (_, then)) in wire(&call.a, &A_PORTS, &call.b, &B_PORTS).into_iter().zip(before) {
        assert_eq!((now.remote, now.sink), (then.remote, then.sink), "port {port}");
    }
    // The next offer is a new version though its text equals the agreed one: the peer has seen another since.
    let offered = call.offer(call.a.remote().unwrap().clone());
    assert_eq!(version(&offered), 3);
}

#[test]
fn a_late_offer_goes_the_other_way_round() {
    let mut call = Bridge::new();
    let offered = call.offer_back(phone(2, "m=audio 5000 RTP/AVP 9 0\n"));
    assert_eq!(lines(&offered)[0], "m=audio 10000 RTP/AVP 9 0");
    let answered = call.answer_back(phone(1, "m=audio 4000 RTP/AVP 0\n")).unwrap();
    assert_eq!(lines(&answered)[0], "m=audio 20000 RTP/AVP 0");
    assert_eq!(call.payload(PortId(1), 0), Some(0));
}

#[test]
fn several_early_dialogs_answer_one_offer() {
    let mut call = Bridge::new();
    call.offer(phone(1, "m=audio 4000 RTP/AVP 9 0 8\n"));
    let early = call.answer(phone(2, "m=audio 5000 RTP/AVP 0\n")).unwrap();
    let early = Sdp::parse(&early).unwrap();
    let same = phone(3, "m=audio 6000 RTP/AVP 9 0\n");
    let other = phone(3, "m=audio 6000 RTP/AVP 9\n");
    let on_hold = phone(3, "m=audio 6000 RTP/AVP 0\na=sendonly\n");
    assert!(compatible(&early, &same));
    assert!(!compatible(&early, &other), "the caller sends PCMU, the winner wants G.722");
    assert!(!compatible(&early, &on_hold));
    call.b.set_answer(same).unwrap();
    assert_eq!(call.stream(PortId(3)).remote.unwrap().rtp, "10.0.0.3:6000".parse().unwrap());
    assert_eq!(call.payload(PortId(1), 0), Some(0));
}

#[test]
fn a_leg_can_change_its_partner() {
    let mut call = talking();
    // C calls with video first and other numbers; A's dialog keeps audio first.
    let mut c = LegSdp::new(3);
    let offer = phone(3, "m=video 6002 RTP/AVP 34\nm=audio 6000 RTP/AVP 101 8\na=rtpmap:101 opus/48000/2\n");
    c.set_offer(offer.clone()).unwrap();
    let offered = call.a.offer(&offer, &call.a_ports);
    let media: Vec<String> = lines(&offered).into_iter().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(media, ["m=audio 10000 RTP/AVP 96 8", "m=video 10002 RTP/AVP 34"]);
    call.a.set_answer(phone(1, "m=audio 4000 RTP/AVP 8\nm=video 4002 RTP/AVP 34\n")).unwrap();
    let answered = c.answer(call.a.remote().unwrap(), &call.b_ports).unwrap();
    let media: Vec<String> = lines(&answered).into_iter().filter(|line| line.starts_with("m=")).collect();
    assert_eq!(media, ["m=video 20002 RTP/AVP 34", "m=audio 20000 RTP/AVP 8"]);
    let streams = wire(&call.a, &A_PORTS, &c, &B_PORTS);
    let sinks: Vec<u32> = streams.iter().map(|(_, stream)| stream.sink.as_ref().unwrap().port.0).collect();
    assert_eq!(sinks, [3, 4, 1, 2]);
}

#[test]
fn too_few_ports_refuse_the_later_lines() {
    let mut call = Bridge::new();
    call.b_ports.truncate(1);
    let offered = call.offer(phone(1, "m=video 4002 RTP/AVP 34\nm=audio 4000 RTP/AVP 0\n"));
    assert_eq!(lines(&offered)[..2], ["m=video 0 RTP/AVP 34", "m=audio 20000 RTP/AVP 0"]);
}

#[test]
fn formats_that_name_other_numbers_stay_behind() {
    let mut call = Bridge::new();
    let offered = call.offer(phone(
        1,
        "m=audio 4000 RTP/AVP 121 96 97 13\na=rtpmap:121 red/48000/2\na=fmtp:121 96/96\na=rtpmap:96 opus/48000/2\na=rtpmap:97 rtx/48000\na=fmtp:97 apt=96\n",
    ));
    assert_eq!(lines(&offered)[0], "m=audio 20000 RTP/AVP 96 13");
}

#[test]
fn an_offer_can_be_accepted_alone_or_refused_whole() {
    let mut leg = LegSdp::new(1);
    leg.set_offer(phone(1, "m=audio 4000 RTP/AVP 0 8\nm=image 4 udptl t38\n")).unwrap();
    let refused = leg.clone().refuse(&ports(&[10_000])).unwrap();
    assert_eq!(lines(&refused), ["m=audio 0 RTP/AVP 0 8", "m=image 0 udptl t38"]);
    let silent = leg.accept(&ports(&[10_000]), Direction::Inactive).unwrap();
    assert_eq!(lines(&silent)[0], "m=audio 10000 RTP/AVP 0 8");
    assert_eq!(lines(&silent)[3..], ["a=inactive", "m=image 0 udptl t38"]);
}

#[test]
fn an_answer_without_rtpmap_means_the_offers() {
    let mut call = Bridge::new();
    call.offer(phone(1, "m=audio 4000 RTP/AVP 96 101\na=rtpmap:96 opus/48000/2\na=rtpmap:101 telephone-event/8000\n"));
    let answered = call.answer(phone(2, "m=audio 5000 RTP/AVP 96 101\n")).unwrap();
    assert_eq!(lines(&answered)[0], "m=audio 10000 RTP/AVP 96 101");
}

#[test]
fn ipv6_and_ipv4_legs_meet() {
    let mut call = Bridge::new();
    call.b_ports = vec!["[2001:db8::1]:20000".parse().unwrap()];
    let offered = call.offer(phone(1, "m=audio 4000 RTP/AVP 0\n"));
    let text = std::str::from_utf8(&offered).unwrap();
    assert!(text.contains("o=- 2 1 IN IP6 2001:db8::1\r\n") && text.contains("c=IN IP6 2001:db8::1\r\n"));
    call.answer(sdp("v=0\nc=IN IP6 2001:db8::9\nm=audio 5000 RTP/AVP 0\n")).unwrap();
    assert_eq!(call.stream(PortId(3)).remote.unwrap().rtp, "[2001:db8::9]:5000".parse().unwrap());
}
