//! Dialogs (RFC 3261 §12): the identity, targets and sequence numbers of one relation between a peer and us.
//!
//! Requests inside a dialog go out on the leg's flow: phones behind NATs are reachable there and nowhere else. The remote
//! target and route set decide what the request says, not where it goes.

use crate::base::limits;
use crate::engine::core::Io;
use crate::engine::flow::Flow;
use crate::engine::transaction::{Draft, Transactions};
use crate::proto::sip::message::Message;
use crate::proto::sip::method::Method;
use crate::proto::sip::name::Name;
use smallvec::SmallVec;

/// Call-ID, our tag, the peer's tag.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct DialogKey {
    pub call_id: Box<[u8]>,
    pub local: Box<[u8]>,
    pub remote: Box<[u8]>,
}

#[derive(Clone, Debug)]
pub struct Dialog {
    pub key: DialogKey,
    /// From of our requests, without tag.
    local: Box<[u8]>,
    /// To of our requests, without tag.
    remote: Box<[u8]>,
    /// The peer's Contact URI.
    target: Box<[u8]>,
    /// Route header values, first hop first.
    routes: SmallVec<[Box<[u8]>; 1]>,
    pub local_cseq: u32,
    pub remote_cseq: Option<u32>,
}

/// Why no dialog can be made of a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoDialog {
    /// A field is missing or unreadable.
    Unreadable,
    /// The peer named no Contact to send requests to.
    NoContact,
    /// Its route set or identities are longer than we keep.
    TooLong,
}

impl Dialog {
    /// The dialog a request from the peer asks for; `tag` is ours.
    pub fn of_request(request: &Message, tag: &[u8]) -> Result<Dialog, NoDialog> {
        let from = request.from().map_err(|_| NoDialog::Unreadable)?;
        let cseq = request.cseq().map_err(|_| NoDialog::Unreadable)?;
        let key = DialogKey {
            call_id: request.call_id().into(),
            local: tag.into(),
            remote: from.tag().unwrap_or_default().into(),
        };
        let dialog = Dialog {
            key,
            local: without_tag(request.header(Name::To).unwrap_or_default()),
            remote: without_tag(request.header(Name::From).unwrap_or_default()),
            target: contact(request).ok_or(NoDialog::NoContact)?,
            routes: request.values(Name::RecordRoute).take(limits::ROUTES).map(Box::from).collect(),
            local_cseq: 0,
            remote_cseq: Some(cseq.number),
        };
        dialog.bounded()
    }

    /// The dialog a response to our INVITE makes.
    pub fn of_response(response: &Message, fallback_target: &[u8]) -> Result<Dialog, NoDialog> {
        let from = response.from().map_err(|_| NoDialog::Unreadable)?;
        let to = response.to().map_err(|_| NoDialog::Unreadable)?;
        let cseq = response.cseq().map_err(|_| NoDialog::Unreadable)?;
        let key = DialogKey {
            call_id: response.call_id().into(),
            local: from.tag().unwrap_or_default().into(),
            remote: to.tag().unwrap_or_default().into(),
        };
        let mut routes: SmallVec<[Box<[u8]>; 1]> =
            response.values(Name::RecordRoute).take(limits::ROUTES).map(Box::from).collect();
        routes.reverse();
        let dialog = Dialog {
            key,
            local: without_tag(response.header(Name::From).unwrap_or_default()),
            remote: without_tag(response.header(Name::To).unwrap_or_default()),
            target: contact(response).unwrap_or_else(|| fallback_target.into()),
            routes,
            local_cseq: cseq.number,
            remote_cseq: None,
        };
        dialog.bounded()
    }

    /// The peer's Contact URI.
    pub fn target(&self) -> &[u8] {
        &self.target
    }

    /// Takes a new remote target from a target refresh request or its 2xx (RFC 3261 §12.2).
    pub fn refresh_target(&mut self, message: &Message) {
        if let Some(target) = contact(message).filter(|target| target.len() <= limits::DIALOG_BYTES) {
            self.target = target;
        }
    }

    /// Whether a request's CSeq is in order; remembers it (RFC 3261 §12.2.2).
    pub fn accept_cseq(&mut self, number: u32) -> bool {
        if self.remote_cseq.is_some_and(|last| number <= last) {
            return false;
        }
        self.remote_cseq = Some(number);
        true
    }

    /// Begins a request in the dialog with the next CSeq (RFC 3261 §12.2.1.1).
    pub fn request(&mut self, io: &mut Io, tx: &mut Transactions, flow: &Flow, method: Method<'_>) -> Draft {
        self.local_cseq += 1;
        let cseq = self.local_cseq;
        self.write(io, tx, flow, method, cseq)
    }

    /// The ACK of a 2xx: the INVITE's CSeq, a branch of its own (RFC 3261 §13.2.2.4).
    pub fn ack(&self, io: &mut Io, tx: &mut Transactions, flow: &Flow, cseq: u32) -> Draft {
        self.write(io, tx, flow, Method::Ack, cseq)
    }

    fn write(&self, io: &mut Io, tx: &mut Transactions, flow: &Flow, method: Method<'_>, cseq: u32) -> Draft {
        // A strict router takes the Request-URI's place, and the target becomes the last route.
        let strict = self.routes.first().filter(|route| !is_loose(route));
        let uri = strict.map_or(&*self.target, |route| uri_of(route));
        let mut draft = tx.draft(io, flow, method, uri, 70);
        let writer = &mut draft.writer;
        for route in self.routes.iter().skip(usize::from(strict.is_some())) {
            writer.header("Route", route);
        }
        if strict.is_some() {
            writer.header("Route", [b"<", &*self.target, b">"].concat());
        }
        writer.header("From", tagged(&self.local, &self.key.local));
        writer.header("To", tagged(&self.remote, &self.key.remote));
        writer.header("Call-ID", &self.key.call_id);
        writer.header_fmt("CSeq", format_args!("{cseq} {}", method.as_str()));
        draft
    }

    fn bounded(self) -> Result<Dialog, NoDialog> {
        let routes: usize = self.routes.iter().map(|route| route.len()).sum();
        let bytes = routes + self.local.len() + self.remote.len() + self.target.len() + self.key.call_id.len();
        if bytes > limits::DIALOG_BYTES { Err(NoDialog::TooLong) } else { Ok(self) }
    }
}

fn tagged(value: &[u8], tag: &[u8]) -> Vec<u8> {
    if tag.is_empty() { value.to_vec() } else { [value, b";tag=", tag].concat() }
}

fn contact(message: &Message) -> Option<Box<[u8]>> {
    Some(message.contact().ok()?.uri.raw.into())
}

fn is_loose(route: &[u8]) -> bool {
    route.windows(3).any(|window| window.eq_ignore_ascii_case(b";lr"))
}

fn uri_of(route: &[u8]) -> &[u8] {
    let start = memchr::memchr(b'<', route).map_or(0, |at| at + 1);
    let end = memchr::memchr(b'>', &route[start..]).map_or(route.len(), |at| start + at);
    &route[start..end]
}

/// A From or To value without its tag parameter.
fn without_tag(value: &[u8]) -> Box<[u8]> {
    // Parameters of the header stand after the closing bracket, or after the first semicolon when there is none.
    let from =
        memchr::memrchr(b'>', value).map_or_else(|| memchr::memchr(b';', value).unwrap_or(value.len()), |at| at + 1);
    let (head, params) = value.split_at(from);
    let mut out = head.to_vec();
    for param in params.split(|b| *b == b';') {
        let param = param.trim_ascii();
        let is_tag = param.len() >= 4 && param[..4].eq_ignore_ascii_case(b"tag=");
        if !param.is_empty() && !is_tag {
            out.push(b';');
            out.extend_from_slice(param);
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_taken_off_and_the_rest_stays() {
        assert_eq!(&*without_tag(b"\"A;tag=x\" <sip:a@b;tag=q>;tag=1;x=y"), b"\"A;tag=x\" <sip:a@b;tag=q>;x=y");
        assert_eq!(&*without_tag(b"sip:a@b;tag=1"), b"sip:a@b");
        assert_eq!(&*without_tag(b"<sip:a@b>"), b"<sip:a@b>");
    }
}
