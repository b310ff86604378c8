//! The thread that brings the journal's records to the database, in batches, at its own pace.
//!
//! It reads them from the journal's files, never from memory: however far the database lags behind, the daemon does not
//! grow, and a restart does the same work over the same bytes.

use crate::engine::record::RecordBody;
use crate::store::batch::Batch;
use crate::store::error::primary_code;
use crate::store::journal::Reader;
use crate::store::writer::{Shared, WriterConfig};
use crate::store::{Store, options};
use sqlx::ConnectOptions;
use sqlx::Connection;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// Journal bytes of one transaction: some 7,000 records.
const BATCH_BYTES: usize = 2 << 20;
/// Pause after the database refused.
const RETRY: Duration = Duration::from_millis(500);
/// How long one attempt waits for another program's lock.
const BUSY: Duration = Duration::from_millis(500);

/// Records the journal refused, for the database at once.
pub(super) struct Direct {
    pub(super) records: Vec<RecordBody>,
    pub(super) reply: SyncSender<bool>,
    /// Nobody waits for the answer any more, and the records were refused.
    pub(super) given_up: Arc<AtomicBool>,
}

pub(super) struct Drain {
    shared: Arc<Shared>,
    config: WriterConfig,
    reader: Reader,
    questions: Receiver<Direct>,
    runtime: tokio::runtime::Runtime,
    options: SqliteConnectOptions,
    connection: Option<SqliteConnection>,
    /// Read from the journal, not yet in the database.
    batch: Batch,
    /// The database refused the last attempt.
    broken: bool,
}

impl Drain {
    pub(super) fn new(
        store: &Store,
        shared: Arc<Shared>,
        config: WriterConfig,
        questions: Receiver<Direct>,
    ) -> io::Result<Drain> {
        let synchronous = if config.fdatasync { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
        let reader = Reader::new(shared.ledger.clone());
        shared.counters.applied.store(reader.next(), Ordering::Relaxed);
        Ok(Drain {
            shared,
            config,
            reader,
            questions,
            runtime: tokio::runtime::Builder::new_current_thread().enable_time().build()?,
            options: options(&store.0.path, BUSY, synchronous),
            connection: None,
            batch: Batch::default(),
            broken: false,
        })
    }

    pub(super) fn run(mut self) {
        loop {
            self.answer();
            if self.has_work() {
                // At the end one attempt is enough: the journal keeps the rest for the next start.
                let stopping = self.is_stopping();
                if !self.step() {
                    if stopping {
                        break;
                    }
                    self.pause(RETRY);
                } else if !self.has_work() && !stopping {
                    self.pause(self.config.flush);
                }
            } else if self.is_stopping() {
                break;
            } else {
                self.sleep();
            }
        }
        if let Some(connection) = self.connection.take() {
            let _ = self.runtime.block_on(connection.close());
        }
    }

    fn has_work(&self) -> bool {
        self.reader.is_behind() || self.batch.len() > 0
    }

    fn is_stopping(&self) -> bool {
        self.shared.drain_stop.load(Ordering::SeqCst)
    }

    /// Until there is work. The flag is raised before the last look: who writes after that look sees it.
    fn sleep(&self) {
        self.shared.drain_idle.store(true, Ordering::SeqCst);
        while self.shared.drain_idle.load(Ordering::SeqCst) && !self.has_work() && !self.is_stopping() {
            thread::park();
        }
        self.shared.drain_idle.store(false, Ordering::SeqCst);
    }

    /// Lets records gather, but answers questions meanwhile.
    fn pause(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while !self.is_stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            thread::park_timeout(left);
            self.answer();
        }
    }

    /// The journal comes first: its records are the older ones.
    fn answer(&mut self) {
        while let Ok(direct) = self.questions.try_recv() {
            let mut taken = true;
            while taken && self.has_work() {
                taken = self.step();
            }
            if direct.given_up.load(Ordering::SeqCst) {
                continue;
            }
            if taken {
                let mut batch = Batch::default();
                direct.records.into_iter().for_each(|record| batch.add(record));
                taken = self.commit(&mut batch, None);
            }
            let _ = direct.reply.send(taken);
        }
    }

    /// One batch from the journal to the database.
    fn step(&mut self) -> bool {
        if self.batch.len() == 0 {
            let Drain { reader, batch, .. } = self;
            match reader.read(BATCH_BYTES, |record| batch.add(record)) {
                Ok(0) => {}
                Ok(lost) => {
                    tracing::error!("{lost} records of the journal are damaged and lost");
                    self.shared.counters.lost.fetch_add(lost, Ordering::Relaxed);
                }
                Err(e) => {
                    self.failed(&format!("the journal can't be read: {e}"));
                    return false;
                }
            }
        }
        let next = self.reader.next();
        let mut batch = std::mem::take(&mut self.batch);
        if !self.commit(&mut batch, Some(next)) {
            self.batch = batch;
            return false;
        }
        self.shared.counters.applied.store(next, Ordering::Relaxed);
        self.shared.ledger.release(next);
        true
    }

    fn commit(&mut self, batch: &mut Batch, next: Option<u64>) -> bool {
        let Drain { runtime, connection, options, .. } = self;
        let done = runtime.block_on(async {
            let open = match connection {
                Some(open) => open,
                None => connection.insert(options.connect().await?),
            };
            batch.commit(open, next).await
        });
        match done {
            Ok(()) => {
                if std::mem::take(&mut self.broken) {
                    tracing::warn!("the database takes records again");
                }
                true
            }
            Err(e) => {
                // A lock passes; after anything else a fresh connection is the safer one.
                if !matches!(primary_code(&e), Some(5 | 6)) {
                    self.connection = None;
                }
                self.failed(&format!("the database takes no records, the journal keeps them: {e}"));
                false
            }
        }
    }

    fn failed(&mut self, message: &str) {
        self.shared.counters.database_errors.fetch_add(1, Ordering::Relaxed);
        if !std::mem::replace(&mut self.broken, true) {
            tracing::error!("{message}");
        }
    }
}
