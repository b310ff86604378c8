//! The running exchange as the API sees it: commands for the engine, a changed directory, and what is wrong.

use crate::api::{Answer, Exchange, Unavailable};
use crate::engine::io::{Command, CommandResult};
use crate::media::MediaPlane;
use crate::node::inbox::{Inbox, Order};
use crate::store::Store;
use crate::store::writer::WriterHandle;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

pub struct Running {
    pub inbox: Arc<Inbox>,
    pub store: Store,
    pub writer: WriterHandle,
    /// None once the daemon stops.
    media: Mutex<Option<MediaPlane>>,
    /// The version of the directory the engine has. Held while a newer one is on its way, so that none overtakes another.
    version: tokio::sync::Mutex<u64>,
}

impl Running {
    pub fn new(inbox: &Arc<Inbox>, store: &Store, writer: &WriterHandle, media: MediaPlane, version: u64) -> Running {
        Running {
            inbox: inbox.clone(),
            store: store.clone(),
            writer: writer.clone(),
            media: Mutex::new(Some(media)),
            version: tokio::sync::Mutex::new(version),
        }
    }

    /// Ends the media threads.
    pub fn end_media(&self) {
        drop(self.media.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Gives the engine the store's directory, if it is another than the engine has.
    pub async fn refresh_directory(&self) -> Result<(), Unavailable> {
        let unavailable = |error: &dyn std::fmt::Display| Unavailable(error.to_string());
        let mut known = self.version.lock().await;
        if self.store.directory_version().await.map_err(|error| unavailable(&error))? == *known {
            return Ok(());
        }
        let (directory, version) = self.store.directory().await.map_err(|error| unavailable(&error))?;
        let (done, taken) = oneshot::channel();
        let order = Order::Directory { directory: Arc::new(directory), done };
        self.inbox.order(order).map_err(|_| Unavailable("it is overloaded".to_owned()))?;
        taken.await.map_err(|_| Unavailable("it is stopping".to_owned()))?;
        *known = version;
        Ok(())
    }

    /// Waits until the engine's thread has done what it was given before.
    pub async fn beat(&self) -> Result<(), Unavailable> {
        let (done, beaten) = oneshot::channel();
        self.inbox.order(Order::Beat { done }).map_err(|_| Unavailable("it is overloaded".to_owned()))?;
        beaten.await.map_err(|_| Unavailable("it is stopping".to_owned()))
    }

    /// Whether the engine's thread and all media threads live; does not return while the engine's hangs.
    pub async fn is_alive(&self) -> bool {
        self.beat().await.is_ok() && self.is_media_alive()
    }

    fn is_media_alive(&self) -> bool {
        let media = self.media.lock().unwrap_or_else(PoisonError::into_inner);
        media.as_ref().is_none_or(MediaPlane::is_alive)
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
        Box::pin(self.refresh_directory())
    }

    fn troubles(&self) -> Vec<String> {
        let mut troubles = Vec::new();
        if self.writer.counters().refused {
            troubles.push(
                "neither the journal nor the database takes records, so new calls are refused: make room on the disk of \
                 the data directory, or mend its permissions"
                    .to_owned(),
            );
        }
        if !self.is_media_alive() {
            troubles.push("a media thread has ended, its calls are silent: restart the daemon".to_owned());
        }
        troubles
    }
}
