//! Under systemd: the daemon says when it is ready, that it lives, and that it stops. The test is the manager's socket.

use crate::phone::Phone;
use crate::process::{Daemon, Home, stderr, stdout};
use nix::sys::signal::Signal;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

struct Manager(UnixDatagram);

impl Manager {
    fn new(address: &SocketAddr) -> Manager {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Manager(socket)
    }

    /// The next thing it is told.
    fn hears(&self) -> String {
        let mut buffer = [0; 1_000];
        let length = self.0.recv(&mut buffer).expect("the daemon says something");
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// What it is told before something that begins like this.
    fn hears_until(&self, wanted: &str) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(30);
        let mut heard = Vec::new();
        while Instant::now() < end {
            let said = self.hears();
            if said.starts_with(wanted) {
                return heard;
            }
            heard.push(said);
        }
        panic!("no {wanted}: {heard:?}");
    }
}

fn start(home: &Home, name: &str, watchdog: &str) -> Daemon {
    let mut command = home.command(&["udp:127.0.0.1:0".to_owned(), "tcp:127.0.0.1:0".to_owned()]);
    Daemon::spawn(command.env("NOTIFY_SOCKET", name).env("WATCHDOG_USEC", watchdog).env_remove("WATCHDOG_PID"))
}

fn ends_in_order(mut daemon: Daemon, manager: &Manager) {
    daemon.signal(Signal::SIGTERM);
    let before = manager.hears_until("STOPPING=1\n");
    assert!(before.iter().all(|sign| sign == "WATCHDOG=1"), "{before:?}");
    let (status, said) = daemon.ended(Duration::from_secs(20));
    assert!(status.success(), "{status}: {said}");
}

#[test]
fn it_is_ready_when_phones_can_register_and_lives_until_it_stops() {
    let home = Home::new();
    let path = home.path().join("notify");
    let manager = Manager::new(&SocketAddr::from_pathname(&path).unwrap());
    let daemon = start(&home, path.to_str().unwrap(), "300000");
    let first = manager.hears();
    assert!(first.starts_with("READY=1\n"), "{first}");
    assert_eq!(Phone::new(daemon.udp, "1001", "").ping().status(), 200);
    for _ in 0..3 {
        assert_eq!(manager.hears(), "WATCHDOG=1");
    }
    ends_in_order(daemon, &manager);
}

#[test]
fn an_abstract_socket_does_as_well_and_without_a_watchdog_no_signs_are_given() {
    let home = Home::new();
    let name = format!("strowger-test-{}", std::process::id());
    let manager = Manager::new(&SocketAddr::from_abstract_name(&name).unwrap());
    let daemon = start(&home, &format!("@{name}"), "");
    assert_eq!(manager.hears_until("READY=1\n"), [""; 0]);
    daemon.signal(Signal::SIGTERM);
    assert_eq!(manager.hears_until("STOPPING=1\n"), [""; 0]);
}

#[test]
fn it_says_nothing_of_being_ready_when_it_can_not_start() {
    let home = Home::new();
    let path = home.path().join("notify");
    let manager = Manager::new(&SocketAddr::from_pathname(&path).unwrap());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = home.command(&[format!("tcp:{}", taken.local_addr().unwrap())]);
    let output = command.env("NOTIFY_SOCKET", &path).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    manager.0.set_nonblocking(true).unwrap();
    assert!(manager.0.recv(&mut [0; 100]).is_err());
}

#[test]
fn a_command_asks_how_it_is() {
    let home = Home::new();
    let daemon = home.start();
    let http = daemon.http.to_string();
    let well = home.run(&["health", "--http-listen", &http]);
    assert!(well.status.success(), "{well:?}");
    assert_eq!(stdout(&well), "{\"healthy\":true}\n");
    daemon.stop();
    let gone = home.run(&["health", "--http-listen", &http]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(stderr(&gone).contains(&format!("no answer from http://{http}/healthz")), "{gone:?}");
}
