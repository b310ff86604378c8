//! Calls that have settled: the kernel keeps strangers away, and still whoever belongs in is heard.

use super::*;
use std::io::ErrorKind;
use std::thread::sleep;
use std::time::Instant;

/// How far apart a phone's packets are.
const PACKET_TIME: Duration = Duration::from_millis(20);

/// Both phones talk, and hear each other, until `done`; returns whether that came.
fn talk(a: &mut Phone, b: &mut Phone, mut done: impl FnMut(&mut Phone, &mut Phone) -> bool) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        a.say(0, b"from a");
        b.say(0, b"from b");
        assert_eq!((a.hear().1, b.hear().1), (b"from b".to_vec(), b"from a".to_vec()));
        if done(a, b) {
            return true;
        }
        sleep(PACKET_TIME);
    }
    false
}

/// Whether the kernel tells somebody else that a port of ours is not for him.
fn keeps_out(stranger: &UdpSocket, grant: &Grant, sequence: u16) -> bool {
    stranger.connect(grant.rtp).unwrap();
    let packet = rtp(0, sequence, 9, b"buy!");
    let refused = |result: std::io::Result<usize>| result.is_err_and(|e| e.kind() == ErrorKind::ConnectionRefused);
    refused(stranger.send(&packet)) || refused(stranger.send(&packet))
}

/// A call so old that its sources are pinned.
fn settled_call(office: &mut Office) -> (Phone, Phone) {
    let (mut a, mut b) = office.call();
    let strangers = [socket(&a.grant), socket(&b.grant)];
    let settled = talk(&mut a, &mut b, |a, b| {
        keeps_out(&strangers[0], &a.grant, a.next) && keeps_out(&strangers[1], &b.grant, b.next)
    });
    assert!(settled, "strangers are kept out when a call has settled");
    (a, b)
}

#[test]
fn a_settled_call_goes_on_after_a_pause() {
    let mut office = Office::default();
    let (mut a, mut b) = settled_call(&mut office);
    let stranger = socket(&a.grant);
    let end = Instant::now() + PATIENCE;
    while keeps_out(&stranger, &a.grant, 1) {
        assert!(Instant::now() < end, "a silent phone's port hears others again");
        sleep(PACKET_TIME);
    }
    assert!(talk(&mut a, &mut b, |_, _| true));
    b.rtp.set_nonblocking(true).unwrap();
    assert_eq!(receive(&b.rtp), None, "the stranger was heard by the port, not by the phone");
}

#[test]
fn a_phone_whose_nat_gives_it_another_port_is_heard_again() {
    let mut office = Office::default();
    let (mut a, mut b) = settled_call(&mut office);
    let moved = socket(&a.grant);
    moved.set_nonblocking(true).unwrap();
    b.rtp.set_nonblocking(true).unwrap();
    let end = Instant::now() + PATIENCE;
    loop {
        let packet = a.packet(0, b"moved");
        moved.send_to(&packet, a.grant.rtp).unwrap();
        b.say(0, b"answer");
        let heard = receive(&b.rtp).is_some_and(|(packet, _)| packet[12..] == *b"moved");
        let answered = receive(&moved).is_some_and(|(packet, _)| packet[12..] == *b"answer");
        if heard && answered {
            break;
        }
        assert!(Instant::now() < end, "the moved phone is neither heard nor answered");
        sleep(PACKET_TIME);
    }
}

#[test]
fn a_new_offer_lets_the_phone_speak_from_another_address_at_once() {
    let mut office = Office::default();
    let (a, mut b) = settled_call(&mut office);
    let moved = Phone { next: a.next, ssrc: a.ssrc, ..Phone::new(a.grant) };
    let mut moved = Phone { stream: stream(&moved, &b), ..moved };
    office.set(moved.port(), Stream { generation: 2, ..moved.stream.clone() });
    office.settle();
    moved.say(0, b"here now");
    assert_eq!(b.hear().1, b"here now");
    b.say(0, b"found you");
    assert_eq!(moved.hear().1, b"found you");
}

#[test]
fn a_phone_that_was_deaf_for_a_while_misses_nothing_after() {
    let mut office = Office::default();
    let (mut a, mut b) = settled_call(&mut office);
    let address = a.rtp.local_addr().unwrap();
    // Its program restarts: for what comes meanwhile its host says that nobody listens.
    drop(std::mem::replace(&mut a.rtp, socket(&a.grant)));
    for _ in 0..3 {
        b.say(0, b"anybody there?");
    }
    office.pass();
    a.rtp = UdpSocket::bind(address).unwrap();
    a.rtp.set_read_timeout(Some(PATIENCE)).unwrap();
    b.say(0, b"there you are");
    assert_eq!(a.hear().1, b"there you are");
}

#[test]
fn the_next_call_on_a_settled_port_hears_its_own_phone() {
    let rest = Duration::from_millis(1);
    let mut office = Office::open(MediaConfig { ports: 20_000..=20_007, grant_ahead: 2, rest, ..config() });
    let (a, b) = settled_call(&mut office);
    let ports = [a.port(), b.port()];
    let _ = ports.map(|port| office.release(port));
    drop((a, b));
    for _ in 0..8 {
        let (mut a, mut b) = office.call();
        assert!(talk(&mut a, &mut b, |_, _| true));
        let _ = [a.port(), b.port()].map(|port| office.release(port));
    }
}
