//! What a call's session descriptions cost: reading one, and a whole offer/answer between two legs with its wiring.
//!
//! `cargo bench --bench sdp`

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::SocketAddr;
use strowger::base::ids::PortId;
use strowger::engine::negotiate::{LegSdp, wire};
use strowger::proto::sdp::Sdp;

const OFFER: &[u8] = b"v=0\r\no=- 3901 3901 IN IP4 192.168.10.155\r\ns=pjmedia\r\nb=AS:84\r\nt=0 0\r\na=X-nat:0\r\n\
    m=audio 4000 RTP/AVP 96 9 8 0 101\r\nc=IN IP4 192.168.10.155\r\nb=TIAS:64000\r\na=rtcp:4001 IN IP4 192.168.10.155\r\n\
    a=sendrecv\r\na=rtpmap:96 opus/48000/2\r\na=fmtp:96 useinbandfec=1\r\na=rtpmap:9 G722/8000\r\na=rtpmap:8 PCMA/8000\r\n\
    a=rtpmap:0 PCMU/8000\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ssrc:1203 cname:4a2b\r\n";
const ANSWER: &[u8] =
    b"v=0\r\no=- 20018 20018 IN IP4 192.168.10.156\r\ns=SDP data\r\nc=IN IP4 192.168.10.156\r\nt=0 0\r\n\
    m=audio 3008 RTP/AVP 8 101\r\na=rtpmap:8 PCMA/8000\r\na=ptime:20\r\na=sendrecv\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n";

fn benches(c: &mut Criterion) {
    c.bench_function("sdp: read a phone's offer (470 bytes)", |b| b.iter(|| Sdp::parse(black_box(OFFER))));
    let offer = Sdp::parse(OFFER).unwrap();
    c.bench_function("sdp: write it", |b| b.iter(|| black_box(&offer).to_bytes()));
    let ports: [SocketAddr; 2] = ["192.0.2.1:10000".parse().unwrap(), "192.0.2.1:20000".parse().unwrap()];
    c.bench_function("sdp: a call's offer and answer, from bytes to bytes, with its wiring", |b| {
        b.iter(|| {
            let (mut caller, mut called) = (LegSdp::new(1), LegSdp::new(2));
            let offer = Sdp::parse(black_box(OFFER)).unwrap();
            caller.set_offer(offer).unwrap();
            let offered = called.offer(caller.remote().unwrap(), &ports[1..]);
            called.set_answer(Sdp::parse(black_box(ANSWER)).unwrap()).unwrap();
            let answered = caller.answer(called.remote().unwrap(), &ports[..1]).unwrap();
            (offered, answered, wire(&caller, &[PortId(1)], &called, &[PortId(2)]))
        });
    });
}

criterion_group!(sdp, benches);
criterion_main!(sdp);
