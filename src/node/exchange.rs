//! The running exchange as the API sees it: commands for the engine, a changed directory, and what is wrong.

use crate::api::{Answer, Exchange, Unavailable};
use crate::engine::io::{Command, CommandResult};
use crate::media::MediaPlane;
use crate::node::inbox::{Inbox, Order};
use crate::store::Store;
use crate::store::writer::WriterHandle;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

pub struct Running {
    pub inbox: Arc<Inbox>,
    pub store: Store,
    pub writer: WriterHandle,
    /// None once the daemon stops.
    pub media: Mutex<Option<MediaPlane>>,
    /// The version of the directory the engine has.
    pub version: AtomicU64,
    /// One reads and gives at a time: two in turn could give the engine the older directory last.
    pub refreshing: tokio::sync::Mutex<()>,
    /// The engine's thread has ended by itself: nothing works any more.
    pub is_dead: Arc<AtomicBool>,
}

impl Running {
    /// Gives the engine the store's directory, if it is another than the engine has.
    pub async fn refresh_directory(&self, force: bool) -> Result<(), Unavailable> {
        let unavailable = |error: &dyn std::fmt::Display| Unavailable(error.to_string());
        let _turn = self.refreshing.lock().await;
        if !force {
            let version = self.store.directory_version().await.map_err(|error| unavailable(&error))?;
            if version == self.version.load(Ordering::Acquire) {
                return Ok(());
            }
        }
        let (directory, version) = self.store.directory().await.map_err(|error| unavailable(&error))?;
        let (done, taken) = oneshot::channel();
        let order = Order::Directory { directory: Arc::new(directory), done };
        self.inbox.order(order).map_err(|_| Unavailable("it is overloaded".to_owned()))?;
        taken.await.map_err(|_| Unavailable("it is stopping".to_owned()))?;
        self.version.store(version, Ordering::Release);
        Ok(())
    }

    pub async fn order(&self, command: Command) -> Result<CommandResult, Unavailable> {
        let (done, result) = oneshot::channel();
        let order = Order::Command { command, done };
        self.inbox.order(order).map_err(|_| Unavailable("it is overloaded".to_owned()))?;
        result.await.map_err(|_| Unavailable("it is stopping".to_owned()))
    }
}

impl Exchange for Running {
    fn command(&self, command: Command) -> Answer<'_, CommandResult> {
        Box::pin(self.order(command))
    }

    fn directory_changed(&self) -> Answer<'_, ()> {
        Box::pin(self.refresh_directory(true))
    }

    fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        if self.is_dead.load(Ordering::Acquire) {
            troubles
                .push("the engine's thread has ended: restart the daemon and report the log's last lines".to_owned());
        }
        if self.writer.counters().refused {
            troubles.push(
                "neither the journal nor the database takes records, so new calls are refused: make room on the disk of \
                 the data directory, or mend its permissions"
                    .to_owned(),
            );
        }
        let media = self.media.lock().unwrap_or_else(PoisonError::into_inner);
        if media.as_ref().is_some_and(|media| !media.is_alive()) {
            troubles.push("a media thread has ended, its calls are silent: restart the daemon".to_owned());
        }
        troubles
    }
}
