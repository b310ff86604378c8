//! The SIP parser and writer on a 667-byte INVITE, rsip beside them. Goals: index 0.5 µs, five typed headers 1.5 µs,
//! a response 0.5 µs.

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use rsip::headers::ToTypedHeader;
use rsip::prelude::HeadersExt;
use std::hint::black_box;
use std::net::SocketAddr;
use strowger::proto::sip::index::Index;
use strowger::proto::sip::message::Message;
use strowger::proto::sip::stream::Framer;
use strowger::proto::sip::writer::Writer;

const INVITE: &[u8] = include_bytes!("../tests/data/invite-667.sip");

fn parse(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.bench_function("index", |b| b.iter(|| Index::of(black_box(INVITE))));
    group.bench_function("index/rsip", |b| b.iter(|| rsip::SipMessage::try_from(black_box(INVITE))));

    let message = Message::parse(Bytes::from_static(INVITE)).expect("the INVITE is valid");
    group.bench_function("typed", |b| b.iter(|| typed(black_box(&message))));
    let theirs = rsip::SipMessage::try_from(INVITE).expect("the INVITE is valid");
    group.bench_function("typed/rsip", |b| b.iter(|| typed_by_rsip(black_box(&theirs))));
    group.bench_function("validate", |b| b.iter(|| black_box(&message).validate()));
    group.bench_function("stream", |b| {
        let mut framer = Framer::default();
        b.iter(|| {
            framer.push(black_box(INVITE));
            framer.next_frame()
        });
    });
    group.finish();
}

/// Via, From, To, Contact and CSeq: how much of them is there.
fn typed(message: &Message) -> usize {
    let found = [
        message.via().is_ok_and(|via| via.branch.is_some()),
        message.from().is_ok_and(|from| from.tag().is_some()),
        message.to().is_ok_and(|to| to.tag().is_none()),
        message.contact().is_ok(),
        message.cseq().is_ok(),
    ];
    found.into_iter().filter(|found| *found).count()
}

fn typed_by_rsip(message: &rsip::SipMessage) -> usize {
    let found = [
        message.via_header().is_ok_and(|h| h.typed().is_ok_and(|via| via.branch().is_some())),
        message.from_header().is_ok_and(|h| h.typed().is_ok_and(|from| from.tag().is_some())),
        message.to_header().is_ok_and(|h| h.typed().is_ok_and(|to| to.tag().is_none())),
        message.contact_header().is_ok_and(|h| h.typed().is_ok()),
        message.cseq_header().is_ok_and(|h| h.typed().is_ok()),
    ];
    found.into_iter().filter(|found| *found).count()
}

fn write(c: &mut Criterion) {
    let mut group = c.benchmark_group("write");
    let message = Message::parse(Bytes::from_static(INVITE)).expect("the INVITE is valid");
    let source: SocketAddr = "192.168.10.155:5060".parse().expect("an address");
    group.bench_function("response", |b| {
        b.iter(|| {
            Writer::reply_to(black_box(&message), 180, "Ringing", Some(b"7h2kq5vw3xyz"), source)
                .header("Contact", "<sip:192.0.2.1:5060>")
                .header("Server", "Strowger/0.1.0")
                .finish()
        });
    });
    let rsip = rsip_response();
    group.bench_function("response/rsip", |b| b.iter(|| black_box(&rsip).to_string()));
    group.finish();
}

fn rsip_response() -> rsip::Response {
    let message = Message::parse(Bytes::from_static(INVITE)).expect("the INVITE is valid");
    let source: SocketAddr = "192.168.10.155:5060".parse().expect("an address");
    let bytes = Writer::reply_to(&message, 180, "Ringing", Some(b"7h2kq5vw3xyz"), source).finish();
    rsip::Response::try_from(&bytes[..]).expect("our response is valid")
}

criterion_group!(benches, parse, write);
criterion_main!(benches);
