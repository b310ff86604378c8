//! `GET /api/calls`: the calls going on.

use crate::api::State as ApiState;
use crate::api::clock::Clock;
use crate::api::error::ApiError;
use crate::board::live::LiveCall;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub fn routes() -> Router<Arc<ApiState>> {
    Router::new().route("/api/calls", get(list))
}

#[derive(Deserialize)]
struct Asked {
    detail: Option<String>,
}

/// With `?detail=true`.
#[derive(Serialize)]
struct Call {
    call_id: Arc<str>,
    from: Arc<str>,
    to: Arc<str>,
    state: &'static str,
    start_time: String,
    answer_time: Option<String>,
}

async fn list(State(state): State<Arc<ApiState>>, Query(asked): Query<Asked>) -> Result<Response, ApiError> {
    let detail = match asked.detail.as_deref() {
        Some("true") => true,
        Some("false") | None => false,
        Some(other) => {
            return Err(ApiError::bad_request(format!("`detail` must be true or false, not `{other}`")));
        }
    };
    if !detail {
        let calls: Vec<String> = state.board.live().calls(state.tenant).map(line).collect();
        return Ok(Json(calls).into_response());
    }
    let clock = Clock::of(&state).await?;
    let calls: Vec<LiveCall> = state.board.live().calls(state.tenant).cloned().collect();
    let calls: Vec<Call> = calls.into_iter().map(|call| object(call, &clock)).collect();
    Ok(Json(calls).into_response())
}

/// As documented.
fn line(call: &LiveCall) -> String {
    format!("Call {}: {} -> {} ({})", call.call_id, call.from, call.to, call.state.text())
}

fn object(call: LiveCall, clock: &Clock) -> Call {
    Call {
        state: call.state.text(),
        start_time: clock.second(call.started),
        answer_time: call.answered.map(|at| clock.second(at)),
        call_id: call.call_id,
        from: call.from,
        to: call.to,
    }
}
