//! The interface as a client meets it: a router on a real store in a temporary directory.

mod calls;
mod cdr;
mod docs;
mod door;
mod extensions;
mod shape;
mod wire;

use super::cors::Cors;
use super::guard::{Auth, Guard};
use super::{Answer, Exchange, State, Unavailable, router};
use crate::base::ids::TenantId;
use crate::base::now::Timestamp;
use crate::board::Board;
use crate::board::metrics::Metrics;
use crate::directory::Directory;
use crate::engine::event::{Event, EventBody};
use crate::engine::io::{Command, CommandResult};
use crate::store::Store;
use crate::store::tenants::DEFAULT_TENANT;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tower::ServiceExt;

/// 2024-01-15T10:00:00Z
const TEN: Timestamp = Timestamp(1_705_312_800_000_000);

/// What stands for the running daemon: it reads the directory anew when told, as the daemon does.
struct Daemon {
    store: Store,
    directory: Mutex<Arc<Directory>>,
    /// What is wrong with it.
    troubles: Mutex<Vec<String>>,
    stopped: Mutex<bool>,
}

impl Exchange for Daemon {
    fn command(&self, _: Command) -> Answer<'_, CommandResult> {
        Box::pin(async { Ok(CommandResult::Done) })
    }

    fn directory_changed(&self) -> Answer<'_, ()> {
        Box::pin(async {
            if *self.stopped.lock().unwrap() {
                return Err(Unavailable("it is stopping".to_string()));
            }
            let (directory, _) = self.store.directory().await.map_err(|e| Unavailable(e.to_string()))?;
            *self.directory.lock().unwrap() = Arc::new(directory);
            Ok(())
        })
    }

    fn troubles(&self) -> Vec<String> {
        self.troubles.lock().unwrap().clone()
    }
}

struct Office {
    store: Store,
    board: Arc<Board>,
    daemon: Arc<Daemon>,
    state: Arc<State>,
    router: Router,
    seq: u64,
    _directory: TempDir,
}

struct Reply {
    status: StatusCode,
    response: Response<()>,
    text: String,
}

impl Reply {
    #[track_caller]
    fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    /// The message of an error answer, which must have that status.
    #[track_caller]
    fn error(&self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        let value = self.json();
        assert_eq!(value.as_object().map(|o| o.len()), Some(1), "{value}");
        value["error"].as_str().unwrap_or_else(|| panic!("no error in {value}")).to_string()
    }

    #[track_caller]
    fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.text);
        self.json()
    }

    fn header(&self, name: &str) -> &str {
        self.response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Office {
    async fn open() -> Office {
        Office::with_cors(Cors::All).await
    }

    async fn with_cors(cors: Cors) -> Office {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).await.unwrap();
        let board = Arc::new(Board::default());
        let daemon = Arc::new(Daemon {
            store: store.clone(),
            directory: Mutex::default(),
            troubles: Mutex::default(),
            stopped: Mutex::default(),
        });
        let state = Arc::new(State {
            store: store.clone(),
            board: board.clone(),
            metrics: Metrics::new(board.clone(), Box::new(Vec::new)),
            exchange: daemon.clone(),
            tenant: DEFAULT_TENANT,
            guard: Guard::new(Auth::None, Vec::new()),
            cors,
        });
        let router = router(state.clone());
        Office { store, board, daemon, state, router, seq: 0, _directory: directory }
    }

    /// The engine says so.
    fn event(&mut self, at: Timestamp, body: EventBody) {
        self.seq += 1;
        self.board.apply(&Event { seq: self.seq, at, body });
    }

    async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply {
            status: parts.status,
            response: Response::from_parts(parts, ()),
            text: String::from_utf8(bytes.to_vec()).unwrap(),
        }
    }

    async fn ask(&self, method: &str, path: &str, body: impl Into<Body>) -> Reply {
        let request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
        self.send(request.body(body.into()).unwrap()).await
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, Body::empty()).await
    }

    async fn add(&self, number: &str) {
        let body = format!(r#"{{"number":"{number}","name":"Extension {number}","password":"securepassword123"}}"#);
        self.ask("POST", "/api/extensions", body).await.ok();
    }

    fn knows(&self, tenant: TenantId, number: &str) -> bool {
        let directory = self.daemon.directory.lock().unwrap();
        directory.tenant(tenant).is_some_and(|tenant| tenant.extension(number).is_some())
    }
}
