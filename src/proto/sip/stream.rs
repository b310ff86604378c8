//! Messages out of a byte stream (RFC 3261 §18.3), and the keep-alives between them (RFC 5626 §3.5.1).
//!
//! ```text
//!            CRLF            first byte of a message              blank line
//! (between) ──────► Pong  (between) ─────────────► (headers) ──────────────► (body) ──── all there ──► (between)
//!     └── CRLF CRLF ► Ping                             └── fault: one last message to refuse, then the error for ever
//! ```

use super::error::{ParseError, Problem};
use super::index::Index;
use super::lex;
use super::message::Message;
use super::name::Name;
use crate::base::limits;
use bytes::{Buf, Bytes, BytesMut};
use std::fmt;

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "handed on at once, never stored")]
pub enum Frame {
    Message(Message),
    /// A double CRLF: to be answered with [`PONG`].
    Ping,
    /// A single CRLF: the answer to our ping.
    Pong,
}

pub const PING: &[u8] = b"\r\n\r\n";
pub const PONG: &[u8] = b"\r\n";

/// Why a stream can't be read on: its connection must be closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StreamError {
    /// A message without one valid Content-Length: nobody knows where the next one starts.
    NoLength,
    /// A message longer than `limits::MESSAGE_BYTES`.
    TooLong,
    /// Not SIP.
    Garbage(ParseError),
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::NoLength => f.write_str("a message without one valid Content-Length"),
            StreamError::TooLong => write!(f, "a message longer than {} bytes", limits::MESSAGE_BYTES),
            StreamError::Garbage(error) => write!(f, "no SIP message: {error}"),
        }
    }
}

impl std::error::Error for StreamError {}

/// Cuts one connection's bytes into messages. Holds at most one message that is not whole yet.
#[derive(Default)]
pub struct Framer {
    buffer: BytesMut,
    /// How far the search for the end of the headers has come.
    scanned: usize,
    /// Headers whose body is not whole yet, and the message's full length.
    pending: Option<(Index, usize)>,
    /// The last thing taken was a lone CRLF, which may turn out to be the first half of a ping.
    half_ping: bool,
    failed: Option<StreamError>,
}

impl Framer {
    /// Where received bytes are to be appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether a message has begun and is not whole: a peer may not leave us like this for long.
    pub fn is_waiting(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// The next frame; None when more bytes are needed. After a message without usable Content-Length, which `validate`
    /// refuses, comes the error; an error stays.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, StreamError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.take().inspect_err(|error| self.failed = Some(*error))
    }

    fn take(&mut self) -> Result<Option<Frame>, StreamError> {
        if self.pending.is_none() {
            if let Some(frame) = self.keep_alive() {
                return Ok(Some(frame));
            }
            let Some(headers) = self.headers_end()? else { return Ok(None) };
            let mut index = Index::of_headers(&self.buffer[..headers]).map_err(StreamError::Garbage)?;
            self.scanned = 0;
            self.half_ping = false;
            let lengths = index.fields.iter().filter(|f| f.name == Name::ContentLength).count();
            match index.content_length_sent() {
                Some(body) if lengths == 1 => {
                    let total = headers.saturating_add(body as usize);
                    if total > limits::MESSAGE_BYTES {
                        return Err(StreamError::TooLong);
                    }
                    self.pending = Some((index, total));
                }
                _ => {
                    self.failed = Some(StreamError::NoLength);
                    index.note(Problem::ContentLength.at(headers));
                    let bytes = Bytes::copy_from_slice(&self.buffer[..headers]);
                    return Ok(Some(Frame::Message(Message { bytes, index })));
                }
            }
        }
        Ok(self.pending.take_if(|(_, total)| self.buffer.len() >= *total).map(|(mut index, total)| {
            // A copy of its own: whoever keeps the message does not keep the connection's whole buffer.
            let bytes = Bytes::copy_from_slice(&self.buffer[..total]);
            self.buffer.advance(total);
            index.close(total);
            Frame::Message(Message { bytes, index })
        }))
    }

    /// CRLFs between messages. A lone one is reported at once; if another follows, that one completes a ping.
    fn keep_alive(&mut self) -> Option<Frame> {
        if self.buffer.starts_with(PING) {
            self.buffer.advance(PING.len());
            self.half_ping = false;
            return Some(Frame::Ping);
        }
        // "\r\n\r" is a ping whose last byte is on its way.
        if !self.buffer.starts_with(PONG) || self.buffer.get(2) == Some(&b'\r') && self.buffer.len() == 3 {
            return None;
        }
        self.buffer.advance(PONG.len());
        self.half_ping = !self.half_ping;
        Some(if self.half_ping { Frame::Pong } else { Frame::Ping })
    }

    /// Where the blank line ends that ends the headers.
    fn headers_end(&mut self) -> Result<Option<usize>, StreamError> {
        match self.buffer.first() {
            None => return Ok(None),
            Some(b'\r') if self.buffer.len() < 4 => return Ok(None),
            Some(first) if !lex::is_token_byte(*first) => {
                return Err(StreamError::Garbage(Problem::StartLine.at(0)));
            }
            Some(_) => {}
        }
        while let Some(found) = memchr::memchr(b'\n', &self.buffer[self.scanned..]) {
            let after = self.scanned + found + 1;
            match self.buffer.get(after..) {
                Some([b'\r', b'\n', ..]) => return Ok(Some(after + 2)),
                Some([b'\n', ..]) => return Ok(Some(after + 1)),
                // The line end after this one may still be on its way: look at it again.
                Some([] | [b'\r']) => {
                    self.scanned = after - 1;
                    return self.within_limit();
                }
                _ => self.scanned = after,
            }
        }
        self.scanned = self.buffer.len();
        self.within_limit()
    }

    fn within_limit(&self) -> Result<Option<usize>, StreamError> {
        if self.buffer.len() > limits::MESSAGE_BYTES { Err(StreamError::TooLong) } else { Ok(None) }
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
