//! A received message: its bytes and their index. Every value is a slice of the bytes; typed views parse on demand.

use super::address::{Address, Contact};
use super::error::{ParseError, Problem};
use super::headers::{CSeq, DialogRef, Item, MediaType, RAck, SessionExpires};
use super::index::{Index, StartLine};
use super::lex::{self, List};
use super::method::Method;
use super::name::Name;
use super::uri::Uri;
use super::via::Via;
use bytes::Bytes;
use std::fmt;

#[derive(Clone)]
pub struct Message {
    pub(super) bytes: Bytes,
    pub(super) index: Index,
}

impl Message {
    /// Parses a datagram. Octets after Content-Length are ignored (RFC 3261 §18.3); a fault that leaves the message
    /// readable is found by `validate`, so that it can be answered.
    pub fn parse(bytes: Bytes) -> Result<Message, ParseError> {
        let index = Index::of(&bytes)?;
        Ok(Message { bytes, index })
    }

    /// The bytes as received, with whatever followed the body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn index(&self) -> &Index {
        &self.index
    }

    pub fn is_request(&self) -> bool {
        matches!(self.index.start, StartLine::Request { .. })
    }

    /// A request's method; a response's is that of its CSeq, and `Other(b"")` if that is unreadable.
    pub fn method(&self) -> Method<'_> {
        match self.index.start {
            StartLine::Request { method, .. } => Method::of(method.of(&self.bytes)),
            StartLine::Response { .. } => self.cseq().map_or(Method::Other(b""), |cseq| cseq.method),
        }
    }

    /// As received; empty for a response.
    pub fn request_uri(&self) -> &[u8] {
        match self.index.start {
            StartLine::Request { uri, .. } => uri.of(&self.bytes),
            StartLine::Response { .. } => b"",
        }
    }

    /// The Request-URI parsed.
    pub fn target(&self) -> Result<Uri<'_>, ParseError> {
        let uri = self.request_uri();
        Uri::parse(uri).map_err(|e| self.within(uri, e))
    }

    /// None for a request.
    pub fn status(&self) -> Option<u16> {
        match self.index.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// The reason phrase; empty for a request.
    pub fn reason(&self) -> &[u8] {
        match self.index.start {
            StartLine::Request { .. } => b"",
            StartLine::Response { reason, .. } => reason.of(&self.bytes),
        }
    }

    /// The whole value of the first such field, without white space at its ends; folds as received.
    #[inline]
    pub fn header(&self, name: Name) -> Option<&[u8]> {
        self.fields(name).next()
    }

    /// The values of all such fields, in order.
    #[inline]
    pub fn fields(&self, name: Name) -> impl Iterator<Item = &[u8]> + Clone {
        let fields = if self.index.has(name) { &self.index.fields[..] } else { &[] };
        fields.iter().filter(move |f| f.name == name).map(|f| f.value_of(&self.bytes))
    }

    /// The first field with a name that `Name` does not list, compared without case.
    pub fn field_named(&self, name: &str) -> Option<&[u8]> {
        self.all().find(|(_, raw, _)| raw.eq_ignore_ascii_case(name.as_bytes())).map(|(_, _, value)| value)
    }

    /// The elements of all such fields taken as one comma separated list.
    pub fn values(&self, name: Name) -> impl Iterator<Item = &[u8]> + Clone {
        self.fields(name).flat_map(List::new)
    }

    /// Every field in order: its name, the name as written, its value.
    pub fn all(&self) -> impl Iterator<Item = (Name, &[u8], &[u8])> + Clone {
        self.index.fields.iter().map(|f| (f.name, f.name_of(&self.bytes), f.value_of(&self.bytes)))
    }

    /// The body, sharing the message's memory.
    pub fn body(&self) -> Bytes {
        self.bytes.slice(self.index.body())
    }

    pub fn body_slice(&self) -> &[u8] {
        &self.bytes[self.index.body()]
    }

    /// The topmost Via.
    pub fn via(&self) -> Result<Via<'_>, ParseError> {
        let value = self.values(Name::Via).next().ok_or(Problem::Missing.at(0))?;
        Via::parse(value).map_err(|e| self.within(value, e))
    }

    /// All Vias, topmost first.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, ParseError>> {
        self.values(Name::Via).map(|value| Via::parse(value).map_err(|e| self.within(value, e)))
    }

    pub fn from(&self) -> Result<Address<'_>, ParseError> {
        self.address(Name::From)
    }

    pub fn to(&self) -> Result<Address<'_>, ParseError> {
        self.address(Name::To)
    }

    /// The address of a field that has one: From, To, Refer-To, Referred-By.
    pub fn address(&self, name: Name) -> Result<Address<'_>, ParseError> {
        let value = self.header(name).ok_or(Problem::Missing.at(0))?;
        Address::parse(value).map_err(|e| self.within(value, e))
    }

    /// The first Contact, which is a dialog's remote target; `*` counts as missing.
    pub fn contact(&self) -> Result<Address<'_>, ParseError> {
        let first = self.contacts().next().unwrap_or(Err(Problem::Missing.at(0)))?;
        first.address().ok_or(Problem::Missing.at(0))
    }

    pub fn contacts(&self) -> impl Iterator<Item = Result<Contact<'_>, ParseError>> {
        self.values(Name::Contact).map(|value| Contact::parse(value).map_err(|e| self.within(value, e)))
    }

    /// The addresses of a list of them: Route, Record-Route, Path, P-Asserted-Identity, Diversion.
    pub fn routes(&self, name: Name) -> impl Iterator<Item = Result<Address<'_>, ParseError>> {
        self.values(name).map(|value| Address::parse(value).map_err(|e| self.within(value, e)))
    }

    /// Empty when missing.
    pub fn call_id(&self) -> &[u8] {
        self.header(Name::CallId).unwrap_or(b"")
    }

    pub fn cseq(&self) -> Result<CSeq<'_>, ParseError> {
        let value = self.header(Name::CSeq).ok_or(Problem::Missing.at(0))?;
        CSeq::parse(value).map_err(|e| self.within(value, e))
    }

    /// None when absent or malformed (`validate` refuses the latter).
    pub fn max_forwards(&self) -> Option<u8> {
        self.number(Name::MaxForwards).and_then(|n| u8::try_from(n).ok())
    }

    /// Seconds; None when absent or malformed.
    pub fn expires(&self) -> Option<u32> {
        self.number(Name::Expires)
    }

    /// The value of a field that is one number: Expires, Min-Expires, Min-SE, RSeq; None when absent or malformed.
    pub fn number(&self, name: Name) -> Option<u32> {
        lex::number(self.header(name)?)
    }

    /// Seconds, without comment and parameters; None when absent or malformed.
    pub fn retry_after(&self) -> Option<u32> {
        let value = self.header(Name::RetryAfter)?;
        let digits = value.iter().take_while(|b| b.is_ascii_digit()).count();
        lex::number(&value[..digits])
    }

    /// As sent; None when absent or malformed. The body's true length is `body_slice().len()`.
    pub fn content_length(&self) -> Option<u32> {
        self.index.content_length_sent()
    }

    pub fn content_type(&self) -> Option<MediaType<'_>> {
        MediaType::parse(self.header(Name::ContentType)?).ok()
    }

    pub fn session_expires(&self) -> Option<SessionExpires> {
        SessionExpires::parse(self.header(Name::SessionExpires)?)
    }

    pub fn rseq(&self) -> Option<u32> {
        self.number(Name::RSeq)
    }

    pub fn rack(&self) -> Option<RAck<'_>> {
        RAck::parse(self.header(Name::RAck)?)
    }

    /// The dialog that Replaces, Join or Target-Dialog names.
    pub fn dialog_ref(&self, name: Name) -> Option<DialogRef<'_>> {
        DialogRef::parse(self.header(name)?)
    }

    /// A value with parameters: Event, Subscription-State, Content-Disposition.
    pub fn item(&self, name: Name) -> Option<Item<'_>> {
        Item::parse(self.header(name)?).ok()
    }

    /// Whether a list of tokens (Supported, Require, Allow, Accept) has `option`, without case.
    pub fn has_option(&self, name: Name, option: &str) -> bool {
        self.values(name).any(|value| value.eq_ignore_ascii_case(option.as_bytes()))
    }

    /// An error in `part`, a slice of our bytes, as seen from the start of the message.
    pub(super) fn within(&self, part: &[u8], error: ParseError) -> ParseError {
        error.shifted((part.as_ptr() as usize).saturating_sub(self.bytes.as_ptr() as usize))
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes))
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
