//! `GET /api/cdr`: the call records of a day, the newest `limit` in the order they were written; `after=<call_id>` pages on.

use crate::api::State as ApiState;
use crate::api::clock::{Clock, parse_date};
use crate::api::error::ApiError;
use crate::base::limits::HTTP_PAGE;
use crate::store::cdr::CdrRow;
use crate::store::error::StoreError;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub fn routes() -> Router<Arc<ApiState>> {
    Router::new().route("/api/cdr", get(list))
}

/// When no `limit` is given.
const PAGE: u32 = 100;

#[derive(Deserialize)]
struct Asked {
    date: Option<String>,
    limit: Option<String>,
    after: Option<String>,
}

#[derive(Serialize)]
struct Cdr {
    call_id: String,
    from_extension: String,
    to_extension: String,
    start_time: String,
    answer_time: Option<String>,
    end_time: String,
    disposition: String,
    /// Whole seconds.
    duration: u64,
    /// Whole seconds.
    billsec: u64,
    /// Null: this version records nothing.
    recording_file: Option<String>,
    hangup_cause: String,
    user_agent: String,
    linked_id: String,
}

async fn list(State(state): State<Arc<ApiState>>, Query(asked): Query<Asked>) -> Result<Json<Vec<Cdr>>, ApiError> {
    let limit = asked.limit.as_deref().map_or(Ok(PAGE), parse_limit)?;
    let date = asked.date.as_deref().map(parse_date).transpose()?;
    let clock = Clock::of(&state).await?;
    let day = clock.day(date.unwrap_or_else(|| clock.today()))?;
    let after = asked.after.as_deref();
    let rows = state.store.cdrs(state.tenant, day, limit, after).await.map_err(|e| match (e, after) {
        (StoreError::NotFound(_), Some(call)) => {
            ApiError::bad_request(format!("`after`: no call `{call}` is recorded"))
        }
        (e, _) => e.into(),
    })?;
    Ok(Json(rows.into_iter().map(|row| record(row, &clock)).collect()))
}

fn parse_limit(text: &str) -> Result<u32, ApiError> {
    let limit = text.parse().ok().filter(|limit| (1..=HTTP_PAGE).contains(&(*limit as usize)));
    limit.ok_or_else(|| ApiError::bad_request(format!("`limit` must be a number from 1 to {HTTP_PAGE}, not `{text}`")))
}

fn record(row: CdrRow, clock: &Clock) -> Cdr {
    Cdr {
        start_time: clock.second(row.start),
        answer_time: row.answer.map(|at| clock.second(at)),
        end_time: clock.second(row.end),
        duration: row.duration / 1_000_000,
        billsec: row.billsec / 1_000_000,
        recording_file: None,
        call_id: row.call_id,
        from_extension: row.from,
        to_extension: row.to,
        disposition: row.disposition,
        hangup_cause: row.hangup_cause,
        user_agent: row.user_agent,
        linked_id: row.linked_id,
    }
}
