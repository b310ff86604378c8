//! Session descriptions in one line, as ladders write and show them: `audio 4000 PCMU/0 telephone-event/101 sendonly`,
//! several media lines separated by ` ; `. What goes without saying is left out: RTP/AVP, sendrecv, the sender's own address.

const DIRECTIONS: [&str; 4] = ["sendrecv", "sendonly", "recvonly", "inactive"];

/// Encodings whose rate is not 8000.
const RATES: [(&str, &str); 5] =
    [("opus", "48000/2"), ("H264", "90000"), ("H263", "90000"), ("VP8", "90000"), ("G722", "8000")];

/// What phones take by default.
pub const DEFAULT: &str = "audio 4000 PCMU/0 PCMA/8 telephone-event/101";

/// A description of the phone at `ip`.
pub fn body(line: &str, ip: &str, version: u32) -> String {
    let mut out = format!("v=0\r\no=phone 7 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n");
    for media in line.split(" ; ") {
        let mut words = media.split_whitespace();
        let (kind, port) = (words.next().unwrap_or("audio"), words.next().unwrap_or("4000"));
        let (mut proto, mut formats, mut attributes) = ("RTP/AVP", Vec::new(), String::new());
        for word in words {
            if word.starts_with("RTP/") || word.starts_with("UDP/") || word == "udptl" {
                proto = word;
            } else if let Some(address) = word.strip_prefix("c=") {
                attributes.insert_str(0, &format!("c=IN IP4 {address}\r\n"));
            } else if DIRECTIONS.contains(&word) || word.starts_with("a=") || word.starts_with("b=") {
                let prefix = if DIRECTIONS.contains(&word) { "a=" } else { "" };
                attributes.push_str(&format!("{prefix}{word}\r\n"));
            } else if let Some((name, number)) = word.split_once('/') {
                formats.push(number);
                let rate = RATES.iter().find(|(known, _)| *known == name).map_or("8000", |(_, rate)| rate);
                attributes.push_str(&format!("a=rtpmap:{number} {name}/{rate}\r\n"));
            } else {
                formats.push(word);
            }
        }
        out.push_str(&format!("m={kind} {port} {proto} {}\r\n{attributes}", formats.join(" ")));
    }
    out
}

/// One media line of a description.
#[derive(Default)]
pub struct Line {
    pub kind: String,
    pub port: u16,
    pub proto: String,
    /// `PCMU/0`, or what stands there when it has no name.
    pub formats: Vec<String>,
    pub direction: String,
    pub address: String,
}

pub fn lines(body: &str) -> Vec<Line> {
    let mut found: Vec<Line> = Vec::new();
    let (mut address, mut direction) = (String::new(), "sendrecv".to_owned());
    for line in body.lines() {
        let Some((kind, value)) = line.split_once('=') else { continue };
        let media = found.last_mut();
        match (kind, media) {
            ("m", _) => {
                let mut words = value.split(' ').map(str::to_owned);
                let mut next = || words.next().unwrap_or_default();
                let (kind, port, proto) = (next(), next().parse().unwrap_or(0), next());
                let (direction, address) = (direction.clone(), address.clone());
                found.push(Line { kind, port, proto, formats: words.collect(), direction, address });
            }
            ("c", media) => {
                let value = value.rsplit(' ').next().unwrap_or_default().to_owned();
                *media.map_or(&mut address, |media| &mut media.address) = value;
            }
            ("a", media) if DIRECTIONS.contains(&value) => {
                *media.map_or(&mut direction, |media| &mut media.direction) = value.to_owned();
            }
            ("a", Some(media)) => {
                if let Some((number, name)) = value.strip_prefix("rtpmap:").and_then(|v| v.split_once(' ')) {
                    let name = name.split('/').next().unwrap_or_default();
                    let format = media.formats.iter_mut().find(|format| *format == number);
                    format.into_iter().for_each(|format| *format = format!("{name}/{number}"));
                }
            }
            _ => {}
        }
    }
    found
}

/// The description in one line; `port` names ports, `own` is the address that goes without saying.
pub fn summary(body: &str, own: &str, mut port: impl FnMut(u16) -> String) -> String {
    let show = |line: Line| {
        let mut words = vec![line.kind.clone(), port(line.port)];
        words.extend(Some(line.proto).filter(|proto| proto != "RTP/AVP"));
        words.extend(line.formats);
        words.extend(Some(line.direction).filter(|direction| direction != "sendrecv" && line.port != 0));
        words.extend(Some(format!("c={}", line.address)).filter(|_| line.address != own));
        words.join(" ")
    };
    lines(body).into_iter().map(show).collect::<Vec<_>>().join(" ; ")
}

/// What a simple phone answers: its own audio formats of the offer with the offer's numbers, the direction mirrored,
/// everything else refused.
pub fn answer(offer: &str) -> String {
    let answered = lines(offer).into_iter().map(|line| {
        let known = |format: &&String| DEFAULT.split(' ').any(|own| own.split('/').next() == format.split('/').next());
        let common: Vec<&str> = line.formats.iter().filter(known).map(String::as_str).collect();
        if line.port == 0 || line.kind != "audio" || line.proto != "RTP/AVP" || common.is_empty() {
            let formats: Vec<&str> = line.formats.iter().map(|f| f.rsplit('/').next().unwrap_or(f)).collect();
            return format!("{} 0 {} {}", line.kind, line.proto, formats.join(" "));
        }
        let direction = match line.direction.as_str() {
            "sendonly" => "recvonly",
            "recvonly" => "sendonly",
            other => other,
        };
        format!("audio 4000 {} {direction}", common.join(" "))
    });
    answered.collect::<Vec<_>>().join(" ; ")
}
