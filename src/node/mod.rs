//! The daemon: everything wired together.

pub mod admin;
pub mod bans;
mod certificates;
pub mod clock;
pub mod config;
pub mod driver;
pub mod events;
pub mod exchange;
pub mod figures;
pub mod files;
pub mod first_start;
pub mod health;
pub mod inbox;
pub mod rest;
pub mod sockets;
pub mod start;
pub mod stats;
pub mod stop;
pub mod systemd;
pub mod tasks;

pub use start::run;
