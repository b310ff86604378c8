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
        return Err(415);
    }
    let kind = message.header(Name::ContentType).unwrap_or(b"application/sdp");
    let Some(text) = sdp::body::find(kind, body) else { return Err(415) };
    match Sdp::parse(text) {
        Ok(sdp) => Ok(Some(sdp)),
        // It is good SDP, only more than we take.
        Err(SdpError::TooManyMediaLines) => Err(488),
        Err(_) => Err(400),
    }
}
