use crate::base::ids::*;
use crate::base::now::*;
use crate::engine::config::*;
use crate::engine::flow::Flow;
use crate::engine::record::*;
use crate::proto::sip::message::Message;
use crate::proto::sip::writer::Writer;
use std::sync::Arc;
pub struct Registrar(Vec<Arc<Binding>>);
pub struct Change(Vec<RecordBody>);
pub struct Refused {
    pub status: u16,
    pub headers: Vec<(&'static str, String)>,
}
impl Change {
    pub fn records(&self) -> &[RecordBody] {
        &self.0
    }
}
impl Registrar {
    pub fn new(_: RegistrationLimits, _: usize) -> Registrar {
        Registrar(vec![])
    }
    pub fn register(
        &mut self,
        now: Now,
        tenant: TenantId,
        extension: &str,
        r: &Message,
        flow: Flow,
    ) -> Result<Change, Refused> {
        let c = r.contact().map_err(|_| Refused { status: 400, headers: vec![] })?;
        let uri = String::from_utf8_lossy(c.uri.raw).into_owned();
        let b = Arc::new(Binding {
            tenant,
            extension: extension.into(),
            key: uri.clone().into(),
            uri: uri.into(),
            q: 1000,
            flow,
            expires: now.wall + std::time::Duration::from_secs(3600),
            call_id: "".into(),
            cseq: 0,
            user_agent: "".into(),
            path: Box::new([]),
            allow: "".into(),
            registered_at: now.wall,
        });
        self.0.retain(|o| o.key != b.key);
        self.0.push(b.clone());
        Ok(Change(vec![RecordBody::Binding(b)]))
    }
    pub fn commit(&mut self, _: Change) {}
    pub fn rollback(&mut self, _: Change) {}
    pub fn write_answer(&self, _n: Now, _t: TenantId, _e: &str, _r: &Message, _w: &mut Writer) {}
    pub fn contacts(&self, t: TenantId, e: &str, _n: Now) -> impl Iterator<Item = &Arc<Binding>> {
        self.0.iter().filter(move |b| b.tenant == t && *b.extension == *e)
    }
    pub fn next_expiry(&self) -> Option<Micros> {
        None
    }
    pub fn expire(&mut self, _: Now) -> Vec<(TenantId, Box<str>, RecordBody)> {
        vec![]
    }
    pub fn flow_closed(&mut self, _: ConnectionId) -> Vec<(TenantId, Box<str>, RecordBody)> {
        vec![]
    }
    pub fn restore(&mut self, _: Vec<Arc<Binding>>, _: Now) {}
    pub fn remove_extension(&mut self, _: TenantId, _: &str) -> Vec<RecordBody> {
        vec![]
    }
    pub fn bound_extensions(&self) -> impl Iterator<Item = (TenantId, &str)> {
        self.0.iter().map(|b| (b.tenant, &*b.extension))
    }
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
