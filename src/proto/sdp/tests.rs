//! What real phones and the RFCs' torture messages contain, and what can't be read.

use super::parse::SdpError;
use super::*;
use proptest::prelude::*;
use std::path::Path;

fn sdp(text: &str) -> Sdp {
    Sdp::parse(text.as_bytes()).unwrap()
}

fn names(media: &Media) -> Vec<String> {
    let codec =
        |f: &Format| f.codec.as_ref().map_or("?".to_owned(), |c| format!("{}/{}/{}", c.encoding, c.clock, c.channels));
    media.formats.iter().map(codec).collect()
}

#[test]
fn a_whole_description_is_typed_and_written_back() {
    let text = "v=0\r\no=John Q 1 2 IN IP6 2001:db8::5\r\ns=Lunch\r\nc=IN IP4 224.2.1.1/127/3\r\nb=AS:64\r\nt=0 0\r\n\
                a=ice-lite\r\na=sendonly\r\nm=audio 49170/2 RTP/AVP 0 96 101\r\nc=IN IP4 host.example.com\r\nb=TIAS:64000\r\n\
                a=rtpmap:0 PCMU/8000\r\na=rtpmap:96 L16/44100/2\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15,66\r\n\
                a=rtcp-fb:101 nack\r\na=rtcp:53020 IN IP4 126.16.64.4\r\na=ptime:20\r\na=maxptime:150\r\na=label:7\r\n\
                a=recvonly\r\nm=image 0 udptl t38\r\n";
    let sdp = sdp(text);
    assert_eq!(std::str::from_utf8(&sdp.to_bytes()).unwrap(), text);
    let origin = sdp.origin.as_ref().unwrap();
    assert_eq!((&*origin.username, &*origin.session_id), (&b"John Q"[..], &b"1"[..]));
    let audio = &sdp.media[0];
    assert_eq!((audio.port, audio.ports, audio.ptime), (49170, 2, Some(20)));
    assert_eq!(sdp.direction_of(audio), Direction::RecvOnly);
    assert_eq!(sdp.direction_of(&sdp.media[1]), Direction::SendOnly);
    assert_eq!(sdp.rtp_of(audio), None, "we send nothing to a name");
    assert_eq!(names(audio), ["PCMU/8000/1", "L16/44100/2", "telephone-event/8000/1"]);
}

#[test]
fn sloppy_descriptions_are_understood() {
    let sdp =
        sdp("v=0\no=broken\nx=unknown\nnonsense\n\nm =audio 8000 RTP/AVP 0 8 18 101\na=rtpmap:0 0/8000\na=rtpmap:8\n\
                   a=rtpmap:77 ghost/8000\na=rtpmap:101 TELEPHONE-EVENT/8000\na=ptime:20.5\na=SENDONLY\n\
                   a=rtcp:nonsense\nc=IN IP4 10.0.0.1\r");
    let audio = &sdp.media[0];
    assert_eq!(names(audio), ["PCMU/8000/1", "PCMA/8000/1", "G729/8000/1", "TELEPHONE-EVENT/8000/1"]);
    assert_eq!(audio.direction, Some(Direction::SendOnly));
    assert_eq!((audio.ptime, &audio.rtcp), (Some(20), &None));
    assert_eq!(sdp.rtp_of(audio), Some("10.0.0.1:8000".parse().unwrap()));
    assert_eq!(sdp.rtcp_of(audio), Some("10.0.0.1:8001".parse().unwrap()));
}

#[test]
fn a_broken_media_line_holds_its_place_with_port_0() {
    for broken in ["m=\n", "m=audio\n", "m=audio 99999 RTP/AVP 0\n", "m=audio x RTP/AVP 0\n", "m=audio 4000 RTP/AVP\n"]
    {
        let sdp = sdp(&format!("v=0\n{broken}m=audio 4000 RTP/AVP 0\n"));
        assert_eq!((sdp.media.len(), sdp.media[0].port, sdp.media[1].port), (2, 0, 4000), "{broken}");
        let again = Sdp::parse(&sdp.to_bytes()).unwrap();
        assert_eq!(again.media.len(), 2);
    }
}

#[test]
fn addresses_nobody_can_be_reached_at() {
    for (c, unspecified) in [
        ("IN IP4 0.0.0.0", true),
        ("IN IP6 ::", true),
        ("IN IP6 ::ffff:0.0.0.0", true),
        ("IN IP4 224.2.1.1/127", false),
        ("IN IP4 255.255.255.255", false),
        ("IN IP4 phone.example.com", false),
        ("TN RFC2543 +12015550100", false),
    ] {
        let sdp = sdp(&format!("v=0\nc={c}\nm=audio 4000 RTP/AVP 0\n"));
        assert_eq!(sdp.rtp_of(&sdp.media[0]), None, "{c}");
        assert_eq!(sdp.connection.as_ref().unwrap().is_unspecified(), unspecified, "{c}");
    }
    let mapped = sdp("v=0\nc=IN IP6 ::ffff:192.0.2.2\nm=audio 6000 RTP/AVP 2\na=rtcp:0\n");
    assert_eq!(mapped.rtp_of(&mapped.media[0]), Some("192.0.2.2:6000".parse().unwrap()));
    assert_eq!(mapped.rtcp_of(&mapped.media[0]), None);
    let top = sdp("v=0\nc=IN IP4 192.0.2.2\nm=audio 65535 RTP/AVP 0\n");
    assert_eq!(top.rtcp_of(&top.media[0]), None, "there is no port 65536");
}

#[test]
fn limits_hold() {
    let many = |n: usize| format!("v=0\n{}", "m=audio 1 RTP/AVP 0\n".repeat(n));
    assert!(Sdp::parse(many(8).as_bytes()).is_ok());
    assert_eq!(Sdp::parse(many(9).as_bytes()), Err(SdpError::TooManyMediaLines));
    assert_eq!(Sdp::parse(&vec![b'a'; 40_000]), Err(SdpError::TooLong));
    assert_eq!(Sdp::parse(b"<audio>\r\n"), Err(SdpError::NotSdp));
    assert_eq!(Sdp::parse(b""), Err(SdpError::NotSdp));
    assert_eq!(Sdp::parse(b"v=1\nm=audio 1 RTP/AVP 0\n"), Err(SdpError::Version));
    let numbers: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let wide = sdp(&format!("v=0\nm=audio 1 RTP/AVP {}\n", numbers.join(" ")));
    assert_eq!(wide.media[0].formats.len(), crate::base::limits::FORMATS);
}

#[test]
fn codecs_are_told_apart_by_what_matters() {
    let sdp = sdp("v=0\nm=video 1 RTP/AVP 1 2 35 36 37\na=rtpmap:1 H264/90000\na=rtpmap:2 h264/90000\n\
                   a=fmtp:2 packetization-mode=0; profile-level-id=42E01F\na=rtpmap:35 H264/90000\n\
                   a=fmtp:35 packetization-mode=1;profile-level-id=42E01F\na=rtpmap:36 H264/90000\n\
                   a=fmtp:36 packetization-mode=1;profile-level-id=640028\na=rtpmap:37 VP8/90000\n");
    let f = &sdp.media[0].formats;
    let same: Vec<(usize, usize)> =
        (0..5).flat_map(|a| (0..5).map(move |b| (a, b))).filter(|(a, b)| a < b && f[*a].same_codec(&f[*b])).collect();
    assert_eq!(same, [(0, 1)]);
}

#[test]
fn the_description_is_found_in_a_multipart_body() {
    let multipart =
        b"preamble\r\n--b1\r\nContent-Type: text/plain\r\n\r\nhi --b1\r\n--b1\r\ncontent-type:application/SDP;x=y\r\n\
                      Content-Disposition: session\r\n\r\nv=0\r\nm=audio 1 RTP/AVP 0\r\n\r\n--b1--\r\n";
    let found = body::find(b"multipart/mixed; boundary=\"b1\"", multipart).unwrap();
    assert!(found.starts_with(b"v=0\r\nm=audio"));
    assert!(!found.windows(4).any(|w| w == b"--b1"));
    assert_eq!(body::find(b"application/SDP ; charset=utf-8", b"v=0"), Some(&b"v=0"[..]));
    assert_eq!(body::find(b"text/plain", b"v=0"), None);
    assert_eq!(body::find(b"multipart/mixed;boundary=nope", multipart), None);
    assert_eq!(body::find(b"multipart/mixed", multipart), None);
    assert_eq!(
        body::find(b"Multipart/Mixed;Boundary=b", b"--b\n\n\n--b\nContent-Type: application/sdp\n\nv=0"),
        Some(&b"v=0"[..])
    );
    assert_eq!(body::find(b"multipart/mixed;boundary=b", b"--b"), None);
}

/// Bodies of the messages in `tests/data/DIR`.
fn bodies(dir: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(dir);
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    // TC_TEST_I is none of RFC 4475's; its body is `v=0` and nonsense.
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(5).position(|w| w == b"\nv=0\r" || w == b"\nv=0\n");
        found.extend(at.map(|at| (path.file_name().unwrap().to_string_lossy().into_owned(), bytes[at + 1..].to_vec())));
    }
    found.retain(|(name, _)| name != "TC_TEST_I.dat");
    found.sort();
    found
}

/// With the lines we add when they are missing.
fn completed(mut sdp: Sdp) -> Sdp {
    sdp.name.get_or_insert(Text::fixed("-"));
    sdp.time.get_or_insert(Text::fixed("0 0"));
    sdp
}

#[test]
fn the_messages_of_the_rfcs_and_of_real_phones_are_read() {
    for (dir, least) in [("phones", 2), ("rfc4475", 15), ("rfc5118", 3)] {
        let bodies = bodies(dir);
        assert!(bodies.len() >= least, "{dir}: {}", bodies.len());
        for (name, body) in bodies {
            let sdp = Sdp::parse(&body).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(sdp.origin.is_some(), "{name}");
            let audio = &sdp.media[0];
            assert!(audio.kind.is("audio") && sdp.rtp_of(audio).is_some(), "{name}");
            assert!(audio.formats.iter().all(|format| format.codec.is_some()), "{name}: {:?}", names(audio));
            assert_eq!(Sdp::parse(&sdp.to_bytes()).unwrap(), completed(sdp), "{name}");
        }
    }
}

/// Lines in which phones, and people who attack them, are creative.
fn line() -> impl Strategy<Value = String> {
    let token = "[ -~]{0,12}";
    let number = prop_oneof![Just("0".to_owned()), "[0-9]{1,6}", Just("-1".to_owned()), Just(String::new())];
    prop_oneof![
        (token, number.clone(), token, "[0-9 ]{0,40}").prop_map(|(k, p, proto, f)| format!("m={k} {p} {proto} {f}")),
        (number.clone(), "[0-9 ]{0,20}").prop_map(|(p, f)| format!("m=audio {p} RTP/AVP {f}")),
        (number.clone(), token, number.clone()).prop_map(|(n, name, clock)| format!("a=rtpmap:{n} {name}/{clock}/{n}")),
        (number.clone(), token).prop_map(|(n, value)| format!("a=fmtp:{n} {value}")),
        (number.clone(), token).prop_map(|(n, value)| format!("a=rtcp-fb:{n} {value}")),
        (number.clone(), token).prop_map(|(n, value)| format!("a=rtcp:{n} IN IP4 {value}")),
        ("c=IN IP[46] [0-9a-f.:/]{0,20}", number).prop_map(|(c, n)| format!("{c}/{n}")),
        prop::sample::select(vec!["a=sendonly", "a=inactive", "a=ptime:20", "a=maxptime:x", "b=AS:64", "s=", "t=1 2"])
            .prop_map(str::to_owned),
        "[ovcbstma]=[ -~]{0,30}",
        "[ -~]{0,30}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..400), cut in 0..400usize) {
        let mut body = b"v=0\nm=audio 1 RTP/AVP 0\n".to_vec();
        body.extend(&bytes);
        let _ = Sdp::parse(&bytes);
        let _ = Sdp::parse(&body);
        let _ = body::find(b"multipart/mixed;boundary=-", &bytes);
        let _ = body::find(bytes.get(..cut).unwrap_or(&bytes), &bytes);
    }

    #[test]
    fn what_was_read_is_read_again_the_same(lines in prop::collection::vec(line(), 0..25)) {
        let body = format!("v=0\r\n{}", lines.join("\r\n"));
        if let Ok(sdp) = Sdp::parse(body.as_bytes()) {
            let text = sdp.to_bytes();
            prop_assert_eq!(Sdp::parse(&text), Ok(completed(sdp)), "{}", String::from_utf8_lossy(&text));
        }
    }
}
