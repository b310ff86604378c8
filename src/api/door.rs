//! What every request passes on its way in and every answer on its way out: the guard, a time limit, an id, and errors in
//! JSON, the web framework's own included.

use super::State as ApiState;
use super::error::ApiError;
use crate::base::limits;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use tokio::time::timeout;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub async fn enter(State(state): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).filter(|id| is_sane(id)).cloned().unwrap_or_else(new_id);
    let mut response = match state.guard.check(request.uri(), request.headers()) {
        Err(reason) => ApiError::new(StatusCode::FORBIDDEN, reason).into_response(),
        Ok(()) => match timeout(limits::HTTP_REQUEST_TIME, next.run(request)).await {
            Ok(response) => in_json(response).await,
            Err(_) => {
                let seconds = limits::HTTP_REQUEST_TIME.as_secs();
                let message = format!("The request took longer than {seconds} s and was given up");
                ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response()
            }
        },
    };
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

/// Errors the framework wrote as text.
async fn in_json(response: Response) -> Response {
    let is_text = response.headers().get(CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if response.status().as_u16() < 400 || !is_text {
        return response;
    }
    let (parts, body) = response.into_parts();
    let text = to_bytes(body, 4096).await.unwrap_or_default();
    let message = if text.is_empty() {
        parts.status.canonical_reason().unwrap_or("Error").to_string()
    } else {
        String::from_utf8_lossy(&text).into_owned()
    };
    let mut response = ApiError::new(parts.status, message).into_response();
    if let Some(methods) = parts.headers.get(ALLOW) {
        response.headers_mut().insert(ALLOW, methods.clone());
    }
    response
}

/// A client's own id is used if it is short and plain.
fn is_sane(id: &HeaderValue) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    (1..=64).contains(&id.len()) && id.as_bytes().iter().all(plain)
}

/// Unique over restarts, for logs; no secret.
fn new_id() -> HeaderValue {
    static RUN: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let id = format!("{:012x}-{}", *RUN >> 16, COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_str(&id).unwrap_or(HeaderValue::from_static("0"))
}
