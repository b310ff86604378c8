//! SDP (RFC 8866): a description as its author wrote it, typed.
//!
//! Invariant: an m-line keeps its place and its words whatever they are, since an answer must repeat them (RFC 3264 §6).
//! What real phones send is read: bare LF or CR line ends, missing s= and t=, an rtpmap that names nothing, unknown lines.
//! Not here: what we make of a description; that is `engine::negotiate`.

pub mod body;
pub mod codec;
pub mod parse;
#[cfg(test)]
mod tests;
pub mod text;
pub mod write;

use codec::Codec;
use std::net::{IpAddr, SocketAddr};
use text::Text;

/// A whole description.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sdp {
    pub origin: Option<Origin>,
    /// s=, without which we write `-`.
    pub name: Option<Text>,
    /// The session's c=, for lines without their own.
    pub connection: Option<Connection>,
    /// Values of the session's b= lines.
    pub bandwidth: Vec<Text>,
    /// The first t=, without which we write `0 0`.
    pub time: Option<Text>,
    /// The session's direction, for lines without their own.
    pub direction: Option<Direction>,
    /// Other attributes of the session.
    pub attributes: Vec<Attribute>,
    pub media: Vec<Media>,
}

/// o= (RFC 8866 §5.2). Texts, for phones write more than digits into them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    pub username: Text,
    pub session_id: Text,
    pub version: Text,
    /// Network type, address type and address: `IN IP4 192.0.2.1`.
    pub address: Text,
}

/// c= (RFC 8866 §5.7).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    pub address: Address,
    /// Multicast TTL and count with their slashes, such as `/127/3`; usually empty.
    pub suffix: Text,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Address {
    Ip(IpAddr),
    /// A host name, and whether it was announced as IP6. We send nothing to a name: the source of its packets is learnt.
    Name {
        name: Text,
        ip6: bool,
    },
    /// Whatever else the line said, whole.
    Other(Text),
}

/// An m-line and what belongs to it.
#[derive(Clone, PartialEq, Debug)]
pub struct Media {
    /// `audio`, `video`, `image`…
    pub kind: Text,
    /// Zero: refused, or offered only to keep its place.
    pub port: u16,
    /// Number of ports, 1 unless written.
    pub ports: u16,
    /// `RTP/AVP`, `udptl`…
    pub proto: Text,
    pub formats: Vec<Format>,
    pub connection: Option<Connection>,
    pub bandwidth: Vec<Text>,
    pub direction: Option<Direction>,
    /// Where the author wants RTCP (RFC 3605), when not one port up.
    pub rtcp: Option<Rtcp>,
    /// Milliseconds of media in a packet.
    pub ptime: Option<u32>,
    pub maxptime: Option<u32>,
    /// Other attributes of the line.
    pub attributes: Vec<Attribute>,
}

/// One format of an m-line with what its attributes say about it.
#[derive(Clone, PartialEq, Debug)]
pub struct Format {
    pub id: FormatId,
    /// From rtpmap, else from the table of static payload types.
    pub codec: Option<Codec>,
    /// Format parameters, without the number.
    pub fmtp: Option<Text>,
    /// rtcp-fb values for this format, without the number (RFC 4585).
    pub feedback: Vec<Text>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FormatId {
    /// RTP payload type, 0–127.
    Number(u8),
    /// A format of another protocol, or one we can't read.
    Token(Text),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Attribute {
    pub name: Text,
    /// None for a property attribute such as `a=rtcp-mux`.
    pub value: Option<Text>,
}

/// a=rtcp (RFC 3605).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rtcp {
    pub port: u16,
    /// The line's own when absent.
    pub connection: Option<Connection>,
}

/// Who may send, from the author's point of view (RFC 3264 §5.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Direction {
    #[default]
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub fn of(send: bool, receive: bool) -> Direction {
        match (send, receive) {
            (true, true) => Direction::SendRecv,
            (true, false) => Direction::SendOnly,
            (false, true) => Direction::RecvOnly,
            (false, false) => Direction::Inactive,
        }
    }

    /// The author sends.
    pub fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// The author wants to receive.
    pub fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    /// The same stream seen from the other end: the most an answer may say (RFC 3264 §6.1).
    pub fn mirrored(self) -> Direction {
        Direction::of(self.receives(), self.sends())
    }

    /// What both allow.
    pub fn and(self, other: Direction) -> Direction {
        Direction::of(self.sends() && other.sends(), self.receives() && other.receives())
    }

    /// As written: `sendrecv`…
    pub fn text(self) -> &'static str {
        match self {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        }
    }
}

impl Sdp {
    /// The line's direction, its own or the session's, `sendrecv` when neither says.
    pub fn direction_of(&self, line: &Media) -> Direction {
        line.direction.or(self.direction).unwrap_or_default()
    }

    /// The line's c=, its own or the session's.
    pub fn connection_of<'a>(&'a self, line: &'a Media) -> Option<&'a Connection> {
        line.connection.as_ref().or(self.connection.as_ref())
    }

    /// Where the line's author wants RTP: None for a refused line, a name, a multicast group, or 0.0.0.0.
    pub fn rtp_of(&self, line: &Media) -> Option<SocketAddr> {
        let ip = self.connection_of(line)?.unicast()?;
        (line.port != 0).then(|| SocketAddr::new(ip, line.port))
    }

    /// Where the line's author wants RTCP: as a=rtcp says, else one port up.
    pub fn rtcp_of(&self, line: &Media) -> Option<SocketAddr> {
        let rtp = self.rtp_of(line)?;
        let Some(rtcp) = &line.rtcp else {
            return Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?));
        };
        let ip = match &rtcp.connection {
            Some(connection) => connection.unicast()?,
            None => rtp.ip(),
        };
        (rtcp.port != 0).then(|| SocketAddr::new(ip, rtcp.port))
    }
}

impl Connection {
    pub fn ip(ip: IpAddr) -> Connection {
        Connection { address: Address::Ip(ip), suffix: Text::default() }
    }

    /// 0.0.0.0 or its IPv6 twin: the hold of RFC 2543, "send me nothing".
    pub fn is_unspecified(&self) -> bool {
        matches!(self.address, Address::Ip(ip) if ip.to_canonical().is_unspecified())
    }

    /// The address of one host, an IPv4 one in IPv6 clothes unwrapped.
    pub fn unicast(&self) -> Option<IpAddr> {
        let Address::Ip(ip) = self.address else { return None };
        let ip = ip.to_canonical();
        let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
        (!ip.is_unspecified() && !ip.is_multicast() && !broadcast).then_some(ip)
    }
}

impl Media {
    pub fn is_active(&self) -> bool {
        self.port != 0
    }

    pub fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|attribute| attribute.name.is(name))
    }
}

impl Format {
    pub fn new(id: FormatId) -> Format {
        Format { id, codec: None, fmtp: None, feedback: Vec::new() }
    }

    pub fn number(&self) -> Option<u8> {
        match self.id {
            FormatId::Number(number) => Some(number),
            FormatId::Token(_) => None,
        }
    }
}
