//! The daemon: everything wired together.

pub mod admin;
pub mod config;
pub mod first_start;

/// Runs the exchange until it is told to stop.
pub fn run(config: config::Config) -> anyhow::Result<()> {
    anyhow::bail!("the wiring is missing: {}", config.data_dir.display())
}
