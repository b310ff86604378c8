//! Grants, releases, rests, limits and mistakes.

use super::*;
use std::time::Instant;

#[test]
fn ports_are_pairs_even_and_odd_bound_on_the_address_named() {
    let settings = config();
    let address = settings.addresses[0];
    let mut office = Office::open(MediaConfig { ports: 20_001..=20_006, grant_ahead: 8, ..settings });
    let ports = [office.grant().rtp, office.grant().rtp];
    assert_eq!(ports, [SocketAddr::new(address, 20_002), SocketAddr::new(address, 20_004)]);
    assert!(UdpSocket::bind(SocketAddr::new(address, 20_005)).is_err(), "RTCP's port is held too");
    assert!(UdpSocket::bind(SocketAddr::new(address, 20_006)).is_ok(), "half a pair is left alone");
}

#[test]
fn used_grants_are_replaced() {
    let mut office = Office::open(MediaConfig { grant_ahead: 4, ..config() });
    for _ in 0..50 {
        let grant = office.grant();
        office.set(grant.port, Stream::default());
    }
}

#[test]
fn a_released_port_rests_before_it_is_granted_again() {
    let rest = Duration::from_millis(300);
    let mut office = Office::open(MediaConfig { ports: 20_000..=20_003, grant_ahead: 2, rest, ..config() });
    let (one, two) = (office.grant(), office.grant());
    office.set(one.port, Stream::default());
    let released = Instant::now();
    office.release(one.port);
    let again = office.grant();
    assert_eq!(again, one);
    assert!(released.elapsed() >= rest - Duration::from_millis(1), "{:?}", released.elapsed());
    office.release(two.port);
    assert_eq!(office.grant(), two, "also one that never had a task");
}

#[test]
fn a_port_rests_less_when_no_other_is_left() {
    let rest = Duration::from_secs(30);
    let mut office = Office::open(MediaConfig { ports: 20_000..=20_003, grant_ahead: 2, rest, ..config() });
    let (one, two) = (office.grant(), office.grant());
    office.set(one.port, Stream::default());
    let released = Instant::now();
    office.release(one.port);
    office.set(two.port, Stream::default());
    assert_eq!(office.grant(), one);
    assert!(released.elapsed() >= Duration::from_millis(999), "{:?}", released.elapsed());
}

#[test]
fn when_all_ports_are_used_none_is_granted_until_one_has_rested() {
    let mut office = Office::open(MediaConfig { ports: 20_000..=20_019, grant_ahead: 4, ..config() });
    let mut used = VecDeque::new();
    for _ in 0..10 {
        let grant = office.grant();
        office.set(grant.port, Stream::default());
        used.push_back(grant);
    }
    let busy: Vec<PortId> = used.iter().map(|grant| grant.port).collect();
    for port in busy {
        office.release(port);
        assert_eq!(office.grant().port, port, "the only port there is");
        office.set(port, Stream::default());
    }
}

#[test]
fn a_pair_that_another_program_has_is_skipped() {
    let settings = config();
    let address = settings.addresses[0];
    let other = UdpSocket::bind(SocketAddr::new(address, 20_003)).unwrap();
    let rest = Duration::from_millis(50);
    let mut office = Office::open(MediaConfig { ports: 20_000..=20_005, grant_ahead: 3, rest, ..settings });
    let granted = [office.grant().rtp.port(), office.grant().rtp.port()];
    assert_eq!(granted, [20_000, 20_004]);
    drop(other);
    assert_eq!(office.grant().rtp.port(), 20_002, "tried again later");
}

#[test]
fn thousands_of_ports_are_granted_used_and_released() {
    let mut office = Office::open(MediaConfig { ports: 20_000..=24_999, grant_ahead: 64, ..config() });
    let phones: Vec<Grant> = (0..2_400)
        .map(|_| {
            let grant = office.grant();
            office.set(grant.port, Stream::default());
            grant
        })
        .collect();
    let mut ports: Vec<u16> = phones.iter().map(|grant| grant.rtp.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 2_400, "no port twice");
    for grant in phones {
        office.release(grant.port);
    }
}

#[test]
fn commands_outnumber_the_ring_and_none_is_lost() {
    let mut office = Office::default();
    let (mut a, mut b) = office.call();
    for generation in 2..20_000 {
        let last = generation == 19_999;
        for phone in [&a, &b] {
            let stream = Stream { generation, send: last, receive: last, ..phone.stream.clone() };
            office.handle.send(MediaCommand::Set { port: phone.port(), stream });
        }
    }
    office.handle.flush();
    office.settle();
    a.say(0, b"hello");
    assert_eq!(b.hear().1, b"hello");
    b.say(0, b"yes");
    assert_eq!(a.hear().1, b"yes");
}

#[test]
fn commands_for_ports_that_are_not_granted_do_nothing() {
    let mut office = Office::open(MediaConfig { ports: 20_000..=20_003, grant_ahead: 1, ..config() });
    let grant = office.grant();
    office.handle.send(MediaCommand::Release { port: PortId(77_777) });
    office.handle.send(MediaCommand::Set { port: PortId(1), stream: Stream::default() });
    office.handle.send(MediaCommand::Release { port: PortId(1) });
    office.release(grant.port);
    office.handle.send(MediaCommand::Release { port: grant.port });
    office.handle.send(MediaCommand::Set { port: grant.port, stream: Stream::default() });
    let next = office.grant();
    assert_eq!(next.port, PortId(1));
    assert_eq!(office.release(next.port), Counters::default());
    assert!(office.plane.is_alive());
}

#[test]
fn mistakes_in_the_configuration_are_explained() {
    let error = |config: MediaConfig| {
        MediaPlane::start(config, |_| {}).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let wildcard = vec![IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
    assert!(error(MediaConfig { addresses: wildcard, ..config() }).contains("0.0.0.0 can't be a media address"));
    let foreign = vec!["192.0.2.1".parse().unwrap()];
    assert!(error(MediaConfig { addresses: foreign, ..config() }).contains("192.0.2.1"));
    assert!(error(MediaConfig { addresses: vec![], ..config() }).contains("no media address"));
    assert!(error(MediaConfig { ports: 20_001..=20_002, ..config() }).contains("20001-20002"));
    assert!(error(MediaConfig { threads: 0, ..config() }).contains("from 1 to 64"));
    assert!(error(MediaConfig { other_files: usize::MAX / 4, ..config() }).contains("ulimit -n"));
}

#[test]
fn a_pool_too_small_for_the_file_limit_works_as_far_as_it_goes_and_says_so() {
    let (wanted, files) = (10_000, 4_096);
    let (most, shortage) = super::fit(wanted, 1_024, files).unwrap();
    assert_eq!(most, 1_536);
    let shortage = shortage.expect("words");
    assert!(shortage.contains("only 1536 of 10000") && shortage.contains("about 768 calls"), "{shortage}");
    assert_eq!(super::fit(1_000, 1_024, files).unwrap(), (1_000, None));
    assert!(super::fit(wanted, 4_096, files).is_err());
}

#[test]
fn no_more_pairs_are_opened_than_allowed() {
    let mut office = Office::open(MediaConfig { max_pairs: 3, grant_ahead: 8, ..config() });
    let grants = [office.grant(), office.grant(), office.grant()];
    for grant in &grants {
        office.release(grant.port);
    }
    assert!(grants.contains(&office.grant()), "the first that has rested");
}

#[test]
fn shutting_down_closes_the_ports() {
    let settings = config();
    let address = SocketAddr::new(settings.addresses[0], 20_000);
    let mut office = Office::open(settings);
    office.grant();
    assert!(UdpSocket::bind(address).is_err());
    let Office { plane, handle, .. } = office;
    plane.shutdown();
    drop(handle);
    assert!(UdpSocket::bind(address).is_ok());
}
