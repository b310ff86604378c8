//! The phones' session descriptions (RFC 4566) and their half of offer/answer (RFC 3264).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What one side does with one stream, from its own point of view.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Direction {
    pub sends: bool,
    pub hears: bool,
}

pub const SENDRECV: Direction = Direction { sends: true, hears: true };
pub const SENDONLY: Direction = Direction { sends: true, hears: false };
pub const RECVONLY: Direction = Direction { sends: false, hears: true };
pub const INACTIVE: Direction = Direction { sends: false, hears: false };

impl Direction {
    pub fn text(self) -> &'static str {
        match (self.sends, self.hears) {
            (true, true) => "sendrecv",
            (true, false) => "sendonly",
            (false, true) => "recvonly",
            (false, false) => "inactive",
        }
    }

    fn parse(text: &str) -> Option<Direction> {
        [SENDRECV, SENDONLY, RECVONLY, INACTIVE].into_iter().find(|d| d.text() == text)
    }

    /// What one side that wishes `self` answers to an offer of `other` (RFC 3264 §6.1).
    pub fn answer_to(self, other: Direction) -> Direction {
        Direction { sends: self.sends && other.hears, hears: self.hears && other.sends }
    }

    /// Whether `self` is a legal answer to an offer of `other`.
    pub fn answers(self, other: Direction) -> bool {
        (!self.sends || other.hears) && (!self.hears || other.sends)
    }
}

#[derive(Clone, PartialEq, Debug)]
pub struct Line {
    pub kind: String,
    pub port: u16,
    pub proto: String,
    /// Payload type and encoding, such as `PCMU/8000`, in order of preference.
    pub formats: Vec<(u8, String)>,
    pub direction: Direction,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Sdp {
    pub id: u64,
    pub version: u64,
    pub address: IpAddr,
    pub lines: Vec<Line>,
}

/// RFC 3551 table 4: what needs no rtpmap.
const STATIC: [(u8, &str); 3] = [(0, "PCMU/8000"), (8, "PCMA/8000"), (9, "G722/8000")];

impl Sdp {
    pub fn parse(text: &str) -> Option<Sdp> {
        let mut sdp = Sdp { id: 0, version: 0, address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), lines: Vec::new() };
        let mut session_direction = SENDRECV;
        for line in text.lines() {
            let (kind, value) = line.split_once('=')?;
            match kind {
                "o" => {
                    let mut words = value.split(' ').skip(1);
                    sdp.id = words.next()?.parse().ok()?;
                    sdp.version = words.next()?.parse().ok()?;
                }
                // One address a description is all these phones and their peer use for audio; the first m-line's wins.
                "c" if sdp.lines.len() <= 1 => sdp.address = value.split(' ').nth(2)?.parse().ok()?,
                "m" => sdp.lines.push(Line { direction: session_direction, ..parse_line(value)? }),
                "a" => match (Direction::parse(value), sdp.lines.last_mut()) {
                    (Some(direction), None) => session_direction = direction,
                    (Some(direction), Some(line)) => line.direction = direction,
                    (None, Some(line)) => rtpmap(line, value),
                    (None, None) => {}
                },
                _ => {}
            }
        }
        (!sdp.lines.is_empty()).then_some(sdp)
    }

    pub fn encode(&self) -> String {
        let mut out = format!("v=0\r\no=- {} {} IN IP4 {}\r\ns=-\r\n", self.id, self.version, self.address);
        out.push_str(&format!("c=IN IP4 {}\r\nt=0 0\r\n", self.address));
        for line in &self.lines {
            out.push_str(&format!("m={} {} {}", line.kind, line.port, line.proto));
            line.formats.iter().for_each(|(number, _)| out.push_str(&format!(" {number}")));
            out.push_str("\r\n");
            for (number, name) in &line.formats {
                out.push_str(&format!("a=rtpmap:{number} {name}\r\n"));
                if name.starts_with("telephone-event") {
                    out.push_str(&format!("a=fmtp:{number} 0-16\r\n"));
                }
            }
            out.push_str(&format!("a={}\r\n", line.direction.text()));
        }
        out
    }

    pub fn audio(&self) -> Option<&Line> {
        self.lines.iter().find(|line| line.kind == "audio")
    }

    /// Where this side wants its audio; None while refused or held in RFC 2543's way.
    pub fn audio_at(&self) -> Option<SocketAddr> {
        let line = self.audio()?;
        (line.port != 0 && !self.address.is_unspecified()).then(|| SocketAddr::new(self.address, line.port))
    }

    /// What this side does with audio, a refused stream and the address 0.0.0.0 included.
    pub fn audio_direction(&self) -> Direction {
        match self.audio() {
            Some(line) if line.port != 0 => {
                Direction { hears: line.direction.hears && !self.address.is_unspecified(), ..line.direction }
            }
            _ => INACTIVE,
        }
    }
}

impl Line {
    pub fn number_of(&self, name: &str) -> Option<u8> {
        self.formats.iter().find(|(_, n)| n.eq_ignore_ascii_case(name)).map(|(number, _)| *number)
    }

    /// The codecs, without telephone-event.
    pub fn codecs(&self) -> impl Iterator<Item = &(u8, String)> {
        self.formats.iter().filter(|(_, name)| !name.starts_with("telephone-event"))
    }
}

fn parse_line(value: &str) -> Option<Line> {
    let mut words = value.split(' ');
    let (kind, port, proto) = (words.next()?.to_string(), words.next()?.parse().ok()?, words.next()?.to_string());
    let numbers = words.filter_map(|word| word.parse::<u8>().ok());
    let formats = numbers
        .map(|number| {
            let known = STATIC.iter().find(|(n, _)| *n == number);
            (number, known.map_or_else(String::new, |(_, name)| name.to_string()))
        })
        .collect();
    Some(Line { kind, port, proto, formats, direction: SENDRECV })
}

fn rtpmap(line: &mut Line, attribute: &str) {
    let Some(map) = attribute.strip_prefix("rtpmap:") else { return };
    let Some((number, name)) = map.split_once(' ') else { return };
    let Ok(number) = number.parse::<u8>() else { return };
    if let Some(format) = line.formats.iter_mut().find(|(n, _)| *n == number) {
        format.1 = name.trim().to_string();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let sdp = Sdp {
            id: 3,
            version: 4,
            address: "10.0.0.7".parse().unwrap(),
            lines: vec![Line {
                kind: "audio".into(),
                port: 4000,
                proto: "RTP/AVP".into(),
                formats: vec![(8, "PCMA/8000".into()), (101, "telephone-event/8000".into())],
                direction: SENDONLY,
            }],
        };
        assert_eq!(Sdp::parse(&sdp.encode()), Some(sdp));
    }

    #[test]
    fn an_answer_never_does_what_the_offer_does_not_allow() {
        for wish in [SENDRECV, SENDONLY, RECVONLY, INACTIVE] {
            for offer in [SENDRECV, SENDONLY, RECVONLY, INACTIVE] {
                assert!(wish.answer_to(offer).answers(offer));
            }
        }
        assert_eq!(SENDRECV.answer_to(SENDONLY), RECVONLY);
        assert!(!SENDRECV.answers(SENDONLY));
    }
}
