//! The HTTP interface: the PBX's REST API under `/api`, `/healthz` and `/metrics`.
//!
//! ```text
//! connection ─ listener (bounded) ─ door (who may ask; time, id, errors in JSON) ─ CORS ─ one file per resource
//! ```
//!
//! Handlers read the store and the board; what changes the running exchange goes through [`Exchange`]. Invariants: every
//! answer but the two text pages is JSON, every error is `{"error": …}`; an answer to a change is given when the exchange
//! has taken it, so that the next REGISTER sees it.

mod body;
mod clock;
pub mod cors;
mod door;
mod error;
pub mod guard;
mod health;
mod listener;
pub mod pbx;

#[cfg(test)]
mod tests;

use crate::base::ids::TenantId;
use crate::board::Board;
use crate::board::metrics::Metrics;
use crate::engine::io::{Command, CommandResult};
use crate::store::Store;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use cors::Cors;
use guard::Guard;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::TcpListener;

/// What handlers work with.
pub struct State {
    pub store: Store,
    pub board: Arc<Board>,
    pub metrics: Metrics,
    pub exchange: Arc<dyn Exchange>,
    /// Whose extensions, calls and records this listener shows.
    pub tenant: TenantId,
    pub guard: Guard,
    pub cors: Cors,
}

/// What the API asks of the running exchange.
pub trait Exchange: Send + Sync {
    /// Has the engine carry out a command and brings its result.
    fn command(&self, command: Command) -> Answer<'_, CommandResult>;

    /// Who may call what was changed in the store; done when the engine has the new directory.
    fn directory_changed(&self) -> Answer<'_, ()>;

    /// What is wrong with the exchange, in words for an administrator; empty when all is well.
    fn troubles(&self) -> Vec<String>;
}

/// An answer that takes a while, or why there is none.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// The engine does not answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the exchange does not answer: {0}")]
pub struct Unavailable(pub String);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(
        "`api.auth: none` needs a loopback address, but HTTP listens on {0}: listen on 127.0.0.1 or [::1], or choose \
         another `api.auth`"
    )]
    Exposed(SocketAddr),
    #[error("the HTTP listener failed: {0}")]
    Io(#[from] std::io::Error),
}

/// Serves until `shutdown` is done and the answers under way are given.
pub async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    if !state.guard.allows_listening_on(address.ip()) {
        return Err(ServeError::Exposed(address));
    }
    let listener = listener::Bounded::new(listener);
    axum::serve(listener, router(state)).with_graceful_shutdown(shutdown).await?;
    Ok(())
}

/// The whole interface, without a listener.
pub fn router(state: Arc<State>) -> Router {
    let mut router = Router::new()
        .merge(health::routes())
        .merge(pbx::routes())
        .fallback(error::no_such_path)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(DefaultBodyLimit::max(crate::base::limits::HTTP_BODY_BYTES))
        .layer(axum::middleware::from_fn_with_state(state.clone(), door::enter));
    if let Some(cors) = state.cors.layer() {
        router = router.layer(cors).layer(axum::middleware::map_response(cors::no_content));
    }
    router.with_state(state)
}
