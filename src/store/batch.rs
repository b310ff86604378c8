//! Records on their way into the database: collected, reduced to what is left of them, and written in one transaction.
//!
//! Applying the same records again changes nothing: a contact is replaced by itself, a call record is known by call,
//! party and answer time, and a call that has its record is not opened again.

use crate::base::ids::TenantId;
use crate::engine::record::{Binding, CallStart, Cdr, RecordBody};
use sqlx::sqlite::{SqliteArguments, SqliteConnection};
use sqlx::{AssertSqlSafe, Connection, Sqlite};
use std::collections::HashSet;
use std::sync::Arc;

type Query = sqlx::query::Query<'static, Sqlite, SqliteArguments>;

/// Rows of one statement. Few sizes, so that each is prepared once; each execution costs about 20 µs whatever it holds.
const ROWS: [usize; 4] = [128, 16, 4, 1];

#[derive(Default, Debug)]
pub(super) struct Batch {
    contacts: Vec<Contact>,
    started: Vec<Arc<CallStart>>,
    ended: Vec<Arc<Cdr>>,
}

#[derive(Debug)]
enum Contact {
    Bound(Arc<Binding>),
    Gone { tenant: TenantId, extension: Box<str>, key: Box<str> },
}

impl Contact {
    fn key(&self) -> (TenantId, &str, &str) {
        match self {
            Contact::Bound(binding) => (binding.tenant, &binding.extension, &binding.key),
            Contact::Gone { tenant, extension, key } => (*tenant, extension, key),
        }
    }
}

impl Batch {
    pub(super) fn add(&mut self, body: RecordBody) {
        match body {
            RecordBody::Binding(binding) => self.contacts.push(Contact::Bound(binding)),
            RecordBody::Unbound { tenant, extension, key } => {
                self.contacts.push(Contact::Gone { tenant, extension, key });
            }
            RecordBody::CallStarted(start) => self.started.push(start),
            RecordBody::CallEnded(cdr) => self.ended.push(cdr),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.contacts.len() + self.started.len() + self.ended.len()
    }

    /// Drops what later records of the batch made void, and sorts contacts as their table is.
    fn reduce(&mut self) {
        // The sort is stable: of one contact the last stands last.
        self.contacts.sort_by(|a, b| a.key().cmp(&b.key()));
        self.contacts.dedup_by(|later, earlier| {
            let same = later.key() == earlier.key();
            if same {
                std::mem::swap(later, earlier);
            }
            same
        });
        if !self.ended.is_empty() {
            let ended: HashSet<&str> = self.ended.iter().map(|cdr| &*cdr.call_id).collect();
            self.started.retain(|start| !ended.contains(&*start.call_id));
        }
    }

    /// Writes everything; with `next`, also that the journal's records before it are in the database.
    pub(super) async fn commit(
        &mut self,
        connection: &mut SqliteConnection,
        next: Option<u64>,
    ) -> Result<(), sqlx::Error> {
        self.reduce();
        let bound: Vec<&Binding> = self.contacts.iter().filter_map(bound).collect();
        let gone: Vec<_> = self.contacts.iter().filter_map(gone).collect();
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        write(&mut tx, &bound, &BIND, bind_binding).await?;
        write(&mut tx, &gone, &UNBIND, |query, (tenant, extension, key)| {
            query.bind(tenant.0).bind(text(extension)).bind(text(key))
        })
        .await?;
        write(&mut tx, &self.started, &OPEN_CALL, |query, start| {
            query
                .bind(text(&start.call_id))
                .bind(start.tenant.0)
                .bind(text(&start.from))
                .bind(text(&start.to))
                .bind(start.start.0)
                .bind(text(&start.user_agent))
        })
        .await?;
        write(&mut tx, &self.ended, &CLOSE_CALL, |query, cdr| query.bind(text(&cdr.call_id))).await?;
        write(&mut tx, &self.ended, &CDR, |query, cdr| bind_cdr(query, cdr)).await?;
        if let Some(next) = next {
            let applied = i64::try_from(next.saturating_sub(1)).unwrap_or(i64::MAX);
            sqlx::query("UPDATE meta SET value = ?1 WHERE key = 'journal_applied' AND value < ?1")
                .bind(applied)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }
}

fn bound(contact: &Contact) -> Option<&Binding> {
    match contact {
        Contact::Bound(binding) => Some(binding),
        Contact::Gone { .. } => None,
    }
}

fn gone(contact: &Contact) -> Option<(TenantId, &str, &str)> {
    match contact {
        Contact::Bound(_) => None,
        Contact::Gone { .. } => Some(contact.key()),
    }
}

/// A statement over any number of rows.
struct Rows {
    head: &'static str,
    row: &'static str,
    tail: &'static str,
}

const BIND: Rows = Rows {
    head: "INSERT INTO bindings (tenant, extension, key, uri, q, listener, transport, local, remote, expires, call_id, \
           cseq, user_agent, path, allow, registered_at, params) VALUES ",
    row: "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    tail: " ON CONFLICT (tenant, extension, key) DO UPDATE SET uri = excluded.uri, q = excluded.q, \
           listener = excluded.listener, transport = excluded.transport, local = excluded.local, \
           remote = excluded.remote, expires = excluded.expires, call_id = excluded.call_id, cseq = excluded.cseq, \
           user_agent = excluded.user_agent, path = excluded.path, allow = excluded.allow, \
           registered_at = excluded.registered_at, params = excluded.params",
};

const UNBIND: Rows =
    Rows { head: "DELETE FROM bindings WHERE (tenant, extension, key) IN (VALUES ", row: "(?, ?, ?)", tail: ")" };

const OPEN_CALL: Rows = Rows {
    head: "INSERT INTO open_calls (call_id, tenant, caller, callee, start_at, user_agent) \
           SELECT * FROM (VALUES ",
    row: "(?, ?, ?, ?, ?, ?)",
    tail: ") AS v WHERE NOT EXISTS (SELECT 1 FROM cdrs WHERE cdrs.call_id = v.column1) ON CONFLICT DO NOTHING",
};

const CLOSE_CALL: Rows = Rows { head: "DELETE FROM open_calls WHERE call_id IN (", row: "?", tail: ")" };

const CDR: Rows = Rows {
    head: "INSERT INTO cdrs (call_id, linked_id, tenant, caller, callee, start_at, answer_at, end_at, duration, \
           billsec, disposition, hangup_cause, user_agent, caller_packets, callee_packets) VALUES ",
    row: "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    tail: " ON CONFLICT DO NOTHING",
};

impl Rows {
    fn sql(&self, rows: usize) -> String {
        let mut sql = String::with_capacity(self.head.len() + rows * (self.row.len() + 1) + self.tail.len());
        sql.push_str(self.head);
        for row in 0..rows {
            if row > 0 {
                sql.push(',');
            }
            sql.push_str(self.row);
        }
        sql.push_str(self.tail);
        sql
    }
}

async fn write<T>(
    connection: &mut SqliteConnection,
    mut items: &[T],
    statement: &Rows,
    bind: impl Fn(Query, &T) -> Query,
) -> Result<(), sqlx::Error> {
    for rows in ROWS {
        if items.len() < rows {
            continue;
        }
        let sql = statement.sql(rows);
        while let Some((chunk, rest)) = items.split_at_checked(rows) {
            let query = sqlx::query(AssertSqlSafe(sql.clone()));
            chunk.iter().fold(query, &bind).execute(&mut *connection).await?;
            items = rest;
        }
    }
    Ok(())
}

fn text(value: &str) -> String {
    value.to_string()
}

fn bind_binding(query: Query, binding: &&Binding) -> Query {
    let flow = &binding.flow;
    query
        .bind(binding.tenant.0)
        .bind(text(&binding.extension))
        .bind(text(&binding.key))
        .bind(text(&binding.uri))
        .bind(binding.q)
        .bind(flow.listener.0)
        .bind(flow.transport.param())
        .bind(flow.local.to_string())
        .bind(flow.remote.to_string())
        .bind(binding.expires.0)
        .bind(text(&binding.call_id))
        .bind(binding.cseq)
        .bind(text(&binding.user_agent))
        .bind(lines(&binding.path))
        .bind(text(&binding.allow))
        .bind(binding.registered_at.0)
        .bind(text(&binding.params))
}

/// One entry a line; a line break within one is folding white space (RFC 3261 §7.3.1).
fn lines(entries: &[Box<str>]) -> String {
    let unfolded: Vec<String> = entries.iter().map(|entry| entry.replace(['\r', '\n'], " ")).collect();
    unfolded.join("\n")
}

fn bind_cdr(query: Query, cdr: &Cdr) -> Query {
    let count = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    query
        .bind(text(&cdr.call_id))
        .bind(text(&cdr.linked_id))
        .bind(cdr.tenant.0)
        .bind(text(&cdr.from))
        .bind(text(&cdr.to))
        .bind(cdr.start.0)
        .bind(cdr.answer.map(|answer| answer.0))
        .bind(cdr.end.0)
        .bind(count(cdr.duration))
        .bind(count(cdr.billsec))
        .bind(cdr.cause.disposition(cdr.answer.is_some()).text())
        .bind(cdr.cause.text())
        .bind(text(&cdr.user_agent))
        .bind(count(cdr.caller_packets))
        .bind(count(cdr.callee_packets))
}
