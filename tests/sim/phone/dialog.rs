//! A dialog as this phone keeps it (RFC 3261 §12), and the requests it makes.

use super::Phone;
use super::call::{Call, CallId};
use super::traits::Transport;
use crate::sip::text::{Msg, host_of, param, uri_of};
use std::net::SocketAddr;

#[derive(Clone, Debug)]
pub struct Dialog {
    pub call_id: String,
    /// Name-addr without tag.
    pub local: String,
    pub local_tag: String,
    pub remote: String,
    pub remote_tag: Option<String>,
    pub target: String,
    pub route: Vec<String>,
    pub local_cseq: u32,
    /// The last CSeq of the peer, by our tag: each early dialog counts for itself.
    pub remote_cseq: Vec<(String, u32)>,
}

pub const METHODS: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, MESSAGE, PRACK";

/// `tag` cut from a From or To value.
pub fn without_tag(value: &str) -> String {
    match param(value, "tag") {
        Some(tag) => value.replace(&format!(";tag={tag}"), ""),
        None => value.to_string(),
    }
}

impl Phone {
    pub(super) fn contact(&self) -> String {
        let Transport::Tcp = self.profile.transport else {
            return format!("<sip:{}@{}>", self.profile.extension, self.profile.address);
        };
        format!("<sip:{}@{};transport=tcp>", self.profile.extension, self.profile.address)
    }

    pub(super) fn next_branch(&mut self) -> String {
        self.next_branch += 1;
        let tail = self.rng.word(6);
        format!("z9hG4bK-{}-{}-{}-{tail}", self.profile.index, self.life, self.next_branch)
    }

    /// A request outside or inside a dialog, without Via and CSeq; those come when it is sent.
    pub(super) fn bare_request(&self, method: &str, uri: &str) -> Msg {
        Msg::request(method, uri)
            .with("Max-Forwards", "70")
            .with("User-Agent", format!("Simphone/1.{} (life {})", self.profile.index, self.life))
            .with("Contact", self.contact())
    }

    pub(super) fn allow(&self) -> String {
        if self.profile.make.update { format!("{METHODS}, UPDATE") } else { METHODS.to_string() }
    }

    /// A request in the call's dialog: CSeq counted up.
    pub(super) fn dialog_request(&mut self, id: CallId, method: &str) -> Option<Msg> {
        let call = self.calls.get_mut(&id)?;
        call.dialog.local_cseq += 1;
        let dialog = call.dialog.clone();
        let mut request = self.bare_request(method, &dialog.target);
        request.headers.push(("From".into(), format!("{};tag={}", dialog.local, dialog.local_tag)));
        let to = match &dialog.remote_tag {
            Some(tag) => format!("{};tag={tag}", dialog.remote),
            None => dialog.remote.clone(),
        };
        request.headers.push(("To".into(), to));
        request.headers.push(("Call-ID".into(), dialog.call_id.clone()));
        request.headers.push(("CSeq".into(), format!("{} {method}", dialog.local_cseq)));
        for hop in &dialog.route {
            request.headers.push(("Route".into(), hop.clone()));
        }
        if matches!(method, "INVITE" | "UPDATE") {
            request.headers.push(("Allow".into(), self.allow()));
        }
        Some(request)
    }

    /// Where a request goes: its first Route, else its Request-URI; an unregistered name means the server.
    pub(super) fn next_hop(&self, request: &Msg) -> SocketAddr {
        let route = request.list("Route");
        let hop = route.first().map_or(request.uri(), |first| uri_of(first));
        address_of(hop).unwrap_or(self.profile.server)
    }
}

/// The address a URI names, if it names one; port 5060 when it has none.
pub fn address_of(uri: &str) -> Option<SocketAddr> {
    let host = host_of(uri);
    host.parse().ok().or_else(|| Some(SocketAddr::new(host.parse().ok()?, 5060)))
}

impl Call {
    /// Takes tag, target and route of a response to our INVITE (RFC 3261 §12.1.2).
    pub fn adopt(&mut self, response: &Msg, tag: &str) {
        self.dialog.remote_tag = Some(tag.to_string());
        self.dialog.route = response.list("Record-Route");
        self.dialog.route.reverse();
        self.retarget(response);
    }

    /// Target refresh (RFC 3261 §12.2).
    pub fn retarget(&mut self, msg: &Msg) {
        if let Some(contact) = msg.list("Contact").first() {
            self.dialog.target = uri_of(contact).to_string();
        }
        if msg.get("Allow").is_some() {
            self.peer_allows = msg.list("Allow");
        }
    }
}
