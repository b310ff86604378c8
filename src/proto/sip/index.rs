//! Where everything is in a message: one pass over the bytes, 8 bytes for each header field, no allocation for usual
//! messages.
//!
//! The pass fails only on bytes nobody could answer (no SIP start line, too long). The first fault of a message that can still
//! be read is kept as `flaw`, for `Message::validate`. Fields beyond `limits::HEADERS` are not indexed; that is a flaw.

use super::error::{ParseError, Problem};
use super::lex;
use super::name::Name;
use crate::base::limits;
use smallvec::SmallVec;

/// Fields kept without allocation; phones send 10 to 20.
const INLINE_FIELDS: usize = 24;

#[derive(Clone)]
pub struct Index {
    pub(super) start: StartLine,
    pub(super) fields: SmallVec<[Field; INLINE_FIELDS]>,
    /// A bit for each `Name` that occurs.
    present: u128,
    /// The body's first byte; the end of the blank line.
    body: u16,
    /// The end of the body; what follows in a datagram is ignored (RFC 3261 §18.3).
    end: u16,
    /// Content-Length as sent; None when absent or not a number.
    content_length: Option<u32>,
    flaw: Option<ParseError>,
}

/// A range of the message's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub start: u16,
    pub end: u16,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum StartLine {
    Request { method: Span, uri: Span },
    Response { status: u16, reason: Span },
}

/// One header field: its name starts at `start`; its value, without white space at its ends, is `value..end`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub start: u16,
    pub value: u16,
    pub end: u16,
    pub name: Name,
}

const _: () = assert!(size_of::<Field>() == 8 && limits::MESSAGE_BYTES <= u16::MAX as usize);

impl Span {
    /// The positions are within a message, whose length `Index` has checked to fit.
    fn new(start: usize, end: usize) -> Span {
        Span { start: start as u16, end: end as u16 }
    }

    #[inline]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(usize::from(self.start)..usize::from(self.end)).unwrap_or(b"")
    }
}

impl Field {
    #[inline]
    pub fn value_of(self, bytes: &[u8]) -> &[u8] {
        Span { start: self.value, end: self.end }.of(bytes)
    }

    /// The name as written.
    pub fn name_of(self, bytes: &[u8]) -> &[u8] {
        let line = bytes.get(usize::from(self.start)..usize::from(self.value)).unwrap_or(b"");
        &line[..lex::skip_token(line, 0)]
    }
}

impl Index {
    /// Indexes a datagram: header section, body, and maybe octets after it, which are ignored.
    pub fn of(bytes: &[u8]) -> Result<Index, ParseError> {
        let mut index = Index::of_headers(bytes)?;
        index.close(bytes.len());
        Ok(index)
    }

    /// Indexes the start line and the header section, which ends at a blank line or at the end of the bytes. The body is
    /// empty until `close`.
    pub(super) fn of_headers(bytes: &[u8]) -> Result<Index, ParseError> {
        if bytes.len() > limits::MESSAGE_BYTES {
            return Err(Problem::TooLong.at(limits::MESSAGE_BYTES));
        }
        let first = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).ok_or(Problem::Empty.at(0))?;
        let line = Line::at(bytes, first);
        let mut flaw = None;
        let start = start_line(bytes, first, line.end, &mut flaw)?;
        let mut index =
            Index { start, fields: SmallVec::new(), present: 0, body: 0, end: 0, content_length: None, flaw };
        let body = index.scan_fields(bytes, line.next);
        index.body = body as u16;
        index.end = index.body;
        Ok(index)
    }

    /// Fixes the body: as long as Content-Length says, else all that is left of `len` bytes.
    pub(super) fn close(&mut self, len: usize) {
        let available = len.saturating_sub(usize::from(self.body));
        let announced = self.content_length.map_or(available, |n| n as usize);
        if announced > available {
            self.note(Problem::Truncated.at(len));
        }
        self.end = self.body + announced.min(available).min(limits::MESSAGE_BYTES - usize::from(self.body)) as u16;
    }

    /// Reads header lines from `at`; returns where the body starts.
    fn scan_fields(&mut self, bytes: &[u8], mut at: usize) -> usize {
        while at < bytes.len() {
            let line = Line::at(bytes, at);
            if line.end == at {
                return line.next;
            }
            let (end, next) = unfolded_end(bytes, line);
            self.field(bytes, at, end);
            at = next;
        }
        // Some phones leave the blank line out when there is no body; a datagram that ends in mid-line was cut.
        if !bytes.ends_with(b"\n") {
            self.note(Problem::Unterminated.at(bytes.len()));
        }
        bytes.len()
    }

    fn field(&mut self, bytes: &[u8], start: usize, end: usize) {
        let name_end = lex::skip_token(bytes, start);
        let colon = if bytes.get(name_end) == Some(&b':') { name_end } else { lex::skip_space(bytes, name_end) };
        if name_end == start || colon >= end || bytes[colon] != b':' {
            return self.note(Problem::HeaderLine.at(start));
        }
        if self.fields.len() == limits::HEADERS {
            return self.note(Problem::TooManyHeaders.at(start));
        }
        let mut value = colon + 1;
        while value < end && lex::is_space(bytes[value]) {
            value += 1;
        }
        let mut value_end = end;
        while value_end > value && lex::is_space(bytes[value_end - 1]) {
            value_end -= 1;
        }
        let name = Name::of(&bytes[start..name_end]);
        if name == Name::ContentLength {
            self.content_length(&bytes[value..value_end], value);
        }
        self.present |= name.bit();
        self.fields.push(Field { start: start as u16, value: value as u16, end: value_end as u16, name });
    }

    fn content_length(&mut self, value: &[u8], at: usize) {
        match lex::number(value) {
            Some(_) if self.has(Name::ContentLength) => self.note(Problem::Repeated.at(at)),
            Some(n) => self.content_length = Some(n),
            None => self.note(Problem::ContentLength.at(at)),
        }
    }

    /// Keeps the first fault.
    pub(super) fn note(&mut self, flaw: ParseError) {
        self.flaw.get_or_insert(flaw);
    }

    #[inline]
    pub fn has(&self, name: Name) -> bool {
        self.present & name.bit() != 0
    }

    /// The first fault of the start line, the header lines or the body's length.
    pub fn flaw(&self) -> Option<ParseError> {
        self.flaw
    }

    /// Content-Length as sent; None when absent or not a number.
    pub fn content_length_sent(&self) -> Option<u32> {
        self.content_length
    }

    pub(super) fn body(&self) -> std::ops::Range<usize> {
        usize::from(self.body)..usize::from(self.end)
    }
}

/// A line's end without its line end, and where the next one starts. A lone LF ends a line too.
#[derive(Clone, Copy)]
struct Line {
    end: usize,
    next: usize,
}

impl Line {
    #[inline]
    fn at(bytes: &[u8], start: usize) -> Line {
        match memchr::memchr(b'\n', &bytes[start..]) {
            Some(n) if n > 0 && bytes[start + n - 1] == b'\r' => Line { end: start + n - 1, next: start + n + 1 },
            Some(n) => Line { end: start + n, next: start + n + 1 },
            None => Line { end: bytes.len(), next: bytes.len() },
        }
    }
}

/// Follows the folds of a header line: lines that start with white space (RFC 3261 §7.3.1).
#[inline]
fn unfolded_end(bytes: &[u8], mut line: Line) -> (usize, usize) {
    while let Some(b' ' | b'\t') = bytes.get(line.next) {
        line = Line::at(bytes, line.next);
    }
    (line.end, line.next)
}

fn start_line(
    bytes: &[u8],
    start: usize,
    line_end: usize,
    flaw: &mut Option<ParseError>,
) -> Result<StartLine, ParseError> {
    let line = &bytes[start..line_end];
    let bad = Problem::StartLine.at(start);
    if is_sip(line) {
        return status_line(line, start, flaw);
    }
    let method = lex::skip_token(line, 0);
    if method == 0 || line.get(method) != Some(&b' ') {
        return Err(bad);
    }
    let trimmed = lex::trim(line).len();
    if trimmed != line.len() {
        flaw.get_or_insert(Problem::RequestLine.at(start + trimmed));
    }
    let last_space = memchr::memrchr(b' ', &line[..trimmed]).ok_or(bad)?;
    let version = &line[last_space + 1..trimmed];
    if !is_sip(version) || last_space <= method + 1 {
        return Err(bad);
    }
    if !version[4..].eq(b"2.0") {
        *flaw = Some(Problem::Version.at(start + last_space + 1));
    }
    let uri = &line[method + 1..last_space];
    if let Some(stray) = uri.iter().position(|b| lex::is_space(*b)) {
        flaw.get_or_insert(Problem::RequestLine.at(start + method + 1 + stray));
    }
    Ok(StartLine::Request {
        method: Span::new(start, start + method),
        uri: Span::new(start + method + 1, start + last_space),
    })
}

fn is_sip(text: &[u8]) -> bool {
    text.get(..4).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"SIP/"))
}

fn status_line(line: &[u8], start: usize, flaw: &mut Option<ParseError>) -> Result<StartLine, ParseError> {
    let version_end = memchr::memchr(b' ', line).ok_or(Problem::StartLine.at(start))?;
    if &line[4..version_end] != b"2.0" {
        *flaw = Some(Problem::Version.at(start));
    }
    let rest = &line[version_end + 1..];
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let bad = Problem::Status.at(start + version_end + 1);
    if digits != 3 || !matches!(rest.get(3), None | Some(b' ')) {
        return Err(bad);
    }
    let status = lex::number(&rest[..3]).filter(|n| (100..700).contains(n)).ok_or(bad)?;
    let reason = (start + version_end + 5).min(start + line.len());
    Ok(StartLine::Response { status: status as u16, reason: Span::new(reason, start + line.len()) })
}
