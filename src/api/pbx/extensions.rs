//! `/api/extensions`: who has a number and a password. An answer to a change is given when the exchange knows it: a new
//! extension can register, a deleted or re-passworded one has lost its registrations.

use crate::api::State as ApiState;
use crate::api::body::Fields;
use crate::api::error::ApiError;
use crate::store::extensions::{ExtensionChange, NewExtension};
use axum::extract::{Path, State};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde::Serialize;
use std::sync::Arc;

pub fn routes() -> Router<Arc<ApiState>> {
    Router::new()
        .route("/api/extensions", get(list).post(add))
        .route("/api/extensions/{number}", put(update).delete(remove))
}

#[derive(Serialize)]
struct Extension {
    number: Box<str>,
    name: Box<str>,
    email: Box<str>,
    registered: bool,
    allow_external: bool,
}

#[derive(Serialize)]
struct Done {
    success: bool,
    message: &'static str,
    /// What the administrator should know; not in the document, hence absent when there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

async fn list(State(state): State<Arc<ApiState>>) -> Result<Json<Vec<Extension>>, ApiError> {
    let extensions = state.store.extensions(state.tenant).await?;
    let live = state.board.live();
    let list = extensions.into_iter().map(|extension| Extension {
        registered: live.contacts(state.tenant, &extension.number) > 0,
        number: extension.number,
        name: extension.name,
        email: extension.email,
        allow_external: extension.allow_external,
    });
    Ok(Json(list.collect()))
}

const FIELDS: [&str; 5] = ["number", "name", "email", "password", "allow_external"];

async fn add(State(state): State<Arc<ApiState>>, mut fields: Fields) -> Result<Json<Done>, ApiError> {
    fields.only(&FIELDS);
    let new = NewExtension {
        number: fields.text("number").unwrap_or_default(),
        name: fields.text("name").unwrap_or_default(),
        email: fields.text("email").unwrap_or_default(),
        password: fields.text("password").unwrap_or_default(),
        allow_external: fields.flag("allow_external").unwrap_or(true),
    };
    fields.refuse(new.faults())?;
    state.store.add_extension(state.tenant, &new).await?;
    let warning = state.store.clash(state.tenant, &new.number).await?;
    let done = taken(&state, "Extension added successfully").await?;
    Ok(Json(Done { warning, ..done.0 }))
}

async fn update(
    State(state): State<Arc<ApiState>>,
    Path(number): Path<String>,
    mut fields: Fields,
) -> Result<Json<Done>, ApiError> {
    fields.only(&FIELDS);
    if fields.text("number").is_some_and(|other| other != number) {
        fields.fault("number", "An extension's number can't be changed: add another and delete this one");
    }
    let change = ExtensionChange {
        name: fields.text("name"),
        email: fields.text("email"),
        password: fields.text("password"),
        allow_external: fields.flag("allow_external"),
    };
    fields.refuse(change.faults())?;
    state.store.update_extension(state.tenant, &number, &change).await?;
    taken(&state, "Extension updated successfully").await
}

async fn remove(State(state): State<Arc<ApiState>>, Path(number): Path<String>) -> Result<Json<Done>, ApiError> {
    state.store.remove_extension(state.tenant, &number).await?;
    taken(&state, "Extension deleted successfully").await
}

async fn taken(state: &ApiState, message: &'static str) -> Result<Json<Done>, ApiError> {
    state
        .exchange
        .directory_changed()
        .await
        .map_err(|e| ApiError::internal(format!("The change is stored, but the exchange has not taken it yet: {e}")))?;
    Ok(Json(Done { success: true, message, warning: None }))
}
