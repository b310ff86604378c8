//! Bodies of calls: the session description in a message, alone or in a multipart.

use crate::base::limits;
use crate::proto::sdp::parse::SdpError;
use crate::proto::sdp::{self, Sdp};
use crate::proto::sip::message::Message;
use crate::proto::sip::name::Name;

/// The description a message carries: none, one, or the status it is refused with (400, 413, 415, 488).
pub fn description(message: &Message) -> Result<Option<Sdp>, u16> {
    let body = message.body_slice();
    if body.is_empty() {
        return Ok(None);
    }
    if body.len() > limits::BODY_BYTES {
        return Err(413);
    }
    let encoding = message.header(Name::ContentEncoding).unwrap_or(b"identity");
    if !encoding.eq_ignore_ascii_case(b"identity") {
        return not_understood(message);
    }
    let kind = message.header(Name::ContentType).unwrap_or(b"application/sdp");
    let Some(text) = sdp::body::find(kind, body) else { return not_understood(message) };
    match Sdp::parse(text) {
        Ok(sdp) => Ok(Some(sdp)),
        // It is good SDP, only more than we take.
        Err(SdpError::TooManyMediaLines) => Err(488),
        Err(_) => Err(400),
    }
}

/// A body we can't read is as good as none where its sender says so (RFC 3261 §8.2.3, §20.11).
fn not_understood(message: &Message) -> Result<Option<Sdp>, u16> {
    let disposition = message.header(Name::ContentDisposition).unwrap_or_default();
    let is_optional = disposition.split(|b| *b == b';').skip(1).any(|param| {
        let (name, value) = param.split_at(param.iter().position(|b| *b == b'=').unwrap_or(param.len()));
        let value = value.get(1..).unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"handling") && value.trim_ascii().eq_ignore_ascii_case(b"optional")
    });
    if is_optional { Ok(None) } else { Err(415) }
}
