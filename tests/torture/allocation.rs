//! Looking at a message allocates nothing; writing one allocates once.

use crate::corpus::read;
use bytes::Bytes;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use strowger::proto::sip::index::Index;
use strowger::proto::sip::message::Message;
use strowger::proto::sip::name::Name;
use strowger::proto::sip::writer::Writer;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
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
