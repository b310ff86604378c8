//! `GET /api/status`

use crate::api::State as ApiState;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;

pub fn routes() -> Router<Arc<ApiState>> {
    Router::new().route("/api/status", get(status))
}

#[derive(Serialize)]
struct Status {
    running: bool,
    registered_extensions: usize,
    active_calls: u64,
    /// Of all times, running ones included.
    total_calls: u64,
    active_recordings: u64,
    active_conferences: u64,
    parked_calls: u64,
    queued_calls: u64,
}

async fn status(State(state): State<Arc<ApiState>>) -> Json<Status> {
    let now = state.board.live().status(state.tenant);
    Json(Status {
        running: true,
        registered_extensions: now.registered_extensions,
        active_calls: now.active_calls,
        total_calls: now.total_calls,
        // This version neither records nor confers, parks or queues: there are none.
        active_recordings: 0,
        active_conferences: 0,
        parked_calls: 0,
        queued_calls: 0,
    })
}
