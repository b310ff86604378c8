//! The daemon: everything wired together.

pub mod admin;
pub mod clock;
pub mod config;
pub mod driver;
pub mod events;
pub mod first_start;
pub mod inbox;
pub mod rest;
pub mod stats;
