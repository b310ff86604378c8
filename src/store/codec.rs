//! Records as bytes in the journal: a kind, then its fields in order. Integers are LEB128 (signed ones zigzag first), texts
//! a length and their bytes. A kind's form never changes: what needs another is a kind of its own.

use crate::base::cause::Cause;
use crate::base::ids::{ConnectionId, ListenerId, TenantId};
use crate::base::now::Timestamp;
use crate::engine::flow::{Flow, Transport};
use crate::engine::record::{Binding, CallStart, Cdr, RecordBody};
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

/// Keeps a place in the journal and says nothing: written to see whether the disk takes records again.
const PROBE: u8 = 0;
const BINDING: u8 = 1;
const UNBOUND: u8 = 2;
const CALL_STARTED: u8 = 3;
const CALL_ENDED: u8 = 4;
/// A binding followed by its Contact's parameters.
const BINDING_WITH_PARAMS: u8 = 5;

const PROBE_BYTES: usize = 4096;

/// The bytes are no record of this version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable;

pub fn encode_probe(out: &mut Vec<u8>) {
    out.resize(out.len() + PROBE_BYTES, PROBE);
}

pub fn encode(body: &RecordBody, out: &mut Vec<u8>) {
    match body {
        RecordBody::Binding(binding) => {
            out.push(if binding.params.is_empty() { BINDING } else { BINDING_WITH_PARAMS });
            encode_binding(binding, out);
        }
        RecordBody::Unbound { tenant, extension, key } => {
            out.push(UNBOUND);
            number(out, u64::from(tenant.0));
            text(out, extension);
            text(out, key);
        }
        RecordBody::CallStarted(start) => {
            out.push(CALL_STARTED);
            text(out, &start.call_id);
            number(out, u64::from(start.tenant.0));
            text(out, &start.from);
            text(out, &start.to);
            time(out, start.start);
            text(out, &start.user_agent);
        }
        RecordBody::CallEnded(cdr) => {
            out.push(CALL_ENDED);
            encode_cdr(cdr, out);
        }
    }
}

fn encode_binding(binding: &Binding, out: &mut Vec<u8>) {
    number(out, u64::from(binding.tenant.0));
    text(out, &binding.extension);
    text(out, &binding.key);
    text(out, &binding.uri);
    number(out, u64::from(binding.q));
    number(out, u64::from(binding.flow.listener.0));
    out.push(match binding.flow.transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
    });
    address(out, binding.flow.local);
    socket_address(out, binding.flow.remote);
    option(out, binding.flow.connection.map(|connection| connection.0));
    time(out, binding.expires);
    text(out, &binding.call_id);
    number(out, u64::from(binding.cseq));
    text(out, &binding.user_agent);
    number(out, binding.path.len() as u64);
    for entry in &binding.path {
        text(out, entry);
    }
    text(out, &binding.allow);
    time(out, binding.registered_at);
    if !binding.params.is_empty() {
        text(out, &binding.params);
    }
}

fn encode_cdr(cdr: &Cdr, out: &mut Vec<u8>) {
    text(out, &cdr.call_id);
    text(out, &cdr.linked_id);
    number(out, u64::from(cdr.tenant.0));
    text(out, &cdr.from);
    text(out, &cdr.to);
    time(out, cdr.start);
    option(out, cdr.answer.map(|answer| zigzag(answer.0)));
    time(out, cdr.end);
    number(out, cdr.duration);
    number(out, cdr.billsec);
    text(out, cdr.cause.text());
    text(out, &cdr.user_agent);
    number(out, cdr.caller_packets);
    number(out, cdr.callee_packets);
}

fn number(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn text(out: &mut Vec<u8>, value: &str) {
    number(out, value.len() as u64);
    out.extend_from_slice(value.as_bytes());
}

fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

fn time(out: &mut Vec<u8>, value: Timestamp) {
    number(out, zigzag(value.0));
}

fn option(out: &mut Vec<u8>, value: Option<u64>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        number(out, value);
    }
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out.push(4);
            out.extend_from_slice(&v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(6);
            out.extend_from_slice(&v6.octets());
        }
    }
}

fn socket_address(out: &mut Vec<u8>, socket: SocketAddr) {
    address(out, socket.ip());
    number(out, u64::from(socket.port()));
    if let SocketAddr::V6(v6) = socket {
        number(out, u64::from(v6.scope_id()));
    }
}

/// The record of these bytes; None for a probe.
pub fn decode(bytes: &[u8]) -> Result<Option<RecordBody>, Unreadable> {
    let mut input = Input(bytes);
    let body = match input.byte()? {
        PROBE => return Ok(None),
        BINDING => RecordBody::Binding(Arc::new(input.binding()?)),
        BINDING_WITH_PARAMS => {
            let binding = input.binding()?;
            RecordBody::Binding(Arc::new(Binding { params: input.text()?, ..binding }))
        }
        UNBOUND => RecordBody::Unbound { tenant: input.tenant()?, extension: input.text()?, key: input.text()? },
        CALL_STARTED => RecordBody::CallStarted(Arc::new(CallStart {
            call_id: input.text()?,
            tenant: input.tenant()?,
            from: input.text()?,
            to: input.text()?,
            start: input.time()?,
            user_agent: input.text()?,
        })),
        CALL_ENDED => RecordBody::CallEnded(Arc::new(input.cdr()?)),
        _ => return Err(Unreadable),
    };
    if input.0.is_empty() { Ok(Some(body)) } else { Err(Unreadable) }
}

struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn binding(&mut self) -> Result<Binding, Unreadable> {
        Ok(Binding {
            tenant: self.tenant()?,
            extension: self.text()?,
            key: self.text()?,
            uri: self.text()?,
            q: self.number_as()?,
            flow: Flow {
                listener: ListenerId(self.number_as()?),
                transport: match self.byte()? {
                    0 => Transport::Udp,
                    1 => Transport::Tcp,
                    2 => Transport::Tls,
                    _ => return Err(Unreadable),
                },
                local: self.address()?,
                remote: self.socket_address()?,
                connection: self.option()?.map(ConnectionId),
            },
            expires: self.time()?,
            call_id: self.text()?,
            cseq: self.number_as()?,
            user_agent: self.text()?,
            path: {
                let entries: usize = self.number_as()?;
                (0..entries).map(|_| self.text()).collect::<Result<_, _>>()?
            },
            allow: self.text()?,
            registered_at: self.time()?,
            params: Box::default(),
        })
    }

    fn cdr(&mut self) -> Result<Cdr, Unreadable> {
        Ok(Cdr {
            call_id: self.text()?,
            linked_id: self.text()?,
            tenant: self.tenant()?,
            from: self.text()?,
            to: self.text()?,
            start: self.time()?,
            answer: self.option()?.map(|answer| Timestamp(unzigzag(answer))),
            end: self.time()?,
            duration: self.number()?,
            billsec: self.number()?,
            // A cause this version does not have is a failure all the same.
            cause: Cause::of_text(&self.text()?).unwrap_or(Cause::Internal),
            user_agent: self.text()?,
            caller_packets: self.number()?,
            callee_packets: self.number()?,
        })
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Unreadable> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Unreadable)?;
        self.0 = rest;
        Ok(head)
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        let (first, rest) = self.0.split_first().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Unreadable);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Unreadable)
    }

    fn number_as<T: TryFrom<u64>>(&mut self) -> Result<T, Unreadable> {
        T::try_from(self.number()?).map_err(|_| Unreadable)
    }

    fn tenant(&mut self) -> Result<TenantId, Unreadable> {
        Ok(TenantId(self.number_as()?))
    }

    fn text(&mut self) -> Result<Box<str>, Unreadable> {
        let length = self.number_as()?;
        let bytes = self.take(length)?;
        Ok(std::str::from_utf8(bytes).map_err(|_| Unreadable)?.into())
    }

    fn time(&mut self) -> Result<Timestamp, Unreadable> {
        Ok(Timestamp(unzigzag(self.number()?)))
    }

    fn option(&mut self) -> Result<Option<u64>, Unreadable> {
        match self.byte()? {
            0 => Ok(None),
            1 => Ok(Some(self.number()?)),
            _ => Err(Unreadable),
        }
    }

    fn address(&mut self) -> Result<IpAddr, Unreadable> {
        match self.byte()? {
            4 => <[u8; 4]>::try_from(self.take(4)?).map(IpAddr::from).map_err(|_| Unreadable),
            6 => <[u8; 16]>::try_from(self.take(16)?).map(IpAddr::from).map_err(|_| Unreadable),
            _ => Err(Unreadable),
        }
    }

    fn socket_address(&mut self) -> Result<SocketAddr, Unreadable> {
        let ip = self.address()?;
        let port = self.number_as()?;
        Ok(match ip {
            IpAddr::V4(_) => SocketAddr::new(ip, port),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, port, 0, self.number_as()?).into(),
        })
    }
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}
