//! Call detail records as the API reads them. They are written by the [`writer`](crate::store::writer) alone, about a second
//! or so after their call ended.

use crate::base::ids::TenantId;
use crate::base::now::Timestamp;
use crate::store::Store;
use crate::store::error::StoreError;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use std::ops::Range;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CdrRow {
    pub call_id: String,
    pub linked_id: String,
    pub from: String,
    pub to: String,
    pub start: Timestamp,
    pub answer: Option<Timestamp>,
    pub end: Timestamp,
    /// From start to end, µs.
    pub duration: u64,
    /// From answer to end, µs.
    pub billsec: u64,
    /// `answered, no_answer, busy, failed, cancelled`.
    pub disposition: String,
    /// A text of the cause table.
    pub hangup_cause: String,
    pub user_agent: String,
    pub caller_packets: u64,
    pub callee_packets: u64,
}

impl Store {
    /// The calls of `tenant` that started within `window`, in the order their records were written: the newest `limit`, or
    /// with `after` the first `limit` written after those of that call.
    ///
    /// Errors: `NotFound` if `after` is no call of the tenant.
    pub async fn cdrs(
        &self,
        tenant: TenantId,
        window: Range<Timestamp>,
        limit: u32,
        after: Option<&str>,
    ) -> Result<Vec<CdrRow>, StoreError> {
        let fails = || self.fails("list call records");
        let newest = "SELECT * FROM (SELECT id, call_id, linked_id, caller, callee, start_at, answer_at, end_at, \
                      duration, billsec, disposition, hangup_cause, user_agent, caller_packets, callee_packets \
                      FROM cdrs WHERE tenant = $1 AND start_at >= $2 AND start_at < $3 ORDER BY id DESC LIMIT $4) \
                      ORDER BY id";
        let next = "SELECT id, call_id, linked_id, caller, callee, start_at, answer_at, end_at, duration, billsec, \
                    disposition, hangup_cause, user_agent, caller_packets, callee_packets \
                    FROM cdrs WHERE tenant = $1 AND start_at >= $2 AND start_at < $3 AND id > $5 ORDER BY id LIMIT $4";
        let last = match after {
            Some(call_id) => Some(self.last_record(tenant, call_id).await?),
            None => None,
        };
        let rows = sqlx::query(if last.is_some() { next } else { newest })
            .bind(tenant.0)
            .bind(window.start.0)
            .bind(window.end.0)
            .bind(limit)
            .bind(last)
            .fetch_all(self.pool())
            .await
            .map_err(fails())?;
        rows.iter().map(cdr).collect::<Result<_, _>>().map_err(fails())
    }

    async fn last_record(&self, tenant: TenantId, call_id: &str) -> Result<i64, StoreError> {
        let last: Option<i64> = sqlx::query_scalar("SELECT max(id) FROM cdrs WHERE call_id = $1 AND tenant = $2")
            .bind(call_id)
            .bind(tenant.0)
            .fetch_one(self.pool())
            .await
            .map_err(self.fails("find a call record"))?;
        last.ok_or(StoreError::NotFound("Call"))
    }

    /// Calls that have ended, ever; of one tenant or of all.
    pub async fn total_calls(&self, tenant: Option<TenantId>) -> Result<u64, StoreError> {
        let sql = "SELECT coalesce(sum(calls), 0) FROM totals WHERE $1 IS NULL OR tenant = $1";
        let calls: i64 = sqlx::query_scalar(sql)
            .bind(tenant.map(|tenant| tenant.0))
            .fetch_one(self.pool())
            .await
            .map_err(self.fails("count the calls"))?;
        Ok(u64::try_from(calls).unwrap_or(0))
    }
}

fn cdr(row: &SqliteRow) -> Result<CdrRow, sqlx::Error> {
    let count = |column: usize| Ok::<_, sqlx::Error>(u64::try_from(row.try_get::<i64, _>(column)?).unwrap_or(0));
    Ok(CdrRow {
        call_id: row.try_get(1)?,
        linked_id: row.try_get(2)?,
        from: row.try_get(3)?,
        to: row.try_get(4)?,
        start: Timestamp(row.try_get(5)?),
        answer: row.try_get::<Option<i64>, _>(6)?.map(Timestamp),
        end: Timestamp(row.try_get(7)?),
        duration: count(8)?,
        billsec: count(9)?,
        disposition: row.try_get(10)?,
        hangup_cause: row.try_get(11)?,
        user_agent: row.try_get(12)?,
        caller_packets: count(13)?,
        callee_packets: count(14)?,
    })
}
