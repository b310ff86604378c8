//! The end: Ctrl-C or SIGTERM lets running calls go on for a while, then hangs up, writes every record, and stops. A second
//! one stops without waiting for calls; what is known of them is written down, and the next start gives them an end.

use crate::base::cause::Cause;
use crate::engine::io::Command;
use crate::node::exchange::Running;
use crate::node::inbox::Order;
use crate::node::stats::Stats;
use crate::node::systemd::Systemd;
use anyhow::{Result, bail};
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

/// How often it is looked whether calls are over.
const LOOK: Duration = Duration::from_millis(50);
/// How long hung-up calls may take to say goodbye and be recorded.
const GOODBYE: Duration = Duration::from_secs(5);
/// How long the journal may take to write what it has when nobody wants to wait.
const HURRY: Duration = Duration::from_secs(2);
/// The exit code of a program ended by Ctrl-C.
const INTERRUPTED: u8 = 130;

/// How it ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Calls are over or were hung up.
    Drained,
    /// Somebody did not want to wait for the calls.
    AtOnce,
    /// The engine's thread is gone.
    Defect,
}

/// Ctrl-C and SIGTERM.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub fn new() -> io::Result<Signals> {
        Ok(Signals { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Waits for the first signal, then brings the calls to an end, or hears the second signal.
pub async fn drain(signals: &mut Signals, running: &Running, stats: &Stats, grace: Duration, systemd: &Systemd) -> End {
    signals.next().await;
    systemd.stopping();
    let end = async {
        if running.order(Command::Drain).await.is_err() {
            return;
        }
        // Said when it is true: a call of a moment before is one of those that go on.
        let calls = stats.calls.get();
        tracing::info!(
            "stopping: no new calls; {calls} running calls may go on for {} s. Again to stop at once",
            grace.as_secs()
        );
        wait_until(grace, || stats.calls.get() == 0).await;
        if stats.calls.get() > 0 {
            tracing::info!("hanging up {} calls", stats.calls.get());
            let hung_up = running.order(Command::HangUpAll { cause: Cause::Draining }).await;
            if hung_up.is_ok() {
                wait_until(GOODBYE, || stats.calls.get() == 0).await;
            }
            // The phones' answers to our BYEs.
            sleep(LOOK * 4).await;
        }
    };
    tokio::select! {
        () = end => End::Drained,
        () = signals.next() => End::AtOnce,
    }
}

/// Ends the engine's thread, then the journal with everything in it, then the media.
pub async fn finish(end: End, running: Arc<Running>, thread: JoinHandle<()>) -> Result<ExitCode> {
    let writer = running.writer.clone();
    let (code, patience) = match end {
        End::Drained => (ExitCode::SUCCESS, Duration::MAX),
        End::AtOnce => {
            tracing::warn!("stopped at once: calls that were running get the cause `restart` at the next start");
            (ExitCode::from(INTERRUPTED), HURRY)
        }
        End::Defect => (ExitCode::FAILURE, HURRY),
    };
    let ending = tokio::task::spawn_blocking(move || {
        let _ = running.inbox.order(Order::Stop);
        // The panic hook told of a panic when it happened.
        let _ = thread.join();
        writer.close();
        running.end_media();
    });
    let is_written = timeout(patience, ending).await.is_ok();
    if !is_written {
        tracing::error!("the disk does not take the last records: they may be lost");
    }
    if end == End::Defect {
        bail!("the engine's thread has ended by a defect and every call with it: please report the log's last lines");
    }
    tracing::info!("stopped");
    Ok(code)
}

async fn wait_until(most: Duration, over: impl Fn() -> bool) {
    let end = Instant::now() + most;
    let look = async {
        while !over() && Instant::now() < end {
            sleep(LOOK).await;
        }
    };
    // Bounded by the loop itself; the time-out guards against a clock that jumps.
    let _ = timeout(most + LOOK, look).await;
}
