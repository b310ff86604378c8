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

/// Runs the exchange until it is told to stop.
pub fn run(config: config::Config) -> anyhow::Result<()> {
    anyhow::bail!("the wiring is missing: {}", config.data_dir.display())
}
