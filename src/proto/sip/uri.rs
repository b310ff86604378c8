//! URIs (RFC 3261 §19.1, RFC 3966): parsing, comparison, and the key a registrar knows a contact by.

use super::error::{ParseError, Problem};
use super::lex::{self, Params};
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    Sip,
    Sips,
    Tel,
    Urn,
    /// Anything else; the URI is opaque to us.
    Other,
}

/// A URI as received. `sip` and `sips` have a host and maybe a user; a `tel` number is the `user`; of the others there is
/// only `raw`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Uri<'a> {
    pub raw: &'a [u8],
    pub scheme: Scheme,
    /// With its escapes and its own parameters (`+358;postd=22`), as received.
    pub user: Option<&'a [u8]>,
    pub password: Option<&'a [u8]>,
    pub host: Host<'a>,
    pub port: Option<u16>,
    pub params: Params<'a>,
    /// What follows `?`, as received.
    pub headers: &'a [u8],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host<'a> {
    /// A domain name in the case it was written; empty where the scheme has no host.
    Name(&'a [u8]),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// A host without port: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn parse(bytes: &'a [u8]) -> Result<Host<'a>, ParseError> {
        match bytes {
            [] | [b'.' | b'-', ..] => Err(Problem::Host.at(0)),
            [b'[', inner @ .., b']'] => parse_v6(inner).map(Host::V6).ok_or(Problem::Host.at(1)),
            _ => match bytes.iter().position(|b| !lex::is_host_byte(*b)) {
                Some(at) => Err(Problem::Host.at(at)),
                None => Ok(parse_v4(bytes).map_or(Host::Name(bytes), Host::V4)),
            },
        }
    }

    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Host::Name(_) => None,
            Host::V4(ip) => Some(IpAddr::V4(*ip)),
            Host::V6(ip) => Some(IpAddr::V6(*ip)),
        }
    }

    /// The name as text; None for an address.
    pub fn name(&self) -> Option<&'a str> {
        match self {
            Host::Name(name) => std::str::from_utf8(name).ok(),
            _ => None,
        }
    }

    /// The same host: names without case and without a final dot, addresses by value.
    pub fn same(&self, other: &Host<'_>) -> bool {
        match (self, other) {
            (Host::Name(a), Host::Name(b)) => undotted(a).eq_ignore_ascii_case(undotted(b)),
            _ => self == other,
        }
    }
}

fn undotted(mut name: &[u8]) -> &[u8] {
    while let [rest @ .., b'.'] = name {
        name = rest;
    }
    name
}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(&String::from_utf8_lossy(name)),
            Host::V4(ip) => write!(f, "{ip}"),
            Host::V6(ip) => write!(f, "[{ip}]"),
        }
    }
}

pub(super) fn parse_v4(bytes: &[u8]) -> Option<Ipv4Addr> {
    // A name's last label starts with a letter; most hosts are told apart by their last byte.
    if !bytes.last()?.is_ascii_digit() {
        return None;
    }
    let mut octets = [0u8; 4];
    let mut parts = bytes.split(|b| *b == b'.');
    for octet in &mut octets {
        let part = parts.next().filter(|p| p.len() <= 3)?;
        *octet = u8::try_from(lex::number(part)?).ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

/// An IPv6 address without brackets. `:::` is read as `::`: an error of RFC 3261's grammar made it legal (RFC 5118 §4.5).
pub(super) fn parse_v6(bytes: &[u8]) -> Option<Ipv6Addr> {
    let text = std::str::from_utf8(bytes).ok()?;
    // A zone (`%eth0`) is of no use to a peer; Ipv6Addr refuses it.
    match text.find(":::") {
        None => text.parse().ok(),
        Some(at) => format!("{}{}", &text[..at], &text[at + 1..]).parse().ok(),
    }
}

/// Host and maybe port at the start of `bytes`: the host, the port and where they end. White space around the colon is
/// allowed where `spaced` (Via).
pub(super) fn host_port(bytes: &[u8], spaced: bool) -> Result<(Host<'_>, Option<u16>, usize), ParseError> {
    let host_end = match bytes.first() {
        Some(b'[') => memchr::memchr(b']', bytes).ok_or(Problem::Host.at(0))? + 1,
        _ => bytes.iter().position(|b| !lex::is_host_byte(*b)).unwrap_or(bytes.len()),
    };
    let host = Host::parse(&bytes[..host_end])?;
    let after = if spaced { lex::skip_space(bytes, host_end) } else { host_end };
    if bytes.get(after) != Some(&b':') {
        return Ok((host, None, after));
    }
    let start = if spaced { lex::skip_space(bytes, after + 1) } else { after + 1 };
    let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    let port = lex::number(&bytes[start..start + digits]).and_then(|n| u16::try_from(n).ok());
    let port = port.ok_or(Problem::Port.at(start))?;
    let end = if spaced { lex::skip_space(bytes, start + digits) } else { start + digits };
    Ok((host, Some(port), end))
}

impl<'a> Uri<'a> {
    /// Parses a whole URI, without angle brackets.
    pub fn parse(raw: &'a [u8]) -> Result<Uri<'a>, ParseError> {
        let colon = memchr::memchr(b':', raw).ok_or(Problem::Uri.at(0))?;
        let rest = &raw[colon + 1..];
        let scheme = scheme(&raw[..colon])?;
        let parsed = match scheme {
            Scheme::Sip | Scheme::Sips => sip(raw, scheme, rest),
            Scheme::Tel => tel(raw, rest),
            Scheme::Urn | Scheme::Other => opaque(raw, scheme, rest),
        };
        parsed.map_err(|e| e.shifted(colon + 1))
    }

    pub fn is_sip(&self) -> bool {
        matches!(self.scheme, Scheme::Sip | Scheme::Sips)
    }

    /// The scheme as written.
    pub fn scheme_name(&self) -> &'a [u8] {
        &self.raw[..memchr::memchr(b':', self.raw).unwrap_or(0)]
    }

    /// The user with its escapes resolved; empty when there is none.
    pub fn user_decoded(&self) -> Cow<'a, [u8]> {
        lex::percent_decode(self.user.unwrap_or(b""))
    }

    /// The value of a URI parameter, escapes as received; empty if it has none.
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        self.params.get(name)
    }

    /// The `transport` parameter as written.
    pub fn transport(&self) -> Option<&'a [u8]> {
        self.param("transport")
    }

    /// Loose routing (RFC 3261 §19.1.1).
    pub fn is_loose(&self) -> bool {
        self.params.has("lr")
    }

    /// Header fields in the URI: names and values with their escapes resolved.
    pub fn header_fields(&self) -> impl Iterator<Item = (Cow<'a, [u8]>, Cow<'a, [u8]>)> + use<'a> {
        self.headers.split(|b| *b == b'&').filter(|h| !h.is_empty()).map(|header| {
            let equals = memchr::memchr(b'=', header).unwrap_or(header.len());
            let value = header.get(equals + 1..).unwrap_or(b"");
            (lex::percent_decode(&header[..equals]), lex::percent_decode(value))
        })
    }

    /// Whether both name the same resource: RFC 3261 §19.1.4 for SIP, RFC 3966 §4 for `tel`, else byte by byte.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Sip | Scheme::Sips => {
                same_escaped(self.user, other.user)
                    && same_escaped(self.password, other.password)
                    && self.host.same(&other.host)
                    && self.port == other.port
                    && same_params(&self.params, &other.params)
                    && same_headers(self, other)
            }
            Scheme::Tel => {
                digits(self.user).eq(digits(other.user)) && tel_params(&self.params) == tel_params(&other.params)
            }
            Scheme::Urn | Scheme::Other => self.raw.eq_ignore_ascii_case(other.raw),
        }
    }

    /// A text that is equal for URIs a registrar must take for the same contact. Equivalence (§19.1.4) is not transitive,
    /// so no key can have all of it: parameters it ignores when one side lacks them are left out.
    pub fn comparable(&self) -> String {
        let mut key = String::with_capacity(self.raw.len() + 8);
        match self.scheme {
            Scheme::Sip | Scheme::Sips => self.write_comparable(&mut key),
            Scheme::Tel => {
                key.push_str("tel:");
                key.extend(digits(self.user).map(char::from));
                for (name, value) in tel_params(&self.params) {
                    let _ = write!(key, ";{}={}", lossy(&name), lossy(&value));
                }
            }
            Scheme::Urn | Scheme::Other => key.push_str(&lossy(self.raw)),
        }
        key
    }

    fn write_comparable(&self, key: &mut String) {
        key.push_str(if self.scheme == Scheme::Sips { "sips:" } else { "sip:" });
        if let Some(user) = self.user {
            push_normal(key, user);
            if let Some(password) = self.password {
                key.push(':');
                push_normal(key, password);
            }
            key.push('@');
        }
        match self.host {
            Host::Name(name) => key.push_str(&lossy(undotted(name)).to_ascii_lowercase()),
            host => {
                let _ = write!(key, "{host}");
            }
        }
        if let Some(port) = self.port {
            let _ = write!(key, ":{port}");
        }
        for name in DECISIVE {
            if let Some(value) = self.params.get(name) {
                let _ = write!(key, ";{name}={}", lossy(value).to_ascii_lowercase());
            }
        }
    }
}

/// URI parameters that make a difference even when only one side has them (RFC 3261 §19.1.4), in a fixed order.
const DECISIVE: [&str; 5] = ["maddr", "method", "transport", "ttl", "user"];

/// Most URI parameters that are compared one by one.
const COMPARED_PARAMS: usize = 64;

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Pushes `escaped` with every escape resolved that may be, so that `%61` and `a` are the same; reserved characters and
/// bytes that are not ASCII come out as upper-case escapes.
fn push_normal(key: &mut String, escaped: &[u8]) {
    let mut at = 0;
    while at < escaped.len() {
        let hex = |i: usize| escaped.get(i).copied().and_then(lex::hex_digit);
        let (byte, was_escaped) = match (escaped[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => (high << 4 | low, true),
            (byte, ..) => (byte, false),
        };
        at += if was_escaped { 3 } else { 1 };
        let plain = byte.is_ascii_alphanumeric() || b"-_.!~*'()".contains(&byte);
        if plain || (!was_escaped && byte.is_ascii()) {
            key.push(char::from(byte));
        } else {
            let _ = write!(key, "%{byte:02X}");
        }
    }
}

fn scheme(name: &[u8]) -> Result<Scheme, ParseError> {
    let known: [(&[u8], Scheme); 4] =
        [(b"sip", Scheme::Sip), (b"sips", Scheme::Sips), (b"tel", Scheme::Tel), (b"urn", Scheme::Urn)];
    if let Some((_, scheme)) = known.iter().find(|(text, _)| text.eq_ignore_ascii_case(name)) {
        return Ok(*scheme);
    }
    let valid = name.first().is_some_and(u8::is_ascii_alphabetic)
        && name.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b));
    if valid { Ok(Scheme::Other) } else { Err(Problem::Uri.at(0)) }
}

fn sip<'a>(raw: &'a [u8], scheme: Scheme, rest: &'a [u8]) -> Result<Uri<'a>, ParseError> {
    let at = memchr::memchr(b'@', rest);
    let (user, password) = match at {
        None => (None, None),
        Some(at) => {
            let userinfo = &rest[..at];
            if userinfo.is_empty() || !lex::is_user(userinfo) {
                return Err(Problem::Uri.at(0));
            }
            match memchr::memchr(b':', userinfo) {
                Some(0) => return Err(Problem::Uri.at(0)),
                Some(colon) => (Some(&userinfo[..colon]), Some(&userinfo[colon + 1..])),
                None => (Some(userinfo), None),
            }
        }
    };
    let host_start = at.map_or(0, |at| at + 1);
    let (host, port, length) = host_port(&rest[host_start..], false).map_err(|e| e.shifted(host_start))?;
    let tail_start = host_start + length;
    let (params, headers) = tail(&rest[tail_start..]).map_err(|e| e.shifted(tail_start))?;
    Ok(Uri { raw, scheme, user, password, host, port, params, headers })
}

/// `;parameters?headers`, both optional.
fn tail(tail: &[u8]) -> Result<(Params<'_>, &[u8]), ParseError> {
    if tail.is_empty() {
        return Ok((Params::default(), b""));
    }
    let question = memchr::memchr(b'?', tail).unwrap_or(tail.len());
    if let Some(at) = tail.iter().position(|b| *b <= b' ' || *b == 0x7f || *b == b'<' || *b == b'>') {
        return Err(Problem::Uri.at(at));
    }
    let params = Params::parse(&tail[..question])?;
    Ok((params, tail.get(question + 1..).unwrap_or(b"")))
}

fn tel<'a>(raw: &'a [u8], rest: &'a [u8]) -> Result<Uri<'a>, ParseError> {
    let end = memchr::memchr(b';', rest).unwrap_or(rest.len());
    let number = &rest[..end];
    let valid = |b: &u8| b.is_ascii_hexdigit() || b"+-.()*#".contains(b);
    if number.is_empty() || !number.iter().all(valid) {
        return Err(Problem::Uri.at(0));
    }
    let (params, _) = tail(&rest[end..]).map_err(|e| e.shifted(end))?;
    let (host, headers) = (Host::Name(b""), &rest[..0]);
    Ok(Uri { raw, scheme: Scheme::Tel, user: Some(number), password: None, host, port: None, params, headers })
}

fn opaque<'a>(raw: &'a [u8], scheme: Scheme, rest: &'a [u8]) -> Result<Uri<'a>, ParseError> {
    if rest.is_empty() {
        return Err(Problem::Uri.at(0));
    }
    if let Some(at) = rest.iter().position(|b| *b <= b' ' || b"<>\"".contains(b)) {
        return Err(Problem::Uri.at(at));
    }
    let (host, params) = (Host::Name(b""), Params::default());
    Ok(Uri { raw, scheme, user: None, password: None, host, port: None, params, headers: b"" })
}

fn same_escaped(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) if a == b => true,
        (Some(a), Some(b)) => {
            let (mut left, mut right) = (String::new(), String::new());
            push_normal(&mut left, a);
            push_normal(&mut right, b);
            left == right
        }
        _ => false,
    }
}

/// Parameters both have must match; of those only one has, the decisive ones make a difference. Of one that is there twice
/// the first counts.
fn same_params(a: &Params<'_>, b: &Params<'_>) -> bool {
    let first = |params: &Params<'_>, name: &[u8]| {
        let param = params.iter().find(|p| p.name.eq_ignore_ascii_case(name))?;
        Some(lex::percent_decode(param.value.unwrap_or(b"")).to_ascii_lowercase())
    };
    let one_way = |a: &Params<'_>, b: &Params<'_>| {
        a.iter().all(|p| match first(b, p.name) {
            Some(value) => first(a, p.name) == Some(value),
            None => !DECISIVE.iter().any(|name| name.as_bytes().eq_ignore_ascii_case(p.name)),
        })
    };
    // Each is looked up in the other: an endless list of parameters is compared as it is.
    let many = |params: &Params<'_>| params.iter().nth(COMPARED_PARAMS).is_some();
    if many(a) || many(b) { a.raw() == b.raw() } else { one_way(a, b) && one_way(b, a) }
}

/// Header components are never ignored.
fn same_headers(a: &Uri<'_>, b: &Uri<'_>) -> bool {
    let sorted = |uri: &Uri<'_>| {
        let lower = |(name, value): (Cow<'_, [u8]>, Cow<'_, [u8]>)| (name.to_ascii_lowercase(), value.into_owned());
        let mut all: Vec<_> = uri.header_fields().map(lower).collect();
        all.sort();
        all
    };
    a.headers == b.headers || sorted(a) == sorted(b)
}

/// A telephone number without its visual separators.
fn digits<'a>(number: Option<&'a [u8]>) -> impl Iterator<Item = u8> + 'a {
    number.unwrap_or(b"").iter().filter(|b| !b"-.()".contains(b)).map(u8::to_ascii_lowercase)
}

fn tel_params(params: &Params<'_>) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all: Vec<_> =
        params.iter().map(|p| (p.name.to_ascii_lowercase(), p.value.unwrap_or(b"").to_ascii_lowercase())).collect();
    all.sort();
    all
}

#[cfg(test)]
#[path = "uri_tests.rs"]
mod tests;
