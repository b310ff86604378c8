//! The contacts a restarted daemon knows again. They are written by the [`writer`](crate::store::writer) alone.

use crate::base::ids::{ListenerId, TenantId};
use crate::base::now::Timestamp;
use crate::engine::flow::{Flow, Transport};
use crate::engine::record::Binding;
use crate::store::Store;
use crate::store::error::StoreError;
use sqlx::Row;
use sqlx::error::BoxDynError;
use sqlx::sqlite::SqliteRow;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

impl Store {
    /// Contacts that have not run out at `now` and whose extension still exists. Their connections are those of an
    /// earlier run, hence gone: a flow over TCP comes back without one.
    pub async fn bindings(&self, now: Timestamp) -> Result<Vec<Arc<Binding>>, StoreError> {
        let sql = "SELECT b.tenant, b.extension, b.key, b.uri, b.q, b.listener, b.transport, b.local, b.remote, \
                   b.expires, b.call_id, b.cseq, b.user_agent, b.path, b.allow, b.registered_at, b.params FROM bindings b \
                   JOIN extensions e ON e.tenant = b.tenant AND e.number = b.extension WHERE b.expires > $1 \
                   ORDER BY b.tenant, b.extension, b.key";
        let rows = sqlx::query(sql).bind(now.0).fetch_all(self.pool()).await;
        let rows = rows.map_err(self.fails("tell the registered contacts"))?;
        let known = rows.iter().filter_map(|row| match binding(row) {
            Ok(binding) => Some(Arc::new(binding)),
            Err(e) => {
                let extension = row.try_get::<&str, _>(1).unwrap_or_default();
                tracing::error!("a contact of extension {extension} can't be read and is left out: {e}");
                None
            }
        });
        Ok(known.collect())
    }
}

fn binding(row: &SqliteRow) -> Result<Binding, sqlx::Error> {
    let decode = |e: BoxDynError| sqlx::Error::Decode(e);
    let transport: &str = row.try_get(6)?;
    let local: &str = row.try_get(7)?;
    let remote: &str = row.try_get(8)?;
    let path: &str = row.try_get(13)?;
    Ok(Binding {
        tenant: TenantId(row.try_get(0)?),
        extension: row.try_get(1)?,
        key: row.try_get(2)?,
        uri: row.try_get(3)?,
        q: row.try_get(4)?,
        flow: Flow {
            listener: ListenerId(row.try_get(5)?),
            transport: transport_of(transport).map_err(decode)?,
            local: local.parse::<IpAddr>().map_err(|e| decode(e.into()))?,
            remote: remote.parse::<SocketAddr>().map_err(|e| decode(e.into()))?,
            connection: None,
        },
        expires: Timestamp(row.try_get(9)?),
        call_id: row.try_get(10)?,
        cseq: row.try_get(11)?,
        user_agent: row.try_get(12)?,
        path: path.lines().map(Into::into).collect(),
        allow: row.try_get(14)?,
        registered_at: Timestamp(row.try_get(15)?),
        params: row.try_get(16)?,
    })
}

fn transport_of(text: &str) -> Result<Transport, BoxDynError> {
    let known =
        [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter().find(|transport| transport.param() == text);
    known.ok_or_else(|| format!("`{text}` is no transport").into())
}
