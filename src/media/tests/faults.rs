//! What does not belong in a call: stale, foreign and malformed packets, floods and loops.

use super::*;

#[test]
fn what_lay_in_a_port_before_its_call_is_not_heard() {
    let mut office = Office::default();
    let (one, two) = (office.grant(), office.grant());
    let (mut a, mut b) = (Phone::new(one), Phone::new(two));
    a.say(0, b"stale");
    a.rtcp.send_to(&rtcp(1), rtcp_port(&a.grant)).unwrap();
    office.settle();
    a.stream = stream(&a, &b);
    b.stream = stream(&b, &a);
    office.set(b.port(), b.stream.clone());
    office.set(a.port(), a.stream.clone());
    office.settle();
    a.say(0, b"fresh");
    a.rtcp.send_to(&rtcp(2), rtcp_port(&a.grant)).unwrap();
    assert_eq!(b.hear().1, b"fresh");
    assert_eq!(receive(&b.rtcp).expect("RTCP").0, rtcp(2));
}

#[test]
fn nothing_is_taken_from_anybody_before_an_address_is_signalled() {
    let mut office = Office::default();
    let (mut a, b) = office.call();
    let mut early = Phone::new(office.grant());
    office.set(early.port(), Stream { remote: None, ..stream(&early, &b) });
    office.settle();
    early.say(0, b"too early");
    office.pass();
    a.say(0, b"hello");
    assert_eq!(b.hear().1, b"hello");
    assert_eq!(office.release(early.port()).dropped, 1);
}

#[test]
fn a_call_is_not_heard_in_the_next_call_of_its_partners_port() {
    let rest = Duration::from_millis(1);
    let mut office = Office::open(MediaConfig { ports: 20_000..=20_007, grant_ahead: 3, rest, ..config() });
    let (mut a, b) = office.call();
    a.say(0, b"first call");
    assert_eq!(b.hear().1, b"first call");
    // The engine forgets to take the sink away from a: the worst case.
    office.release(b.port());
    let again = (0..100).map(|_| recycle(&mut office, b.port())).find(|found| found.is_some());
    let mut next = Phone::new(again.flatten().expect("the port comes back"));
    assert_eq!(next.port(), b.port());
    let mut partner = Phone::new(office.grant());
    office.set(next.port(), stream(&next, &partner));
    office.set(partner.port(), stream(&partner, &next));
    office.settle();
    a.say(0, b"bleed");
    partner.say(0, b"hello");
    assert_eq!(next.hear().1, b"hello");
    next.say(0, b"hello you");
    assert_eq!(partner.hear().1, b"hello you");
}

/// Takes a grant and gives it back at once, unless it is for `wanted`.
fn recycle(office: &mut Office, wanted: PortId) -> Option<Grant> {
    let grant = office.grant();
    if grant.port == wanted {
        return Some(grant);
    }
    office.release(grant.port);
    None
}

#[test]
fn garbage_is_dropped_and_counted() {
    let mut office = Office::default();
    let (mut a, b) = office.call();
    let garbage: [&[u8]; 8] = [
        b"",
        b"\0",
        b"\x80\0\0\0",
        b"\0\x01\0\0\x21\x12\xa4\x42stun transaction", // STUN
        b"\x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",         // RTP version 1
        b"\x8f\0\0\0\0\0\0\0\0\0\0\0",                 // CSRCs that are not there
        b"\x90\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff",     // an extension that is not there
        b"\xa0\0\0\0\0\0\0\0\0\0\0\0\xff",             // more padding than packet
    ];
    for packet in garbage {
        a.rtp.send_to(packet, a.grant.rtp).unwrap();
    }
    let giant = rtp(0, 1, a.ssrc, &[0; 9_300]);
    a.rtp.send_to(&giant, a.grant.rtp).unwrap();
    a.rtcp.send_to(b"not RTCP", rtcp_port(&a.grant)).unwrap();
    a.say(0, b"hello");
    assert_eq!(b.hear().1, b"hello");
    let counters = office.release(a.port());
    assert_eq!((counters.received, counters.dropped), (1, 10));
}

#[test]
fn loss_is_counted() {
    let mut office = Office::default();
    let (mut a, b) = office.call();
    for n in 0..20 {
        if n % 5 == 2 {
            a.packet(0, b"lost on the way");
        } else {
            a.say(0, b"here");
            b.hear();
        }
    }
    let counters = office.release(a.port());
    assert_eq!((counters.received, counters.lost), (16, 4));
}

#[test]
fn a_flood_of_one_phone_does_not_silence_the_others() {
    let mut office = Office::default();
    let (mut a, _b) = office.call();
    let (mut c, d) = office.call();
    for _ in 0..50 {
        for _ in 0..200 {
            a.say(0, b"flood");
        }
        c.say(0, b"hello");
        assert_eq!(d.hear().1, b"hello");
    }
}

#[test]
fn phones_that_claim_to_be_our_own_ports_do_not_make_us_talk_to_ourselves() {
    let mut office = Office::default();
    let (mut a, b) = office.call();
    let us = |grant: &Grant| Some(Remote { rtp: grant.rtp, rtcp: rtcp_port(grant) });
    for (one, other) in [(&a, &b), (&b, &a)] {
        for claimed in [&one.grant, &other.grant] {
            office.set(one.port(), Stream { remote: us(claimed), generation: 2, ..one.stream.clone() });
        }
    }
    office.settle();
    a.say(0, b"round and round");
    office.pass();
    for phone in [&a, &b] {
        assert_eq!(office.release(phone.port()).sent, 0);
    }
}

#[test]
fn a_call_that_comes_back_to_us_is_heard() {
    // a - port 1 | port 2 - port 3 | port 4 - d: our own port is another leg's peer.
    let mut office = Office::default();
    let (mut a, mut d) = (Phone::new(office.grant()), Phone::new(office.grant()));
    let (two, three) = (office.grant(), office.grant());
    let us = |grant: &Grant| Some(Remote { rtp: grant.rtp, rtcp: rtcp_port(grant) });
    let to = |port| Some(Sink { port, payloads: payloads() });
    let task = Stream { send: true, receive: true, generation: 1, ..Stream::default() };
    office.set(a.port(), Stream { remote: Some(a.remote()), sink: to(two.port), ..task.clone() });
    office.set(two.port, Stream { remote: us(&three), sink: to(a.port()), ..task.clone() });
    office.set(three.port, Stream { remote: us(&two), sink: to(d.port()), ..task.clone() });
    office.set(d.port(), Stream { remote: Some(d.remote()), sink: to(three.port), ..task });
    office.settle();
    a.say(0, b"long way round");
    assert_eq!(d.hear().1, b"long way round");
    d.say(0, b"and back");
    assert_eq!(a.hear().1, b"and back");
}

#[test]
fn calls_that_come_and_go_never_hear_each_other() {
    // Two threads, and so few ports with so short a rest that each is used hundreds of times.
    let rest = Duration::from_millis(1);
    let settings = MediaConfig { threads: 2, ports: 20_000..=20_039, grant_ahead: 4, rest, ..config() };
    let mut office = Office::open(settings);
    let mut calls: VecDeque<(u32, Phone, Phone)> = VecDeque::new();
    let mut heard = 0;
    for number in 0..1_000u32 {
        let (mut a, mut b) = (Phone::new(office.grant()), Phone::new(office.grant()));
        a.stream = stream(&a, &b);
        b.stream = stream(&b, &a);
        for phone in [&a, &b] {
            office.set(phone.port(), Stream { generation: number, ..phone.stream.clone() });
            phone.rtp.set_nonblocking(true).unwrap();
        }
        calls.push_back((number, a, b));
        for (number, a, b) in &mut calls {
            a.say(0, &number.to_be_bytes());
            b.say(0, &number.to_be_bytes());
        }
        for (number, a, b) in &calls {
            for phone in [a, b] {
                while let Some((packet, from)) = receive(&phone.rtp) {
                    assert_eq!((&packet[12..], from), (&number.to_be_bytes()[..], phone.grant.rtp));
                    heard += 1;
                }
            }
        }
        // The oldest call ends while both its phones talk, and with what they said still in our sockets. One end is left
        // for last in every other call, its sink gone.
        if calls.len() > 6
            && let Some((number, mut a, mut b)) = calls.pop_front()
        {
            a.say(0, &number.to_be_bytes());
            b.say(0, &number.to_be_bytes());
            let ends = if number % 2 == 0 { [a.port(), b.port()] } else { [b.port(), a.port()] };
            let _ = ends.map(|port| office.release(port));
        }
    }
    assert!(heard > 5_000, "{heard} packets heard");
    assert!(office.plane.is_alive());
}
