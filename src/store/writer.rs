//! The way of the engine's records to the disk.
//!
//! ```text
//!  engine thread          journal thread                        drain thread
//!  append ──► queue ──► group ──► journal file ···············► reads the journal ──► database
//!                         │            └─ written: on_recorded(upto, true)
//!                         │ the journal refuses
//!                         ├──────────────────────────────────► straight to the database
//!                         │                                      └─ taken: on_recorded(upto, true)
//!                         │ and so does the database
//!                         └─► registrations: on_recorded(upto, false); call records are held; on_refused(true)
//! ```
//!
//! Ownership: the queue is shared and held for moments; the journal's files are the journal thread's, the database
//! connection is the drain thread's. A slow database delays neither the journal nor the engine.
//!
//! Invariants: what `on_recorded(_, true)` was told survives the death of the process. Call records are dropped only when
//! memory for them has run out, and then counted.

use crate::base::ids::RecordSeq;
use crate::engine::record::{Record, RecordBody};
use crate::store::Store;
use crate::store::drain::{Direct, Drain};
use crate::store::error::StoreError;
use crate::store::journal::{Appender, Journal, Ledger, Limits};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How often it is tried whether records are taken again.
const RETRY: Duration = Duration::from_millis(500);
/// A caller waits for the record of the call's beginning: under load it shares a write with what comes in that time only.
const HURRY: Duration = Duration::from_millis(1);
/// How long a group waits for the database when the journal refuses.
const PATIENCE: Duration = Duration::from_secs(2);
/// A queue nobody takes from for that long means that the disk hangs.
const STALL: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// Force records to the disk right after they were acknowledged, at most once a second: a power cut then loses at
    /// most what the last second brought.
    pub fdatasync: bool,
    /// Under load, one write for all registrations of this time.
    pub group: Duration,
    /// Under load, one database transaction for all records of this time.
    pub flush: Duration,
    /// A journal file is closed at this size.
    pub segment_bytes: u64,
    /// The journal's bound while the database does not take its records.
    pub journal_bytes: u64,
    /// Records in memory, waiting for the journal.
    pub queue: usize,
}

impl Default for WriterConfig {
    fn default() -> Self {
        WriterConfig {
            fdatasync: false,
            group: Duration::from_millis(10),
            flush: Duration::from_secs(1),
            segment_bytes: 8 << 20,
            journal_bytes: 256 << 20,
            queue: 65_536,
        }
    }
}

/// For metrics and the console.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct WriterCounters {
    /// Records acknowledged.
    pub recorded: u64,
    /// Writes to the journal.
    pub groups: u64,
    pub journal_bytes: u64,
    /// Records in the journal that the database does not have yet.
    pub lag: u64,
    /// Call records in memory while disk and database refuse.
    pub held: u64,
    /// Registrations refused.
    pub shed: u64,
    /// Call records that are gone, and journal records found damaged.
    pub lost: u64,
    pub journal_errors: u64,
    pub database_errors: u64,
    /// Disk and database refuse at this moment.
    pub refused: bool,
}

/// What the engine thread appends to. Clones share one writer; it ends with the last of them, or by `close`.
#[derive(Clone)]
pub struct WriterHandle(Arc<Owner>);

pub struct Writer;

impl Writer {
    /// Starts the two threads. `journal` comes from [`Store::recover`]. `on_recorded` is called in the order of the
    /// records; both callbacks come from any thread, the appending one included, and must not block.
    pub fn start(
        store: &Store,
        journal: Journal,
        config: WriterConfig,
        on_recorded: impl Fn(RecordSeq, bool) + Send + 'static,
        on_refused: impl Fn(bool) + Send + 'static,
    ) -> Result<WriterHandle, StoreError> {
        let directory = journal.directory.clone();
        let fails = || StoreError::file("write the journal in", &directory);
        let limits = Limits {
            segment_bytes: config.segment_bytes,
            journal_bytes: config.journal_bytes.max(config.segment_bytes.saturating_mul(2)),
            fdatasync: config.fdatasync,
        };
        let appender = Appender::new(journal, limits).map_err(fails())?;
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            notify: Mutex::new(Notify {
                on_recorded: Box::new(on_recorded),
                on_refused: Box::new(on_refused),
                refused: false,
            }),
            counters: Counters::default(),
            ledger: appender.ledger(),
            drain_idle: AtomicBool::new(false),
            drain_stop: AtomicBool::new(false),
            journal_thread: OnceLock::new(),
            drain_thread: OnceLock::new(),
            queue_bound: config.queue.max(1),
        });
        // One at a time: a second question waits until the first has its answer.
        let (direct, questions) = sync_channel(1);
        let drain = Drain::new(store, shared.clone(), config.clone(), questions).map_err(fails())?;
        let drain = thread::Builder::new().name("store-drain".into()).spawn(move || drain.run()).map_err(fails())?;
        let _ = shared.drain_thread.set(drain.thread().clone());
        let journal = JournalThread {
            shared: shared.clone(),
            appender,
            config,
            direct,
            held: Vec::new(),
            last_write: None,
            last_try: None,
            broken: false,
        };
        let journal = thread::Builder::new().name("store-journal".into()).spawn(move || journal.run());
        let owner = Owner { shared, threads: Mutex::new(Vec::from([drain])) };
        // From here on the drop of the owner ends what runs.
        let journal = journal.map_err(fails())?;
        let _ = owner.shared.journal_thread.set(journal.thread().clone());
        owner.threads.lock().unwrap_or_else(PoisonError::into_inner).insert(0, journal);
        Ok(WriterHandle(Arc::new(owner)))
    }
}

impl WriterHandle {
    /// Takes the records of one engine step, in their order. Never blocks. When the disk hangs or the queue is full,
    /// the registrations in it are refused.
    pub fn append(&self, records: Vec<Record>) {
        let shared = &self.0.shared;
        let Some(last) = records.last().map(|record| record.seq) else { return };
        let is_urgent = records.iter().any(|record| matches!(record.body, RecordBody::CallStarted(_)));
        let mut queue = lock(&shared.queue);
        let now = Instant::now();
        queue.is_urgent |= is_urgent;
        let stalled = queue.since.is_some_and(|since| now.duration_since(since) > STALL);
        if queue.records.is_empty() {
            queue.since = Some(now);
            queue.records = records;
        } else {
            queue.records.extend(records);
        }
        if stalled || queue.records.len() > shared.queue_bound {
            shared.shed(&mut queue);
            drop(queue);
            shared.refuse(last);
        } else if queue.rest == Rest::Idle || (is_urgent && queue.rest == Rest::Gathering) {
            queue.rest = Rest::No;
            drop(queue);
            shared.journal_thread.get().map(Thread::unpark);
        }
    }

    pub fn counters(&self) -> WriterCounters {
        self.0.shared.snapshot()
    }

    /// Writes what was appended, brings it to the database if that takes it, and ends the threads. Blocks.
    pub fn close(&self) -> WriterCounters {
        self.0.stop();
        self.counters()
    }
}

struct Owner {
    shared: Arc<Shared>,
    /// The journal's before the drain's.
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Owner {
    fn stop(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        lock(&self.shared.queue).stop = true;
        self.shared.journal_thread.get().map(Thread::unpark);
        let mut threads = threads.into_iter();
        let drain = threads.next_back();
        for journal in threads {
            let _ = journal.join();
        }
        self.shared.drain_stop.store(true, Ordering::SeqCst);
        if let Some(drain) = drain {
            drain.thread().unpark();
            let _ = drain.join();
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the engine thread and the two threads of the writer share.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    notify: Mutex<Notify>,
    pub(super) counters: Counters,
    pub(super) ledger: Arc<Ledger>,
    /// The drain thread sleeps until somebody wakes it.
    pub(super) drain_idle: AtomicBool,
    pub(super) drain_stop: AtomicBool,
    journal_thread: OnceLock<Thread>,
    drain_thread: OnceLock<Thread>,
    queue_bound: usize,
}

#[derive(Default)]
struct Queue {
    records: Vec<Record>,
    /// When the oldest of them came.
    since: Option<Instant>,
    /// A caller waits for one of them.
    is_urgent: bool,
    rest: Rest,
    stop: bool,
}

/// What the journal thread rests for.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum Rest {
    #[default]
    No,
    /// More registrations; an urgent record wakes it.
    Gathering,
    /// Any record.
    Idle,
}

struct Notify {
    on_recorded: Box<dyn Fn(RecordSeq, bool) + Send>,
    on_refused: Box<dyn Fn(bool) + Send>,
    refused: bool,
}

#[derive(Default)]
pub(super) struct Counters {
    recorded: AtomicU64,
    groups: AtomicU64,
    /// Index of the next record the database wants.
    pub(super) applied: AtomicU64,
    held: AtomicU64,
    shed: AtomicU64,
    pub(super) lost: AtomicU64,
    journal_errors: AtomicU64,
    pub(super) database_errors: AtomicU64,
}

/// Nothing that is done under these locks can leave their content half-changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn kept(&self, upto: RecordSeq, count: usize) {
        self.counters.recorded.fetch_add(count as u64, Ordering::Relaxed);
        (lock(&self.notify).on_recorded)(upto, true);
    }

    fn refuse(&self, upto: RecordSeq) {
        let mut notify = lock(&self.notify);
        if !std::mem::replace(&mut notify.refused, true) {
            tracing::error!("disk and database refuse records: new calls and registrations are refused");
            (notify.on_refused)(true);
        }
        (notify.on_recorded)(upto, false);
    }

    fn accept_again(&self) {
        let mut notify = lock(&self.notify);
        if std::mem::replace(&mut notify.refused, false) {
            tracing::warn!("records are kept again: calls and registrations are accepted");
            (notify.on_refused)(false);
        }
    }

    fn is_refused(&self) -> bool {
        lock(&self.notify).refused
    }

    /// Drops the registrations in the queue, and call records only beyond twice the bound.
    fn shed(&self, queue: &mut Queue) {
        let before = queue.records.len();
        queue.records.retain(|record| !matches!(record.body, RecordBody::Binding(_)));
        self.counters.shed.fetch_add((before - queue.records.len()) as u64, Ordering::Relaxed);
        let excess = queue.records.len().saturating_sub(self.queue_bound.saturating_mul(2));
        queue.records.drain(..excess);
        self.counters.lost.fetch_add(excess as u64, Ordering::Relaxed);
    }

    fn wake_drain(&self) {
        if self.drain_idle.swap(false, Ordering::SeqCst) {
            self.drain_thread.get().map(Thread::unpark);
        }
    }

    fn snapshot(&self) -> WriterCounters {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        let applied = get(&counters.applied);
        WriterCounters {
            recorded: get(&counters.recorded),
            groups: get(&counters.groups),
            journal_bytes: self.ledger.bytes(),
            lag: self.ledger.end().saturating_sub(applied),
            held: get(&counters.held),
            shed: get(&counters.shed),
            lost: get(&counters.lost),
            journal_errors: get(&counters.journal_errors) + self.ledger.sync_errors(),
            database_errors: get(&counters.database_errors),
            refused: self.is_refused(),
        }
    }
}

struct JournalThread {
    shared: Arc<Shared>,
    appender: Appender,
    config: WriterConfig,
    direct: SyncSender<Direct>,
    /// Records nobody takes at the moment, in order; no registrations among them.
    held: Vec<RecordBody>,
    last_write: Option<Instant>,
    /// When it was last tried to write while everything refuses.
    last_try: Option<Instant>,
    /// The journal refused the last group.
    broken: bool,
}

impl JournalThread {
    fn run(mut self) {
        while let Some(group) = self.next_group() {
            match group.last().map(|record| record.seq) {
                Some(upto) => self.keep(group, upto),
                None => self.retry(),
            }
        }
        if !self.held.is_empty() && !self.try_all(&[]) {
            tracing::error!("{} call records are lost: neither disk nor database took them", self.held.len());
            self.shared.counters.lost.fetch_add(self.held.len() as u64, Ordering::Relaxed);
        }
    }

    /// The records that wait; empty when it is time to try again; None at the end.
    fn next_group(&mut self) -> Option<Vec<Record>> {
        loop {
            let refused = self.shared.is_refused();
            {
                let mut queue = lock(&self.shared.queue);
                if queue.records.is_empty() {
                    if queue.stop {
                        return None;
                    }
                    queue.rest = Rest::Idle;
                } else if let Some(wait) = self.until_next_write(&queue) {
                    queue.rest = if queue.is_urgent { Rest::No } else { Rest::Gathering };
                    drop(queue);
                    thread::park_timeout(wait);
                    continue;
                } else {
                    queue.rest = Rest::No;
                    queue.since = None;
                    queue.is_urgent = false;
                    return Some(std::mem::take(&mut queue.records));
                }
            }
            if refused {
                thread::park_timeout(RETRY);
                if self.is_time_to_try() {
                    return Some(Vec::new());
                }
            } else {
                thread::park();
            }
        }
    }

    /// Under load, records gather for a moment; the first after a silence does not wait.
    fn until_next_write(&self, queue: &Queue) -> Option<Duration> {
        if queue.stop {
            return None;
        }
        let group = if queue.is_urgent { HURRY.min(self.config.group) } else { self.config.group };
        let wait = group.checked_sub(self.last_write?.elapsed())?;
        (!wait.is_zero()).then_some(wait)
    }

    fn is_time_to_try(&self) -> bool {
        self.last_try.is_none_or(|last| last.elapsed() >= RETRY)
    }

    fn keep(&mut self, group: Vec<Record>, upto: RecordSeq) {
        self.last_write = Some(Instant::now());
        let count = group.len();
        let refused = self.shared.is_refused();
        if self.held.is_empty() && !refused && self.write(group.iter().map(|record| &record.body)) {
            self.shared.kept(upto, count);
            self.shared.wake_drain();
            return;
        }
        let bodies: Vec<RecordBody> = group.into_iter().map(|record| record.body).collect();
        if (!refused || self.is_time_to_try()) && self.try_all(&bodies) {
            self.shared.kept(upto, count);
            self.shared.accept_again();
            return;
        }
        self.hold(bodies);
        self.shared.refuse(upto);
    }

    /// Nothing came for a while, and everything refuses.
    fn retry(&mut self) {
        if self.try_all(&[]) {
            self.shared.accept_again();
        }
    }

    /// Everything held and then `bodies` into the journal, or else into the database.
    fn try_all(&mut self, bodies: &[RecordBody]) -> bool {
        let mut held = std::mem::take(&mut self.held);
        let empty = held.is_empty() && bodies.is_empty();
        let written = if empty { self.probe() } else { self.write(held.iter().chain(bodies)) };
        let kept = written || self.ask_database(&held, bodies);
        if kept {
            held.clear();
            self.shared.wake_drain();
        }
        self.shared.counters.held.store(held.len() as u64, Ordering::Relaxed);
        self.held = held;
        self.last_try = Some(Instant::now());
        kept
    }

    fn write<'a>(&mut self, records: impl Iterator<Item = &'a RecordBody>) -> bool {
        let written = self.appender.append(records);
        self.written(written)
    }

    fn probe(&mut self) -> bool {
        let written = self.appender.probe();
        self.written(written)
    }

    fn written(&mut self, result: io::Result<()>) -> bool {
        self.shared.counters.groups.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.broken) {
                    tracing::warn!("the journal can be written again");
                }
                true
            }
            Err(e) => {
                self.journal_failed(&e);
                false
            }
        }
    }

    fn journal_failed(&mut self, error: &io::Error) {
        self.shared.counters.journal_errors.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.broken, true) {
            tracing::error!("the journal can't be written: {error}");
        }
    }

    fn ask_database(&self, held: &[RecordBody], bodies: &[RecordBody]) -> bool {
        let (reply, answer) = sync_channel(1);
        let given_up = Arc::new(AtomicBool::new(false));
        let records = held.iter().chain(bodies).cloned().collect();
        if self.direct.try_send(Direct { records, reply, given_up: given_up.clone() }).is_err() {
            return false;
        }
        self.shared.drain_idle.store(false, Ordering::SeqCst);
        self.shared.drain_thread.get().map(Thread::unpark);
        answer.recv_timeout(PATIENCE).unwrap_or_else(|_| {
            given_up.store(true, Ordering::SeqCst);
            false
        })
    }

    fn hold(&mut self, bodies: Vec<RecordBody>) {
        let count = bodies.len();
        let before = self.held.len();
        self.held.extend(bodies.into_iter().filter(|body| !matches!(body, RecordBody::Binding(_))));
        let shed = count - (self.held.len() - before);
        let excess = self.held.len().saturating_sub(self.shared.queue_bound);
        self.held.drain(..excess);
        let counters = &self.shared.counters;
        counters.shed.fetch_add(shed as u64, Ordering::Relaxed);
        counters.lost.fetch_add(excess as u64, Ordering::Relaxed);
        counters.held.store(self.held.len() as u64, Ordering::Relaxed);
    }
}
