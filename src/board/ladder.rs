//! A call's trace as a ladder a person reads: who sent what to whom and what the exchange decided, then every message.

use super::trace::{CallTrace, Direction, Entry, Line};
use crate::base::ids::LegId;
use crate::base::now::Timestamp;
use std::fmt::Write;

/// Columns of text between two lifelines.
const GAP: usize = 30;
/// Where the first lifeline stands: room for the time and half an address.
const FIRST: usize = 26;
/// The exchange's lifeline.
const EXCHANGE: usize = 1;

/// `time` writes a time of day; the ladder gives it twelve columns.
pub fn ladder(trace: &CallTrace, time: &dyn Fn(Timestamp) -> String) -> String {
    let mut out = String::new();
    if let Some(about) = trace.about() {
        let state = if trace.ended().is_some() { "ended" } else { "going on" };
        // Writing to a string can't fail.
        let _ = writeln!(out, "Call {}: {} -> {}, {state}\n", about.call_id, about.from, about.to);
    }
    let (first, omitted, last) = trace.entries();
    let lines = Lifelines::of(first.iter().chain(last));
    lines.heading(&mut out);
    for entry in first {
        lines.rung(entry, time, &mut out);
    }
    if omitted > 0 {
        let _ = writeln!(out, "{:12}  ... {omitted} entries left out ...", "");
    }
    for entry in last {
        lines.rung(entry, time, &mut out);
    }
    let messages = first.iter().chain(last).filter(|entry| matches!(entry.line, Line::Message { .. }));
    for (number, entry) in messages.enumerate() {
        message(number + 1, entry, time, &mut out);
    }
    out
}

/// What a message is, in a few words: `INVITE sdp`, `180 Ringing`, `200 OK (BYE) sdp`.
pub fn label(text: &[u8]) -> String {
    let head = text.split(|b| *b == b'\n').map(|line| String::from_utf8_lossy(line.trim_ascii()));
    let mut lines = head.skip_while(|line| line.is_empty());
    let start = lines.next().unwrap_or_default();
    let mut words = start.splitn(3, ' ');
    let first = words.next().unwrap_or_default();
    let mut method = None;
    let mut sdp = false;
    for line in lines.take_while(|line| !line.is_empty()) {
        let Some((name, value)) = line.split_once(':') else { continue };
        let name = name.trim_end();
        if name.eq_ignore_ascii_case("cseq") {
            method = value.split_ascii_whitespace().nth(1).map(String::from);
        } else if name.eq_ignore_ascii_case("content-type") || name.eq_ignore_ascii_case("c") {
            sdp = value.trim_start().to_ascii_lowercase().starts_with("application/sdp");
        }
    }
    let mut label = if first.starts_with("SIP/") {
        let status = words.next().unwrap_or_default();
        let phrase = words.next().unwrap_or_default();
        match method.filter(|method| method != "INVITE") {
            Some(method) => format!("{status} {phrase} ({method})"),
            None => format!("{status} {phrase}"),
        }
    } else {
        first.to_string()
    };
    if sdp {
        label.push_str(" sdp");
    }
    label
}

/// One for each leg, in the order they appear, and the exchange's after the first.
struct Lifelines {
    /// Leg and the address it was first seen at.
    legs: Vec<(LegId, String)>,
}

impl Lifelines {
    fn of<'a>(entries: impl Iterator<Item = &'a Entry>) -> Lifelines {
        let mut legs: Vec<(LegId, String)> = Vec::new();
        for entry in entries {
            if let Line::Message { leg, peer, transport, .. } = &entry.line
                && legs.iter().all(|(known, _)| known != leg)
            {
                legs.push((*leg, format!("{peer} {}", transport.param())));
            }
        }
        Lifelines { legs }
    }

    fn count(&self) -> usize {
        self.legs.len().max(1) + 1
    }

    /// Lifeline of the leg with this index.
    fn of_leg(index: usize) -> usize {
        if index < EXCHANGE { index } else { index + 1 }
    }

    fn heading(&self, out: &mut String) {
        let mut names = vec![(EXCHANGE, "Strowger".to_string())];
        let mut addresses = Vec::new();
        for (index, (leg, address)) in self.legs.iter().enumerate() {
            names.push((Self::of_leg(index), format!("leg {leg}")));
            addresses.push((Self::of_leg(index), address.clone()));
        }
        for row in [names, addresses] {
            let mut canvas = Canvas::new(self.count());
            for (line, text) in row {
                canvas.centre(FIRST + line * GAP, &text);
            }
            canvas.write(out);
        }
    }

    fn rung(&self, entry: &Entry, time: &dyn Fn(Timestamp) -> String, out: &mut String) {
        let time = time(entry.at);
        let (direction, leg, text) = match &entry.line {
            Line::Decision(text) => {
                let _ = writeln!(out, "{time:12}  * {}", text.replace(char::is_control, " "));
                return;
            }
            Line::Message { direction, leg, text, .. } => (*direction, leg, text),
        };
        let index = self.legs.iter().position(|(known, _)| known == leg).unwrap_or_default();
        let party = FIRST + Self::of_leg(index) * GAP;
        let exchange = FIRST + EXCHANGE * GAP;
        let mut canvas = Canvas::new(self.count());
        for line in 0..self.count() {
            canvas.put(FIRST + line * GAP, '|');
        }
        let (from, to) = if direction == Direction::In { (party, exchange) } else { (exchange, party) };
        canvas.arrow(from, to, &label(text));
        canvas.left(&time);
        canvas.write(out);
    }
}

/// One line of text, drawn out of order.
struct Canvas(Vec<char>);

impl Canvas {
    fn new(lifelines: usize) -> Canvas {
        Canvas(vec![' '; FIRST + lifelines * GAP])
    }

    fn put(&mut self, at: usize, c: char) {
        if let Some(place) = self.0.get_mut(at) {
            *place = c;
        }
    }

    fn left(&mut self, text: &str) {
        text.chars().enumerate().for_each(|(at, c)| self.put(at, c));
    }

    fn centre(&mut self, middle: usize, text: &str) {
        let start = middle.saturating_sub(text.chars().count() / 2);
        text.chars().enumerate().for_each(|(at, c)| self.put(start + at, c));
    }

    fn arrow(&mut self, from: usize, to: usize, label: &str) {
        let (left, right) = (from.min(to), from.max(to));
        (left + 1..right).for_each(|at| self.put(at, '-'));
        if to > from {
            self.put(to - 1, '>');
        } else {
            self.put(to + 1, '<');
        }
        let label: String = label.chars().map(|c| if c.is_control() { ' ' } else { c }).take(GAP - 8).collect();
        self.centre((left + right) / 2, &format!(" {label} "));
    }

    fn write(&self, out: &mut String) {
        let line: String = self.0.iter().collect();
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

fn message(number: usize, entry: &Entry, time: &dyn Fn(Timestamp) -> String, out: &mut String) {
    let Line::Message { direction, leg, peer, transport, text, cut } = &entry.line else { return };
    let way = if *direction == Direction::In { "from" } else { "to" };
    let _ = writeln!(out, "\n--- {number}. {} {way} {peer} {}, leg {leg}", time(entry.at), transport.param());
    let text = String::from_utf8_lossy(text);
    out.extend(text.trim_end().chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()));
    out.push('\n');
    if *cut > 0 {
        let _ = writeln!(out, "... {cut} bytes left out ...");
    }
}
