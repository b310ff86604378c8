//! Which pages' scripts may read our answers (`api.enable_cors`, `api.cors_origins`). Never with credentials: none a browser
//! sends by itself would be taken.

use super::door::REQUEST_ID;
use axum::http::header::{ACCESS_CONTROL_ALLOW_METHODS, AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

#[derive(Clone, Debug)]
pub enum Cors {
    Off,
    /// Pages of all origins, as documented.
    All,
    /// Pages of these origins, such as `https://console.example.com`.
    Only(Vec<HeaderValue>),
}

impl Cors {
    /// None if it is off.
    pub(super) fn layer(&self) -> Option<CorsLayer> {
        let origins = match self {
            Cors::Off => return None,
            Cors::All => AllowOrigin::any(),
            Cors::Only(origins) => AllowOrigin::list(origins.iter().cloned()),
        };
        let headers = [HeaderName::from_static("*"), AUTHORIZATION, CONTENT_TYPE, REQUEST_ID];
        let layer = CorsLayer::new().allow_origin(origins).allow_methods(Any).allow_headers(headers);
        Some(layer.expose_headers([REQUEST_ID]))
    }
}

/// A preflight's answer has no content.
pub(super) async fn no_content(mut response: Response) -> Response {
    if response.status() == StatusCode::OK && response.headers().contains_key(ACCESS_CONTROL_ALLOW_METHODS) {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    response
}
