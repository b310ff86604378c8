//! SIP over TLS: the certificate the daemon makes itself, calls over it, new certificates, and who is refused.

use crate::link::Link;
use crate::phone::Phone;
use crate::process::{Daemon, Home, run, stderr};
use crate::start::table;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

fn listeners() -> [String; 2] {
    ["udp:127.0.0.1:0".to_owned(), "tls:127.0.0.1:0".to_owned()]
}

fn certificate(home: &Home) -> PathBuf {
    home.path().join("data/tls.crt")
}

fn phone_over_tls(home: &Home, daemon: &Daemon, row: &(String, String)) -> Phone {
    let link = Link::tls(daemon.tls, &certificate(home)).unwrap();
    Phone::over(link, daemon.tls, &row.0, &row.1)
}

#[test]
fn a_phone_over_tls_registers_calls_and_is_called() {
    let home = Home::new();
    let daemon = home.start_on(&listeners());
    assert!(daemon.said.contains("made a certificate for SIP over TLS"), "{}", daemon.said);
    assert!(daemon.said.contains(&format!("127.0.0.1, port {}, transport TLS", daemon.tls.port())), "{}", daemon.said);
    let key = home.path().join("data/tls.key");
    assert_eq!(fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);

    let rows = table(&daemon.said);
    let mut near = phone_over_tls(&home, &daemon, &rows[0]);
    let mut far = Phone::new(daemon.udp, &rows[1].0, &rows[1].1);
    assert_eq!((near.register(), far.register()), (200, 200));
    let answer = near.call("1002", &mut far);
    assert!(answer.header("Contact").contains(&format!("127.0.0.1:{};transport=tls", daemon.tls.port())));
    near.bye();
    far.hung_up();
    let invite = far.call("1001", &mut near);
    assert_eq!(invite.status(), 200);
    far.bye();
    near.hung_up();

    // A sips: address is not reached over UDP, in either direction.
    let secret = format!("sips:1002@{}", daemon.tls);
    assert_eq!(near.invite_uri(&secret).status(), 480);
    assert_eq!(far.invite_uri(&secret).status(), 416);
    daemon.stop();
}

#[test]
fn a_dead_connection_takes_its_contact_and_its_call_with_it() {
    let home = Home::new();
    let daemon = home.start_on(&listeners());
    let rows = table(&daemon.said);
    let mut near = phone_over_tls(&home, &daemon, &rows[0]);
    let mut far = Phone::new(daemon.udp, &rows[1].0, &rows[1].1);
    assert_eq!((near.register(), far.register()), (200, 200));
    near.call("1002", &mut far);
    drop(near);
    far.hung_up();
    assert_eq!(far.invite("1001").status(), 480);
    daemon.stop();
}

#[test]
fn after_a_crash_a_caller_waits_for_the_phone_to_connect_again() {
    let home = Home::new();
    let daemon = home.start_on(&listeners());
    let rows = table(&daemon.said);
    let (udp, tls) = (daemon.udp, daemon.tls);
    let mut caller = Phone::new(udp, &rows[0].0, &rows[0].1);
    let mut callee = phone_over_tls(&home, &daemon, &rows[1]);
    assert_eq!((caller.register(), callee.register()), (200, 200));
    daemon.crash();
    let daemon = home.start_on(&[format!("udp:{udp}"), format!("tls:{tls}")]);
    let (answer, mut callee) = std::thread::scope(|scope| {
        let call = scope.spawn(|| caller.invite("1002"));
        // The call is there before the phone is.
        let deadline = Instant::now() + Duration::from_secs(2);
        while !daemon.get("/metrics").1.contains("strowger_calls_active 1") {
            assert!(Instant::now() < deadline, "the call does not wait");
        }
        let mut callee = phone_over_tls(&home, &daemon, &rows[1]);
        assert_eq!(callee.register(), 200);
        let invite = callee.wait("INVITE", |m| m.0.starts_with("INVITE "));
        callee.answer(&invite);
        (call.join().unwrap(), callee)
    });
    assert_eq!(answer.status(), 200, "{}", answer.0);
    caller.bye();
    callee.hung_up();
    daemon.stop();
}

#[test]
fn a_new_certificate_is_used_while_connections_go_on() {
    let (home, other) = (Home::new(), Home::new());
    // Somebody else's certificate and key, as an authority would send new ones.
    other.start_on(&listeners()).stop();
    let mut daemon = home.start_on(&listeners());
    let rows = table(&daemon.said);
    let mut phone = phone_over_tls(&home, &daemon, &rows[0]);
    assert_eq!(phone.register(), 200);
    fs::write(certificate(&home), "not a certificate\n").unwrap();
    daemon.wait_for("TLS goes on with the certificate it has", Duration::from_secs(30));
    for name in ["tls.crt", "tls.key"] {
        fs::copy(other.path().join("data").join(name), home.path().join("data").join(name)).unwrap();
    }
    daemon.wait_for("new connections over TLS get the certificate now in", Duration::from_secs(30));
    assert_eq!(phone.register(), 200, "the old connection goes on");
    let mut anew = phone_over_tls(&home, &daemon, &rows[1]);
    assert_eq!(anew.register(), 200);
    daemon.stop();
}

#[test]
fn an_old_phone_is_refused_with_a_line_that_says_so() {
    let home = Home::new();
    let mut daemon = home.start_on(&listeners());
    // A ClientHello of TLS 1.0 with one cipher and no extension.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 1];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let mut old = TcpStream::connect(daemon.tls).unwrap();
    old.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    old.write_all(&hello).unwrap();
    let mut alert = [0; 7];
    old.read_exact(&mut alert).unwrap();
    // A fatal alert (RFC 5246 §7.2).
    assert_eq!((alert[0], alert[5]), (0x15, 2));
    let said = daemon.wait_for("was refused", Duration::from_secs(10));
    assert!(said.contains("it speaks TLS 1.1 or older"), "{said}");
    daemon.stop();
}

#[test]
fn a_certificate_of_no_use_is_named_before_anything_starts() {
    let home = Home::new();
    let (certificate, key) = (home.path().join("gone.crt"), home.path().join("gone.key"));
    let text = format!(
        "sip: {{listen: [{{address: \"tls:127.0.0.1:0\"}}]}}\ntls:\n  certificate: {}\n  key: {}\n",
        certificate.display(),
        key.display()
    );
    fs::write(home.path().join("config.yml"), text).unwrap();
    let started = Instant::now();
    for command in ["check", "run"] {
        let output = run(home.path(), &[command]);
        let said = format!("{}{}", stderr(&output), crate::process::stdout(&output));
        assert!(said.contains("tls.certificate: ") && said.contains("gone.crt can't be read"), "{command}: {said}");
    }
    assert!(started.elapsed() < Duration::from_secs(30));
}
