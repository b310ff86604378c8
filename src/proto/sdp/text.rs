//! A piece of a description as its author wrote it: bytes, since nothing promises UTF-8. Slices share one allocation.

use bytes::Bytes;
use std::fmt;
use std::ops::Deref;

#[derive(Clone, PartialEq, Eq, Default)]
pub struct Text(Bytes);

impl Text {
    pub const fn fixed(text: &'static str) -> Text {
        Text(Bytes::from_static(text.as_bytes()))
    }

    /// A slice of `whole`, sharing it.
    pub fn within(whole: &Bytes, part: &[u8]) -> Text {
        Text(whole.slice_ref(part))
    }

    /// The same for one of the words of nearly every description, which are not shared but fixed: copying them counts no
    /// references.
    pub fn word(whole: &Bytes, part: &[u8]) -> Text {
        Text::fixed(match part {
            b"audio" => "audio",
            b"video" => "video",
            b"RTP/AVP" => "RTP/AVP",
            b"PCMU" => "PCMU",
            b"PCMA" => "PCMA",
            b"G722" => "G722",
            b"G729" => "G729",
            b"opus" => "opus",
            b"CN" => "CN",
            b"telephone-event" => "telephone-event",
            _ => return Text::within(whole, part),
        })
    }

    /// Equal but for ASCII case, as SDP's tokens compare.
    pub fn is(&self, other: &str) -> bool {
        self.0.eq_ignore_ascii_case(other.as_bytes())
    }
}

impl Deref for Text {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(Bytes::from(text))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}
