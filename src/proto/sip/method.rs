//! Request methods (RFC 3261 §7.1 and its extensions). Method names are case-sensitive.

use std::fmt;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Method<'a> {
    Invite,
    Ack,
    Bye,
    Cancel,
    Register,
    Options,
    Prack,
    Update,
    Info,
    Message,
    Refer,
    Subscribe,
    Notify,
    Publish,
    /// A method we have no name for.
    Other(&'a [u8]),
}

impl<'a> Method<'a> {
    pub fn of(bytes: &'a [u8]) -> Method<'a> {
        match bytes {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"REGISTER" => Method::Register,
            b"OPTIONS" => Method::Options,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"INFO" => Method::Info,
            b"MESSAGE" => Method::Message,
            b"REFER" => Method::Refer,
            b"SUBSCRIBE" => Method::Subscribe,
            b"NOTIFY" => Method::Notify,
            b"PUBLISH" => Method::Publish,
            other => Method::Other(other),
        }
    }

    pub fn as_bytes(&self) -> &'a [u8] {
        match self.known() {
            Some(text) => text.as_bytes(),
            None => match self {
                Method::Other(bytes) => bytes,
                _ => b"",
            },
        }
    }

    /// The name as text; `?` for an unknown method that is not ASCII (parsed messages have none such).
    pub fn as_str(&self) -> &'a str {
        match self {
            Method::Other(bytes) => std::str::from_utf8(bytes).unwrap_or("?"),
            _ => self.known().unwrap_or("?"),
        }
    }

    fn known(&self) -> Option<&'static str> {
        Some(match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Register => "REGISTER",
            Method::Options => "OPTIONS",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Info => "INFO",
            Method::Message => "MESSAGE",
            Method::Refer => "REFER",
            Method::Subscribe => "SUBSCRIBE",
            Method::Notify => "NOTIFY",
            Method::Publish => "PUBLISH",
            Method::Other(_) => return None,
        })
    }

    /// A copy that borrows from nothing; allocates for `Other` alone.
    pub fn to_owned(self) -> MethodBuf {
        match self {
            Method::Other(bytes) => MethodBuf::Other(bytes.into()),
            Method::Invite => MethodBuf::Known(Method::Invite),
            Method::Ack => MethodBuf::Known(Method::Ack),
            Method::Bye => MethodBuf::Known(Method::Bye),
            Method::Cancel => MethodBuf::Known(Method::Cancel),
            Method::Register => MethodBuf::Known(Method::Register),
            Method::Options => MethodBuf::Known(Method::Options),
            Method::Prack => MethodBuf::Known(Method::Prack),
            Method::Update => MethodBuf::Known(Method::Update),
            Method::Info => MethodBuf::Known(Method::Info),
            Method::Message => MethodBuf::Known(Method::Message),
            Method::Refer => MethodBuf::Known(Method::Refer),
            Method::Subscribe => MethodBuf::Known(Method::Subscribe),
            Method::Notify => MethodBuf::Known(Method::Notify),
            Method::Publish => MethodBuf::Known(Method::Publish),
        }
    }
}

impl fmt::Display for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Method<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A method that outlives its message.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum MethodBuf {
    Known(Method<'static>),
    Other(Box<[u8]>),
}

impl MethodBuf {
    pub fn as_method(&self) -> Method<'_> {
        match self {
            MethodBuf::Known(method) => *method,
            MethodBuf::Other(bytes) => Method::Other(bytes),
        }
    }
}
