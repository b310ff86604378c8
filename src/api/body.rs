//! A request's JSON object, read field by field: an error names the field, and a field nobody knows is an error. All errors
//! are told at once.

use super::error::ApiError;
use crate::base::limits::HTTP_BODY_BYTES;
use crate::store::extensions::{Fault, in_one};
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use serde_json::{Map, Value};

/// The Content-Type is not asked for: whoever sends JSON means JSON.
pub struct Fields {
    fields: Map<String, Value>,
    /// What was wrong with those read so far, with the field's name.
    faults: Vec<(String, String)>,
}

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
            Ok(Value::Object(fields)) => Ok(Fields { fields, faults: Vec::new() }),
            Ok(_) => Err(ApiError::bad_request("The body must be a JSON object")),
            Err(e) => Err(ApiError::bad_request(format!("The body is not valid JSON: {e}"))),
        }
    }
}

impl Fields {
    /// Fields other than these are faults.
    pub fn only(&mut self, known: &[&str]) {
        let unknown = self.fields.keys().filter(|name| !known.contains(&name.as_str()));
        let unknown: Vec<String> = unknown.map(|name| format!("`{name}`")).collect();
        if !unknown.is_empty() {
            let plural = if unknown.len() > 1 { "s" } else { "" };
            let (unknown, known) = (unknown.join(", "), known.join(", "));
            self.fault("", format!("Unknown field{plural} {unknown}: the fields are {known}"));
        }
    }

    /// None if it is absent or null, or no string, which is a fault.
    pub fn text(&mut self, name: &str) -> Option<String> {
        match self.fields.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.fault(name, format!("`{name}` must be a string"));
                None
            }
        }
    }

    /// None if it is absent or null, or neither true nor false, which is a fault.
    pub fn flag(&mut self, name: &str) -> Option<bool> {
        match self.fields.get(name) {
            None | Some(Value::Null) => None,
            Some(Value::Bool(flag)) => Some(*flag),
            Some(_) => {
                self.fault(name, format!("`{name}` must be true or false"));
                None
            }
        }
    }

    pub fn fault(&mut self, name: &str, fault: impl Into<String>) {
        self.faults.push((name.to_owned(), fault.into()));
    }

    /// Refuses the body if anything was wrong with it, or is with what was made of it.
    pub fn refuse(&mut self, more: Vec<Fault>) -> Result<(), ApiError> {
        for (name, fault) in more {
            // What a field of the wrong type was taken for has been told better.
            if !self.faults.iter().any(|(other, _)| other == name) {
                self.fault(name, fault);
            }
        }
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(ApiError::bad_request(in_one(self.faults.iter().map(|(_, fault)| fault.as_str()))))
    }
}
