//! Starting: what a first start says, what a later one remembers, and what is said when it can't.

use crate::phone::Phone;
use crate::process::{Daemon, Home, stderr, stdout};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

/// Extension and password of each row of the first start's table.
pub fn table(said: &str) -> Vec<(String, String)> {
    let rows = said.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| row.len() == 3 && row[0].len() == 4 && row[0] == row[1]);
    rows.map(|row| (row[0].to_owned(), row[2].to_owned())).collect()
}

/// Phones of the first two extensions of a first start.
fn two_phones(daemon: &Daemon) -> [Phone; 2] {
    let rows = table(&daemon.said);
    [0, 1].map(|at| Phone::new(daemon.udp, &rows[at].0, &rows[at].1))
}

#[test]
fn a_first_start_shows_once_what_a_person_types_into_the_phones() {
    let home = Home::new();
    let daemon = home.start();
    let rows = table(&daemon.said);
    let numbers: Vec<&str> = rows.iter().map(|(number, _)| number.as_str()).collect();
    assert_eq!(numbers, ["1001", "1002", "1003", "1004"], "{}", daemon.said);
    let server = format!("    127.0.0.1, port {}, transport UDP", daemon.udp.port());
    assert!(daemon.said.contains(&server), "{}", daemon.said);
    for (number, password) in &rows {
        assert_eq!(Phone::new(daemon.udp, number, password).register(), 200);
    }
    assert_ne!(Phone::new(daemon.udp, "1001", "not the password").register(), 200);
    daemon.stop();

    let daemon = home.start();
    assert!(table(&daemon.said).is_empty(), "{}", daemon.said);
    assert_eq!(Phone::new(daemon.udp, &rows[0].0, &rows[0].1).register(), 200);
    daemon.stop();
}

#[test]
fn every_printed_listener_answers() {
    let daemon = Home::new().start_on(&["udp:0.0.0.0:0".into(), "tcp:[::1]:0".into(), "tcp:127.0.0.1:0".into()]);
    assert_eq!(Phone::new(([127, 0, 0, 1], daemon.udp.port()).into(), "1001", "").ping().status(), 200);
    let lines: Vec<&str> = daemon.said.lines().filter_map(|line| line.strip_prefix("listening sip tcp:")).collect();
    assert_eq!(lines.len(), 2, "{}", daemon.said);
    for address in lines {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let local = stream.local_addr().unwrap();
        let request = format!(
            "OPTIONS sip:{address} SIP/2.0\r\nVia: SIP/2.0/TCP {local};branch=z9hG4bK1\r\nFrom: <sip:x@{local}>;tag=1\r\n\
             To: <sip:{address}>\r\nCall-ID: 1@{local}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"SIP/2.0 200 ");
    }
    assert_eq!(daemon.get("/healthz").0, 200);
    let (status, page) = daemon.get("/metrics");
    assert_eq!(status, 200);
    assert!(page.contains("strowger_calls_active 0"), "{page}");
    let (status, body) = daemon.get("/api/extensions");
    assert_eq!(status, 200);
    assert!(body.contains("\"1001\""), "{body}");
}

#[test]
fn a_port_that_is_taken_is_named_and_the_first_passwords_are_not_lost_with_it() {
    let home = Home::new();
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let output = home.command(&[format!("udp:{taken}")]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(
        said.contains(&format!("can't listen on udp:{taken}")) && said.contains("Address already in use"),
        "{said}"
    );
    assert!(said.contains("--sip-listen"), "{said}");
    assert_eq!(said.matches("Address already in use").count(), 1, "said once: {said}");
    assert!(table(&stdout(&output)).is_empty());
    // Whoever mends it and starts again sees the table.
    let daemon = home.start();
    assert_eq!(table(&daemon.said).len(), 4, "{}", daemon.said);
}

#[test]
fn a_taken_http_port_is_named_too() {
    let home = Home::new();
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let mut command = crate::process::strowger();
    command.args(["run", "--http-listen", &taken, "--sip-listen", "udp:127.0.0.1:0"]).current_dir(home.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains(&format!("http:{taken}")) && said.contains("--http-listen"), "{said}");
}

#[test]
fn the_pages_of_listed_origins_may_ask_and_no_others() {
    let home = Home::with_config("api:\n  cors_origins: [https://console.example]");
    let daemon = home.start();
    let origin = |name: &str| daemon.get_with("/api/status", &format!("Origin: {name}\r\n"));
    let (status, _, head) = origin("https://console.example");
    assert_eq!(status, 200);
    assert!(head.contains("access-control-allow-origin: https://console.example\r\n"), "{head}");
    let (status, body, _) = origin("https://other.example");
    assert_eq!(status, 403, "{body}");
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() {
    let home = Home::new();
    let daemon = home.start();
    let output = home.command(&["udp:127.0.0.1:0".to_owned()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("another Strowger runs on the data directory"), "{said}");
    assert_eq!(Phone::new(daemon.udp, "x", "").ping().status(), 200, "the first one goes on");
}

#[test]
fn a_registration_outlives_a_crash() {
    let home = Home::new();
    let daemon = home.start();
    let (udp, tcp) = (daemon.udp, daemon.tcp);
    let [mut caller, mut callee] = two_phones(&daemon);
    assert_eq!((caller.register(), callee.register()), (200, 200));
    daemon.crash();
    let _daemon = home.start_on(&[format!("udp:{udp}"), format!("tcp:{tcp}")]);
    caller.call("1002", &mut callee);
}

#[test]
fn contacts_survive_a_new_order_of_the_listeners() {
    let home = Home::new();
    let daemon = home.start();
    let (udp, tcp) = (daemon.udp, daemon.tcp);
    let [mut caller, mut callee] = two_phones(&daemon);
    assert_eq!(callee.register(), 200);
    daemon.stop();
    let _daemon = home.start_on(&[format!("tcp:{tcp}"), "udp:127.0.0.1:0".to_owned(), format!("udp:{udp}")]);
    caller.call("1002", &mut callee);
}
