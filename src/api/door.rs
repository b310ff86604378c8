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
use std::time::Duration;
use tokio::time::timeout;

pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

pub async fn enter(State(state): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).filter(|id| is_sane(id)).cloned().unwrap_or_else(new_id);
    let mut response = match state.guard.check(request.uri(), request.headers()) {
        Err(reason) => ApiError::new(StatusCode::FORBIDDEN, reason).into_response(),
        Ok(()) => within(limits::HTTP_REQUEST_TIME, next.run(request)).await,
    };
    response.headers_mut().insert(REQUEST_ID, id);
    response
}

async fn within(limit: Duration, answer: impl Future<Output = Response>) -> Response {
    match timeout(limit, answer).await {
        Ok(response) => in_json(response).await,
        Err(_) => {
            let message = format!("The request took longer than {limit:?} and was given up");
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).into_response()
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    #[tokio::test]
    async fn a_request_that_takes_too_long_is_given_up() {
        let response = within(Duration::from_millis(5), std::future::pending()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        assert_eq!(&*body, br#"{"error":"The request took longer than 5ms and was given up"}"#);
    }

    #[tokio::test]
    async fn the_frameworks_own_errors_become_json() {
        let answer = async { (StatusCode::BAD_REQUEST, "no such thing").into_response() };
        let response = within(Duration::from_secs(5), answer).await;
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        assert_eq!(&*body, br#"{"error":"no such thing"}"#);
        let empty = Response::builder().status(411).body(Body::empty()).unwrap();
        let body = to_bytes(in_json(empty).await.into_body(), 4096).await.unwrap();
        assert_eq!(&*body, br#"{"error":"Length Required"}"#);
    }
}
