//! What is wrong with a message, and where.

use std::fmt;

/// A syntax error. `offset` counts bytes from the start of what was parsed: the message for methods of `Message`, the
/// given slice for the parsers of single values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ParseError {
    pub problem: Problem,
    pub offset: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// Nothing but line ends.
    Empty,
    /// Longer than `limits::MESSAGE_BYTES`.
    TooLong,
    /// More header fields than `limits::HEADERS`.
    TooManyHeaders,
    /// The first line is neither a SIP request line nor a SIP status line.
    StartLine,
    /// A status code that is not three digits from 100 to 699.
    Status,
    /// Another SIP version than 2.0.
    Version,
    /// Spaces where RFC 3261 §7.1 allows none.
    RequestLine,
    /// A header line without a name or a colon.
    HeaderLine,
    /// The header section does not end.
    Unterminated,
    /// A mandatory header field is missing.
    Missing,
    /// A header field that may appear once appears again.
    Repeated,
    /// Content-Length is not a number.
    ContentLength,
    /// The body is shorter than Content-Length says.
    Truncated,
    /// A quoted string without its end.
    Quote,
    /// A URI in `<` without `>`, or with spaces inside.
    Brackets,
    /// A display name with characters that need quotes.
    DisplayName,
    /// A URI that is not one.
    Uri,
    /// Header fields (`?`) in a URI where none may be.
    UriHeaders,
    /// A host that is neither a name nor an IP address.
    Host,
    /// A port that is not a number up to 65535.
    Port,
    /// Parameters that are not `;name` or `;name=value`.
    Params,
    /// A Via that is not `SIP/2.0/transport host`.
    Via,
    /// A CSeq that is not a number below 2^31 and a method.
    CSeq,
    /// The CSeq's method is not the request line's.
    CSeqMethod,
    /// Max-Forwards is not a number up to 255.
    MaxForwards,
    /// A Date that is not in GMT.
    Date,
    /// A Call-ID that is empty or has spaces.
    CallId,
    /// A header value that does not have the form its RFC gives it.
    Value,
}

impl Problem {
    /// As it stands in our reason phrases and logs.
    pub fn text(self) -> &'static str {
        match self {
            Problem::Empty => "Empty Message",
            Problem::TooLong => "Message Too Long",
            Problem::TooManyHeaders => "Too Many Header Fields",
            Problem::StartLine => "Bad Start Line",
            Problem::Status => "Bad Status Code",
            Problem::Version => "Version Not Supported",
            Problem::RequestLine => "Stray Spaces In Request Line",
            Problem::HeaderLine => "Bad Header Line",
            Problem::Unterminated => "Unterminated Header Section",
            Problem::Missing => "Missing Header Field",
            Problem::Repeated => "Repeated Header Field",
            Problem::ContentLength => "Bad Content-Length",
            Problem::Truncated => "Body Shorter Than Content-Length",
            Problem::Quote => "Unterminated Quoted String",
            Problem::Brackets => "Bad Angle Brackets",
            Problem::DisplayName => "Bad Display Name",
            Problem::Uri => "Bad URI",
            Problem::UriHeaders => "Header Fields In URI",
            Problem::Host => "Bad Host",
            Problem::Port => "Bad Port",
            Problem::Params => "Bad Parameters",
            Problem::Via => "Bad Via",
            Problem::CSeq => "Bad CSeq",
            Problem::CSeqMethod => "CSeq Method Mismatch",
            Problem::MaxForwards => "Bad Max-Forwards",
            Problem::Date => "Bad Date",
            Problem::CallId => "Bad Call-ID",
            Problem::Value => "Bad Header Value",
        }
    }

    pub(super) fn at(self, offset: usize) -> ParseError {
        ParseError { problem: self, offset: u32::try_from(offset).unwrap_or(u32::MAX) }
    }
}

impl ParseError {
    /// The same error seen from `base` bytes further left.
    pub(super) fn shifted(self, base: usize) -> ParseError {
        self.problem.at(base.saturating_add(self.offset as usize))
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}", self.problem.text(), self.offset)
    }
}

impl std::error::Error for ParseError {}
