//! The IPv6 torture messages of RFC 5118.

use crate::corpus::{Fate, fate, files, message, read, to_wire};
use std::net::IpAddr;
use strowger::proto::sip::message::Message;
use strowger::proto::sip::uri::Host;

fn load(name: &str) -> Message {
    message(&to_wire(&read(&format!("rfc5118/{name}.sip"))))
}

fn v6(text: &str) -> Host<'static> {
    Host::V6(text.parse().unwrap())
}

#[test]
fn only_the_bad_one_is_refused() {
    let files = files("rfc5118");
    assert_eq!(files.len(), 12);
    for (name, text) in files {
        let expected = if name == "ipv6-bad.sip" { Fate::Refused(400) } else { Fate::Accepted };
        assert_eq!(fate(&to_wire(&text)), expected, "{name}");
    }
}

#[test]
fn where_the_port_is() {
    let good = load("ipv6-good");
    assert_eq!(good.target().unwrap().host, v6("2001:db8::10"));
    assert_eq!(good.via().unwrap().host, v6("2001:db8::9:1"));
    assert_eq!(good.contact().unwrap().uri.host, v6("2001:db8::1"));
    let ambiguous = load("port-ambiguous");
    assert_eq!((ambiguous.target().unwrap().host, ambiguous.target().unwrap().port), (v6("2001:db8::10:5070"), None));
    let clear = load("port-unambiguous");
    assert_eq!((clear.target().unwrap().host, clear.target().unwrap().port), (v6("2001:db8::10"), Some(5070)));
}

#[test]
fn received_with_and_without_brackets() {
    let expected: IpAddr = "2001:db8::9:255".parse().unwrap();
    for name in ["via-received-param-no-delim", "via-received-param-with-delim"] {
        assert_eq!(load(name).via().unwrap().received_ip(), Some(expected), "{name}");
    }
}

#[test]
fn both_families_in_one_message() {
    let m = load("mult-ip-in-header");
    let hosts: Vec<_> = m.vias().map(|v| (v.unwrap().host.ip().unwrap(), v.unwrap().port)).collect();
    let ip = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(hosts, [(ip("2001:db8::9:1"), Some(6050)), (ip("192.0.2.1"), None), (ip("2001:db8::9:255"), None)]);
    let mapped = load("ipv4-mapped-ipv6");
    assert_eq!(mapped.via().unwrap().host, v6("::ffff:192.0.2.10"));
    assert_eq!(mapped.contact().unwrap().uri.host, v6("::ffff:192.0.2.2"));
}

#[test]
fn three_colons_that_the_grammar_of_rfc_3261_allowed() {
    for name in ["ipv6-bug-abnf-3-colons", "ipv6-correct-abnf-2-colons"] {
        assert_eq!(load(name).target().unwrap().host, v6("2001:db8::192.0.2.1"), "{name}");
    }
}
