//! What a REGISTER asks for (RFC 3261 §10.3 steps 6 and 7).

use super::Refused;
use crate::base::ids::TenantId;
use crate::base::limits;
use crate::base::now::Now;
use crate::engine::config::RegistrationLimits;
use crate::engine::flow::{Flow, Transport};
use crate::engine::record::Binding;
use crate::proto::sip::address::{Address, Contact as Wire};
use crate::proto::sip::lex::{unfold, unquote};
use crate::proto::sip::message::Message;
use crate::proto::sip::name::Name;
use crate::proto::sip::uri::Scheme;
use std::borrow::Cow;
use std::time::Duration;

/// Longest contact URI and longest Path in all, bytes: with the other fields a registration stays below 4 KiB.
const CONTACT_BYTES: usize = 2 * limits::TEXT_BYTES;
const PATH_BYTES: usize = 4 * limits::TEXT_BYTES;
/// Longest parameters of a contact we repeat, bytes.
const PARAM_BYTES: usize = 2 * limits::TEXT_BYTES;

pub(super) struct Request {
    pub asked: Asked,
    call_id: Box<str>,
    cseq: u32,
    user_agent: Box<str>,
    allow: Box<str>,
    path: Box<[Box<str>]>,
}

pub(super) enum Asked {
    /// No Contact: only to see what is bound.
    Nothing,
    /// `Contact: *`.
    RemoveAll,
    Contacts(Vec<Contact>),
}

pub(super) struct Contact {
    pub key: Box<str>,
    uri: Box<str>,
    params: Box<str>,
    q: u16,
    /// Seconds granted; zero removes.
    pub expires: u32,
}

impl Request {
    pub fn read(request: &Message, limits: &RegistrationLimits, transport: Transport) -> Result<Request, Refused> {
        let bad = |_| Refused::new(400, "Bad Contact");
        let cseq = request.cseq().map_err(|_| Refused::new(400, "Bad CSeq"))?.number;
        let mut wire = Vec::new();
        for contact in request.contacts() {
            // Enough to remove all one can have and bind as many.
            if wire.len() > 2 * limits.max_contacts {
                return Err(Refused::new(403, "Too Many Contacts"));
            }
            wire.push(contact.map_err(bad)?);
        }
        let asked = match wire.as_slice() {
            [] => Asked::Nothing,
            [Wire::Star] if request.expires() == Some(0) => Asked::RemoveAll,
            all if all.contains(&Wire::Star) => return Err(Refused::new(400, "Bad Wildcard Contact")),
            all => {
                let is_only = all.len() == 1;
                let mut contacts: Vec<Contact> = Vec::with_capacity(all.len());
                for address in all.iter().filter_map(|contact| contact.address()) {
                    if address.uri.scheme == Scheme::Sips && !transport.is_secure() {
                        // Its calls would be `sips:` requests on a flow that is not TLS.
                        return Err(Refused::new(400, "SIPS Contact Without TLS"));
                    }
                    let contact = Contact::read(&address, is_only, request.expires(), limits)?;
                    // Twice the same contact: the last one counts.
                    contacts.retain(|other| other.key != contact.key);
                    contacts.push(contact);
                }
                Asked::Contacts(contacts)
            }
        };
        Ok(Request {
            asked,
            call_id: text(request.call_id(), limits::TEXT_BYTES),
            cseq,
            user_agent: text(request.header(Name::UserAgent).unwrap_or(b""), limits::TEXT_BYTES),
            allow: allow(request),
            path: path(request)?,
        })
    }

    /// A REGISTER of the same Call-ID must have a higher CSeq than the one that made the binding.
    pub fn check_order(&self, current: &Binding) -> Result<(), Refused> {
        let out_of_order = *current.call_id == *self.call_id && self.cseq <= current.cseq;
        if out_of_order { Err(Refused::new(400, "CSeq Out Of Order")) } else { Ok(()) }
    }

    pub fn binding(
        &self,
        contact: &Contact,
        (tenant, extension): (TenantId, &str),
        current: Option<&std::sync::Arc<Binding>>,
        now: Now,
        flow: Flow,
    ) -> Binding {
        Binding {
            tenant,
            extension: extension.into(),
            key: contact.key.clone(),
            uri: contact.uri.clone(),
            params: contact.params.clone(),
            q: contact.q,
            flow,
            expires: now.wall + Duration::from_secs(u64::from(contact.expires)),
            call_id: self.call_id.clone(),
            cseq: self.cseq,
            user_agent: self.user_agent.clone(),
            path: self.path.clone(),
            allow: self.allow.clone(),
            registered_at: current.map_or(now.wall, |current| current.registered_at),
        }
    }
}

impl Contact {
    fn read(
        address: &Address<'_>,
        is_only: bool,
        header_expires: Option<u32>,
        limits: &RegistrationLimits,
    ) -> Result<Contact, Refused> {
        if !address.uri.is_sip() {
            // Not 416, which speaks of the Request-URI (RFC 3261 §21.4.14).
            let text = "399 strowger \"calls can be sent to sip: contacts only, not to a tel: number or a page\"";
            let headers = vec![("Warning", text.to_owned())];
            return Err(Refused { headers, ..Refused::new(400, "Unsupported Contact Scheme") });
        }
        let uri = std::str::from_utf8(address.uri.raw).map_err(|_| Refused::new(400, "Bad Contact"))?;
        if uri.len() > CONTACT_BYTES {
            return Err(Refused::new(400, "Contact Too Long"));
        }
        let asked = address.expires().or(header_expires).unwrap_or(limits.default_expires);
        if asked != 0 && asked < limits.min_expires {
            let headers = vec![("Min-Expires", limits.min_expires.to_string())];
            return Err(Refused { headers, ..Refused::new(423, "Interval Too Brief") });
        }
        Ok(Contact {
            key: key(address, is_only),
            uri: uri.into(),
            params: params(address),
            q: address.q().unwrap_or(1000),
            expires: asked.min(limits.max_expires),
        })
    }
}

/// A phone that names its instance keeps its binding when its address changes (RFC 5626 §6). Without a reg-id that holds
/// only for the one contact of a request: two contacts of one phone are two bindings.
fn key(address: &Address<'_>, is_only: bool) -> Box<str> {
    let instance = address.param("+sip.instance").map(unquote).filter(|i| !i.is_empty());
    let reg_id = address.param("reg-id").filter(|id| !id.is_empty());
    match (instance, reg_id) {
        (Some(instance), Some(reg_id)) => {
            let (instance, reg_id) = (text(&instance, limits::TEXT_BYTES), text(reg_id, 10));
            format!("{instance};reg-id={reg_id}").into()
        }
        (Some(instance), None) if is_only => text(&instance, limits::TEXT_BYTES),
        _ => address.uri.comparable().into(),
    }
}

/// The parameters an answer repeats; what goes beyond `PARAM_BYTES` or is not UTF-8 is left out.
fn params(address: &Address<'_>) -> Box<str> {
    let mut kept = String::new();
    for param in address.params.iter() {
        if param.name.eq_ignore_ascii_case(b"q") || param.name.eq_ignore_ascii_case(b"expires") {
            continue;
        }
        let value = param.value.map(unfold);
        let (Ok(name), Ok(value)) =
            (std::str::from_utf8(param.name), value.as_deref().map(std::str::from_utf8).transpose())
        else {
            continue;
        };
        if kept.len() + name.len() + value.map_or(0, str::len) + 2 > PARAM_BYTES {
            continue;
        }
        kept.extend([";", name]);
        kept.extend(value.iter().flat_map(|value| ["=", value]));
    }
    kept.into()
}

/// At most `limit` bytes of `bytes` on one line; what is not UTF-8 becomes U+FFFD.
fn text(bytes: &[u8], limit: usize) -> Box<str> {
    let line = unfold(bytes);
    // Almost everything is ASCII, which from_utf8 checks much faster than from_utf8_lossy.
    let whole = std::str::from_utf8(&line).map_or_else(|_| String::from_utf8_lossy(&line), Cow::Borrowed);
    whole[..whole.floor_char_boundary(limit)].into()
}

/// The methods of all Allow fields.
fn allow(request: &Message) -> Box<str> {
    let mut fields = request.fields(Name::Allow);
    let Some(first) = fields.next() else { return Box::default() };
    if fields.next().is_none() {
        return text(first, limits::TEXT_BYTES);
    }
    let methods: Vec<&[u8]> = request.values(Name::Allow).collect();
    text(&methods.join(&b", "[..]), limits::TEXT_BYTES)
}

fn path(request: &Message) -> Result<Box<[Box<str>]>, Refused> {
    let mut path: Vec<Box<str>> = Vec::new();
    let mut bytes = 0;
    for value in request.values(Name::Path) {
        bytes += value.len();
        if path.len() == limits::ROUTES || bytes > PATH_BYTES {
            return Err(Refused::new(400, "Path Too Long"));
        }
        let value = unfold(value);
        path.push(std::str::from_utf8(&value).map_err(|_| Refused::new(400, "Bad Path"))?.into());
    }
    Ok(path.into())
}
