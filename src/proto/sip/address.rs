//! `name-addr` and `addr-spec` with their parameters: From, To, Contact, Route, Record-Route, Path, Refer-To, Diversion,
//! P-Asserted-Identity (RFC 3261 §20.10, §25.1).

use super::error::{ParseError, Problem};
use super::lex::{self, Params};
use super::uri::Uri;
use std::borrow::Cow;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Address<'a> {
    /// As received, without quotes but with its escapes; empty when there is none.
    pub display: &'a [u8],
    pub uri: Uri<'a>,
    /// The header's parameters, not the URI's.
    pub params: Params<'a>,
}

/// One value of a Contact header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Contact<'a> {
    /// `*`: all contacts of the address of record (RFC 3261 §10.2.2).
    Star,
    Address(Address<'a>),
}

impl<'a> Address<'a> {
    /// Parses one element of a list, or the whole value of a header that has one.
    pub fn parse(value: &'a [u8]) -> Result<Address<'a>, ParseError> {
        let value = lex::trim(value);
        let (display, open) = match value.first() {
            Some(b'"') => {
                let end = lex::skip_quoted(value, 0).ok_or(Problem::Quote.at(0))?;
                (&value[1..end - 1], Some(lex::skip_space(value, end)))
            }
            Some(b'<') => (&value[..0], Some(0)),
            _ => match memchr::memchr(b'<', value) {
                Some(open) if is_name_addr(&value[..open]) => (unquoted_display(&value[..open])?, Some(open)),
                _ => (&value[..0], None),
            },
        };
        match open {
            Some(open) => bracketed(value, display, open),
            None => bare(value),
        }
    }

    /// The display name with its escapes resolved; what is not UTF-8 becomes U+FFFD.
    pub fn display_text(&self) -> Cow<'a, str> {
        match lex::unescape(self.display) {
            Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
        }
    }

    /// The header parameter's value, quotes included; empty if it has none.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        self.params.get(name)
    }

    /// The tag; None when absent or empty.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }

    /// The `q` parameter in thousandths (RFC 3261 §25.1 `qvalue`); None when absent or malformed.
    pub fn q(&self) -> Option<u16> {
        let value = self.params.get("q")?;
        let (whole, fraction) = match memchr::memchr(b'.', value) {
            Some(dot) => (&value[..dot], &value[dot + 1..]),
            None => (value, &b""[..]),
        };
        if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let fraction = fraction.iter().chain(b"000").take(3).fold(0, |sum, b| sum * 10 + u16::from(b - b'0'));
        match (whole, fraction) {
            (b"0" | b"", fraction) if !value.is_empty() => Some(fraction),
            (b"1", 0) => Some(1000),
            _ => None,
        }
    }

    /// The `expires` parameter in seconds; None when absent or malformed.
    pub fn expires(&self) -> Option<u32> {
        lex::number(self.params.get("expires")?)
    }
}

impl<'a> Contact<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Contact<'a>, ParseError> {
        if lex::trim(value) == b"*" { Ok(Contact::Star) } else { Address::parse(value).map(Contact::Address) }
    }

    pub fn address(self) -> Option<Address<'a>> {
        match self {
            Contact::Star => None,
            Contact::Address(address) => Some(address),
        }
    }
}

/// Whether what stands before a `<` is a display name; else the `<` belongs to a header parameter of an `addr-spec`.
fn is_name_addr(before: &[u8]) -> bool {
    memchr::memchr(b';', before).is_none()
}

fn bracketed<'a>(value: &'a [u8], display: &'a [u8], open: usize) -> Result<Address<'a>, ParseError> {
    if value.get(open) != Some(&b'<') {
        return Err(Problem::Brackets.at(open));
    }
    let start = open + 1;
    let end = start + memchr::memchr(b'>', &value[start..]).ok_or(Problem::Brackets.at(open))?;
    let uri = Uri::parse(&value[start..end]).map_err(|e| e.shifted(start))?;
    let params_at = lex::skip_space(value, end + 1);
    let params = Params::parse(&value[params_at..]).map_err(|e| e.shifted(params_at))?;
    Ok(Address { display, uri, params })
}

/// Without brackets every `;` starts a header parameter, and `?` and `,` can't be in the URI (RFC 3261 §20).
fn bare(value: &[u8]) -> Result<Address<'_>, ParseError> {
    let semicolon = memchr::memchr(b';', value).unwrap_or(value.len());
    let uri = lex::trim(&value[..semicolon]);
    if let Some(at) = memchr::memchr2(b'?', b',', uri) {
        let problem = if uri[at] == b'?' { Problem::UriHeaders } else { Problem::Brackets };
        return Err(problem.at(at));
    }
    let params = Params::parse(&value[semicolon..]).map_err(|e| e.shifted(semicolon))?;
    Ok(Address { display: b"", uri: Uri::parse(uri)?, params })
}

/// Tokens and spaces; looser than RFC 3261 in letting through brackets and letters beyond ASCII, as phones send them.
fn unquoted_display(display: &[u8]) -> Result<&[u8], ParseError> {
    match memchr::memchr3(b',', b'"', b'>', display) {
        Some(at) => Err(Problem::DisplayName.at(at)),
        None => Ok(lex::trim(display)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Address<'_>, ParseError> {
        Address::parse(value.as_bytes())
    }

    #[test]
    fn all_forms_of_an_address() {
        let a = parse("\"A. \\\"G.\\\" Bell\" <sip:agb@bell.example;transport=tcp?subject=x>;tag=a48s").unwrap();
        assert_eq!(a.display_text(), "A. \"G.\" Bell");
        assert_eq!(a.uri.user, Some(&b"agb"[..]));
        assert_eq!(a.uri.transport(), Some(&b"tcp"[..]));
        assert_eq!(a.uri.headers, b"subject=x");
        assert_eq!(a.tag(), Some(&b"a48s"[..]));
        let a = parse("caller<sip:c@h> ; tag = 1").unwrap();
        assert_eq!((a.display, a.tag()), (&b"caller"[..], Some(&b"1"[..])));
        let a = parse("sip:+12125551212@server.phone2net.com;tag=887s").unwrap();
        assert_eq!((a.uri.params.is_empty(), a.tag()), (true, Some(&b"887s"[..])));
        let a = parse("<tel:+1-201-555-0123;phone-context=x>;tag=2").unwrap();
        assert_eq!(a.uri.user, Some(&b"+1-201-555-0123"[..]));
        let a = parse("Anonymous <sip:c8oqz84zk7z@privacy.org>;tag=hyh8").unwrap();
        assert_eq!(a.display_text(), "Anonymous");
        let a = parse("\u{442}\u{435}\u{43b}\u{435} <sip:1@h>").unwrap();
        assert_eq!(a.display_text(), "\u{442}\u{435}\u{43b}\u{435}");
    }

    #[test]
    fn what_is_refused_and_where() {
        assert_eq!(parse("\"Mr. J. User <sip:j@e>").unwrap_err(), Problem::Quote.at(0));
        assert_eq!(parse("\"Watson\" < sip:t@e >").unwrap_err().offset, 10);
        assert_eq!(parse("Bell, Alexander <sip:a@b>").unwrap_err(), Problem::DisplayName.at(4));
        assert_eq!(parse("sip:user@e?Route=x").unwrap_err(), Problem::UriHeaders.at(10));
        assert_eq!(parse("<sip:a@b").unwrap_err(), Problem::Brackets.at(0));
        assert_eq!(parse("<sip:a@b> x").unwrap_err(), Problem::Params.at(10));
        assert!(parse("").is_err());
        assert!(parse("*").is_err());
    }

    #[test]
    fn q_values() {
        let q = |text: &str| parse(&format!("<sip:a@b>;q={text}")).unwrap().q();
        assert_eq!(q("0.7"), Some(700));
        assert_eq!(q("1"), Some(1000));
        assert_eq!(q("1.000"), Some(1000));
        assert_eq!(q("0"), Some(0));
        assert_eq!(q(".5"), Some(500));
        assert_eq!(q("0.025"), Some(25));
        for bad in ["1.1", "2", "0.1234", "-1", "", "x"] {
            assert_eq!(q(bad), None, "{bad}");
        }
    }
}
