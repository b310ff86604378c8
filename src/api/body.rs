//! A request's JSON object, read field by field: an error names the field, and a field nobody knows is an error.

use super::error::ApiError;
use crate::base::limits::HTTP_BODY_BYTES;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde_json::{Map, Value};

/// The Content-Type is not asked for: whoever sends JSON means JSON.
pub struct Fields(Map<String, Value>);

impl<S: Send + Sync> FromRequest<S> for Fields {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &S) -> Result<Fields, ApiError> {
        let bytes = Bytes::from_request(request, state).await.map_err(|e| match e.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                ApiError::new(e.status(), format!("The body is too long: at most {HTTP_BODY_BYTES} bytes are taken"))
            }
            status => ApiError::new(status, e.body_text()),
        })?;
        if bytes.is_empty() {
            return Err(ApiError::bad_request("The request has no body: a JSON object is needed"));
        }
        match serde_json::from_slice(&bytes) {
            Ok(Value::Object(fields)) => Ok(Fields(fields)),
            Ok(_) => Err(ApiError::bad_request("The body must be a JSON object")),
            Err(e) => Err(ApiError::bad_request(format!("The body is not valid JSON: {e}"))),
        }
    }
}

impl Fields {
    /// Refuses fields other than these.
    pub fn only(&self, known: &[&str]) -> Result<(), ApiError> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => {
                let known = known.join(", ");
                Err(ApiError::bad_request(format!("Unknown field `{name}`: the fields are {known}")))
            }
            None => Ok(()),
        }
    }

    /// None if it is absent or null.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(ApiError::bad_request(format!("`{name}` must be a string"))),
        }
    }

    /// None if it is absent or null.
    pub fn flag(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(ApiError::bad_request(format!("`{name}` must be true or false"))),
        }
    }
}
