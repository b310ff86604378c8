//! Strowger, an office telephone exchange.
//!
//! `base`, `proto`, `directory`, `engine`, `presence` and `apps` are the sans-IO core: time, randomness and bytes are
//! arguments, and they build without the `daemon` feature. Everything else touches the outside.

pub mod apps;
pub mod base;
pub mod directory;
pub mod engine;
pub mod proto;

#[cfg(feature = "daemon")]
pub mod api;
#[cfg(feature = "daemon")]
pub mod board;
#[cfg(feature = "media")]
pub mod media;
#[cfg(feature = "daemon")]
pub mod net;
#[cfg(feature = "daemon")]
pub mod node;
#[cfg(feature = "daemon")]
pub mod store;
