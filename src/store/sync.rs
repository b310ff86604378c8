//! Forces what the journal wrote to the disk, on a thread of its own: a slow disk delays no record on its way to the
//! journal's file, and with it no call.
//!
//! Invariant: a file named by `due` is forced to the disk at once, or, after another, within `PAUSE` and the time the
//! disk takes.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// From one time to the next: what is written meanwhile shares a system call that costs more than a call's signalling.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    due: Mutex<Due>,
    errors: Arc<AtomicU64>,
}

#[derive(Default)]
struct Due {
    files: Vec<Arc<File>>,
    /// The thread sleeps until somebody wakes it.
    is_idle: bool,
    is_stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Due> {
        // Nothing that is done under the lock can leave its content half-changed.
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut is_broken = false;
        loop {
            let files = {
                let mut due = self.lock();
                due.is_idle = due.files.is_empty();
                if due.is_idle && due.is_stopped {
                    return;
                }
                std::mem::take(&mut due.files)
            };
            if files.is_empty() {
                thread::park();
                continue;
            }
            let failed = files.iter().find_map(|file| file.sync_data().err());
            if let Some(error) = &failed {
                self.errors.fetch_add(1, Ordering::Relaxed);
                if !is_broken {
                    tracing::error!("the journal can't be forced to the disk, a power cut may lose records: {error}");
                }
            } else if is_broken {
                tracing::warn!("the journal is forced to the disk again");
            }
            is_broken = failed.is_some();
            if !self.lock().is_stopped {
                thread::park_timeout(PAUSE);
            }
        }
    }
}

impl Syncer {
    /// `errors` counts the times the disk refused.
    pub(super) fn start(errors: Arc<AtomicU64>) -> io::Result<Syncer> {
        let shared = Arc::new(Shared { due: Mutex::default(), errors });
        let own = shared.clone();
        let thread = thread::Builder::new().name("store-sync".into()).spawn(move || own.run())?;
        Ok(Syncer { shared, thread: Some(thread) })
    }

    /// Something was written to this file (or, for a directory, a file was made in it).
    pub(super) fn due(&self, file: &Arc<File>) {
        let mut due = self.shared.lock();
        if !due.files.iter().any(|other| Arc::ptr_eq(other, file)) {
            due.files.push(file.clone());
        }
        let wake = std::mem::take(&mut due.is_idle);
        drop(due);
        if let Some(thread) = self.thread.as_ref().filter(|_| wake) {
            thread.thread().unpark();
        }
    }
}

impl Drop for Syncer {
    /// Ends when everything is on the disk.
    fn drop(&mut self) {
        self.shared.lock().is_stopped = true;
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_of_the_disk_are_counted_and_the_end_waits_for_all() {
        let errors = Arc::new(AtomicU64::new(0));
        let syncer = Syncer::start(errors.clone()).unwrap();
        // A file that can't be synced, whoever asks.
        let null = Arc::new(File::open("/dev/null").unwrap());
        syncer.due(&null);
        syncer.due(&null);
        drop(syncer);
        assert!((1..=2).contains(&errors.load(Ordering::Relaxed)));
        assert_eq!(Arc::strong_count(&null), 1);
    }
}
