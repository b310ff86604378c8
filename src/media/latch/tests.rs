use super::*;

const SIGNALLED: &str = "192.0.2.10:4000";
const SAME_IP: &str = "192.0.2.10:61000";
const NAT: &str = "198.51.100.7:30000";
const STRANGER: &str = "203.0.113.66:5555";

fn at(ms: u64) -> Micros {
    Micros(1_000_000 + ms * 1_000)
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The header of the packet a 20 ms G.711 stream sends at `ms`.
fn talk(ssrc: u32, ms: u64) -> Header {
    Header { ssrc, sequence: (ms / 20) as u16, timestamp: (ms * 8) as u32 }
}

fn latch() -> Latch {
    let mut latch = Latch::default();
    latch.set(Some(address(SIGNALLED)), 1);
    latch
}

fn hear(latch: &mut Latch, ms: u64, from: &str, ssrc: u32) -> Verdict {
    latch.packet(at(ms), address(from), talk(ssrc, ms))
}

#[test]
fn the_signalled_address_is_taken_and_kept() {
    let mut latch = latch();
    assert_eq!(latch.destination(), Some(address(SIGNALLED)));
    assert_eq!(hear(&mut latch, 0, SIGNALLED, 1), Verdict::Latched);
    assert_eq!(hear(&mut latch, 20, SIGNALLED, 1), Verdict::Accept);
    assert_eq!(hear(&mut latch, 25, STRANGER, 9), Verdict::Refuse);
    assert_eq!(hear(&mut latch, 30, SAME_IP, 9), Verdict::Refuse);
    assert_eq!(latch.destination(), Some(address(SIGNALLED)));
}

#[test]
fn nothing_is_taken_before_an_address_is_signalled() {
    let mut latch = Latch::default();
    assert_eq!(hear(&mut latch, 0, STRANGER, 1), Verdict::Refuse);
    assert_eq!(latch.destination(), None);
}

#[test]
fn a_phone_behind_nat_is_followed() {
    let mut latch = latch();
    assert_eq!(hear(&mut latch, 0, NAT, 1), Verdict::Latched);
    assert_eq!(latch.destination(), Some(address(NAT)));
}

#[test]
fn the_window_opens_with_the_first_packet_however_late() {
    let mut latch = latch();
    assert_eq!(hear(&mut latch, 90_000, NAT, 1), Verdict::Latched);
}

#[test]
fn within_the_window_a_better_source_displaces_a_worse_one_even_while_it_talks() {
    let mut latch = latch();
    assert_eq!(hear(&mut latch, 0, STRANGER, 9), Verdict::Latched);
    assert_eq!(hear(&mut latch, 20, SAME_IP, 1), Verdict::Latched);
    assert_eq!(hear(&mut latch, 40, STRANGER, 9), Verdict::Refuse);
    assert_eq!(hear(&mut latch, 60, SIGNALLED, 1), Verdict::Latched);
    assert_eq!(hear(&mut latch, 80, SAME_IP, 1), Verdict::Refuse);
}

#[test]
fn among_equals_the_first_stays() {
    let mut latch = latch();
    assert_eq!(hear(&mut latch, 0, NAT, 1), Verdict::Latched);
    assert_eq!(hear(&mut latch, 20, STRANGER, 9), Verdict::Refuse);
    assert_eq!(hear(&mut latch, 1_900, STRANGER, 9), Verdict::Refuse);
}

#[test]
fn a_spray_before_the_phone_speaks_does_not_keep_the_phone_out() {
    let mut latch = latch();
    for ms in (0..10_000).step_by(20) {
        hear(&mut latch, ms, STRANGER, 9);
    }
    assert_eq!(hear(&mut latch, 10_000, SIGNALLED, 1), Verdict::Latched);
    assert_eq!(hear(&mut latch, 10_020, STRANGER, 9), Verdict::Refuse);
}

#[test]
fn after_the_window_nobody_displaces_a_source_that_talks() {
    let mut latch = latch();
    for ms in (0..5_000).step_by(20) {
        hear(&mut latch, ms, NAT, 1);
    }
    // Even with the right SSRC, sequence and timestamp, guessed or overheard.
    assert_eq!(hear(&mut latch, 5_000, STRANGER, 1), Verdict::Refuse);
    assert_eq!(hear(&mut latch, 5_000, "198.51.100.7:30002", 1), Verdict::Refuse);
    assert_eq!(hear(&mut latch, 5_000, SAME_IP, 1), Verdict::Refuse);
    assert_eq!(latch.destination(), Some(address(NAT)));
}

#[test]
fn a_silent_source_is_followed_to_its_new_port() {
    let moved = "198.51.100.7:30555";
    let mut latch = latch();
    for ms in (0..3_000).step_by(20) {
        hear(&mut latch, ms, NAT, 1);
    }
    assert_eq!(hear(&mut latch, 3_400, moved, 1), Verdict::Refuse, "not yet silent for 500 ms");
    assert_eq!(hear(&mut latch, 3_600, STRANGER, 1), Verdict::Refuse, "another IP");
    assert_eq!(hear(&mut latch, 3_600, moved, 2), Verdict::Refuse, "another stream");
    let jump = Header { ssrc: 1, sequence: 40_000, timestamp: 3_600 * 8 };
    assert_eq!(latch.packet(at(3_600), address(moved), jump), Verdict::Refuse, "sequence does not continue");
    let jump = Header { ssrc: 1, sequence: 180, timestamp: 0x9000_0000 };
    assert_eq!(latch.packet(at(3_600), address(moved), jump), Verdict::Refuse, "timestamp does not continue");
    let repeated = talk(1, 2_980);
    assert_eq!(latch.packet(at(3_600), address(moved), repeated), Verdict::Refuse, "a replay");
    assert_eq!(hear(&mut latch, 3_600, moved, 1), Verdict::Latched);
    assert_eq!(latch.destination(), Some(address(moved)));
}

#[test]
fn a_new_ssrc_from_the_pinned_source_is_accepted() {
    let mut latch = latch();
    for ms in (0..3_000).step_by(20) {
        hear(&mut latch, ms, SIGNALLED, 1);
    }
    assert_eq!(hear(&mut latch, 3_000, SIGNALLED, 2), Verdict::Accept);
}

#[test]
fn a_session_refresh_does_not_open_the_call_to_strangers_while_the_phone_talks() {
    let mut latch = latch();
    for ms in (0..3_000).step_by(20) {
        hear(&mut latch, ms, NAT, 1);
    }
    latch.set(Some(address(SIGNALLED)), 2);
    assert_eq!(hear(&mut latch, 3_001, STRANGER, 9), Verdict::Refuse);
    assert_eq!(hear(&mut latch, 3_020, NAT, 1), Verdict::Accept);
    assert_eq!(hear(&mut latch, 3_021, STRANGER, 9), Verdict::Refuse);
}

#[test]
fn after_a_hold_the_phone_may_come_back_from_elsewhere() {
    let mut latch = latch();
    for ms in (0..3_000).step_by(20) {
        hear(&mut latch, ms, NAT, 1);
    }
    latch.set(None, 2);
    assert_eq!(hear(&mut latch, 3_020, NAT, 1), Verdict::Accept, "the last words are still the phone's");
    latch.set(Some(address(SIGNALLED)), 3);
    assert_eq!(latch.destination(), Some(address(NAT)), "the mapping may still be good");
    assert_eq!(hear(&mut latch, 63_000, "198.51.100.7:31234", 2), Verdict::Latched);
}

#[test]
fn a_new_address_in_the_sdp_is_sent_to_at_once_and_any_new_speaker_displaces_the_old() {
    let new = "192.0.2.77:8000";
    let mut latch = latch();
    for ms in (0..3_000).step_by(20) {
        hear(&mut latch, ms, SIGNALLED, 1);
    }
    latch.set(Some(address(new)), 2);
    assert_eq!(latch.destination(), Some(address(new)));
    assert_eq!(hear(&mut latch, 3_000, SIGNALLED, 1), Verdict::Accept, "the old device's last words");
    assert_eq!(latch.destination(), Some(address(new)));
    assert_eq!(hear(&mut latch, 3_010, NAT, 2), Verdict::Latched);
    assert_eq!(hear(&mut latch, 3_020, SIGNALLED, 1), Verdict::Refuse);
}

#[test]
fn a_phone_whose_sdp_changed_but_not_its_nat_is_followed_again() {
    let mut latch = latch();
    for ms in (0..3_000).step_by(20) {
        hear(&mut latch, ms, NAT, 1);
    }
    latch.set(Some(address("192.0.2.10:4002")), 2);
    let verdicts: Vec<Verdict> = (3_000..4_000).step_by(20).map(|ms| hear(&mut latch, ms, NAT, 1)).collect();
    assert_eq!(verdicts.iter().filter(|v| **v == Verdict::Latched).count(), 1);
    assert!(!verdicts.contains(&Verdict::Refuse));
    assert_eq!(latch.destination(), Some(address(NAT)));
}

#[test]
fn saying_the_same_again_changes_nothing() {
    let mut latch = latch();
    for ms in (0..3_000).step_by(20) {
        hear(&mut latch, ms, NAT, 1);
        latch.set(Some(address(SIGNALLED)), 1);
    }
    assert_eq!(hear(&mut latch, 3_600, STRANGER, 9), Verdict::Refuse);
}

#[test]
fn rtcp_follows_the_peer_of_rtp() {
    let (signalled, nat) = (address("192.0.2.10:4001"), address("198.51.100.7:30009"));
    let mut rtcp = RtcpLatch::default();
    assert_eq!(rtcp.packet(at(0), signalled, None), Verdict::Refuse);
    rtcp.set(Some(signalled));
    assert_eq!(rtcp.destination(None), Some(signalled));
    assert_eq!(rtcp.destination(Some(nat.ip())), None, "the peer is behind a NAT: its SDP's address leads nowhere");
    assert_eq!(rtcp.packet(at(0), address(STRANGER), Some(nat.ip())), Verdict::Refuse);
    assert_eq!(rtcp.packet(at(0), nat, Some(nat.ip())), Verdict::Latched);
    assert_eq!(rtcp.destination(Some(nat.ip())), Some(nat));
    let other_port = address("198.51.100.7:40000");
    assert_eq!(rtcp.packet(at(5_000), other_port, Some(nat.ip())), Verdict::Refuse);
    assert_eq!(rtcp.packet(at(16_000), other_port, Some(nat.ip())), Verdict::Latched);
    assert_eq!(rtcp.packet(at(16_000), signalled, Some(nat.ip())), Verdict::Latched);
}

#[test]
fn a_source_is_settled_when_it_is_the_signalled_one_pinned_and_talking() {
    let mut latch = latch();
    assert_eq!(latch.settled(at(0)), None, "nobody spoke");
    hear(&mut latch, 0, SIGNALLED, 1);
    assert_eq!(latch.settled(at(10)), None, "another may still be learnt");
    hear(&mut latch, 2_000, SIGNALLED, 1);
    assert_eq!(latch.settled(at(2_000)), Some(address(SIGNALLED)));
    assert_eq!(latch.settled(at(2_260)), None, "it may be somewhere else");
    hear(&mut latch, 2_300, SIGNALLED, 1);
    latch.set(Some(address(SIGNALLED)), 2);
    assert_eq!(latch.settled(at(2_310)), None, "a new offer opens the window again");
}

#[test]
fn a_source_behind_nat_is_never_settled_for_the_signalled_address_may_take_its_place() {
    let mut latch = latch();
    hear(&mut latch, 0, NAT, 1);
    hear(&mut latch, 3_000, NAT, 1);
    assert_eq!(latch.settled(at(3_000)), None);
    assert_eq!(hear(&mut latch, 3_010, SIGNALLED, 1), Verdict::Latched);
}
