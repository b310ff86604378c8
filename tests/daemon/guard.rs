//! Scanners and guessers from one address, a good phone at another. The guard trusts the loopback unless told otherwise.

use crate::link::Link;
use crate::phone::Phone;
use crate::process::{Daemon, Home, stderr, stdout};
use crate::start::table;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

const STRICT: &str = "guard:\n  trusted: []\n  failures: 3\n  users: 4\n  stranger_rate: 20\n";

fn office() -> (Home, Daemon) {
    let home = Home::with_config(STRICT);
    for number in ["2001", "2002"] {
        let added = home.run(&["extensions", "add", number, "--name", "Good", "--password", "good-password"]);
        assert!(added.status.success(), "{added:?}");
    }
    let daemon = home.start();
    (home, daemon)
}

fn metric(daemon: &Daemon, name: &str) -> u64 {
    let (_, page) = daemon.get("/metrics");
    let line = page.lines().find(|line| line.split(' ').next() == Some(name));
    let value = line.and_then(|line| line.split(' ').nth(1)).unwrap_or_else(|| panic!("no {name} in {page}"));
    value.parse::<f64>().unwrap() as u64
}

/// Whether an OPTIONS from `host` is answered; silence is known by another source's later question being answered.
fn is_heard(daemon: &Daemon, host: &str, software: &str) -> bool {
    let asking = UdpSocket::bind((host, 0)).unwrap();
    asking.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let at = asking.local_addr().unwrap();
    let question = format!(
        "OPTIONS sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP {at};rport;branch=z9hG4bK{port}\r\nFrom: <sip:x@{at}>;tag=x\r\n\
         To: <sip:pbx>\r\nCall-ID: x{port}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nUser-Agent: {software}\r\n\
         Content-Length: 0\r\n\r\n",
        port = at.port()
    );
    asking.send_to(question.as_bytes(), daemon.udp).unwrap();
    Phone::at("127.0.0.9", daemon.udp, "monitor", "").ping();
    asking.recv(&mut [0; 2048]).is_ok()
}

fn until(what: &str, done: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(15);
    while !done() {
        assert!(Instant::now() < end, "not {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn who_guesses_for_many_users_is_banned_and_hears_silence_and_a_good_phone_goes_on() {
    let (home, mut daemon) = office();
    let mut good = Phone::at("127.0.0.2", daemon.udp, "2001", "good-password");
    let mut friend = Phone::at("127.0.0.3", daemon.udp, "2002", "good-password");
    assert_eq!((good.register(), friend.register()), (200, 200));
    for user in ["100", "101", "102", "2001"] {
        // Wrong password and unknown user: the same answer.
        assert_eq!(Phone::at("127.0.0.66", daemon.udp, user, "guess").register(), 401);
    }
    let said = daemon.wait_for("banned 127.0.0.66 for 300s", Duration::from_secs(10));
    assert!(said.contains("failed log-ins for many users. strowger bans clear 127.0.0.66 ends it"), "{said}");
    assert!(!is_heard(&daemon, "127.0.0.66", "phone"));
    assert!(is_heard(&daemon, "127.0.0.67", "phone"));
    assert_eq!((good.register(), good.call("2002", &mut friend).status()), (200, 200));
    good.bye();
    // A connection from there is closed at once.
    assert!(metric(&daemon, "strowger_sip_banned_total") >= 1);
    assert_eq!((metric(&daemon, "strowger_bans"), metric(&daemon, "strowger_sip_failed_logins_total")), (1, 4));

    // The ban is seen, outlives a crash, and an administrator ends it.
    let listed = || stdout(&home.run(&["bans", "list"]));
    until("listed", || listed().contains("127.0.0.66"));
    daemon.crash();
    let daemon = home.start();
    assert!(!is_heard(&daemon, "127.0.0.66", "phone"));
    let cleared = home.run(&["bans", "clear", "127.0.0.66"]);
    assert_eq!(stdout(&cleared), "1 ban ended.\n");
    until("heard again", || is_heard(&daemon, "127.0.0.66", "phone"));
    assert_eq!(listed(), "Nobody is banned.\n");
}

#[test]
fn a_phone_with_an_old_password_is_banned_and_its_neighbours_behind_the_same_address_are_not() {
    let (home, mut daemon) = office();
    let mut neighbour = Phone::at("127.0.0.5", daemon.udp, "2001", "good-password");
    assert_eq!(neighbour.register(), 200);
    for _ in 0..3 {
        assert_eq!(Phone::at("127.0.0.5", daemon.udp, "2002", "old-password").register(), 401);
    }
    daemon.wait_for(
        "banned \"2002\" at 127.0.0.5 for 300s: failed log-ins. If it is a phone of yours",
        Duration::from_secs(10),
    );
    // Its next answer to a challenge, even with the right password, is met with silence.
    let banned = Phone::at("127.0.0.5", daemon.udp, "2002", "good-password").registers_in_vain();
    assert!(banned);
    assert_eq!(neighbour.register(), 200);
    assert_eq!(Phone::at("127.0.0.6", daemon.udp, "2002", "good-password").register(), 200);
    until("listed", || stdout(&home.run(&["bans", "list"])).contains("2002"));
    assert!(home.run(&["bans", "remove", "127.0.0.5", "--user", "2002"]).status.success());
    until("heard again", || !Phone::at("127.0.0.5", daemon.udp, "2002", "good-password").registers_in_vain());
}

#[test]
fn who_guesses_over_tls_is_banned_before_the_next_handshake() {
    let home = Home::with_config(STRICT);
    let mut daemon = home.start_on(&["udp:127.0.0.1:0".to_owned(), "tls:127.0.0.1:0".to_owned()]);
    let certificate = home.path().join("data/tls.crt");
    for user in ["100", "101", "102", "103"] {
        let link = Link::tls(daemon.tls, &certificate).unwrap();
        assert_eq!(Phone::over(link, daemon.tls, user, "guess").register(), 401);
    }
    daemon.wait_for("banned 127.0.0.1 for 300s: failed log-ins for many users.", Duration::from_secs(10));
    assert!(Link::tls(daemon.tls, &certificate).is_err());
    assert_eq!(metric(&daemon, "strowger_sip_tcp_unwelcome_total"), 1);
    assert!(is_heard(&daemon, "127.0.0.2", "phone"));
}

#[test]
fn the_name_of_who_is_banned_can_not_write_on_the_terminal() {
    let (home, _daemon) = office();
    let added = home.run(&["bans", "add", "192.0.2.1", "--user", "\u{1b}[2Jx", "--for", "7300"]);
    assert_eq!(stdout(&added), "\"\\u{1b}[2Jx\" at 192.0.2.1 is banned for 2 h 1 min.\n");
    let listed = stdout(&home.run(&["bans", "list"]));
    assert!(listed.contains("\\u{1b}[2Jx") && !listed.contains('\u{1b}'), "{listed}");
}

#[test]
fn floods_scanners_and_rubbish_get_little_or_nothing_and_a_good_phone_goes_on() {
    let (_home, mut daemon) = office();
    let mut good = Phone::at("127.0.0.2", daemon.udp, "2001", "good-password");
    assert_eq!(good.register(), 200);
    let flood = UdpSocket::bind("127.0.0.70:0").unwrap();
    let at = flood.local_addr().unwrap();
    for n in 0..3_000 {
        let question = format!(
            "OPTIONS sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP {at};rport;branch=z9hG4bK{n}\r\nFrom: <sip:x@{at}>;tag=x\r\n\
             To: <sip:pbx>\r\nCall-ID: x{n}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        flood.send_to(question.as_bytes(), daemon.udp).unwrap();
        if n % 500 == 0 {
            assert_eq!(good.ping().status(), 200);
        }
    }
    assert_eq!((good.ping().status(), good.register()), (200, 200));
    assert!(metric(&daemon, "strowger_sip_too_fast_total") > 1_000);
    daemon.wait_for("too many messages: one of 127.0.0.70 is dropped", Duration::from_secs(10));
    assert!(!is_heard(&daemon, "127.0.0.71", "friendly-scanner"));
    assert!(metric(&daemon, "strowger_sip_scanners_total") == 1);

    // The first malformed message is answered, further ones are not.
    let broken = UdpSocket::bind("127.0.0.72:0").unwrap();
    broken.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let at = broken.local_addr().unwrap();
    let send = |n: u32, cseq: &str| {
        let text = format!(
            "OPTIONS sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP {at};rport;branch=z9hG4bKb{n}\r\nFrom: <sip:x@{at}>;tag=x\r\n\
             To: <sip:pbx>\r\nCall-ID: b{n}\r\nCSeq: {cseq}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        broken.send_to(text.as_bytes(), daemon.udp).unwrap();
    };
    let answer = || {
        let mut buffer = [0; 2048];
        let len = broken.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    send(1, "many OPTIONS");
    assert!(answer().starts_with("SIP/2.0 400 "));
    (2..10).for_each(|n| send(n, "many OPTIONS"));
    send(10, "1 OPTIONS");
    let next = answer();
    assert!(next.starts_with("SIP/2.0 200 ") && next.contains("Call-ID: b10\r\n"), "{next}");
}

#[test]
fn an_administrator_bans_an_address_and_its_connections_end() {
    let (home, daemon) = office();
    assert!(is_heard(&daemon, "127.0.0.80", "phone"));
    let mut open = TcpStream::connect(daemon.tcp).unwrap();
    let added = home.run(&["bans", "add", "127.0.0.1", "--for", "60"]);
    assert_eq!(stdout(&added), "127.0.0.1 is banned for 1 min 0 s.\n");
    until("banned", || !is_heard(&daemon, "127.0.0.1", "phone"));
    let question = "OPTIONS sip:pbx SIP/2.0\r\nVia: SIP/2.0/TCP 127.0.0.1:9;rport;branch=z9hG4bK1\r\nFrom: <sip:x@x>;tag=x\r\n\
                    To: <sip:pbx>\r\nCall-ID: x\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n";
    open.write_all(question.as_bytes()).unwrap();
    for mut ended in [open, TcpStream::connect(daemon.tcp).unwrap()] {
        ended.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        match ended.read(&mut [0; 16]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("{other:?}"),
        }
    }
    let wrong = home.run(&["bans", "add", "reception"]);
    assert!(stderr(&wrong).contains("`reception` is no source: write an IPv4 address"), "{wrong:?}");
    let nothing = home.run(&["bans", "clear", "192.0.2.1"]);
    assert_eq!(stderr(&nothing), "strowger: no such ban: strowger bans list shows all\n");
}

/// Each sender says one thing: nobody is too fast alone.
#[test]
fn a_flood_of_forged_senders_leaves_room_for_phones() {
    let home = Home::with_config("guard:\n  trusted: []\n  registered_rate: 100\n");
    let daemon = home.start_on(&["udp:127.0.0.1:0".to_owned(), "tls:127.0.0.1:0".to_owned()]);
    let rows = table(&daemon.said);
    let mut good = Phone::at("127.0.0.2", daemon.udp, &rows[0].0, &rows[0].1);
    assert_eq!(good.register(), 200);
    for n in 0..5_000u32 {
        let forged = Ipv4Addr::from_bits(0x7F10_0000 + n);
        let question = format!(
            "OPTIONS sip:pbx SIP/2.0\r\nVia: SIP/2.0/UDP {forged};branch=z9hG4bK{n}\r\nFrom: <sip:x@{forged}>;tag=x\r\n\
             To: <sip:pbx>\r\nCall-ID: x{n}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        UdpSocket::bind((forged, 0)).unwrap().send_to(question.as_bytes(), daemon.udp).unwrap();
        if n % 1_000 == 999 {
            assert_eq!(good.ping().status(), 200);
        }
    }
    assert_eq!(good.register(), 200);
    // Whoever comes over a connection is no forged sender, though it is new.
    let link = Link::tls(daemon.tls, &home.path().join("data/tls.crt")).unwrap();
    assert_eq!(Phone::over(link, daemon.tls, &rows[1].0, &rows[1].1).register(), 200);
    assert!(metric(&daemon, "strowger_sip_too_fast_total") > 2_000);
    assert_eq!(metric(&daemon, "strowger_bans"), 0);
}
