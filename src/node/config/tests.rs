use super::{ConfigError, Overrides, file, from_text};

fn faults(text: &str) -> Vec<String> {
    let errors = from_text("config.yml", text, &Overrides::default()).err().unwrap_or_default();
    errors.iter().map(ConfigError::to_string).collect()
}

#[test]
fn the_shipped_file_says_every_key_with_its_default() {
    let text = include_str!("../../../config/config.yml");
    let file = file::parse("config.yml", text).unwrap();
    assert_eq!(file, file::File::default());
    // Each key of the defaults is written out: a key that is not would have no comment for anybody to read.
    let keys = format!("{:?}", file::File::default());
    let names = keys.split([' ', '{', ',']).filter_map(|word| word.strip_suffix(':'));
    for name in names {
        assert!(text.contains(&format!("{name}:")), "config/config.yml does not have `{name}`");
    }
}

#[test]
fn an_empty_file_means_the_defaults() {
    let config = from_text("config.yml", "# nothing\n", &Overrides::default()).unwrap();
    assert_eq!(config.sip.len(), 2);
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:8080");
}

#[test]
fn flags_go_over_the_file() {
    let overrides = Overrides {
        data_dir: Some("/var/lib/strowger".into()),
        sip_listen: vec!["tcp:[::1]:5070".to_owned()],
        http_listen: Some("127.0.0.1:0".to_owned()),
        rtp_ports: Some("30000-30100".to_owned()),
    };
    let config = from_text("config.yml", "rtp: {ports: 10000-20000}", &overrides).unwrap();
    assert_eq!(config.sip.len(), 1);
    assert_eq!(config.sip[0].bind.to_string(), "[::1]:5070");
    assert_eq!(config.rtp.ports, 30000..=30100);
    assert_eq!(config.data_dir.to_str(), Some("/var/lib/strowger"));
}

#[test]
fn faults_of_form_name_the_place() {
    let unknown = faults("sip:\n  lisen: []\n");
    assert_eq!(unknown.len(), 1);
    assert!(unknown[0].starts_with("config.yml:2:3: sip"), "{unknown:?}");
    assert!(unknown[0].contains("unknown field `lisen`, expected `listen`"), "{unknown:?}");
    let broken = faults("http:\n  listen: \"127.0.0.1:8080\n");
    assert_eq!(
        broken,
        ["config.yml:2:11: found unexpected end of stream while scanning a quoted scalar. Mend the YAML: indent with \
             spaces, close what is opened, quote what holds special characters"]
    );
    let kind = faults("sip: 5060\n");
    assert_eq!(kind, ["config.yml:1:6: sip: invalid type: integer `5060`, expected a section with keys"]);
}

#[test]
fn faults_of_meaning_are_all_found_with_key_place_and_advice() {
    let text = "\
sip:
  listen:
    - address: udp:0.0.0.0:5060
    - address: sctp:0.0.0.0:5060
    - address: udp:0.0.0.0:5060
      advertise: example
rtp:
  ports: 20000-10000
http:
  listen: 0.0.0.0:8080
registration:
  min_expires: 100
  max_expires: 90
session:
  min_se: 30
auth:
  algorithms: [MD4]
";
    let expected = [
        "config.yml:4:7: sip.listen[1].address: `sctp` is no transport of this version (udp, tcp, tls): write for example udp:0.0.0.0:5060 or tls:[::]:5061",
        "config.yml:6:7: sip.listen[2].advertise: `example` is no address with port: write for example 203.0.113.5:5060",
        "config.yml:8:3: rtp.ports: 20000-10000 holds less than two pairs of ports, which one call needs: write for example 10000-20000",
        "config.yml:12:3: registration.min_expires: 100 is more than registration.max_expires (90)",
        "config.yml:15:3: session.min_se: 30 s is below the 90 s that RFC 4028 allows",
        "config.yml:17:3: auth.algorithms[0]: `MD4` is unknown: use MD5 or SHA-256",
    ];
    let found = faults(text);
    for wanted in expected {
        assert!(found.iter().any(|fault| fault == wanted), "missing: {wanted}\nfound: {found:#?}");
    }
    assert!(found.iter().any(|fault| fault.contains("listed twice")), "{found:#?}");
    assert!(found.iter().any(|fault| fault.contains("would be administrator")), "{found:#?}");
}

#[test]
fn faults_of_form_are_told_in_an_administrators_words() {
    let cases = [
        ("calls:\n  max: many\n", "config.yml:2:8: calls.max: invalid type: string \"many\", expected a whole number"),
        ("sip:\n  listen: x\n", "config.yml:2:11: sip.listen: invalid type: string \"x\", expected a list"),
        (
            "api:\n  enable_cors: yes\n",
            "config.yml:2:16: api.enable_cors: invalid type: string \"yes\", expected true or false",
        ),
        ("- a\n", "config.yml:1:1: invalid type: list, expected a section with keys"),
        ("http:\n  listen: a\n  listen: b\n", "config.yml:2:3: http: duplicate field `listen`. Remove one"),
        ("sip:\n  listen:\n    - tenant: a\n", "config.yml:3:7: sip.listen[0]: missing field `address`. Add the key"),
        ("---\nrtp: {threads: 1}\n---\nrtp: {threads: 2}\n", "config.yml:3:1: a second document begins here"),
    ];
    for (text, wanted) in cases {
        let found = faults(text);
        assert!(found.len() == 1 && found[0].starts_with(wanted), "{text}: {found:?}");
    }
}

#[test]
fn what_would_not_start_or_not_be_understood_is_a_fault() {
    let listen = |address: &str, advertise: &str| {
        format!("sip:\n  listen:\n    - address: {address}\n      advertise: \"{advertise}\"\n")
    };
    let no_destination = "config.yml:4:7: sip.listen[0].advertise: `";
    let cases = [
        ("data_dir: \"\"\n".to_owned(), "config.yml:1:1: data_dir: no directory"),
        ("log:\n  level: warning\n".to_owned(), "config.yml:2:3: log.level: `warning` is no level: use error, warn"),
        (
            "log:\n  level: info,strowger=loud\n".to_owned(),
            "config.yml:2:3: log.level: `info,strowger=loud` is no filter",
        ),
        ("log:\n  level: \"\"\n".to_owned(), "config.yml:2:3: log.level: `` is no level"),
        ("auth:\n  algorithms: [MD5, md5]\n".to_owned(), "config.yml:2:3: auth.algorithms[1]: md5 is listed twice"),
        (
            "rtp:\n  addresses: [127.0.0.1, 127.0.0.1]\n".to_owned(),
            "config.yml:2:3: rtp.addresses[1]: 127.0.0.1 is listed twice",
        ),
        (
            "api:\n  cors_origins: [\"https://a.example/\"]\n".to_owned(),
            "config.yml:2:3: api.cors_origins[0]: `https://a.example/` is no origin",
        ),
        (listen("udp:0.0.0.0:5060", "203.0.113.5:0"), no_destination),
        (listen("udp:0.0.0.0:5060", "0.0.0.0:5060"), no_destination),
        (
            listen("udp:0.0.0.0:5060", "[2001:db8::1]:5060"),
            "config.yml:4:7: sip.listen[0].advertise: [2001:db8::1]:5060 and",
        ),
        (
            listen("udp:224.0.0.1:5060", ""),
            "config.yml:3:7: sip.listen[0].address: 224.0.0.1:5060 is the address of a group",
        ),
        (
            listen("tcp:127.0.0.1:8080", ""),
            "config.yml:3:7: sip.listen[0].address: SIP tcp:127.0.0.1:8080 and HTTP 127.0.0.1:8080 are the same port",
        ),
        ("http:\n  listen: 0.0.0.0:8080\n".to_owned(), "config.yml:2:3: http.listen: with `api.auth: none` everybody"),
        (
            "sip:\n  listen:\n    - address: udp:127.0.0.1:5060\n    - address: udp:0.0.0.0:5060\n".to_owned(),
            "config.yml:4:7: sip.listen[1].address: 0.0.0.0:5060 and 127.0.0.1:5060 are the same port",
        ),
    ];
    for (text, wanted) in cases {
        let found = faults(&text);
        assert!(found.len() == 1 && found[0].starts_with(wanted), "{text}: {found:?}");
    }
    let side_by_side = "sip:\n  listen:\n    - address: udp:0.0.0.0:5060\n    - address: udp:[::]:5060\n    - address: tcp:0.0.0.0:5060\n";
    assert_eq!(faults(side_by_side), Vec::<String>::new());
    for level in ["off", "WARN", "strowger", "info,strowger::net=debug", "warn,strowger=trace", "sqlx=warn,info"] {
        assert_eq!(faults(&format!("log:\n  level: \"{level}\"\n")), Vec::<String>::new(), "{level}");
    }
}

#[test]
fn faults_of_flags_name_the_flag() {
    let flags = |sip: &[&str], http: Option<&str>| Overrides {
        sip_listen: sip.iter().map(|&text| text.to_owned()).collect(),
        http_listen: http.map(str::to_owned),
        ..Overrides::default()
    };
    let cases = [
        (
            flags(&["udp:127.0.0.1:5060", "udp:127.0.0.1:5060"], None),
            "--sip-listen: 127.0.0.1:5060 is listed twice: remove one",
        ),
        (flags(&[], Some("0.0.0.0:8080")), "--http-listen: with `api.auth: none` everybody"),
        (
            flags(&["tcp:127.0.0.1:80"], Some("127.0.0.1:80")),
            "--http-listen: SIP tcp:127.0.0.1:80 and HTTP 127.0.0.1:80 are the same port",
        ),
    ];
    let text = include_str!("../../../config/config.yml");
    for (overrides, wanted) in cases {
        let errors = from_text("config.yml", text, &overrides).unwrap_err();
        let found: Vec<String> = errors.iter().map(ConfigError::to_string).collect();
        assert!(found.len() == 1 && found[0].starts_with(wanted), "{found:?}");
    }
    let spaced = flags(&["udp:127.0.0.1:5060", " tcp:127.0.0.1:5060"], None);
    assert_eq!(from_text("config.yml", text, &spaced).unwrap().sip.len(), 2);
}

#[test]
fn addresses_of_other_machines_are_warned_of_with_their_place() {
    let text = "\
sip:
  listen:
    - address: udp:192.0.2.1:5060
    - address: tcp:0.0.0.0:5060
    - address: tcp:[2001:db8::1]:5060
rtp:
  addresses: [192.0.2.1]
";
    let here = |text: &str, overrides: &Overrides| {
        let config = from_text("config.yml", text, overrides).unwrap();
        let warnings = super::machine::absent(("config.yml", text), overrides, &config, |ip| ip.is_loopback());
        warnings.iter().map(ConfigError::to_string).collect::<Vec<_>>()
    };
    assert_eq!(here("", &Overrides::default()), Vec::<String>::new());
    let start = "warning: this machine has no address";
    let end = "now, and the exchange would not start: ";
    assert_eq!(
        here(text, &Overrides::default()),
        [
            format!(
                "config.yml:3:7: sip.listen[0].address: {start} 192.0.2.1 {end}use one that `ip address` shows, or 0.0.0.0 for all"
            ),
            format!(
                "config.yml:5:7: sip.listen[2].address: {start} 2001:db8::1 {end}use one that `ip address` shows, or [::] for all"
            ),
            format!(
                "config.yml:7:3: rtp.addresses[0]: {start} 192.0.2.1 {end}take it out, or use one that `ip address` shows"
            ),
        ]
    );
    let flags = Overrides { sip_listen: vec!["udp:192.0.2.2:5060".to_owned()], ..Overrides::default() };
    let said = here("", &flags);
    assert!(said.len() == 1 && said[0].starts_with(&format!("--sip-listen: {start} 192.0.2.2 {end}")), "{said:?}");
}

#[test]
fn the_guard_takes_networks_and_says_what_would_not_work() {
    let good = "guard:\n  trusted: [192.0.2.0/24, 2001:db8::/32, 203.0.113.7]\n  scanners: []\n  users: 32\n";
    assert_eq!(from_text("config.yml", good, &Overrides::default()).unwrap().guard.trusted.len(), 3);
    let bad = "guard:\n  trusted: [office]\n  users: 33\n  scanners: [\"\"]\n";
    let found = faults(bad);
    let says = |text: &str| assert!(found.iter().any(|fault| fault.starts_with(text)), "{text} in {found:?}");
    says("config.yml:3:3: guard.users: 33 is out of range: use 2 to 32");
    says("config.yml:2:3: guard.trusted[0]: `office` is no address and no network: write for example 192.0.2.0/24");
    says("config.yml:4:3: guard.scanners[0]: an empty name is the beginning of every name");
    assert_eq!(found.len(), 3);
}
