//! `/healthz` for supervisors and `/metrics` for Prometheus.

use super::State as ApiState;
use super::error::ApiError;
use crate::board::metrics;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::sync::Arc;

pub fn routes() -> Router<Arc<ApiState>> {
    Router::new().route("/healthz", get(health)).route("/metrics", get(scrape))
}

/// 200 when calls can be made, else 503 with the reasons.
async fn health(State(state): State<Arc<ApiState>>) -> impl IntoResponse {
    let reasons = state.exchange.troubles();
    if reasons.is_empty() {
        return (StatusCode::OK, Json(json!({ "healthy": true })));
    }
    let body = json!({ "healthy": false, "error": reasons.join("; "), "reasons": reasons });
    (StatusCode::SERVICE_UNAVAILABLE, Json(body))
}

async fn scrape(State(state): State<Arc<ApiState>>) -> Result<impl IntoResponse, ApiError> {
    let page = state.metrics.render().map_err(|e| ApiError::internal(format!("The metrics can't be written: {e}")))?;
    Ok(([(CONTENT_TYPE, metrics::CONTENT_TYPE)], page))
}
