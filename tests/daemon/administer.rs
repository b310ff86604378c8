//! The administrator's commands, on a data directory alone and beside a running daemon.

use crate::phone::Phone;
use crate::process::{Home, run, stderr, stdout};
use std::time::{Duration, Instant};

#[test]
fn extensions_are_added_listed_changed_and_removed() {
    let home = Home::new();
    let added = home.run(&["extensions", "add", "2001", "--name", "Ada Lovelace", "--email", "ada@example.com"]);
    assert!(added.status.success(), "{added:?}");
    assert!(stderr(&added).contains("warning: Whoever dials 2001 reaches this extension"), "{added:?}");
    let password = stdout(&added).split_whitespace().last().unwrap().to_owned();
    assert!(password.len() >= 8, "{}", stdout(&added));

    let again = home.run(&["extensions", "add", "2001", "--name", "Somebody"]);
    assert_eq!(again.status.code(), Some(1));
    assert_eq!(stderr(&again), "strowger: Extension already exists\n");

    let listed = stdout(&home.run(&["extensions", "list"]));
    assert!(
        listed.contains("2001") && listed.contains("Ada Lovelace") && listed.contains("ada@example.com"),
        "{listed}"
    );
    assert!(!listed.contains(&password), "passwords are shown once only: {listed}");

    let changed = home.run(&["extensions", "passwd", "2001", "--password", "a-new-password"]);
    assert!(changed.status.success() && !stdout(&changed).contains("a-new-password"), "{changed:?}");
    let short = home.run(&["extensions", "passwd", "2001", "--password", "short"]);
    assert_eq!(short.status.code(), Some(1));
    assert!(stderr(&short).contains("at least 8 characters"), "{short:?}");

    assert!(home.run(&["extensions", "remove", "2001"]).status.success());
    let gone = home.run(&["extensions", "remove", "2001"]);
    assert_eq!((gone.status.code(), stderr(&gone)), (Some(1), "strowger: Extension not found\n".to_owned()));
    let nobody = home.run(&["extensions", "--tenant", "acme", "list"]);
    assert!(stderr(&nobody).contains("there is no tenant `acme`"), "{nobody:?}");
}

#[test]
fn a_lost_secret_key_is_told_by_the_commands_and_the_daemon() {
    let home = Home::new();
    assert!(home.run(&["extensions", "add", "1005", "--name", "Ada"]).status.success());
    std::fs::remove_file(home.path().join("data/secret.key")).unwrap();
    for command in [&["extensions", "list"][..], &["extensions", "add", "1006", "--name", "Bob"]] {
        let output = home.run(command);
        assert!(output.status.success(), "{output:?}");
        assert!(stderr(&output).contains("1 extension (1005) are sealed with another key"), "{output:?}");
    }
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let output = home.command(&[format!("udp:{}", taken.local_addr().unwrap())]).output().unwrap();
    assert!(stderr(&output).contains("ERROR") && stderr(&output).contains("1 extension (1005)"), "{output:?}");
}

#[test]
fn a_mistyped_data_directory_is_not_made() {
    let home = Home::new();
    let missing = home.path().join("dato");
    let missing = missing.to_str().unwrap();
    for command in [&["extensions", "list"][..], &["extensions", "passwd", "1001"], &["tenants", "list"]] {
        let output = crate::process::strowger().args(command).args(["--data-dir", missing]).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            stderr(&output).contains("there is no database in ") && stderr(&output).contains("--data-dir"),
            "{output:?}"
        );
    }
    assert!(!std::path::Path::new(missing).exists());
}

/// Registers again and again until the answer is as wanted; a change is seen within a second or two.
fn until(wanted: u16, phone: &mut Phone) {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let status = phone.register();
        if status == wanted {
            return;
        }
        assert!(Instant::now() < end, "still {status}, not {wanted}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_running_daemon_sees_what_the_command_line_changes() {
    let home = Home::new();
    let daemon = home.start();
    let mut phone = Phone::new(daemon.udp, "2002", "first-password");
    assert_ne!(phone.register(), 200);
    let added = home.run(&["extensions", "add", "2002", "--name", "Late", "--password", "first-password"]);
    assert!(added.status.success(), "{added:?}");
    until(200, &mut phone);

    assert!(home.run(&["extensions", "passwd", "2002", "--password", "second-password"]).status.success());
    until(401, &mut phone);
    let mut phone = Phone::new(daemon.udp, "2002", "second-password");
    until(200, &mut phone);

    assert!(home.run(&["extensions", "remove", "2002"]).status.success());
    until(401, &mut phone);
}

#[test]
fn check_says_all_faults_with_their_places_and_fails() {
    let directory = tempfile::tempdir().unwrap();
    let good = run(directory.path(), &["check"]);
    assert!(good.status.success(), "{good:?}");
    assert_eq!(stdout(&good), "The configuration is valid.\n");

    std::fs::write(directory.path().join("config.yml"), "rtp:\n  ports: 9-8\nsession:\n  min_se: 5\n").unwrap();
    let bad = run(directory.path(), &["check"]);
    assert_eq!(bad.status.code(), Some(2));
    let said = stderr(&bad);
    assert!(
        said.contains("config.yml:2:3: rtp.ports: ") && said.contains("config.yml:4:3: session.min_se: "),
        "{said}"
    );

    let flag = run(directory.path(), &["check", "--sip-listen", "sctp:1.2.3.4:5"]);
    assert!(stderr(&flag).contains("--sip-listen: `sctp` is no transport"), "{flag:?}");

    std::fs::write(directory.path().join("config.yml"), "rtp:\n  addresses: [192.0.2.77]\n").unwrap();
    let elsewhere = run(directory.path(), &["check"]);
    assert!(elsewhere.status.success(), "{elsewhere:?}");
    let said = stderr(&elsewhere);
    assert!(
        said.contains("config.yml:2:3: rtp.addresses[0]: warning: this machine has no address 192.0.2.77"),
        "{said}"
    );
}
