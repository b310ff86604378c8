//! What a start does about the run before it: the journal's records go into the database, and calls that were open when the
//! process ended get a record with the cause `restart`.

use crate::base::cause::Cause;
use crate::base::now::Timestamp;
use crate::engine::record::RecordBody;
use crate::store::batch::Batch;
use crate::store::error::StoreError;
use crate::store::journal::{Journal, Replay};
use crate::store::{BUSY, Store, codec, options};
use sqlx::sqlite::{SqliteConnection, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};

/// Records of one transaction.
const BATCH: usize = 8_192;

/// What was found, and the right to write on.
#[derive(Debug)]
pub struct Recovery {
    pub journal: Journal,
    /// Records the database did not have yet.
    pub replayed: u64,
    /// Calls that were open when the process ended.
    pub closed_calls: u64,
    /// Bytes of a write that was cut short; nobody was told that it was kept.
    pub torn_bytes: u64,
    /// Records that are missing or damaged in the journal.
    pub lost: u64,
}

impl Store {
    /// Brings the database up to date with the journal. Before `bindings`, and once in a run: the journal is this
    /// process's until the [`Journal`] is dropped.
    ///
    /// Errors: `InUse` while another process has the journal.
    pub async fn recover(&self, now: Timestamp) -> Result<Recovery, StoreError> {
        let data_dir = self.data_dir();
        let journal = Journal::lock(data_dir).map_err(StoreError::file("open the journal in", data_dir))?;
        let journal = journal.ok_or_else(|| StoreError::InUse { path: data_dir.to_path_buf() })?;
        let mut recovery = Recovery { journal, replayed: 0, closed_calls: 0, torn_bytes: 0, lost: 0 };

        let fails = || self.fails("take the journal's records");
        let mut connection = options(&self.0.path, BUSY, SqliteSynchronous::Full).connect().await.map_err(fails())?;
        let applied: i64 = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'journal_applied'")
            .fetch_one(&mut connection)
            .await
            .map_err(fails())?;
        let first_new = u64::try_from(applied).unwrap_or(0) + 1;
        let sign_of_life = self.replay(&mut connection, &mut recovery, first_new).await?;
        recovery.closed_calls = close_calls(&mut connection, sign_of_life, now)
            .await
            .map_err(self.fails("close the calls of the last run"))?;
        connection.close().await.map_err(fails())?;

        for (_, path) in recovery.journal.segments().map_err(StoreError::file("list", &recovery.journal.directory))? {
            std::fs::remove_file(&path).map_err(StoreError::file("remove", &path))?;
        }
        Ok(recovery)
    }

    /// Applies every whole record from `first_new` on. Returns the latest time any record tells.
    async fn replay(
        &self,
        connection: &mut SqliteConnection,
        recovery: &mut Recovery,
        first_new: u64,
    ) -> Result<Timestamp, StoreError> {
        let fails = || self.fails("take the journal's records");
        let mut next = first_new;
        let mut latest = Timestamp(0);
        let segments = recovery.journal.segments();
        for (first, path) in segments.map_err(StoreError::file("list", &recovery.journal.directory))? {
            recovery.lost += first.saturating_sub(next);
            next = next.max(first);
            let mut replay = Replay::open(&path, first).map_err(StoreError::file("read", &path))?;
            let mut batch = Batch::default();
            while let Some((index, record)) = replay.next() {
                let body = codec::decode(record);
                if let Ok(Some(body)) = &body {
                    latest = latest.max(time(body));
                }
                if index < next {
                    continue;
                }
                next = index + 1;
                match body {
                    Ok(Some(body)) => {
                        batch.add(body);
                        recovery.replayed += 1;
                    }
                    Ok(None) => {}
                    Err(codec::Unreadable) => recovery.lost += 1,
                }
                if batch.len() >= BATCH {
                    std::mem::take(&mut batch).commit(connection, Some(next)).await.map_err(fails())?;
                }
            }
            batch.commit(connection, Some(next)).await.map_err(fails())?;
            recovery.torn_bytes += replay.torn() as u64;
        }
        recovery.journal.next = next;
        Ok(latest)
    }
}

/// The last moment the process is known to have lived when it wrote this.
fn time(body: &RecordBody) -> Timestamp {
    match body {
        RecordBody::Binding(binding) => binding.registered_at,
        RecordBody::Unbound { .. } => Timestamp(0),
        RecordBody::CallStarted(start) => start.start,
        RecordBody::CallEnded(cdr) => cdr.end,
    }
}

/// Nobody knows when such a call ended: its record ends with the last sign of life of that run.
async fn close_calls(
    connection: &mut SqliteConnection,
    sign_of_life: Timestamp,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
    let sql = "INSERT INTO cdrs (call_id, linked_id, tenant, caller, callee, start_at, answer_at, end_at, duration, \
               billsec, disposition, hangup_cause, user_agent, caller_packets, callee_packets) \
               SELECT call_id, call_id, tenant, caller, callee, start_at, NULL, max(start_at, $1), \
               max(start_at, $1) - start_at, 0, $2, $3, user_agent, 0, 0 FROM open_calls WHERE true \
               ORDER BY start_at, call_id ON CONFLICT DO NOTHING";
    let closed = sqlx::query(sql)
        .bind(sign_of_life.min(now).0)
        .bind(Cause::Restart.disposition(false).text())
        .bind(Cause::Restart.text())
        .execute(&mut *tx)
        .await?;
    sqlx::query("DELETE FROM open_calls").execute(&mut *tx).await?;
    tx.commit().await?;
    Ok(closed.rows_affected())
}
