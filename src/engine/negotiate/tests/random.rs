//! Random phones, well-behaved in what RFC 3264 asks of them, negotiate through us for a while: whatever they say, what we
//! say keeps the RFC's rules.

use super::super::*;
use crate::base::ids::PortId;
use crate::proto::sdp::{Direction, Format};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;

/// Encoding, format parameters, static number.
const AUDIO: [(&str, &str, Option<u8>); 9] = [
    ("PCMU/8000", "", Some(0)),
    ("PCMA/8000", "", Some(8)),
    ("G722/8000", "", Some(9)),
    ("opus/48000/2", "useinbandfec=1", None),
    ("iLBC/8000", "mode=20", None),
    ("AMR-WB/16000", "octet-align=1", None),
    ("CN/8000", "", Some(13)),
    ("telephone-event/8000", "0-15", None),
    ("telephone-event/48000", "0-15", None),
];
const VIDEO: [(&str, &str, Option<u8>); 4] = [
    ("VP8/90000", "", None),
    ("H264/90000", "profile-level-id=42e01f", None),
    ("H264/90000", "profile-level-id=42e01f;packetization-mode=1", None),
    ("H261/90000", "", Some(31)),
];
const KINDS: [&str; 3] = ["audio", "video", "image"];
const PROTOS: [&str; 4] = ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "udptl"];
const DIRECTIONS: [Direction; 4] = [Direction::SendRecv, Direction::SendOnly, Direction::RecvOnly, Direction::Inactive];

/// What a phone would like of one line.
#[derive(Clone, Debug)]
struct Taste {
    kind: usize,
    proto: usize,
    active: bool,
    codecs: u16,
    first_number: u8,
    direction: usize,
}

#[derive(Clone, Debug)]
struct Step {
    from_a: bool,
    offer: Vec<Taste>,
    answer: Vec<Taste>,
    /// The offered phone refuses with 488.
    refused: bool,
}

fn taste() -> impl Strategy<Value = Taste> {
    let proto = prop_oneof![8 => Just(0), 3 => Just(1), 1 => Just(2)];
    let kind = prop_oneof![4 => Just(0), 2 => Just(1), 1 => Just(2)];
    let direction = prop_oneof![4 => Just(0), 1 => 1..4usize];
    (kind, proto, prop::bool::weighted(0.85), any::<u16>(), 96..128u8, direction).prop_map(
        |(kind, proto, active, codecs, first_number, direction)| Taste {
            kind,
            proto: if kind == 2 { 3 } else { proto },
            active,
            codecs: codecs | 1,
            first_number,
            direction,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let lines = || prop::collection::vec(taste(), 1..4);
    (any::<bool>(), lines(), lines(), prop::bool::weighted(0.1)).prop_map(|(from_a, offer, answer, refused)| Step {
        from_a,
        offer,
        answer,
        refused,
    })
}

/// A phone that keeps RFC 3264 §8.3.2: a number on a line means one codec for the dialog's life.
struct Phone {
    host: u8,
    version: u32,
    /// Kind and proto of the dialog's lines.
    lines: Vec<(String, String)>,
    numbers: Vec<BTreeMap<String, u8>>,
}

impl Phone {
    fn new(host: u8) -> Phone {
        Phone { host, version: 0, lines: Vec::new(), numbers: Vec::new() }
    }

    fn offer(&mut self, tastes: &[Taste]) -> String {
        for taste in tastes.iter().skip(self.lines.len()) {
            self.lines.push((KINDS[taste.kind].into(), PROTOS[taste.proto].into()));
        }
        let mut body = String::new();
        for (i, (kind, proto)) in self.lines.clone().into_iter().enumerate() {
            let Some(taste) = tastes.get(i).filter(|taste| taste.active) else {
                let _ = writeln!(body, "m={kind} 0 {proto} 0");
                continue;
            };
            if kind == "image" {
                body.push_str("m=image 4500 udptl t38\n");
                continue;
            }
            let wanted = codecs(&kind, taste.codecs);
            self.line(&mut body, i, &wanted, taste);
        }
        self.head(&body)
    }

    fn answer(&mut self, offer: &Sdp, tastes: &[Taste]) -> String {
        let mut body = String::new();
        for (i, line) in offer.media.iter().enumerate() {
            let (kind, proto) = (line.kind.to_string(), line.proto.to_string());
            if self.lines.len() == i {
                self.lines.push((kind.clone(), proto.clone()));
            }
            let taste = tastes.get(i).filter(|taste| taste.active && line.is_active());
            for format in &line.formats {
                self.learn(i, format);
            }
            let taken: Vec<String> = taste.map_or(Vec::new(), |taste| {
                let known = codecs(&kind, taste.codecs);
                line.formats.iter().map(key).filter(|key| known.contains(key)).collect()
            });
            let allowed = line.direction.unwrap_or_default().mirrored();
            match taste.filter(|_| !taken.is_empty()) {
                Some(taste) => self.answer_line(&mut body, i, &taken, taste, allowed),
                None => _ = writeln!(body, "m={kind} 0 {proto} 0"),
            }
        }
        self.head(&body)
    }

    fn answer_line(&mut self, body: &mut String, i: usize, taken: &[String], taste: &Taste, allowed: Direction) {
        let direction = allowed.and(DIRECTIONS[taste.direction]);
        let at = DIRECTIONS.iter().position(|d| *d == direction).unwrap();
        self.line(body, i, taken, &Taste { direction: at, ..taste.clone() });
    }

    fn head(&mut self, body: &str) -> String {
        self.version += 1;
        let host = self.host;
        format!("v=0\no=- {host} {} IN IP4 10.0.0.{host}\ns=-\nc=IN IP4 10.0.0.{host}\nt=0 0\n{body}", self.version)
    }

    fn line(&mut self, body: &mut String, i: usize, codecs: &[String], taste: &Taste) {
        let (kind, proto) = self.lines[i].clone();
        let numbers: Vec<u8> = codecs.iter().map(|codec| self.number(i, codec, taste.first_number)).collect();
        let list: Vec<String> = numbers.iter().map(u8::to_string).collect();
        let _ = writeln!(body, "m={kind} {} {proto} {}", 4000 + 2 * i, list.join(" "));
        for (codec, number) in codecs.iter().zip(numbers) {
            let (name, fmtp) = codec.split_once(' ').unwrap();
            let _ = writeln!(body, "a=rtpmap:{number} {name}\na=fmtp:{number} {fmtp}");
        }
        let _ = writeln!(body, "a={}", DIRECTIONS[taste.direction].text());
    }

    fn table(&mut self, line: usize) -> &mut BTreeMap<String, u8> {
        if self.numbers.len() <= line {
            self.numbers.resize(line + 1, BTreeMap::new());
        }
        &mut self.numbers[line]
    }

    fn number(&mut self, line: usize, codec: &str, first: u8) -> u8 {
        let table = self.table(line);
        if let Some(number) = table.get(codec) {
            return *number;
        }
        let fixed = AUDIO.iter().chain(&VIDEO).find(|row| text(row) == codec).and_then(|row| row.2);
        let mut free = (first..128).chain(96..first).filter(|n| !table.values().any(|taken| taken == n));
        let number = fixed.unwrap_or_else(|| free.next().unwrap());
        table.insert(codec.to_owned(), number);
        number
    }

    fn learn(&mut self, line: usize, format: &Format) {
        let Some(number) = format.number().filter(|_| format.codec.is_some()) else { return };
        self.table(line).entry(key(format)).or_insert(number);
    }
}

fn text(row: &(&str, &str, Option<u8>)) -> String {
    format!("{} {}", row.0, row.1)
}

fn codecs(kind: &str, mask: u16) -> Vec<String> {
    let table = if kind == "video" { &VIDEO[..] } else { &AUDIO[..] };
    table.iter().enumerate().filter(|(i, _)| mask & (1 << i) != 0).map(|(_, row)| text(row)).collect()
}

/// A format in the words of the tables above.
fn key(format: &Format) -> String {
    let Some(codec) = &format.codec else { return "?".into() };
    let channels = if codec.channels > 1 { format!("/{}", codec.channels) } else { String::new() };
    let fmtp = format.fmtp.as_ref().map(|fmtp| fmtp.to_string()).unwrap_or_default();
    format!("{}/{}{channels} {fmtp}", codec.encoding, codec.clock)
}

/// What one leg's dialog has shown so far.
#[derive(Default)]
struct Witness {
    kinds: Vec<String>,
    meaning: Vec<BTreeMap<u8, String>>,
    last: Option<(u64, String)>,
}

impl Witness {
    fn described(&mut self, bytes: &Bytes) {
        let sdp = Sdp::parse(bytes).unwrap();
        for (i, line) in sdp.media.iter().enumerate() {
            let kind = line.kind.to_string();
            if self.kinds.len() == i {
                self.kinds.push(kind.clone());
                self.meaning.push(BTreeMap::new());
            }
            assert_eq!(self.kinds[i], kind, "a line keeps its place");
            self.numbers(i, line);
        }
        let version: u64 = sdp.origin.as_ref().unwrap().version.to_string().parse().unwrap();
        let whole = std::str::from_utf8(bytes).unwrap();
        let rest = whole.split_once("\r\ns=").unwrap().1.to_owned();
        if let Some((before, text)) = &self.last {
            assert_eq!(version - before, u64::from(*text != rest), "the version grows by one with the text");
        }
        self.last = Some((version, rest));
    }

    fn numbers(&mut self, i: usize, line: &Media) {
        for format in line.formats.iter().filter(|format| line.is_active() && format.codec.is_some()) {
            let meaning = self.meaning[i].entry(format.number().unwrap()).or_insert_with(|| key(format));
            assert_eq!(*meaning, key(format), "a number keeps its codec");
        }
    }

    /// An answer of ours to that offer (RFC 3264 §6).
    fn answered(&mut self, offer: &Sdp, bytes: &Bytes) {
        let answer = Sdp::parse(bytes).unwrap();
        assert_eq!(answer.media.len(), offer.media.len());
        for (ours, theirs) in answer.media.iter().zip(&offer.media) {
            assert_eq!((&ours.kind, &ours.proto), (&theirs.kind, &theirs.proto));
            if !ours.is_active() {
                continue;
            }
            assert!(theirs.is_active(), "what was offered with port 0 stays so");
            assert!(ours.formats.iter().any(|format| !format.is_auxiliary()));
            for format in &ours.formats {
                let offered = theirs.formats.iter().find(|offered| offered.id == format.id);
                assert_eq!(offered.map(key), Some(key(format)), "an answer lists formats of the offer");
            }
            let (said, may) = (ours.direction.unwrap(), theirs.direction.unwrap().mirrored());
            assert_eq!(said.and(may), said, "{said:?} answers {:?}", theirs.direction);
        }
        self.described(bytes);
    }

    /// An offer of ours: never fewer lines than before.
    fn offered(&mut self, bytes: &Bytes) {
        assert!(Sdp::parse(bytes).unwrap().media.len() >= self.kinds.len());
        self.described(bytes);
    }
}

/// The maps of the two legs take each codec to the number its receiver gave it, and lead to each other's ports.
fn check_wiring(a: &LegSdp, b: &LegSdp) {
    let (a_ports, b_ports): (Vec<PortId>, Vec<PortId>) = ((0..8).map(PortId).collect(), (8..16).map(PortId).collect());
    let streams = wire(a, &a_ports, b, &b_ports);
    assert_eq!(streams.len(), 16);
    for (port, stream) in &streams {
        let Some(sink) = &stream.sink else { continue };
        let (leg, other, first) = if port.0 < 8 { (a, b, 0) } else { (b, a, 8) };
        assert_ne!(port.0 < 8, sink.port.0 < 8, "media crosses the bridge");
        let line = |leg: &LegSdp, slot: u32| {
            leg.now.local.as_ref().unwrap().slots.iter().position(|s| *s == Some(slot as usize)).unwrap()
        };
        let (here, there) = (line(leg, port.0 - first), line(other, sink.port.0 - (8 - first)));
        let told = &leg.local_sdp().unwrap().media[here];
        let wanted = &other.remote().unwrap().media[there];
        for format in &told.formats {
            let expected = wanted.formats.iter().find(|f| key(f) == key(format)).and_then(Format::number);
            assert_eq!(sink.payloads.get(format.number().unwrap()), expected, "{}", key(format));
        }
        let back = streams.iter().find(|(other, _)| *other == sink.port).unwrap();
        assert!(back.1.sink.as_ref().is_none_or(|back| back.port == *port));
    }
}

fn run(steps: Vec<Step>) {
    let addresses = |base: u16| -> Vec<SocketAddr> {
        (0..8).map(|i| SocketAddr::new([192, 0, 2, 1].into(), base + 2 * i)).collect()
    };
    let mut legs = [LegSdp::new(1), LegSdp::new(2)];
    let ports = [addresses(10_000), addresses(20_000)];
    let mut phones = [Phone::new(1), Phone::new(2)];
    let mut witnesses = [Witness::default(), Witness::default()];
    for step in steps {
        let (from, to) = if step.from_a { (0, 1) } else { (1, 0) };
        // Lines of an offer that fails were never there.
        let agreed = [0, 1].map(|i| (phones[i].lines.clone(), witnesses[i].kinds.clone()));
        let restore = |phones: &mut [Phone; 2], witnesses: &mut [Witness; 2]| {
            for (i, (lines, kinds)) in agreed.clone().into_iter().enumerate() {
                phones[i].numbers.truncate(lines.len());
                witnesses[i].meaning.truncate(kinds.len());
                (phones[i].lines, witnesses[i].kinds) = (lines, kinds);
            }
        };
        let offer = Sdp::parse(phones[from].offer(&step.offer).as_bytes()).unwrap();
        if legs[from].set_offer(offer.clone()).is_err() {
            restore(&mut phones, &mut witnesses);
            continue;
        }
        let offered = legs[to].offer(&offer, &ports[to]);
        witnesses[to].offered(&offered);
        let answer = phones[to].answer(&Sdp::parse(&offered).unwrap(), &step.answer);
        let answered = (!step.refused)
            .then(|| {
                legs[to].set_answer(Sdp::parse(answer.as_bytes()).unwrap()).ok()?;
                let (from_leg, to_leg) = if step.from_a { legs.split_at_mut(1) } else { swap(legs.split_at_mut(1)) };
                from_leg[0].answer(to_leg[0].remote()?, &ports[from]).ok()
            })
            .flatten();
        let Some(answered) = answered else {
            legs.iter_mut().for_each(LegSdp::rollback);
            if legs.iter().any(|leg| leg.has_offered() || leg.must_answer()) {
                return; // The first exchange failed: no call.
            }
            restore(&mut phones, &mut witnesses);
            continue;
        };
        witnesses[from].answered(&offer, &answered);
        for format in Sdp::parse(&answered)
            .unwrap()
            .media
            .iter()
            .enumerate()
            .flat_map(|(i, m)| m.formats.iter().map(move |f| (i, f)))
        {
            phones[from].learn(format.0, format.1);
        }
        check_wiring(&legs[0], &legs[1]);
    }
}

fn swap<T>((a, b): (T, T)) -> (T, T) {
    (b, a)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_two_phones_negotiate_keeps_the_rules(steps in prop::collection::vec(step(), 1..7)) {
        run(steps);
    }
}
