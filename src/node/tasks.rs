//! The tasks between the engine and the rest: the events' way to the board, and the administrator's changes' way back.

use crate::board::Board;
use crate::engine::io::Command;
use crate::node::bans::BanKeeper;
use crate::node::events::EventQueue;
use crate::node::exchange::Running;
use crate::node::systemd::Systemd;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// How often the database is asked whether an administrator changed something from another process.
const WATCH: Duration = Duration::from_secs(1);

/// Folds the engine's events into the board, for ever.
pub async fn fold(events: Arc<EventQueue>, board: Arc<Board>, running: Arc<Running>) {
    loop {
        events.wait().await;
        board.catch_up();
        if board.needs_snapshot() {
            tracing::warn!("the board lost events and asks the engine for the whole state");
            // If it can't be had now, the next round asks again.
            let _ = running.order(Command::Snapshot).await;
        }
        events.nap().await;
    }
}

/// Notices what an administrator changed from another process, and keeps the bans, for ever.
pub async fn watch(running: Arc<Running>, mut bans: BanKeeper) {
    let (mut is_well, mut are_kept) = (true, true);
    loop {
        sleep(WATCH).await;
        match bans.exchange().await {
            Ok(()) => are_kept = true,
            Err(error) if are_kept => {
                tracing::warn!("can't keep the bans: {error}");
                are_kept = false;
            }
            Err(_) => {}
        }
        match running.refresh_directory().await {
            Ok(()) => is_well = true,
            Err(error) if is_well => {
                tracing::warn!("can't look for changes of extensions: {error}");
                is_well = false;
            }
            Err(_) => {}
        }
    }
}

/// Tells systemd's watchdog, if there is one, that the exchange lives.
pub async fn give_signs_of_life(systemd: Arc<Systemd>, running: Arc<Running>) {
    let is_alive = || {
        let running = running.clone();
        async move { running.is_alive().await }
    };
    systemd.give_signs_of_life(is_alive).await;
}
