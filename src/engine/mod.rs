//! The call engine: a sans-IO single writer. `handle` takes one input at a time and says what is to be done.

pub mod audit;
pub mod config;
pub mod event;
pub mod flow;
pub mod io;
pub mod media;
pub mod negotiate;
pub mod record;

use crate::base::now::{Micros, Now};
use crate::directory::Directory;
use audit::Audit;
use config::EngineConfig;
use io::{Input, Output};
use std::sync::Arc;

pub struct Engine {
    _config: EngineConfig,
    _directory: Arc<Directory>,
}

impl Engine {
    /// `seed` comes from the operating system; only the simulation fixes it.
    pub fn new(config: EngineConfig, seed: [u8; 32], directory: Arc<Directory>) -> Engine {
        let _ = seed;
        Engine { _config: config, _directory: directory }
    }

    /// Handles one input; what is to be done is appended to `out`, in order.
    pub fn handle(&mut self, now: Now, input: Input, out: &mut Vec<Output>) {
        let _ = (now, input, out);
    }

    /// When `Input::Timeout` is due at the latest.
    pub fn deadline(&self) -> Option<Micros> {
        None
    }

    pub fn audit(&self) -> Audit {
        Audit::default()
    }
}
