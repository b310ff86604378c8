//! What a payload number stands for, and when two formats are the same codec.

use super::text::Text;
use super::{Format, FormatId};

/// The right side of an rtpmap: `opus/48000/2`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Codec {
    pub encoding: Text,
    /// RTP clock rate, Hz.
    pub clock: u32,
    /// 1 unless written.
    pub channels: u8,
}

/// Static payload types (RFC 3551 tables 4 and 5): number, encoding, clock, channels.
const STATIC: [(u8, &str, u32, u8); 24] = [
    (0, "PCMU", 8000, 1),
    (3, "GSM", 8000, 1),
    (4, "G723", 8000, 1),
    (5, "DVI4", 8000, 1),
    (6, "DVI4", 16000, 1),
    (7, "LPC", 8000, 1),
    (8, "PCMA", 8000, 1),
    (9, "G722", 8000, 1),
    (10, "L16", 44100, 2),
    (11, "L16", 44100, 1),
    (12, "QCELP", 8000, 1),
    (13, "CN", 8000, 1),
    (14, "MPA", 90000, 1),
    (15, "G728", 8000, 1),
    (16, "DVI4", 11025, 1),
    (17, "DVI4", 22050, 1),
    (18, "G729", 8000, 1),
    (25, "CelB", 90000, 1),
    (26, "JPEG", 90000, 1),
    (28, "nv", 90000, 1),
    (31, "H261", 90000, 1),
    (32, "MPV", 90000, 1),
    (33, "MP2T", 90000, 1),
    (34, "H263", 90000, 1),
];

impl Codec {
    /// What the number means without an rtpmap.
    pub fn of_static(number: u8) -> Option<Codec> {
        let at = STATIC.binary_search_by_key(&number, |row| row.0).ok()?;
        let (_, encoding, clock, channels) = STATIC[at];
        Some(Codec { encoding: Text::fixed(encoding), clock, channels })
    }

    /// The same but for ASCII case. Phones disagree about G.722's clock and Opus' channels, which the RFCs fix
    /// (RFC 3551 §4.5.2, RFC 7587 §7), so those are not compared.
    pub fn same(&self, other: &Codec) -> bool {
        self.encoding.eq_ignore_ascii_case(&other.encoding)
            && (self.clock == other.clock || self.encoding.is("G722"))
            && (self.channels == other.channels || self.encoding.is("opus"))
    }
}

impl Format {
    /// Whether packets of one are packets of the other, numbers aside. Formats without a name are only what their
    /// number is.
    pub fn same_codec(&self, other: &Format) -> bool {
        match (&self.codec, &other.codec) {
            (Some(a), Some(b)) => a.same(b) && self.variant() == other.variant(),
            (None, None) => self.id == other.id,
            _ => false,
        }
    }

    /// Not a voice or picture of its own: tones and comfort noise ride along with a codec.
    pub fn is_auxiliary(&self) -> bool {
        self.codec
            .as_ref()
            .is_some_and(|c| c.encoding.is("telephone-event") || c.encoding.is("tone") || c.encoding.is("CN"))
    }

    /// Its packets, or its parameters, speak of other payload numbers (RFC 2198, 4588, 5109, 8627), which renumbering
    /// would make wrong: such formats stay on their own leg.
    pub fn names_other_numbers(&self) -> bool {
        const NAMES: [&str; 6] = ["red", "rtx", "ulpfec", "parityfec", "flexfec", "flexfec-03"];
        self.codec.as_ref().is_some_and(|c| NAMES.iter().any(|name| c.encoding.is(name)))
    }

    pub fn is_numbered(&self) -> bool {
        matches!(self.id, FormatId::Number(_))
    }

    /// The parameters that make two streams of one encoding undecodable for each other's decoder, packed.
    fn variant(&self) -> u32 {
        let Some(codec) = &self.codec else { return 0 };
        let fmtp = self.fmtp.as_deref().unwrap_or_default();
        let number = |name: &str| parameter(fmtp, name).and_then(decimal).unwrap_or(0);
        if codec.encoding.is("H264") {
            // RFC 6184 §8.2.2: packetization-mode and the profile; the level may differ.
            let profile = parameter(fmtp, "profile-level-id").and_then(|v| v.get(..2)).and_then(hexadecimal);
            return number("packetization-mode") << 8 | profile.unwrap_or(0x42);
        }
        if codec.encoding.is("AMR") || codec.encoding.is("AMR-WB") {
            return number("octet-align");
        }
        if codec.encoding.is("G7221") {
            return number("bitrate");
        }
        if codec.encoding.is("VP9") || codec.encoding.is("H265") {
            return number("profile-id");
        }
        0
    }
}

/// The value of `name=` in semicolon-separated format parameters.
fn parameter<'a>(fmtp: &'a [u8], name: &str) -> Option<&'a [u8]> {
    fmtp.split(|b| *b == b';').find_map(|item| {
        let at = item.iter().position(|b| *b == b'=')?;
        let (key, value) = (item[..at].trim_ascii(), item[at + 1..].trim_ascii());
        key.eq_ignore_ascii_case(name.as_bytes()).then_some(value)
    })
}

fn decimal(digits: &[u8]) -> Option<u32> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
