use crate::base::now::Now;
use crate::base::rng::Rng;
use crate::directory::*;
use crate::engine::config::AuthConfig;
use crate::engine::flow::Flow;
use crate::proto::sip::message::Message;
use crate::proto::sip::writer::Writer;
use std::sync::Arc;
pub struct Auth;
pub enum Verdict {
    Ok(Arc<Extension>),
    Challenge { stale: bool },
    Malformed,
}
impl Auth {
    pub fn new(_: &mut Rng, _: AuthConfig) -> Auth {
        Auth
    }
    pub fn check(&mut self, _n: Now, r: &Message, _f: &Flow, t: &Tenant) -> Verdict {
        let _ = Verdict::Malformed;
        match r.from().ok().and_then(|f| crate::engine::target::number(&f.uri)).and_then(|n| t.extension(&n).cloned()) {
            Some(e) => Verdict::Ok(e),
            None => Verdict::Challenge { stale: false },
        }
    }
    pub fn challenge(&mut self, _n: Now, _f: &Flow, _r: &str, _s: bool, _w: &mut Writer) {}
}
