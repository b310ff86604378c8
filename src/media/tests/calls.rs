//! Two phones in a call.

use super::*;
use std::net::Ipv6Addr;

#[test]
fn two_phones_hear_each_other() {
    let mut office = Office::default();
    let (mut a, mut b) = office.call();
    a.say(0, b"hello");
    assert_eq!(b.hear(), (0, b"hello".to_vec()));
    b.say(8, b"who is it");
    assert_eq!(a.hear(), (8, b"who is it".to_vec()));
    assert_eq!(office.event(), MediaEvent::Latched { port: a.port(), from: a.remote().rtp });
    assert_eq!(office.event(), MediaEvent::Latched { port: b.port(), from: b.remote().rtp });
    let counters = office.release(a.port());
    assert_eq!((counters.received, counters.received_bytes), (1, 17));
    assert_eq!((counters.sent, counters.sent_bytes), (1, 21));
    assert_eq!((counters.dropped, counters.lost), (0, 0));
}

#[test]
fn two_phones_on_ipv6_hear_each_other() {
    let addresses = vec![own_address(), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    // The other end of the range, for ::1 is everybody's.
    let first = 21_000 + (std::process::id() % 1_000) as u16 * 10;
    let mut office = Office::open(MediaConfig { addresses, ports: first..=first + 99, ..config() });
    let mut six = VecDeque::new();
    while six.len() < 2 {
        let grant = office.grant();
        if grant.rtp.is_ipv6() {
            six.push_back(grant);
        }
    }
    office.free.extend(six);
    while office.free.front().is_some_and(|grant| grant.rtp.is_ipv4()) {
        office.free.rotate_left(1);
    }
    let (mut a, b) = office.call();
    assert!(a.remote().rtp.is_ipv6());
    a.say(0, b"hello");
    assert_eq!(b.hear(), (0, b"hello".to_vec()));
}

#[test]
fn payload_numbers_are_rewritten_the_marker_stays_and_others_are_dropped() {
    let mut office = Office::default();
    let (mut a, b) = office.call();
    let mut payloads = PayloadMap::none();
    payloads.set(96, 101);
    payloads.set(0, 0);
    let sink = Some(Sink { port: b.port(), payloads });
    office.set(a.port(), Stream { sink, ..a.stream.clone() });
    office.settle();
    a.say(96 | 0x80, b"digit");
    a.say(8, b"not agreed");
    a.say(0, b"voice");
    assert_eq!(b.hear(), (101 | 0x80, b"digit".to_vec()));
    assert_eq!(b.hear(), (0, b"voice".to_vec()));
    let counters = office.release(a.port());
    assert_eq!((counters.received, counters.dropped), (3, 1));
}

#[test]
fn rtcp_goes_between_the_rtcp_ports() {
    let mut office = Office::default();
    let (a, b) = office.call();
    a.rtcp.send_to(&rtcp(7), rtcp_port(&a.grant)).unwrap();
    let (packet, from) = receive(&b.rtcp).expect("RTCP");
    assert_eq!((packet, from), (rtcp(7), rtcp_port(&b.grant)));
    assert_eq!(office.release(a.port()).rtcp, 1);
}

#[test]
fn rtcp_on_the_rtp_port_reaches_a_peer_that_has_two_ports_and_back() {
    let mut office = Office::default();
    let (a, b) = office.call();
    let remote = Some(Remote { rtcp: a.remote().rtp, ..a.remote() });
    office.set(a.port(), Stream { remote, ..a.stream.clone() });
    office.settle();
    a.rtp.send_to(&rtcp(7), a.grant.rtp).unwrap();
    assert_eq!(receive(&b.rtcp), Some((rtcp(7), rtcp_port(&b.grant))));
    b.rtcp.send_to(&rtcp(8), rtcp_port(&b.grant)).unwrap();
    assert_eq!(receive(&a.rtp), Some((rtcp(8), a.grant.rtp)));
}

#[test]
fn hold_silences_the_direction_it_says_and_rtcp_goes_on() {
    let mut office = Office::default();
    let (mut a, mut b) = office.call();
    office.set(b.port(), Stream { send: false, ..b.stream.clone() });
    office.settle();
    a.say(0, b"unheard");
    a.rtcp.send_to(&rtcp(7), rtcp_port(&a.grant)).unwrap();
    assert_eq!(receive(&b.rtcp).map(|(packet, _)| packet), Some(rtcp(7)));
    b.say(0, b"music");
    assert_eq!(a.hear(), (0, b"music".to_vec()));
    office.set(b.port(), Stream { receive: false, generation: 2, ..b.stream.clone() });
    office.settle();
    b.say(0, b"unheard");
    a.say(0, b"heard again");
    assert_eq!(b.hear(), (0, b"heard again".to_vec()));
    office.set(b.port(), Stream { generation: 3, ..b.stream.clone() });
    office.settle();
    b.say(0, b"both ways");
    assert_eq!(a.hear(), (0, b"both ways".to_vec()));
    let counters = office.release(b.port());
    assert_eq!((counters.received, counters.dropped, counters.lost), (3, 1, 0));
}

#[test]
fn a_hold_with_an_unspecified_address_sends_nothing_anywhere() {
    let mut office = Office::default();
    let (mut a, b) = office.call();
    let nowhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), b.remote().rtp.port());
    let remote = Some(Remote { rtp: nowhere, rtcp: nowhere });
    office.set(b.port(), Stream { remote, generation: 2, ..b.stream.clone() });
    office.settle();
    a.say(0, b"unheard");
    office.pass();
    office.set(b.port(), Stream { generation: 3, ..b.stream.clone() });
    office.settle();
    a.say(0, b"heard");
    assert_eq!(b.hear(), (0, b"heard".to_vec()));
}

#[test]
fn a_phone_behind_nat_is_heard_and_answered_where_it_is() {
    let mut office = Office::default();
    let (mut a, mut b) = office.call();
    let mapped = socket(&a.grant);
    let hello = a.packet(0, b"hello");
    mapped.send_to(&hello, a.grant.rtp).unwrap();
    assert_eq!(b.hear().1, b"hello");
    assert_eq!(office.event(), MediaEvent::Latched { port: a.port(), from: mapped.local_addr().unwrap() });
    b.say(0, b"answer");
    assert_eq!(receive(&mapped).expect("an answer").0[12..], *b"answer");
}

#[test]
fn a_stranger_gets_neither_in_nor_the_audio() {
    let mut office = Office::default();
    let (mut a, mut b) = office.call();
    a.say(0, b"one");
    assert_eq!(b.hear().1, b"one");
    let stranger = socket(&a.grant);
    for sequence in 102..110 {
        stranger.send_to(&rtp(0, sequence, a.ssrc, b"buy!"), a.grant.rtp).unwrap();
        stranger.send_to(&rtcp(a.ssrc), a.grant.rtp).unwrap();
    }
    a.say(0, b"two");
    assert_eq!(b.hear().1, b"two");
    b.say(0, b"secret");
    assert_eq!(a.hear().1, b"secret");
    stranger.set_nonblocking(true).unwrap();
    assert_eq!(receive(&stranger), None);
    assert!(office.release(a.port()).dropped >= 8);
}

#[test]
fn the_phone_gets_its_port_back_from_whoever_was_first() {
    let mut office = Office::default();
    let (mut a, mut b) = office.call();
    let stranger = socket(&a.grant);
    stranger.send_to(&rtp(0, 1, 9, b"first"), a.grant.rtp).unwrap();
    assert_eq!(b.hear().1, b"first");
    a.say(0, b"hello");
    assert_eq!(b.hear().1, b"hello");
    stranger.send_to(&rtp(0, 2, 9, b"again"), a.grant.rtp).unwrap();
    a.say(0, b"still me");
    assert_eq!(b.hear().1, b"still me");
    b.say(0, b"answer");
    assert_eq!(a.hear().1, b"answer");
}

#[test]
fn calls_on_several_threads_hear_each_other_across_them() {
    let mut office = Office::open(MediaConfig { threads: 3, ..config() });
    // Without a sink at first, so that the ports land on different threads.
    let mut phones: Vec<Phone> = (0..6).map(|_| Phone::new(office.grant())).collect();
    for phone in &phones {
        office
            .set(phone.port(), Stream { remote: Some(phone.remote()), send: true, receive: true, ..Stream::default() });
    }
    for one in 0..6 {
        let task = stream(&phones[one], &phones[(one + 1) % 6]);
        office.set(phones[one].port(), Stream { generation: 2, ..task });
    }
    for one in 0..6 {
        let other = (one + 1) % 6;
        let heard = (0..500).any(|_| {
            phones[one].say(0, b"round");
            phones[other].rtp.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            receive(&phones[other].rtp).is_some_and(|(packet, _)| packet[12..] == *b"round")
        });
        assert!(heard, "from {one} to {other}");
    }
    assert!(office.plane.is_alive());
}

#[test]
fn running_totals_are_told_when_they_change() {
    let every = Some(Duration::from_secs(1));
    let mut office = Office::open(MediaConfig { count_every: every, ..config() });
    let (mut a, b) = office.call();
    a.say(0, b"hello");
    b.hear();
    let counted = loop {
        match office.event() {
            MediaEvent::Counted { port, counters } if port == a.port() => break counters,
            _ => {}
        }
    };
    assert_eq!(counted.received, 1);
}
