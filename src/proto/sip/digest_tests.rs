use super::*;

fn is_right(value: &str, method: &str, user: &str, password: &str) -> bool {
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    let realm = std::str::from_utf8(&credentials.realm).unwrap();
    let (md5, sha256) = (ha1_md5(user, realm, password), ha1_sha256(user, realm, password));
    credentials.is_right(method.as_bytes(), &Ha1 { md5: &md5, sha256: &sha256 })
}

/// RFC 7616 §3.9.1.
const RFC7616_MD5: &str = "Digest username=\"Mufasa\", realm=\"http-auth@example.org\", uri=\"/dir/index.html\", \
    algorithm=MD5, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", nc=00000001, \
    cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\", qop=auth, \
    response=\"8ca523f5e9506fed4657c9700eebdbec\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";

#[test]
fn the_vectors_of_rfc_7616_and_rfc_2617() {
    assert!(is_right(RFC7616_MD5, "GET", "Mufasa", "Circle of Life"));
    let sha256 = RFC7616_MD5.replace("MD5", "SHA-256").replace(
        "8ca523f5e9506fed4657c9700eebdbec",
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    );
    assert!(is_right(&sha256, "GET", "Mufasa", "Circle of Life"));
    let rfc2617 = "Digest username=\"Mufasa\",realm=\"testrealm@host.com\",nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\",\
        uri=\"/dir/index.html\",qop=auth,nc=00000001,cnonce=\"0a4f113b\",response=\"6629fae49393a05397450978507c4ef1\",\
        opaque=\"5ccc069c403ebaf9f0171e9517f40e41\"";
    assert!(is_right(rfc2617, "GET", "Mufasa", "Circle Of Life"));
    assert!(!is_right(rfc2617, "GET", "Mufasa", "circle of life"));
    assert!(!is_right(rfc2617, "PUT", "Mufasa", "Circle Of Life"));
}

#[test]
fn a_client_without_qop() {
    // MD5(MD5(bob:r:zanzibar):n:MD5(REGISTER:sip:r)), computed with Python's hashlib.
    let value = "Digest username=\"bob\", realm=\"biloxi.com\", nonce=\"dcd98b7102dd2f0e8b11d0f600bfb0c093\", \
        uri=\"sip:bob@biloxi.com\", response=\"bf57e4e0d0bffc0fbaedce64d59add5e\"";
    assert!(is_right(value, "INVITE", "bob", "zanzibar"));
    assert_eq!(Credentials::parse(value.as_bytes()).unwrap().protection, None);
}

#[test]
fn nc_is_hexadecimal() {
    let count = |nc: &str| {
        let value = RFC7616_MD5.replace("nc=00000001", &format!("nc={nc}"));
        Credentials::parse(value.as_bytes()).map(|c| c.protection.unwrap().count)
    };
    assert_eq!(count("0000001a"), Ok(26));
    assert_eq!(count("FFFFFFFF"), Ok(u32::MAX));
    for bad in ["", "0000000g", "123456789"] {
        assert!(matches!(count(bad), Err(CredentialsError::Syntax(_))), "{bad}");
    }
}

#[test]
fn what_is_refused() {
    let refused = |value: &str| Credentials::parse(value.as_bytes()).unwrap_err();
    assert_eq!(refused("NoOneKnowsThisScheme opaque-data=here"), CredentialsError::Scheme);
    assert_eq!(refused(&RFC7616_MD5.replace("qop=auth", "qop=auth-int")), CredentialsError::Qop);
    assert_eq!(refused(&RFC7616_MD5.replace("=MD5", "=MD5-sess")), CredentialsError::Algorithm);
    for name in ["username", "realm", "uri", "nonce", "response", "nc", "cnonce"] {
        let value = RFC7616_MD5.replace(&format!("{name}="), "x=");
        assert!(matches!(refused(&value), CredentialsError::Syntax(e) if e.problem == Problem::Missing), "{name}");
    }
    assert!(matches!(refused(&format!("{RFC7616_MD5}, nonce=\"x\"")), CredentialsError::Syntax(_)));
    for bad in [
        "",
        "8ca523f5e9506fed4657c9700eebdbe",
        "8ca523f5e9506fed4657c9700eebdbeg",
        "8ca523f5e9506fed4657c9700eebdbec00",
    ] {
        let value = RFC7616_MD5.replace("8ca523f5e9506fed4657c9700eebdbec", bad);
        assert!(!is_right(&value, "GET", "Mufasa", "Circle of Life"), "{bad}");
    }
}

#[test]
fn a_real_phones_header() {
    let value = "Digest username=\"1013\", realm=\"pbx.example.com\", nonce=\"921a55467c54fdd626a9077a1c7f6358\", qop=auth, \
        cnonce=\"X+5uJHgPKBGjp82\", nc=00000001, opaque=\"4804ccfd48df7fecce5b185da0e7175d\", \
        uri=\"sip:pbx.example.com;transport=udp\", response=\"595e46251eb788c6df3b717fe7ad6f4a\", algorithm=MD5";
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    assert_eq!(&*credentials.username, b"1013");
    assert_eq!(&*credentials.uri, b"sip:pbx.example.com;transport=udp");
}

#[test]
fn a_challenge() {
    let challenge = Challenge { realm: "a\"b", nonce: "n", algorithm: Algorithm::Sha256, stale: true };
    assert_eq!(
        challenge.to_string(),
        "Digest realm=\"a\\\"b\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\", stale=true"
    );
}
