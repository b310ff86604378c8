//! A description to bytes, in the order of RFC 8866 §5, CRLF line ends.

use super::text::Text;
use super::{Address, Attribute, Connection, Direction, Format, FormatId, Media, Sdp};
use bytes::Bytes;
use std::io::Write;

impl Sdp {
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(128 + 384 * self.media.len());
        self.write(&mut out);
        Bytes::from(out)
    }

    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"v=0\r\n");
        if let Some(o) = &self.origin {
            line(out, b"o=", &[&o.username, b" ", &o.session_id, b" ", &o.version, b" ", &o.address]);
        }
        line(out, b"s=", &[self.name.as_deref().unwrap_or(b"-")]);
        if let Some(c) = &self.connection {
            connection_line(out, c);
        }
        bandwidth(out, &self.bandwidth);
        line(out, b"t=", &[self.time.as_deref().unwrap_or(b"0 0")]);
        attributes(out, &self.attributes);
        direction(out, self.direction);
        for media in &self.media {
            media.write(out);
        }
    }
}

impl Media {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"m=");
        out.extend_from_slice(&self.kind);
        out.push(b' ');
        number(out, u64::from(self.port));
        if self.ports != 1 {
            out.push(b'/');
            number(out, u64::from(self.ports));
        }
        out.push(b' ');
        out.extend_from_slice(&self.proto);
        for format in &self.formats {
            out.push(b' ');
            format_id(out, &format.id);
        }
        out.extend_from_slice(b"\r\n");
        if let Some(c) = &self.connection {
            connection_line(out, c);
        }
        bandwidth(out, &self.bandwidth);
        for format in &self.formats {
            format.write(out);
        }
        if let Some(rtcp) = &self.rtcp {
            out.extend_from_slice(b"a=rtcp:");
            number(out, u64::from(rtcp.port));
            if let Some(c) = &rtcp.connection {
                out.push(b' ');
                connection(out, c);
            }
            out.extend_from_slice(b"\r\n");
        }
        for (name, value) in [(&b"a=ptime:"[..], self.ptime), (b"a=maxptime:", self.maxptime)] {
            if let Some(value) = value {
                out.extend_from_slice(name);
                number(out, u64::from(value));
                out.extend_from_slice(b"\r\n");
            }
        }
        attributes(out, &self.attributes);
        direction(out, self.direction);
    }
}

impl Format {
    fn write(&self, out: &mut Vec<u8>) {
        if let Some(codec) = &self.codec {
            out.extend_from_slice(b"a=rtpmap:");
            format_id(out, &self.id);
            out.push(b' ');
            out.extend_from_slice(&codec.encoding);
            out.push(b'/');
            number(out, u64::from(codec.clock));
            if codec.channels > 1 {
                out.push(b'/');
                number(out, u64::from(codec.channels));
            }
            out.extend_from_slice(b"\r\n");
        }
        let fmtp = self.fmtp.iter().map(|value| (&b"a=fmtp:"[..], value));
        let feedback = self.feedback.iter().map(|value| (&b"a=rtcp-fb:"[..], value));
        for (name, value) in fmtp.chain(feedback) {
            out.extend_from_slice(name);
            format_id(out, &self.id);
            out.push(b' ');
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }
}

fn format_id(out: &mut Vec<u8>, id: &FormatId) {
    match id {
        FormatId::Number(n) => number(out, u64::from(*n)),
        FormatId::Token(text) => out.extend_from_slice(text),
    }
}

fn connection_line(out: &mut Vec<u8>, c: &Connection) {
    out.extend_from_slice(b"c=");
    connection(out, c);
    out.extend_from_slice(b"\r\n");
}

fn connection(out: &mut Vec<u8>, c: &Connection) {
    match &c.address {
        Address::Ip(ip) => {
            out.extend_from_slice(if ip.is_ipv6() { b"IN IP6 " } else { b"IN IP4 " });
            // Writing to a Vec can't fail.
            let _ = write!(out, "{ip}");
        }
        Address::Name { name, ip6 } => {
            out.extend_from_slice(if *ip6 { b"IN IP6 " } else { b"IN IP4 " });
            out.extend_from_slice(name);
        }
        Address::Other(text) => out.extend_from_slice(text),
    }
    out.extend_from_slice(&c.suffix);
}

fn bandwidth(out: &mut Vec<u8>, values: &[Text]) {
    for value in values {
        line(out, b"b=", &[value]);
    }
}

fn attributes(out: &mut Vec<u8>, attributes: &[Attribute]) {
    for attribute in attributes {
        match &attribute.value {
            Some(value) => line(out, b"a=", &[&attribute.name, b":", value]),
            None => line(out, b"a=", &[&attribute.name]),
        }
    }
}

fn direction(out: &mut Vec<u8>, direction: Option<Direction>) {
    if let Some(direction) = direction {
        line(out, b"a=", &[direction.text().as_bytes()]);
    }
}

fn line(out: &mut Vec<u8>, start: &[u8], parts: &[&[u8]]) {
    out.extend_from_slice(start);
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

fn number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}
