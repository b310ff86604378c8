//! Stopping: running calls are let go on for a while, everything is written down, a second Ctrl-C ends at once.

use crate::phone::Phone;
use crate::process::{Daemon, Home};
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};

/// A daemon with two registered phones.
fn office(home: &Home) -> (Daemon, Phone, Phone) {
    for number in ["1101", "1102"] {
        let password = format!("password-{number}");
        let added = home.run(&["extensions", "add", number, "--name", "Test", "--password", &password]);
        assert!(added.status.success(), "{added:?}");
    }
    let daemon = home.start();
    let mut phones = ["1101", "1102"].map(|number| Phone::new(daemon.udp, number, &format!("password-{number}")));
    for phone in &mut phones {
        assert_eq!(phone.register(), 200);
    }
    let [caller, callee] = phones;
    (daemon, caller, callee)
}

/// The day's call records as the API shows them.
fn records(home: &Home) -> String {
    let daemon = home.start();
    let (status, body) = daemon.get("/api/cdr");
    assert_eq!(status, 200, "{body}");
    daemon.stop();
    body
}

#[test]
fn without_calls_it_ends_at_once_on_either_signal() {
    let home = Home::new();
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let mut daemon = home.start();
        let began = Instant::now();
        daemon.signal(signal);
        let (status, said) = daemon.ended(Duration::from_secs(20));
        assert!(status.success(), "{status}: {said}");
        assert!(began.elapsed() < Duration::from_secs(5), "{said}");
    }
}

#[test]
fn a_running_call_may_end_by_itself_and_no_new_one_begins() {
    let home = Home::with_config("calls:\n  drain_grace: 60");
    let (mut daemon, mut caller, mut callee) = office(&home);
    caller.call("1102", &mut callee);
    daemon.signal(Signal::SIGINT);
    daemon.wait_for("1 running call", Duration::from_secs(10));
    let refused = caller.invite("1102");
    assert_eq!(refused.status(), 503, "{}", refused.0);
    // The call still stands: its caller hangs up.
    caller.bye();
    callee.hung_up();
    let (status, said) = daemon.ended(Duration::from_secs(20));
    assert!(status.success(), "{status}: {said}");
    let records = records(&home);
    assert!(records.contains("\"answered\"") && records.contains("\"normal\""), "{records}");
}

#[test]
fn after_the_grace_calls_are_hung_up_and_recorded() {
    let home = Home::with_config("calls:\n  drain_grace: 1");
    let (mut daemon, mut caller, mut callee) = office(&home);
    caller.call("1102", &mut callee);
    daemon.signal(Signal::SIGTERM);
    std::thread::scope(|scope| {
        scope.spawn(|| caller.hung_up());
        scope.spawn(|| callee.hung_up());
    });
    let (status, said) = daemon.ended(Duration::from_secs(20));
    assert!(status.success(), "{status}: {said}");
    let records = records(&home);
    assert!(records.contains("\"draining\""), "{records}");
}

#[test]
fn a_second_signal_ends_at_once_and_the_next_start_records_the_call() {
    let home = Home::with_config("calls:\n  drain_grace: 60");
    let (mut daemon, mut caller, mut callee) = office(&home);
    caller.call("1102", &mut callee);
    daemon.signal(Signal::SIGINT);
    daemon.wait_for("1 running call", Duration::from_secs(10));
    let began = Instant::now();
    daemon.signal(Signal::SIGINT);
    let (status, said) = daemon.ended(Duration::from_secs(20));
    assert!(!status.success(), "{said}");
    assert!(began.elapsed() < Duration::from_secs(3), "{said}");
    let records = records(&home);
    assert!(records.contains("\"restart\""), "{records}");
}
