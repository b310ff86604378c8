//! The messages of `tests/data`, and what becomes of one on arrival.

use bytes::Bytes;
use std::path::PathBuf;
use strowger::proto::sip::message::Message;

fn data(path: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", path].iter().collect()
}

pub fn read(path: &str) -> Vec<u8> {
    std::fs::read(data(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The files of a directory, by name.
pub fn files(directory: &str) -> Vec<(String, Vec<u8>)> {
    let entries = std::fs::read_dir(data(directory)).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".dat") || name.ends_with(".sip"));
    names.sort();
    names.into_iter().map(|name| (name.clone(), read(&format!("{directory}/{name}")))).collect()
}

/// A message written with bare line feeds as it would be on the wire: CRLF, and Content-Length as the body is long.
pub fn to_wire(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(text.to_vec()).unwrap().replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end_matches('\n'), ""));
    let body = body.replace('\n', "\r\n");
    let mut wire = String::new();
    for line in head.lines() {
        match line.strip_prefix("Content-Length:") {
            Some(_) => wire += &format!("Content-Length: {}\r\n", body.len()),
            None => wire += &format!("{line}\r\n"),
        }
    }
    format!("{wire}\r\n{body}").into_bytes()
}

/// Every message there is, as on the wire.
pub fn everything() -> Vec<(String, Vec<u8>)> {
    let mut all = files("rfc4475");
    all.extend(files("rfc5118").into_iter().map(|(name, text)| (name, to_wire(&text))));
    all.extend(files("phones"));
    all.push(("invite-667.sip".into(), read("invite-667.sip")));
    all
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    Accepted,
    /// Answered with this status.
    Refused(u16),
    /// Neither used nor answered.
    Dropped,
}

/// What the engine does with a datagram before it looks at what it says.
pub fn fate(bytes: &[u8]) -> Fate {
    let Ok(message) = Message::parse(Bytes::copy_from_slice(bytes)) else { return Fate::Dropped };
    match message.validate() {
        Ok(()) => Fate::Accepted,
        Err(invalid) if invalid.answerable => Fate::Refused(invalid.status),
        Err(_) => Fate::Dropped,
    }
}

pub fn message(bytes: &[u8]) -> Message {
    Message::parse(Bytes::copy_from_slice(bytes)).unwrap()
}
