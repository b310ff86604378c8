//! Looking at a message allocates nothing; writing one allocates once; a registration keeps little.

use crate::corpus::read;
use bytes::Bytes;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use strowger::base::ids::{ListenerId, TenantId};
use strowger::base::now::{Micros, Now, Timestamp};
use strowger::engine::config::RegistrationLimits;
use strowger::engine::flow::{Flow, Transport};
use strowger::engine::registrar::Registrar;
use strowger::proto::sip::index::Index;
use strowger::proto::sip::message::Message;
use strowger::proto::sip::name::Name;
use strowger::proto::sip::writer::Writer;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
    /// Bytes allocated and not freed.
    static LIVE: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        LIVE.set(LIVE.get() + layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations<T>(work: impl FnOnce() -> T) -> usize {
    let before = ALLOCATIONS.get();
    black_box(work());
    ALLOCATIONS.get() - before
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| vec![1u8; 100]), 1);
}

#[test]
fn looking_at_a_message_allocates_nothing() {
    let bytes = Bytes::from(read("invite-667.sip"));
    assert_eq!(bytes.len(), 667);
    assert_eq!(allocations(|| Index::of(&bytes).unwrap()), 0);
    let message = Message::parse(bytes.clone()).unwrap();
    let looked_at = allocations(|| {
        message.validate().unwrap();
        let _ = (message.via().unwrap(), message.from().unwrap(), message.to().unwrap());
        let _ = (message.contact().unwrap(), message.cseq().unwrap(), message.target().unwrap());
        let _ = (message.has_option(Name::Supported, "timer"), message.session_expires(), message.max_forwards());
        message.all().count()
    });
    assert_eq!(looked_at, 0);
}

#[test]
fn writing_a_message_allocates_once() {
    let message = Message::parse(Bytes::from(read("invite-667.sip"))).unwrap();
    let source = "192.168.10.155:5060".parse().unwrap();
    let write = || {
        Writer::reply_to(&message, 180, "Ringing", Some(b"tag"), source)
            .header_fmt("Contact", format_args!("<sip:{}>", "192.0.2.1:5060"))
            .body("application/sdp", &[b'x'; 300])
    };
    // The first one makes the thread's buffer.
    write();
    assert_eq!(allocations(write), 1);
}

/// What one registered phone costs, with the records that went to the journal freed.
fn bytes_of_a_registration(contact: &str, more: &str) -> isize {
    const PHONES: u16 = 1_000;
    let mut registrar = Registrar::new(RegistrationLimits::default(), 100_000);
    let now = Now { mono: Micros(0), wall: Timestamp(1_700_000_000_000_000) };
    let before = LIVE.get();
    for n in 0..PHONES {
        let request = format!(
            "REGISTER sip:pbx.example.com SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.5:5060;branch=z9hG4bK{n}\r\n\
             From: <sip:{n}@pbx.example.com>;tag=f\r\nTo: <sip:{n}@pbx.example.com>\r\n\
             Call-ID: 3f9d2b7c-51e8-4a60-b9c4-7d8e6f5a4b3c\r\nCSeq: 1 REGISTER\r\nContact: {contact}\r\n{more}\r\n"
        );
        let request = Message::parse(request.into()).unwrap();
        let flow = Flow {
            listener: ListenerId(0),
            transport: Transport::Udp,
            local: [10, 0, 0, 1].into(),
            remote: ([10, 0, 0, 5], n).into(),
            connection: None,
        };
        let change = registrar.register(now, TenantId(1), &n.to_string(), &request, flow).unwrap();
        registrar.commit(change);
    }
    let live = LIVE.get() - before;
    assert_eq!(registrar.len(), usize::from(PHONES));
    live / PHONES as isize
}

#[test]
fn a_registration_keeps_at_most_4_kib() {
    let usual = bytes_of_a_registration(
        "<sip:1001@10.0.0.5:5060;ob>;+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-00156574b92a>\"",
        "User-Agent: Yealink SIP-T46U 108.86.0.40\r\n\
         Allow: PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS\r\n",
    );
    assert!(usual < 1_500, "{usual} bytes");
    let long = |n: usize| "x".repeat(n);
    let worst = bytes_of_a_registration(
        &format!("<sip:{}@h>;+sip.instance=\"{}\";reg-id=1;x={}", long(505), long(2_000), long(500)),
        &format!("User-Agent: {}\r\nAllow: {}\r\nPath: <sip:{}>\r\n", long(2_000), long(2_000), long(1_000)),
    );
    assert!(worst < 4_096, "{worst} bytes");
}
