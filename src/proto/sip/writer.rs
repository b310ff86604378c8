//! Writes requests and responses into one buffer.
//!
//! Invariant: a value can't end its line. CR, LF and NUL in a value become spaces, so nothing a peer sent can add a
//! header field to what we send; a folded value comes out on one line.
//!
//! Messages are written into one buffer a thread keeps, and copied out at their exact size: they are kept for
//! retransmission, and an allocation of a size that recurs is several times cheaper than a large one trimmed.

use super::message::Message;
use super::method::Method;
use super::name::Name;
use super::via::{Rport, Via};
use crate::base::limits;
use bytes::Bytes;
use std::cell::Cell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// Enough for most messages with their SDP: no reallocation while writing.
const CAPACITY: usize = 4_096;

thread_local! {
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    fn new() -> Writer {
        let mut out = BUFFER.take();
        out.reserve(CAPACITY);
        Writer { out }
    }

    /// Starts a request.
    pub fn request(method: Method<'_>, uri: impl AsRef<[u8]>) -> Writer {
        let mut writer = Writer::new();
        writer.clean(method.as_bytes());
        writer.out.push(b' ');
        // A space would end the Request-URI early; no URI of ours or of a parsed message has one.
        writer.out.extend(uri.as_ref().iter().filter(|b| **b > b' '));
        writer.out.extend_from_slice(b" SIP/2.0\r\n");
        writer
    }

    /// Starts a response.
    pub fn response(status: u16, phrase: &str) -> Writer {
        let mut writer = Writer::new();
        writer.out.extend_from_slice(b"SIP/2.0 ");
        writer.number(u64::from(status));
        writer.out.push(b' ');
        writer.clean(phrase.as_bytes());
        writer.out.extend_from_slice(b"\r\n");
        writer
    }

    /// Starts a response to `request`, which came from `source`: Vias, From, To, Call-ID, CSeq, and Timestamp for a 100
    /// (RFC 3261 §8.2.6). The topmost Via gets `received` (§18.2.1) and `rport` (RFC 3581 §4). `to_tag` is added when
    /// To has none; a 100 needs none. What a faulty request lacks, its answer lacks too.
    pub fn reply_to(request: &Message, status: u16, phrase: &str, to_tag: Option<&[u8]>, source: SocketAddr) -> Writer {
        let mut writer = Writer::response(status, phrase);
        let mut vias = request.values(Name::Via);
        if let Some(top) = vias.next() {
            writer.top_via(top, source);
        }
        for via in vias {
            writer.header("Via", via);
        }
        if let Some(from) = request.header(Name::From) {
            writer.header("From", from);
        }
        if let Some(to) = request.header(Name::To) {
            writer.to(to, request, to_tag);
        }
        for (name, text) in [(Name::CallId, "Call-ID"), (Name::CSeq, "CSeq")] {
            if let Some(value) = request.header(name) {
                writer.header(text, value);
            }
        }
        if status == 100
            && let Some(timestamp) = request.header(Name::Timestamp)
        {
            writer.header("Timestamp", timestamp);
        }
        writer
    }

    fn to(&mut self, to: &[u8], request: &Message, tag: Option<&[u8]>) {
        self.out.extend_from_slice(b"To: ");
        self.clean(to);
        if let Some(tag) = tag
            && request.to().is_ok_and(|to| to.tag().is_none())
        {
            self.out.extend_from_slice(b";tag=");
            self.clean(tag);
        }
        self.out.extend_from_slice(b"\r\n");
    }

    fn top_via(&mut self, raw: &[u8], source: SocketAddr) {
        match Via::parse(raw) {
            Ok(via) if via.rport.is_some() || via.received.is_some() || via.host.ip() != Some(source.ip()) => {
                self.out.extend_from_slice(b"Via: ");
                self.clean(via.sent());
                self.via_params(&via, source);
                self.out.extend_from_slice(b"\r\n");
            }
            _ => {
                self.header("Via", raw);
            }
        }
    }

    /// The Via's parameters in their order, `rport` filled in, and `received` as we saw it, whatever the peer claimed.
    fn via_params(&mut self, via: &Via<'_>, source: SocketAddr) {
        for param in via.params.iter().filter(|p| !p.name.eq_ignore_ascii_case(b"received")) {
            self.out.push(b';');
            self.clean(param.name);
            if via.rport == Some(Rport::Asked) && param.name.eq_ignore_ascii_case(b"rport") {
                self.out.push(b'=');
                self.number(u64::from(source.port()));
            } else if let Some(value) = param.value {
                self.out.push(b'=');
                self.clean(value);
            }
        }
        self.out.extend_from_slice(b";received=");
        self.ip(source.ip());
    }

    /// Copies every Record-Route of the request (RFC 3261 §12.1.1).
    pub fn record_routes_of(&mut self, request: &Message) -> &mut Writer {
        for value in request.fields(Name::RecordRoute) {
            self.header("Record-Route", value);
        }
        self
    }

    /// Adds a header field. The name is ours, the value may be a peer's.
    #[inline]
    pub fn header(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Writer {
        self.name(name);
        self.clean(value.as_ref());
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a header field whose value is formatted in place.
    pub fn header_fmt(&mut self, name: &str, value: fmt::Arguments<'_>) -> &mut Writer {
        self.name(name);
        let start = self.out.len();
        // Writing into a Vec does not fail; a Display that does leaves a shorter value.
        let _ = std::io::Write::write_fmt(&mut self.out, value);
        self.clean_from(start);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Adds a header field whose value is a number.
    pub fn header_number(&mut self, name: &str, value: u64) -> &mut Writer {
        self.name(name);
        self.number(value);
        self.out.extend_from_slice(b"\r\n");
        self
    }

    /// Ends the message with a body.
    pub fn body(&mut self, content_type: &str, body: &[u8]) -> Bytes {
        self.header("Content-Type", content_type);
        self.header_number("Content-Length", body.len() as u64);
        self.out.extend_from_slice(b"\r\n");
        self.out.extend_from_slice(body);
        self.take()
    }

    /// Ends the message without a body.
    pub fn finish(&mut self) -> Bytes {
        self.out.extend_from_slice(b"Content-Length: 0\r\n\r\n");
        self.take()
    }

    fn take(&mut self) -> Bytes {
        let bytes = Bytes::copy_from_slice(&self.out);
        self.out.clear();
        if self.out.capacity() <= limits::MESSAGE_BYTES {
            BUFFER.set(std::mem::take(&mut self.out));
        }
        bytes
    }

    #[inline]
    fn name(&mut self, name: &str) {
        debug_assert!(super::lex::is_token(name.as_bytes()));
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b": ");
    }

    #[inline]
    fn clean(&mut self, value: &[u8]) {
        let start = self.out.len();
        self.out.extend_from_slice(value);
        self.clean_from(start);
    }

    #[inline]
    fn clean_from(&mut self, start: usize) {
        // Without branches, so that the compiler compares many bytes at a time; the few suspects are looked at one by one.
        if self.out[start..].iter().fold(false, |suspect, byte| suspect | (*byte <= b'\r')) {
            for byte in &mut self.out[start..] {
                if matches!(byte, b'\r' | b'\n' | 0) {
                    *byte = b' ';
                }
            }
        }
    }

    fn number(&mut self, mut value: u64) {
        let mut digits = [0u8; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.out.extend_from_slice(&digits[at..]);
    }

    fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => {
                for (i, octet) in ip.octets().into_iter().enumerate() {
                    if i > 0 {
                        self.out.push(b'.');
                    }
                    self.number(u64::from(octet));
                }
            }
            IpAddr::V6(ip) => {
                let _ = std::io::Write::write_fmt(&mut self.out, format_args!("{ip}"));
            }
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
