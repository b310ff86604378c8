//! The last things that happened, for the report of a failing run.

use crate::clock::{Time, show};
use crate::sip::text::Msg;
use std::collections::VecDeque;

pub struct Ladder {
    lines: VecDeque<(Time, Line)>,
    length: usize,
}

pub enum Line {
    /// A message that reached the server, or left it.
    In {
        phone: String,
        bytes: Vec<u8>,
    },
    Out {
        phone: String,
        bytes: Vec<u8>,
    },
    /// A decision of the engine, a fault of the world, a command to the media plane.
    Note(String),
}

impl Ladder {
    pub fn new(length: usize) -> Ladder {
        Ladder { lines: VecDeque::new(), length }
    }

    pub fn add(&mut self, now: Time, line: Line) {
        if self.lines.len() == self.length {
            self.lines.pop_front();
        }
        self.lines.push_back((now, line));
    }

    /// `whole`: with headers and bodies.
    pub fn text(&self, whole: bool) -> String {
        let mut out = String::new();
        for (at, line) in &self.lines {
            let text = match line {
                Line::In { phone, bytes } => format!("{phone:>8} ──► {}", title(bytes, whole)),
                Line::Out { phone, bytes } => format!("{phone:>8} ◄── {}", title(bytes, whole)),
                Line::Note(text) => format!("         ··· {text}"),
            };
            out.push_str(&format!("{} {text}\n", show(*at)));
        }
        out
    }
}

fn title(bytes: &[u8], whole: bool) -> String {
    if whole {
        return format!("\n{}", String::from_utf8_lossy(bytes));
    }
    match Msg::parse(bytes) {
        Some(msg) => {
            let sdp = crate::sip::sdp::Sdp::parse(&msg.body);
            let media = sdp.map_or(String::new(), |sdp| {
                let at = sdp.audio_at().map_or("nowhere".to_string(), |at| at.to_string());
                format!(" sdp {} {at} v{}", sdp.audio_direction().text(), sdp.version)
            });
            let tags = format!("{}/{}", msg.tag_of_from().unwrap_or("-"), msg.tag_of_to().unwrap_or("-"));
            format!("{} {} {tags}{media}", msg.title(), msg.call_id())
        }
        None => format!("{} bytes nobody can read", bytes.len()),
    }
}
