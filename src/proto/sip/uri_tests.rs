use super::*;

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{text}: {e}"))
}

#[test]
fn the_parts_of_a_sip_uri() {
    let u = uri("sips:john.doe:secret@[2001:db8::10]:5070;transport=tcp;lr?Subject=a%20b&x=1");
    assert_eq!(u.scheme, Scheme::Sips);
    assert_eq!((u.user, u.password), (Some(&b"john.doe"[..]), Some(&b"secret"[..])));
    assert_eq!((u.host, u.port), (Host::V6("2001:db8::10".parse().unwrap()), Some(5070)));
    assert!(u.is_loose());
    let headers: Vec<_> = u.header_fields().collect();
    assert_eq!(headers, [(b"Subject"[..].into(), b"a b"[..].into()), (b"x"[..].into(), b"1"[..].into())]);
}

#[test]
fn users_as_phones_write_them() {
    for (text, user) in [
        ("sip:*72#@pbx", "*72#"),
        ("sip:user;par=u%40example.net@example.com", "user;par=u@example.net"),
        ("sip:sips%3Auser%40example.com@example.net", "sips:user@example.com"),
        (
            "sip:1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*@example.com",
            "1_unusual.URI~(to-be!sure)&isn't+it$/crazy?,/;;*",
        ),
        ("sip:null-%00-null@example.com", "null-\0-null"),
        ("SIP:\u{e9}@h", "\u{e9}"),
        ("sip:h", ""),
    ] {
        assert_eq!(&*uri(text).user_decoded(), user.as_bytes(), "{text}");
    }
}

#[test]
fn other_schemes() {
    let u = uri("tel:+1-201-555-0123;phone-context=example.com");
    assert_eq!((u.scheme, u.user), (Scheme::Tel, Some(&b"+1-201-555-0123"[..])));
    assert_eq!(u.param("phone-context"), Some(&b"example.com"[..]));
    assert_eq!(uri("urn:service:sos").scheme, Scheme::Urn);
    assert_eq!(uri("soap.beep://192.0.2.103:3002").scheme_name(), b"soap.beep");
    assert_eq!(uri("nobodyKnowsThisScheme:totallyopaquecontent").scheme, Scheme::Other);
}

#[test]
fn what_is_refused() {
    for bad in [
        "",
        "sip",
        "sip:",
        "sip:@h",
        "sip::p@h",
        "sip:u@",
        "sip:u@h:",
        "sip:u@h:70000",
        "sip:2001:db8::10",
        "sip:u@[::1",
        "sip:u@h x",
        "sip:u@h;a b",
        "sip: u@h",
        "<sip:u@h>",
        "sip:u@v@h",
        "sip:u@h;;lr",
        "tel:",
        "tel:x-y",
        "urn:",
        "1a:b",
        ":x",
        "sip:u@[1.2.3.4]",
        "sip:u@h/x",
        "sip:.",
        "sip:-h",
    ] {
        assert!(Uri::parse(bad.as_bytes()).is_err(), "{bad}");
    }
}

#[test]
fn equivalence_of_rfc_3261_19_1_4() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("tel:+1-201-555-0123", "tel:+12015550123"),
        ("sip:a@h;transport=tcp;transport=udp", "sip:a@h;transport=TCP"),
        ("sip:a@[2001:db8:0:0::1]", "sip:a@[2001:DB8::1]"),
    ] {
        assert!(uri(a).equivalent(&uri(b)) && uri(b).equivalent(&uri(a)), "{a} {b}");
    }
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@h", "sips:a@h"),
        ("sip:a@h", "sip:h"),
        ("sip:%23a@h", "sip:a@h"),
    ] {
        assert!(!uri(a).equivalent(&uri(b)) && !uri(b).equivalent(&uri(a)), "{a} {b}");
    }
}

#[test]
fn the_registrars_key() {
    assert_eq!(
        uri("sip:%61b%2Fc@EXAMPLE.com.:5060;line=x;Transport=TCP").comparable(),
        "sip:ab%2Fc@example.com:5060;transport=tcp"
    );
    assert_eq!(uri("sip:a@h").comparable(), uri("SIP:a@H;ob").comparable());
    assert_ne!(uri("sip:a@h").comparable(), uri("sip:A@h").comparable());
    assert_ne!(uri("sip:a@h").comparable(), uri("sip:a@h:5060").comparable());
    assert_eq!(uri("tel:+1-2").comparable(), "tel:+12");
}
