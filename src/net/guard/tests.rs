use super::*;
use crate::base::rng::Rng;
use bytes::Bytes;
use proptest::prelude::*;
use std::time::Instant;

fn settings() -> Settings {
    Settings {
        trusted: vec!["127.0.0.0/8".parse().unwrap(), "::1".parse().unwrap()],
        strangers: Rate::new(10, 20),
        registered: Rate::new(1_000, 2_000),
        connections: 3,
        failures: 3,
        users: 4,
        window: Duration::from_secs(300),
        ban: Duration::from_secs(300),
        scanners: vec!["friendly-scanner".into()],
    }
}

fn guard() -> Guard {
    Guard::new(settings(), &mut Rng::new([1; 32]))
}

/// For tests of other parts, on the loopback: everybody may pass.
pub(crate) fn open_door() -> Door {
    Door::new(guard(), || Micros(0))
}

/// The same: nobody is trusted, time stands still, and so many connections of one source and messages on them are let in.
pub(crate) fn strict_door(most: u32) -> Door {
    let settings = Settings { trusted: Vec::new(), strangers: Rate::new(1, most), connections: most, ..settings() };
    Door::new(Guard::new(settings, &mut Rng::new([1; 32])), || Micros(0))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Seconds.
fn at(seconds: u64) -> Micros {
    Micros(1_000_000 * (1_000 + seconds))
}

fn fail(guard: &mut Guard, now: Micros, from: &str, user: &str) -> Option<Ban> {
    guard.suspect(now, &Suspect { from: ip(from), what: Suspicion::LogIn { user: user.into() } })
}

fn message(method: &str, more: &str) -> Message {
    let text = format!(
        "{method} sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:9;branch=z9hG4bK1\r\nFrom: <sip:1001@pbx>;tag=1\r\n\
         To: <sip:pbx>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text)).unwrap()
}

fn with_credentials(user: &str) -> Message {
    let digest = format!(
        "Authorization: Digest username=\"{user}\", realm=\"r\", nonce=\"n\", uri=\"sip:pbx\", response=\"{}\"\r\n",
        "0".repeat(32)
    );
    message("REGISTER", &digest)
}

/// What becomes of a message.
fn hear(guard: &mut Guard, now: Micros, from: &str, message: &Message) -> Option<Silence> {
    match guard.admit(now, ip(from), Way::Datagram) {
        Ok(care) => guard.inspect(now, ip(from), care, message),
        Err(silence) => Some(silence),
    }
}

fn register(guard: &mut Guard, now: Micros, from: &str, extension: &str) {
    guard.registered(now, ip(from), extension, Duration::from_secs(3600));
}

#[test]
fn one_phone_with_an_old_password_is_banned_and_its_neighbours_go_on() {
    let mut guard = guard();
    let office = "192.0.2.1";
    for n in 0..2 {
        assert_eq!(fail(&mut guard, at(n), office, "1001"), None);
        assert_eq!(hear(&mut guard, at(n), office, &with_credentials("1001")), None);
    }
    let ban = fail(&mut guard, at(2), office, "1001").unwrap();
    assert_eq!((ban.to_string().as_str(), ban.reason), ("\"1001\" at 192.0.2.1", Reason::Failures));
    assert_eq!(hear(&mut guard, at(3), office, &with_credentials("1001")), Some(Silence::Banned));
    assert_eq!(hear(&mut guard, at(3), office, &with_credentials("1002")), None);
    assert_eq!(hear(&mut guard, at(3), office, &message("OPTIONS", "")), None);
    assert_eq!(hear(&mut guard, at(3), "192.0.2.2", &with_credentials("1001")), None);
    assert_eq!(hear(&mut guard, at(303), office, &with_credentials("1001")), None);
    assert!(guard.bans(at(303)).is_empty());
}

#[test]
fn failures_far_apart_or_followed_by_a_registration_ban_nobody() {
    let mut guard = guard();
    for n in 0..20 {
        assert_eq!(fail(&mut guard, at(200 * n), "192.0.2.1", "1001"), None);
    }
    for n in 0..20 {
        assert_eq!(fail(&mut guard, at(10_000 + n), "192.0.2.3", "1001"), None);
        if n % 2 == 1 {
            register(&mut guard, at(10_000 + n), "192.0.2.3", "1001");
        }
    }
}

#[test]
fn who_guesses_for_many_users_is_banned_whole_unless_a_phone_is_registered_there() {
    let mut guard = guard();
    let users = ["1", "2", "3", "4"];
    let bans: Vec<_> = users.iter().filter_map(|user| fail(&mut guard, at(0), "2001:db8::1", user)).collect();
    assert_eq!((bans.len(), bans[0].to_string().as_str()), (1, "2001:db8::/64"));
    assert_eq!(guard.admit(at(1), ip("2001:db8::beef"), Way::Datagram), Err(Silence::Banned));
    assert_eq!(guard.connect(at(1), ip("2001:db8::beef")), Err(Unwelcome::Banned));
    assert!(guard.admit(at(301), ip("2001:db8::1"), Way::Datagram).is_ok());

    register(&mut guard, at(0), "192.0.2.1", "1001");
    for n in 0..100 {
        let ban = fail(&mut guard, at(1), "192.0.2.1", &n.to_string());
        assert!(ban.as_ref().is_none_or(|ban| ban.user.is_some()), "{ban:?}");
        // One try a user is all whoever tries very many gets.
        assert_eq!(ban.is_some(), n >= limits::GUARD_USERS);
    }
    assert!(guard.admit(at(1), ip("192.0.2.1"), Way::Datagram).is_ok());
    assert_eq!(hear(&mut guard, at(1), "192.0.2.1", &with_credentials("99")), Some(Silence::Banned));
}

#[test]
fn an_office_whose_registrations_have_just_run_out_is_not_banned_whole() {
    let (mut guard, hour) = (guard(), 3_600);
    guard.registered(at(0), ip("192.0.2.1"), "1001", Duration::from_secs(hour));
    for (now, spared) in [(at(10 * hour), true), (at(26 * hour), false)] {
        let bans: Vec<Ban> = (0..4).filter_map(|n| fail(&mut guard, now, "192.0.2.1", &format!("200{n}"))).collect();
        assert_eq!(bans.is_empty(), spared, "{bans:?}");
    }
}

#[test]
fn a_call_of_a_registered_phone_goes_on_though_its_user_is_banned_there() {
    let mut guard = guard();
    let digest = "Authorization: Digest username=\"1001\", realm=\"r\", nonce=\"n\", uri=\"sip:pbx\", \
                  response=\"00000000000000000000000000000000\"\r\n";
    let text = message("BYE", digest).bytes().to_vec();
    let text = String::from_utf8(text).unwrap().replace("To: <sip:pbx>", "To: <sip:pbx>;tag=2");
    let bye = Message::parse(Bytes::from(text)).unwrap();
    for from in ["192.0.2.1", "192.0.2.2"] {
        guard.ban(at(0), Source::from(ip(from)), Some("1001"), Duration::from_secs(300), Reason::Failures);
    }
    register(&mut guard, at(0), "192.0.2.1", "1001");
    assert_eq!(hear(&mut guard, at(1), "192.0.2.1", &bye), None);
    assert_eq!(hear(&mut guard, at(1), "192.0.2.2", &bye), Some(Silence::Banned));
}

#[test]
fn an_administrator_bans_the_trusted_too_and_nobody_else_does() {
    let (mut guard, ours) = (guard(), Source::from(ip("127.0.0.1")));
    let minute = Duration::from_secs(60);
    guard.ban(at(0), ours, None, minute, Reason::ManyUsers);
    assert!(guard.admit(at(0), ip("127.0.0.1"), Way::Datagram).is_ok());
    guard.ban(at(0), ours, Some("1001"), minute, Reason::Administrator);
    assert_eq!(hear(&mut guard, at(1), "127.0.0.1", &with_credentials("1001")), Some(Silence::Banned));
    assert_eq!(hear(&mut guard, at(1), "127.0.0.1", &with_credentials("1002")), None);
    guard.ban(at(0), ours, None, minute, Reason::Administrator);
    assert_eq!(guard.admit(at(1), ip("127.0.0.1"), Way::Datagram), Err(Silence::Banned));
    assert_eq!(guard.connect(at(1), ip("127.0.0.1")), Err(Unwelcome::Banned));
    assert_eq!((guard.connect(at(60), ip("127.0.0.1")), guard.is_registered(at(60), ours)), (Ok(()), false));
}

#[test]
fn floods_are_cut_to_their_rate_and_offices_have_a_higher_one() {
    let mut guard = guard();
    let heard = |guard: &mut Guard, from: &str, now: Micros, messages: usize| {
        (0..messages).filter(|_| guard.admit(now, ip(from), Way::Datagram).is_ok()).count()
    };
    assert_eq!(heard(&mut guard, "192.0.2.1", at(0), 1_000), 20);
    assert_eq!(heard(&mut guard, "192.0.2.1", at(1), 1_000), 10);
    assert_eq!(heard(&mut guard, "192.0.2.2", at(1), 5), 5);
    register(&mut guard, at(0), "192.0.2.3", "1001");
    assert_eq!(heard(&mut guard, "192.0.2.3", at(0), 5_000), 2_000);
    assert_eq!(heard(&mut guard, "127.0.0.1", at(0), 100_000), 100_000);
    assert_eq!(fail(&mut guard, at(0), "127.0.0.1", "1"), None);
    // Rubbish counts for more, but not where phones are registered.
    for _ in 0..3 {
        guard.rubbish(at(100), ip("192.0.2.2"), Way::Datagram);
        guard.rubbish(at(100), ip("192.0.2.3"), Way::Datagram);
    }
    assert_eq!(heard(&mut guard, "192.0.2.2", at(100), 20), 0);
    assert_eq!(heard(&mut guard, "192.0.2.3", at(100), 20), 20);
}

#[test]
fn malformed_messages_are_heard_once_and_scanners_never() {
    let mut guard = guard();
    let broken = message("OPTIONS", "Max-Forwards: 70\r\n");
    assert!(broken.validate().is_err());
    assert_eq!(hear(&mut guard, at(0), "192.0.2.1", &broken), None);
    guard.suspect(at(0), &Suspect { from: ip("192.0.2.1"), what: Suspicion::Malformed });
    assert_eq!(hear(&mut guard, at(50), "192.0.2.1", &broken), Some(Silence::Malformed));
    assert_eq!(hear(&mut guard, at(100), "192.0.2.1", &broken), Some(Silence::Malformed));
    assert_eq!(hear(&mut guard, at(100), "192.0.2.1", &message("OPTIONS", "")), None);
    assert_eq!(hear(&mut guard, at(200), "192.0.2.1", &broken), None);

    let scan = message("OPTIONS", "User-Agent: Friendly-Scanner 1.0\r\n");
    assert_eq!(hear(&mut guard, at(200), "192.0.2.2", &scan), Some(Silence::Scanner));
    assert_eq!(hear(&mut guard, at(200), "192.0.2.2", &message("OPTIONS", "User-Agent: phone\r\n")), None);
}

#[test]
fn administrators_end_bans_and_failures_then_count_anew() {
    let mut guard = guard();
    let source = Source::from(ip("192.0.2.1"));
    for _ in 0..3 {
        fail(&mut guard, at(0), "192.0.2.1", "1001");
    }
    let version = guard.version();
    assert!(guard.clear(at(1), source, Some("1001")) && !guard.clear(at(1), source, Some("1001")));
    assert!(guard.version() > version);
    assert_eq!(hear(&mut guard, at(1), "192.0.2.1", &with_credentials("1001")), None);
    assert_eq!(fail(&mut guard, at(1), "192.0.2.1", "1001"), None);
    guard.ban(at(2), source, None, Duration::from_secs(10), Reason::Administrator);
    assert_eq!(guard.admit(at(3), ip("192.0.2.1"), Way::Datagram), Err(Silence::Banned));
    assert!(guard.clear(at(3), source, None));
    assert!(guard.admit(at(3), ip("192.0.2.1"), Way::Datagram).is_ok());
}

#[test]
fn a_source_has_so_many_connections_and_opens_so_many_in_a_second() {
    let mut guard = guard();
    let office = ip("192.0.2.1");
    let opened = (0..5).filter(|_| guard.connect(at(0), office).is_ok()).count();
    assert_eq!((opened, guard.connect(at(0), office)), (3, Err(Unwelcome::TooMany)));
    guard.disconnect(office);
    assert_eq!((guard.connect(at(0), office), guard.connect(at(0), office)), (Ok(()), Err(Unwelcome::TooMany)));

    // Each counts as a message, and one that was of no use as ten.
    let hasty = ip("192.0.2.2");
    let open = |guard: &mut Guard| {
        let opened = guard.connect(at(0), hasty);
        guard.disconnect(hasty);
        opened
    };
    for _ in 0..2 {
        assert_eq!(open(&mut guard), Ok(()));
        guard.rubbish(at(0), hasty, Way::Connection);
    }
    assert_eq!(open(&mut guard), Err(Unwelcome::TooFast));
    assert!(guard.admit(at(0), hasty, Way::Datagram).is_ok());
}

#[test]
fn forged_datagrams_take_nothing_from_connections() {
    let mut guard = guard();
    let phone = ip("192.0.2.1");
    assert_eq!(guard.connect(at(0), phone), Ok(()));
    while guard.admit(at(0), phone, Way::Datagram).is_ok() {}
    assert!(guard.admit(at(0), phone, Way::Connection).is_ok());
    assert_eq!(guard.connect(at(0), phone), Ok(()));
}

/// Each forged sender says one thing only: below its own rate.
#[test]
fn the_datagrams_of_all_strangers_together_leave_time_for_phones() {
    let mut guard = guard();
    register(&mut guard, at(0), "192.0.2.1", "1001");
    let heard = |guard: &mut Guard, first: u32| {
        let senders = (first..first + 10_000).map(|n| IpAddr::from((0x0A00_0000 + n).to_be_bytes()));
        senders.filter(|from| guard.admit(at(0), *from, Way::Datagram).is_ok()).count()
    };
    assert_eq!((heard(&mut guard, 0), heard(&mut guard, 10_000)), (2_000, 0));
    for way in [Way::Datagram, Way::Connection] {
        assert!(guard.admit(at(0), ip("192.0.2.1"), way).is_ok());
    }
    assert!(guard.admit(at(0), ip("192.0.2.2"), Way::Connection).is_ok());
    assert!(guard.admit(at(0), ip("127.0.0.1"), Way::Datagram).is_ok());
    assert!(guard.admit(at(1), ip("192.0.2.2"), Way::Datagram).is_ok());
}

/// With the rates of the default configuration: the exchange was away for so long that all registrations ran out.
#[test]
fn an_office_of_300_phones_behind_one_address_comes_back_at_once() {
    let settings = Settings { strangers: Rate::new(100, 1_000), registered: Rate::new(5_000, 50_000), ..settings() };
    let mut guard = Guard::new(settings, &mut Rng::new([1; 32]));
    let phone = |n: u32| (1_000 + n).to_string();
    // In one and the same moment, and each says it twice.
    for n in (0..300).chain(0..300) {
        assert_eq!(hear(&mut guard, at(0), "192.0.2.1", &message("REGISTER", "")), None, "{n}");
    }
    // Some have an old password and come first.
    for n in 0..300 {
        assert_eq!(hear(&mut guard, at(0), "192.0.2.1", &with_credentials(&phone(n))), None, "{n}");
        match n {
            0..3 => assert_eq!(fail(&mut guard, at(0), "192.0.2.1", &phone(n)), None),
            _ => register(&mut guard, at(0), "192.0.2.1", &phone(n)),
        }
    }
    assert!(guard.bans(at(0)).is_empty());
}

#[test]
fn where_all_places_are_kept_connections_are_refused_and_messages_heard() {
    let mut guard = guard();
    for n in 0..limits::GUARD_SOURCES as u32 {
        guard.registered(at(0), IpAddr::from((0x0A00_0000 + n).to_be_bytes()), "1001", Duration::from_secs(60));
    }
    let late = ip("192.0.2.1");
    assert!(guard.admit(at(0), late, Way::Datagram).is_ok());
    assert_eq!(guard.connect(at(0), late), Err(Unwelcome::TooFast));
    assert_eq!(fail(&mut guard, at(0), "192.0.2.1", "1001"), None);
    // When the registrations have run out there are places again.
    assert_eq!(guard.connect(at(60), late), Ok(()));
}

/// A flood of forged senders, twice as many as there are places.
#[test]
fn a_flood_of_forged_senders_shuts_out_neither_registered_phones_nor_bans() {
    let mut guard = guard();
    register(&mut guard, at(0), "192.0.2.1", "1001");
    guard.ban(at(0), Source::from(ip("192.0.2.2")), None, Duration::from_secs(300), Reason::ManyUsers);
    // As many a second as strangers may send together: what is above gets no place.
    let mut now = at(1);
    for n in 0..2 * limits::GUARD_SOURCES as u32 {
        now += Duration::from_millis(1);
        for n in [n, n | 0x1000_0000] {
            let _ = guard.admit(now, IpAddr::from((0x0A00_0000 + n).to_be_bytes()), Way::Datagram);
        }
    }
    assert_eq!(guard.sources.len(), limits::GUARD_SOURCES);
    assert_eq!(guard.admit(now, ip("192.0.2.1"), Way::Datagram), Ok(Care::default()));
    assert_eq!(guard.admit(now, ip("192.0.2.2"), Way::Datagram), Err(Silence::Banned));
    assert!(guard.admit(now, ip("192.0.2.3"), Way::Connection).is_ok());
    assert!(guard.admit(now + Duration::from_secs(1), ip("192.0.2.3"), Way::Datagram).is_ok());
}

#[test]
fn bans_are_bounded_and_the_one_that_ends_first_gives_way() {
    let mut guard = guard();
    let source = |n: u32| Source::V4(0x0A00_0000 + n);
    let most = limits::GUARD_BANS as u32;
    for n in 0..most + 10 {
        let length = Duration::from_secs(300 + u64::from(n));
        guard.ban(at(0), source(n), None, length, Reason::ManyUsers);
    }
    assert_eq!(guard.bans(at(0)).len(), limits::GUARD_BANS);
    assert!(
        guard.admit(at(0), ip("10.0.0.9"), Way::Datagram).is_ok()
            && guard.admit(at(0), ip("10.0.0.10"), Way::Datagram).is_err()
    );
}

/// The hot path: registered phones, of which there are many, asked about in no order. Fails only when it is slow beyond
/// doubt; the figure is printed.
#[test]
fn a_registered_phone_costs_one_look_up() {
    let mut guard = guard();
    const PHONES: u32 = 10_000;
    let address = |n: u32| IpAddr::from((0x0A00_0000 + n).to_be_bytes());
    for n in 0..PHONES {
        guard.registered(at(0), address(n), "1001", Duration::from_secs(3600));
    }
    let rounds = 1_000_000u32;
    let started = Instant::now();
    for n in 0..rounds {
        let n = n.wrapping_mul(2_654_435_761u32) % PHONES;
        assert!(guard.admit(at(1), address(n), Way::Datagram).is_ok());
    }
    let each = started.elapsed().as_nanos() / u128::from(rounds);
    println!("{each} ns a message");
    assert!(each < 2_000, "{each} ns a message");
}

proptest! {
    /// Whatever happens: a source that holds a registration is never banned whole by failures, trusted ones are not at all,
    /// and a user that never failed is banned nowhere.
    #[test]
    fn the_innocent_are_never_banned(
        deeds in proptest::collection::vec((0u8..6, 0u8..6, 0u8..3, 0u64..100), 1..400)
    ) {
        let mut guard = guard();
        let mut now = at(0);
        let mut failed = std::collections::BTreeSet::new();
        for (source, user, deed, pause) in deeds {
            now += Duration::from_secs(pause);
            let from = if source == 5 { "127.0.0.1".to_owned() } else { format!("192.0.2.{source}") };
            let user = format!("100{user}");
            match deed {
                0 => register(&mut guard, now, &from, &user),
                _ => {
                    let was_registered = guard.is_registered(now, Source::from(ip(&from)));
                    failed.insert((from.clone(), user.clone()));
                    if let Some(ban) = fail(&mut guard, now, &from, &user) {
                        prop_assert!(source != 5);
                        prop_assert!(ban.user.is_some() || !was_registered);
                        prop_assert_eq!(guard.admit(now, ip(&from), Way::Datagram).is_err(), ban.user.is_none());
                    }
                }
            }
            for ban in guard.bans(now) {
                prop_assert!(ban.until > now && ban.until.since(now) <= settings().ban);
                if let Some(user) = ban.user {
                    prop_assert!(failed.contains(&(ban.source.to_string(), user.to_string())));
                }
            }
        }
    }
}
