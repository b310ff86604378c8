//! Bytes to a description. Generous: a line that can't be read is left out; only what can't be answered sensibly (too
//! long, too many m-lines, no SDP at all) is an error.

use super::codec::Codec;
use super::text::Text;
use super::{Address, Attribute, Connection, Direction, Format, FormatId, Media, Origin, Rtcp, Sdp};
use crate::base::limits::{BODY_BYTES, FORMATS, MEDIA_LINES};
use bytes::Bytes;
use std::net::IpAddr;

/// Why a body is not a description we can work with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SdpError {
    #[error("the body is no SDP: it has no v= and no m= line")]
    NotSdp,
    #[error("the SDP's version is not 0 (RFC 8866 §5.1)")]
    Version,
    #[error("the SDP is longer than {BODY_BYTES} bytes")]
    TooLong,
    #[error("the SDP has more than {MEDIA_LINES} media lines")]
    TooManyMediaLines,
}

impl Sdp {
    /// Reads a body. It is copied once, so the message it came in may go.
    ///
    /// # Errors
    /// Too long, too many m-lines, another version, or no SDP at all.
    pub fn parse(body: &[u8]) -> Result<Sdp, SdpError> {
        if body.len() > BODY_BYTES {
            return Err(SdpError::TooLong);
        }
        let whole = Bytes::copy_from_slice(body);
        let mut parser = Parser { whole: &whole, sdp: Sdp::default(), any: false };
        let mut rest = &whole[..];
        while !rest.is_empty() {
            let end = memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
            parser.line(&rest[..end])?;
            rest = &rest[(end + 1).min(rest.len())..];
        }
        if !parser.any {
            return Err(SdpError::NotSdp);
        }
        for media in &mut parser.sdp.media {
            name_static_formats(media);
        }
        Ok(parser.sdp)
    }
}

struct Parser<'a> {
    whole: &'a Bytes,
    sdp: Sdp,
    /// A v= or m= line was met.
    any: bool,
}

impl Parser<'_> {
    fn text(&self, part: &[u8]) -> Text {
        Text::within(self.whole, part)
    }

    fn line(&mut self, line: &[u8]) -> Result<(), SdpError> {
        let Some((kind, rest)) = line.split_first() else { return Ok(()) };
        // `m =video` was seen in the wild and in RFC 4475.
        let Some(value) = rest.trim_ascii_start().strip_prefix(b"=") else { return Ok(()) };
        let value = value.trim_ascii();
        match kind {
            b'v' => {
                self.any = true;
                if !value.is_empty() && value.iter().any(|b| *b != b'0') {
                    return Err(SdpError::Version);
                }
            }
            b'm' => {
                self.any = true;
                if self.sdp.media.len() == MEDIA_LINES {
                    return Err(SdpError::TooManyMediaLines);
                }
                let media = self.media(value);
                // Most have one line, and the description lives as long as its call.
                self.sdp.media.reserve_exact(1);
                self.sdp.media.push(media);
            }
            b'o' => self.sdp.origin = self.origin(value).or(self.sdp.origin.take()),
            b's' if self.sdp.name.is_none() => self.sdp.name = Some(self.text(value)),
            b't' if self.sdp.time.is_none() => self.sdp.time = Some(self.text(value)),
            b'c' => {
                let connection = self.connection(value);
                match self.sdp.media.last_mut() {
                    // A line may have several c= (hierarchical multicast); the first says where.
                    Some(media) => media.connection = media.connection.take().or(connection),
                    None => self.sdp.connection = self.sdp.connection.take().or(connection),
                }
            }
            b'b' => {
                let value = self.text(value);
                match self.sdp.media.last_mut() {
                    Some(media) => media.bandwidth.push(value),
                    None => self.sdp.bandwidth.push(value),
                }
            }
            b'a' => self.attribute(value),
            _ => {}
        }
        Ok(())
    }

    /// From the right, since user names with spaces occur.
    fn origin(&self, value: &[u8]) -> Option<Origin> {
        let mut rest = value;
        let mut last = || {
            let at = rest.iter().rposition(|b| *b == b' ')?;
            let word = &rest[at + 1..];
            rest = rest[..at].trim_ascii_end();
            Some(word)
        };
        let (_, _, network) = (last()?, last()?, last()?);
        let address_at = network.as_ptr() as usize - value.as_ptr() as usize;
        let (version, session_id) = (last()?, last()?);
        Some(Origin {
            username: self.text(rest),
            session_id: self.text(session_id),
            version: self.text(version),
            address: self.text(&value[address_at..]),
        })
    }

    fn connection(&self, value: &[u8]) -> Option<Connection> {
        let mut words = words(value);
        let (network, family, target) = (words.next()?, words.next(), words.next());
        let other = || Connection { address: Address::Other(self.text(value)), suffix: Text::default() };
        let (Some(family), Some(target)) = (family, target) else { return Some(other()) };
        let ip6 = family.eq_ignore_ascii_case(b"IP6");
        if !network.eq_ignore_ascii_case(b"IN") || !(ip6 || family.eq_ignore_ascii_case(b"IP4")) {
            return Some(other());
        }
        let slash = target.iter().position(|b| *b == b'/').unwrap_or(target.len());
        let (host, suffix) = target.split_at(slash);
        let address = match std::str::from_utf8(host).ok().and_then(|h| h.parse::<IpAddr>().ok()) {
            // `IN IP4 2001:db8::1` says one thing and means the other; the address is what counts.
            Some(ip) => Address::Ip(ip),
            None => Address::Name { name: self.text(host), ip6 },
        };
        Some(Connection { address, suffix: self.text(suffix) })
    }

    /// A line that lacks a word still holds its place; what is missing is made up, and its port is 0.
    fn media(&self, value: &[u8]) -> Media {
        let mut words = words(value);
        let kind = words.next().map_or(Text::fixed("audio"), |w| Text::word(self.whole, w));
        let (port, ports) = words.next().and_then(port_and_count).unwrap_or((0, 1));
        let proto = words.next().map_or(Text::fixed("RTP/AVP"), |w| Text::word(self.whole, w));
        let rtp = proto.get(..4).is_some_and(|p| p.eq_ignore_ascii_case(b"RTP/")) || proto.is("UDP/TLS/RTP/SAVPF");
        let mut formats: Vec<Format> = Vec::with_capacity(8);
        for word in words.take(FORMATS) {
            let number = decimal::<u8>(word).filter(|n| rtp && *n < 128);
            let id = number.map_or_else(|| FormatId::Token(self.text(word)), FormatId::Number);
            if !formats.iter().any(|format| format.id == id) {
                formats.push(Format::new(id));
            }
        }
        formats.shrink_to_fit();
        let port = if formats.is_empty() { 0 } else { port };
        if formats.is_empty() {
            formats.push(Format::new(if rtp { FormatId::Number(0) } else { FormatId::Token(Text::fixed("0")) }));
        }
        Media {
            kind,
            port,
            ports,
            proto,
            formats,
            connection: None,
            bandwidth: Vec::new(),
            direction: None,
            rtcp: None,
            ptime: None,
            maxptime: None,
            attributes: Vec::new(),
        }
    }

    fn attribute(&mut self, line: &[u8]) {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(at) => (line[..at].trim_ascii_end(), Some(line[at + 1..].trim_ascii_start())),
            None => (line, None),
        };
        if name.is_empty() || name.contains(&b' ') || self.known_attribute(name, value) {
            return;
        }
        let attribute = Attribute { name: self.text(name), value: value.map(|v| self.text(v)) };
        match self.sdp.media.last_mut() {
            Some(media) => media.attributes.push(attribute),
            None => self.sdp.attributes.push(attribute),
        }
    }

    /// An attribute with a place of its own. False when it has none, or can't be read and is kept as it is.
    fn known_attribute(&mut self, name: &[u8], value: Option<&[u8]>) -> bool {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let Some(value) = value else {
            let Some(direction) = direction(name) else { return false };
            match self.sdp.media.last_mut() {
                Some(media) => media.direction = Some(direction),
                None => self.sdp.direction = Some(direction),
            }
            return true;
        };
        let rtcp = if is(b"rtcp") { self.rtcp(value) } else { None };
        let Some(media) = self.sdp.media.last_mut() else { return false };
        if is(b"rtpmap") {
            format_attribute(media, value, |format, rest| {
                format.codec = format.codec.take().or_else(|| codec(self.whole, rest));
            });
            return true;
        }
        if is(b"fmtp") {
            format_attribute(media, value, |format, rest| {
                format.fmtp = format.fmtp.take().or_else(|| Some(Text::within(self.whole, rest)));
            });
            return true;
        }
        if is(b"rtcp-fb") {
            return format_attribute(media, value, |format, rest| {
                format.feedback.push(Text::within(self.whole, rest));
            });
        }
        if is(b"ptime") {
            return set_once(&mut media.ptime, leading_number(value));
        }
        if is(b"maxptime") {
            return set_once(&mut media.maxptime, leading_number(value));
        }
        if rtcp.is_some() {
            media.rtcp = rtcp;
            return true;
        }
        false
    }

    fn rtcp(&self, value: &[u8]) -> Option<Rtcp> {
        let end = value.iter().position(|b| *b == b' ').unwrap_or(value.len());
        let connection = self.connection(value[end..].trim_ascii());
        Some(Rtcp { port: decimal(&value[..end])?, connection })
    }
}

/// What `rtpmap:96 opus/48000` and the like say of a format. False when the m-line has no such format: an rtpmap of it
/// is about nothing, `rtcp-fb:* nack` is about all.
fn format_attribute(media: &mut Media, value: &[u8], take: impl FnOnce(&mut Format, &[u8])) -> bool {
    let end = memchr::memchr(b' ', value).unwrap_or(value.len());
    let (token, rest) = (&value[..end], value[end..].trim_ascii_start());
    let number = decimal::<u8>(token);
    let format = media.formats.iter_mut().find(|format| match &format.id {
        FormatId::Number(n) => Some(*n) == number,
        FormatId::Token(text) => **text == *token,
    });
    let known = format.is_some();
    if let Some(format) = format {
        take(format, rest);
    }
    known
}

/// `PCMU/8000`. None for what names nothing: `0/8000` (Zultys), `LPC`.
fn codec(whole: &Bytes, value: &[u8]) -> Option<Codec> {
    let mut parts = value.split(|b| *b == b'/');
    let encoding = parts.next()?.trim_ascii();
    let clock = decimal(parts.next()?.trim_ascii())?;
    let channels = parts.next().and_then(|c| decimal(c.trim_ascii())).unwrap_or(1).max(1);
    let named = encoding.iter().any(u8::is_ascii_alphabetic) && !encoding.contains(&b' ');
    named.then(|| Codec { encoding: Text::word(whole, encoding), clock, channels })
}

fn name_static_formats(media: &mut Media) {
    for format in &mut media.formats {
        if let (FormatId::Number(number), None) = (&format.id, &format.codec) {
            format.codec = Codec::of_static(*number);
        }
    }
}

fn direction(name: &[u8]) -> Option<Direction> {
    use Direction::{Inactive, RecvOnly, SendOnly, SendRecv};
    [SendRecv, SendOnly, RecvOnly, Inactive].into_iter().find(|d| name.eq_ignore_ascii_case(d.text().as_bytes()))
}

fn set_once(slot: &mut Option<u32>, value: Option<u32>) -> bool {
    if slot.is_none() {
        *slot = value;
    }
    value.is_some()
}

/// `20`, and `20` of `20.5`.
fn leading_number(value: &[u8]) -> Option<u32> {
    let end = value.iter().position(|b| !b.is_ascii_digit()).unwrap_or(value.len());
    decimal(&value[..end])
}

fn port_and_count(word: &[u8]) -> Option<(u16, u16)> {
    let slash = word.iter().position(|b| *b == b'/').unwrap_or(word.len());
    let count = word.get(slash + 1..).and_then(decimal).unwrap_or(1);
    Some((decimal(&word[..slash])?, count))
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| matches!(b, b' ' | b'\t')).filter(|word| !word.is_empty())
}

/// Digits alone.
fn decimal<T: TryFrom<u32>>(digits: &[u8]) -> Option<T> {
    if digits.is_empty() {
        return None;
    }
    let mut value: u32 = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u32::from(digit))?;
    }
    T::try_from(value).ok()
}
