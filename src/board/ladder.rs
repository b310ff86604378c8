//! A call's trace as a ladder a person reads: who sent what to whom and what the exchange decided, then every message.

use super::trace::{CallTrace, Direction, Message, Rung};
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
    let about = trace.about();
    let state = if trace.ended().is_some() { "ended" } else { "going on" };
    // Writing to a string can't fail.
    let _ = writeln!(out, "Call {}: {} -> {}, {state}\n", about.call_id, about.from, about.to);
    let lines = Lifelines::of(trace);
    lines.heading(&mut out);
    for rung in trace.rungs() {
        match rung {
            Rung::Message { at, message, text } => lines.rung(&time(at), &message, text, &mut out),
            Rung::Decision { at, text } => {
                let _ = writeln!(out, "{:12}  * {}", time(at), text.replace(char::is_control, " "));
            }
            Rung::Gap { omitted } => {
                let _ = writeln!(out, "{:12}  ... {omitted} entries left out ...", "");
            }
        }
    }
    let mut number = 0;
    for rung in trace.rungs() {
        if let Rung::Message { at, message, text } = rung {
            number += 1;
            write_message(number, &time(at), &message, text, &mut out);
        }
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
    fn of(trace: &CallTrace) -> Lifelines {
        let mut legs: Vec<(LegId, String)> = Vec::new();
        for rung in trace.rungs() {
            if let Rung::Message { message: Message { leg, peer, transport, .. }, .. } = rung
                && legs.iter().all(|(known, _)| *known != leg)
            {
                legs.push((leg, format!("{peer} {}", transport.param())));
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

    fn rung(&self, time: &str, message: &Message, text: &[u8], out: &mut String) {
        let index = self.legs.iter().position(|(known, _)| *known == message.leg).unwrap_or_default();
        let party = FIRST + Self::of_leg(index) * GAP;
        let exchange = FIRST + EXCHANGE * GAP;
        let mut canvas = Canvas::new(self.count());
        for line in 0..self.count() {
            canvas.put(FIRST + line * GAP, '|');
        }
        let (from, to) = if message.direction == Direction::In { (party, exchange) } else { (exchange, party) };
        canvas.arrow(from, to, &label(text));
        canvas.left(time);
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

fn write_message(number: usize, time: &str, message: &Message, text: &[u8], out: &mut String) {
    let Message { direction, leg, peer, transport, cut } = message;
    let way = if *direction == Direction::In { "from" } else { "to" };
    let _ = writeln!(out, "\n--- {number}. {time} {way} {peer} {}, leg {leg}", transport.param());
    let text = String::from_utf8_lossy(text);
    out.extend(text.trim_end().chars().filter(|c| *c == '\n' || *c == '\t' || !c.is_control()));
    out.push('\n');
    if *cut > 0 {
        let _ = writeln!(out, "... {cut} bytes left out ...");
    }
}
