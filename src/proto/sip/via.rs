//! Via (RFC 3261 §20.42, RFC 3581).

use super::error::{ParseError, Problem};
use super::lex::{self, Params};
use super::uri::{self, Host};
use std::net::IpAddr;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Via<'a> {
    /// The value as received.
    pub raw: &'a [u8],
    /// `UDP`, `TCP`, `TLS`, `WS`, in the case it was written.
    pub transport: &'a [u8],
    pub host: Host<'a>,
    pub port: Option<u16>,
    pub branch: Option<&'a [u8]>,
    /// As received; `received_ip` reads it.
    pub received: Option<&'a [u8]>,
    pub rport: Option<Rport>,
    pub maddr: Option<&'a [u8]>,
    pub ttl: Option<u8>,
    pub params: Params<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rport {
    /// `rport` without a value: please fill it in.
    Asked,
    Port(u16),
}

/// What a branch of RFC 3261 starts with (§8.1.1.7).
pub const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

impl<'a> Via<'a> {
    /// Parses one element of a Via list.
    pub fn parse(value: &'a [u8]) -> Result<Via<'a>, ParseError> {
        let raw = lex::trim(value);
        let transport_start = match raw.strip_prefix(b"SIP/2.0/") {
            Some(_) => 8,
            None => spaced_protocol(raw)?,
        };
        let transport_end = lex::skip_token(raw, transport_start);
        let host_start = lex::skip_space(raw, transport_end);
        if transport_end == transport_start || host_start == transport_end {
            return Err(Problem::Via.at(transport_end));
        }
        let (host, port, length) = uri::host_port(&raw[host_start..], true).map_err(|e| e.shifted(host_start))?;
        let transport = &raw[transport_start..transport_end];
        let mut via = Via {
            raw,
            transport,
            host,
            port,
            branch: None,
            received: None,
            rport: None,
            maddr: None,
            ttl: None,
            params: Params::default(),
        };
        let params_at = host_start + length;
        let params = Params::visit(&raw[params_at..], |p| via.note(p)).map_err(|e| e.shifted(params_at))?;
        via.params = params;
        Ok(via)
    }

    fn note(&mut self, param: lex::Param<'a>) {
        let value = param.value.unwrap_or(b"");
        let is = |name: &[u8]| param.name.eq_ignore_ascii_case(name);
        match param.name.len() {
            6 if is(b"branch") => self.branch = Some(value),
            5 if is(b"rport") => {
                let port = lex::number(value).and_then(|n| u16::try_from(n).ok());
                self.rport = Some(port.map_or(Rport::Asked, Rport::Port));
            }
            8 if is(b"received") => self.received = Some(value),
            5 if is(b"maddr") => self.maddr = Some(value),
            3 if is(b"ttl") => self.ttl = lex::number(value).and_then(|n| u8::try_from(n).ok()),
            _ => {}
        }
    }

    /// The address of `received`, with or without brackets around an IPv6 one (RFC 5118 §4.5).
    pub fn received_ip(&self) -> Option<IpAddr> {
        let text = self.received?;
        match text {
            [b'[', inner @ .., b']'] => uri::parse_v6(inner).map(IpAddr::V6),
            _ => uri::parse_v4(text).map(IpAddr::V4).or_else(|| uri::parse_v6(text).map(IpAddr::V6)),
        }
    }

    /// The branch if it identifies a transaction: with RFC 3261's cookie and more.
    pub fn rfc3261_branch(&self) -> Option<&'a [u8]> {
        let branch = self.branch?;
        let cookie = branch.get(..MAGIC_COOKIE.len())?;
        (cookie.eq_ignore_ascii_case(MAGIC_COOKIE) && branch.len() > MAGIC_COOKIE.len()).then_some(branch)
    }

    /// The part before the parameters: protocol and sent-by.
    pub fn sent(&self) -> &'a [u8] {
        lex::trim(&self.raw[..self.raw.len() - self.params.raw().len()])
    }
}

/// `SIP / 2.0 / transport` with white space around the slashes: where the transport starts.
fn spaced_protocol(raw: &[u8]) -> Result<usize, ParseError> {
    let name_end = lex::skip_token(raw, 0);
    let slash = lex::skip_space(raw, name_end);
    let version_start = lex::skip_space(raw, slash + 1);
    let version_end = lex::skip_token(raw, version_start);
    let second = lex::skip_space(raw, version_end);
    let slashes = raw.get(slash) == Some(&b'/') && raw.get(second) == Some(&b'/');
    if !slashes || !raw[..name_end].eq_ignore_ascii_case(b"SIP") || &raw[version_start..version_end] != b"2.0" {
        return Err(Problem::Via.at(0));
    }
    Ok(lex::skip_space(raw, second + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_form() {
        let via =
            Via::parse(b"SIP/2.0/UDP 192.168.1.5:5062;rport;branch=z9hG4bK776asdhds;received=[2001:db8::1]").unwrap();
        assert_eq!(via.transport, b"UDP");
        assert_eq!((via.host, via.port), (Host::V4([192, 168, 1, 5].into()), Some(5062)));
        assert_eq!(via.rfc3261_branch(), Some(&b"z9hG4bK776asdhds"[..]));
        assert_eq!(via.rport, Some(Rport::Asked));
        assert_eq!(via.received_ip(), Some("2001:db8::1".parse().unwrap()));
        assert_eq!(via.sent(), b"SIP/2.0/UDP 192.168.1.5:5062");
    }

    #[test]
    fn white_space_folds_and_rarities() {
        let via = Via::parse(
            b"SIP  / 2.0\r\n /UDP\r\n    192.0.2.2 : 4000 ; branch =\r\n x;ttl=16; maddr=224.2.0.1 ;rport=99",
        )
        .unwrap();
        assert_eq!((via.transport, via.port, via.ttl), (&b"UDP"[..], Some(4000), Some(16)));
        assert_eq!((via.branch, via.rfc3261_branch()), (Some(&b"x"[..]), None));
        assert_eq!((via.maddr, via.rport), (Some(&b"224.2.0.1"[..]), Some(Rport::Port(99))));
        let via = Via::parse(b"SIP/2.0/TLS-SCTP [2001:db8::9:1];received=2001:db8::9:255;branch=z9hG4bK").unwrap();
        assert_eq!(via.received_ip(), Some("2001:db8::9:255".parse().unwrap()));
        assert_eq!(via.rfc3261_branch(), None);
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/7.0/UDP a",
            "SIP/2.0 UDP a",
            "HTTP/2.0/UDP a",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP 192.0.2.15;;",
            "SIP/2.0/UDP a:70000",
            "SIP/2.0/UDP [::1",
            "SIP/2.0/UDP a:;x",
            "SIP",
            "SIP/",
            "SIP / 2.0 /",
        ] {
            assert!(Via::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
