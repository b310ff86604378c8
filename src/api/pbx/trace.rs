//! `GET /api/calls/{id}/trace`: what happened in a call, as JSON or, with `Accept: text/plain` or `?format=text`, as a
//! ladder.

use crate::api::State as ApiState;
use crate::api::clock::Clock;
use crate::api::error::ApiError;
use crate::board::ladder::{label, ladder};
use crate::board::trace::{CallTrace, Direction, Rung};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub fn routes() -> Router<Arc<ApiState>> {
    Router::new().route("/api/calls/{id}/trace", get(trace))
}

#[derive(Deserialize)]
struct Asked {
    format: Option<String>,
}

#[derive(Serialize)]
struct Trace {
    call_id: Arc<str>,
    from: Arc<str>,
    to: Arc<str>,
    /// Null while the call goes on.
    end_time: Option<String>,
    entries: Vec<Entry>,
    /// Whether anything is left out.
    truncated: bool,
}

/// A message, a decision, or a gap.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry {
    Message {
        time: String,
        direction: &'static str,
        leg: u64,
        peer: String,
        transport: &'static str,
        summary: String,
        message: String,
        /// Bytes at the end of the message that are left out.
        #[serde(skip_serializing_if = "is_zero")]
        cut: u32,
    },
    Decision {
        time: String,
        decision: String,
    },
    Gap {
        /// Entries that are left out here.
        omitted: u32,
    },
}

async fn trace(
    State(state): State<Arc<ApiState>>,
    Path(id): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let as_text = match asked.format.as_deref() {
        Some("text") => true,
        Some("json") => false,
        None => prefers_text(&headers),
        Some(other) => return Err(ApiError::bad_request(format!("`format` must be json or text, not `{other}`"))),
    };
    let trace = state.board.trace(state.tenant, &id);
    let trace = trace.ok_or_else(|| ApiError::not_found(format!("No trace of a call `{id}` is kept")))?;
    let clock = Clock::of(&state).await?;
    if as_text {
        // The content type of a string is text/plain.
        return Ok(ladder(&trace, &|at| clock.time_of_day(at)).into_response());
    }
    Ok(Json(json(&trace, &clock)).into_response())
}

fn prefers_text(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.contains("text/plain") && !accept.contains("application/json")
}

fn json(trace: &CallTrace, clock: &Clock) -> Trace {
    let about = trace.about();
    Trace {
        call_id: about.call_id.clone(),
        from: about.from.clone(),
        to: about.to.clone(),
        end_time: trace.ended().map(|at| clock.micro(at)),
        entries: trace.rungs().map(|rung| entry(rung, clock)).collect(),
        truncated: trace.is_truncated(),
    }
}

fn entry(rung: Rung<'_>, clock: &Clock) -> Entry {
    match rung {
        Rung::Gap { omitted } => Entry::Gap { omitted },
        Rung::Decision { at, text } => Entry::Decision { time: clock.micro(at), decision: text.into_owned() },
        Rung::Message { at, message, text } => Entry::Message {
            time: clock.micro(at),
            direction: if message.direction == Direction::In { "in" } else { "out" },
            leg: message.leg.0,
            peer: message.peer.to_string(),
            transport: message.transport.param(),
            summary: label(text),
            message: String::from_utf8_lossy(text).into_owned(),
            cut: message.cut,
        },
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}
