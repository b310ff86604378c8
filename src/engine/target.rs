//! Who a request is for: the tenant and the dialled number of a Request-URI.

use crate::base::ids::{ListenerId, TenantId};
use crate::base::limits;
use crate::directory::Directory;
use crate::engine::config::EngineConfig;
use crate::proto::sip::message::Message;
use crate::proto::sip::uri::{Scheme, Uri};

/// The tenant whose domain stands in the Request-URI or else in To; an address or an unknown name means the listener's.
pub fn tenant(directory: &Directory, config: &EngineConfig, listener: ListenerId, request: &Message) -> TenantId {
    let of_uri = |uri: &Uri<'_>| directory.tenant_of_domain(uri.host.name()?);
    let uri = Uri::parse(request.request_uri()).ok();
    let to = request.to().ok();
    let named = uri.as_ref().and_then(of_uri).or_else(|| to.as_ref().and_then(|to| of_uri(&to.uri)));
    named.unwrap_or_else(|| {
        config.listeners.get(usize::from(listener.0)).map_or(TenantId(1), |listener| listener.tenant)
    })
}

/// Whether it is a `sips:` URI: its request may travel over TLS only (RFC 3261 §26.2.2).
pub fn is_sips(uri: &[u8]) -> bool {
    uri.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"sips:"))
}

/// The number a URI dials, None when there is none or it is no number of ours.
pub fn number_of_uri(uri: &[u8]) -> Option<String> {
    number(&Uri::parse(uri).ok()?)
}

/// The dialled number: the decoded user part up to its parameters; of a `tel:` URI without visual separators
/// (RFC 3966 §3).
pub fn number(uri: &Uri<'_>) -> Option<String> {
    let user = match uri.scheme {
        Scheme::Sip | Scheme::Sips | Scheme::Tel => uri.user_decoded(),
        _ => return None,
    };
    let end = memchr::memchr(b';', &user).unwrap_or(user.len());
    let number = std::str::from_utf8(&user[..end]).ok()?;
    let number: String = match uri.scheme {
        Scheme::Tel => number.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')')).collect(),
        _ => number.to_owned(),
    };
    let fits = !number.is_empty() && number.len() <= limits::NUMBER_BYTES && !number.chars().any(char::is_control);
    fits.then_some(number)
}
