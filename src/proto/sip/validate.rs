//! What every received message must satisfy before anything is done with it (RFC 3261 §8.1.1, §8.2, §16.3 step 1).
//!
//! Left to the engine: scheme (416), method (405), Require (420), Max-Forwards of 0 (483), content (415).

use super::address::Contact;
use super::error::{ParseError, Problem};
use super::index::StartLine;
use super::message::Message;
use super::method::Method;
use super::name::Name;
use super::{lex, uri::Uri};

/// Why a message is refused, and with what.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalid {
    pub status: u16,
    pub phrase: &'static str,
    /// Where the fault is, bytes from the start of the message.
    pub offset: u32,
    /// Whether an answer makes sense: it is a request other than ACK, and has a Via.
    pub answerable: bool,
    pub problem: Problem,
}

/// Fields that may appear once (RFC 3261 table 2 and 3: those that are no lists).
const ONCE: u128 = {
    const NAMES: [Name; 20] = [
        Name::From,
        Name::To,
        Name::CallId,
        Name::CSeq,
        Name::MaxForwards,
        Name::ContentLength,
        Name::ContentType,
        Name::ContentDisposition,
        Name::Expires,
        Name::MinExpires,
        Name::Date,
        Name::Event,
        Name::SubscriptionState,
        Name::ReferTo,
        Name::Replaces,
        Name::RSeq,
        Name::RAck,
        Name::SessionExpires,
        Name::MinSe,
        Name::SipIfMatch,
    ];
    let mut mask = 0;
    let mut i = 0;
    while i < NAMES.len() {
        mask |= NAMES[i].bit();
        i += 1;
    }
    mask
};

const MANDATORY: [Name; 5] = [Name::Via, Name::From, Name::To, Name::CallId, Name::CSeq];

impl Message {
    /// Refuses what no element may process.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.check().map_err(|e| {
            let (status, phrase) = match e.problem {
                Problem::Version => (505, "Version Not Supported"),
                Problem::TooManyHeaders => (513, e.problem.text()),
                problem => (400, problem.text()),
            };
            let answerable = self.is_request() && self.method() != Method::Ack && self.index.has(Name::Via);
            Invalid { status, phrase, offset: e.offset, answerable, problem: e.problem }
        })
    }

    fn check(&self) -> Result<(), ParseError> {
        if let Some(flaw) = self.index.flaw() {
            return Err(flaw);
        }
        // A response is refused by dropping it, and a call with it: only for what routing and matching need.
        let is_request = self.is_request();
        let mut cseq_method = None;
        let mut seen = 0u128;
        for field in &self.index.fields {
            let value = field.value_of(&self.bytes);
            let bit = field.name.bit();
            if seen & bit & ONCE != 0 {
                return Err(Problem::Repeated.at(usize::from(field.start)));
            }
            seen |= bit;
            if field.name == Name::CSeq {
                cseq_method = Some(self.cseq()?.method);
            } else if is_request || MANDATORY.contains(&field.name) {
                check_field(field.name, value).map_err(|e| self.within(value, e))?;
            }
        }
        if MANDATORY.iter().any(|name| !self.index.has(*name)) {
            return Err(Problem::Missing.at(self.index.body().start));
        }
        if let StartLine::Request { method, uri } = self.index.start {
            let target = uri.of(&self.bytes);
            check_target(target).map_err(|e| self.within(target, e))?;
            if cseq_method != Some(Method::of(method.of(&self.bytes))) {
                return Err(Problem::CSeqMethod.at(usize::from(method.start)));
            }
        }
        Ok(())
    }
}

/// Header fields in a Request-URI are forbidden (RFC 3261 §19.1.1 table 1).
fn check_target(target: &[u8]) -> Result<(), ParseError> {
    let uri = Uri::parse(target)?;
    if uri.headers.is_empty() { Ok(()) } else { Err(Problem::UriHeaders.at(target.len() - uri.headers.len())) }
}

fn check_field(name: Name, value: &[u8]) -> Result<(), ParseError> {
    let each = |check: fn(&[u8]) -> Result<(), ParseError>| {
        let mut elements = lex::List::new(value).peekable();
        if elements.peek().is_none() {
            return Err(Problem::Value.at(0));
        }
        elements.try_for_each(|element| {
            check(element).map_err(|e| e.shifted(element.as_ptr() as usize - value.as_ptr() as usize))
        })
    };
    use super::{address::Address, via::Via};
    match name {
        Name::Via => each(|v| Via::parse(v).map(drop)),
        Name::From | Name::To => Address::parse(value).map(drop),
        Name::Contact => each(|v| Contact::parse(v).map(drop)),
        Name::Route | Name::RecordRoute | Name::Path => each(|v| Address::parse(v).map(drop)),
        Name::CallId if value.is_empty() || value.iter().any(|b| lex::is_space(*b)) => Err(Problem::CallId.at(0)),
        Name::MaxForwards if lex::number(value).is_none_or(|n| n > 255) => Err(Problem::MaxForwards.at(0)),
        Name::Date if !value.to_ascii_uppercase().ends_with(b" GMT") => Err(Problem::Date.at(0)),
        _ => Ok(()),
    }
}
