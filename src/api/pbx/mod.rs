//! The PBX's REST API, one file per resource; `docs/api.md` says what is served. A new resource is a file with `routes()` and
//! a line here.

mod calls;
mod cdr;
mod extensions;
mod status;
mod trace;

use super::State;
use axum::Router;
use std::sync::Arc;

pub fn routes() -> Router<Arc<State>> {
    Router::new()
        .merge(status::routes())
        .merge(extensions::routes())
        .merge(calls::routes())
        .merge(trace::routes())
        .merge(cdr::routes())
}
