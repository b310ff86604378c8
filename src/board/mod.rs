//! The read model: folds of the engine's event stream, for the API, the metrics and `/healthz`. Nothing here asks the
//! engine for lists.
//!
//! One task applies the events in order; any thread reads. An event costs one short lock.
//!
//! Losing events: the stream is bounded, so a fold that can't keep up loses some. A gap in the sequence is counted and makes
//! the board ask for a snapshot ([`Board::needs_snapshot`]); whoever drives it sends the engine `Command::Snapshot`, and the
//! snapshot, which comes in the same stream, replaces calls and registrations. No call stays on the board that is gone.

pub mod ladder;
pub mod live;
pub mod metrics;
mod process;
mod redact;
pub mod trace;

#[cfg(test)]
mod tests;

use crate::base::ids::TenantId;
use crate::engine::event::{Event, EventBody};
use live::Live;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use trace::{Bounds, CallTrace, Traces};

#[derive(Default)]
pub struct Board {
    live: RwLock<Live>,
    traces: Mutex<Traces>,
    /// Sequence number of the next event; 0 before the first.
    expected: AtomicU64,
    lost: AtomicU64,
    behind: AtomicBool,
    source: OnceLock<Source>,
    /// One reader at a time brings the board up to date: events must stay in order.
    catching_up: Mutex<()>,
}

/// Gives the events that wait for the board.
pub type Source = Box<dyn Fn() -> VecDeque<Event> + Send + Sync>;

impl Board {
    pub fn new(bounds: Bounds) -> Board {
        Board { traces: Mutex::new(Traces::new(bounds)), ..Board::default() }
    }

    /// How many calls a tenant had before this run; once, before the first event.
    pub fn set_calls_before(&self, tenant: TenantId, calls: u64) {
        self.write().set_calls_before(tenant, calls);
    }

    /// Where the board fetches its events from whenever somebody looks at it.
    pub fn set_source(&self, source: Source) {
        // A second source would be a defect of the wiring; the first stays.
        let _ = self.source.set(source);
    }

    /// Folds in the events that wait. Whoever looks at the board does so first: it may be brought up to date seldom, and
    /// still shows the present.
    pub fn catch_up(&self) {
        let Some(source) = self.source.get() else { return };
        let _turn = self.catching_up.lock().unwrap_or_else(PoisonError::into_inner);
        for event in source() {
            self.apply(&event);
        }
    }

    /// Folds the next event in. An event the board has had is passed over.
    pub fn apply(&self, event: &Event) {
        let expected = self.expected.load(Ordering::Relaxed);
        if expected != 0 && event.seq < expected {
            return;
        }
        if expected != 0 && event.seq > expected {
            self.lost.fetch_add(event.seq - expected, Ordering::Relaxed);
            self.behind.store(true, Ordering::Relaxed);
        }
        self.expected.store(event.seq + 1, Ordering::Relaxed);
        match &event.body {
            EventBody::Trace { .. } => self.traces().apply(event),
            EventBody::Notice { tenant, text } => tracing::warn!("tenant {tenant}: {text}"),
            EventBody::CallStarted { .. } | EventBody::CallEnded { .. } | EventBody::Snapshot(_) => {
                self.write().apply(event);
                self.traces().apply(event);
            }
            _ => self.write().apply(event),
        }
        if matches!(event.body, EventBody::Snapshot(_)) {
            self.behind.store(false, Ordering::Relaxed);
        }
    }

    /// Whether events were lost and no snapshot has come since.
    pub fn needs_snapshot(&self) -> bool {
        self.behind.load(Ordering::Relaxed)
    }

    /// Events that never arrived.
    pub fn lost_events(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// What is going on now. Hold it for moments only: events wait meanwhile.
    pub fn live(&self) -> RwLockReadGuard<'_, Live> {
        self.catch_up();
        self.live.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trace of a tenant's call, as far as it is kept.
    pub fn trace(&self, tenant: TenantId, call_id: &str) -> Option<CallTrace> {
        self.catch_up();
        self.traces().get(tenant, call_id).cloned()
    }

    /// Calls whose trace is kept, and the bytes of all.
    pub fn trace_use(&self) -> (usize, usize) {
        let traces = self.traces();
        (traces.count(), traces.bytes())
    }

    fn write(&self) -> RwLockWriteGuard<'_, Live> {
        self.live.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn traces(&self) -> MutexGuard<'_, Traces> {
        self.traces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
