//! The end: Ctrl-C or SIGTERM lets running calls go on for a while, then hangs up, writes every record, and stops. A second
//! one stops at once; the calls' start records then tell of it.

use crate::base::cause::Cause;
use crate::engine::io::Command;
use crate::node::exchange::Running;
use crate::node::stats::Stats;
use std::io;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, timeout};

/// How often it is looked whether calls are over.
const LOOK: Duration = Duration::from_millis(50);
/// How long hung-up calls may take to say goodbye and be recorded.
const GOODBYE: Duration = Duration::from_secs(5);
/// The exit code of a program ended by Ctrl-C.
const INTERRUPTED: i32 = 130;

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

/// Waits for the first signal, then brings the calls to an end.
pub async fn drain(signals: &mut Signals, running: &Running, stats: &Stats, grace: Duration) {
    signals.next().await;
    let calls = stats.calls.get();
    tracing::info!(
        "stopping: no new calls; {calls} running calls may go on for {} s. Again to stop at once",
        grace.as_secs()
    );
    let end = async {
        if running.order(Command::Drain).await.is_err() {
            return;
        }
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
        () = end => {}
        () = signals.next() => {
            tracing::warn!("stopped at once; calls that were running get the cause `restart` at the next start");
            std::process::exit(INTERRUPTED);
        }
    }
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
