//! What outlives the process: tenants and extensions, contacts, call records. SQLite in WAL mode under the data directory.
//!
//! Ownership: administrators' changes go through [`Store`] at once; the engine's records go through the [`writer`], that
//! puts them into the journal first and into the database after. Only the running daemon holds the journal; any other
//! process (`strowger extensions add`) may open the same store beside it.
//!
//! Invariant: a record the writer acknowledged is found after the process was killed, exactly once.

pub mod bans;
pub mod bindings;
pub mod cdr;
pub mod error;
pub mod extensions;
pub mod recovery;
pub mod secret;
pub mod tenants;
pub mod writer;

mod batch;
mod codec;
mod drain;
mod journal;
mod software;
mod sync;

#[cfg(test)]
mod tests;

use crate::base::now::Timestamp;
use error::StoreError;
use secret::SealKey;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Sqlite, Transaction};
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The database's file in the data directory.
pub const DATABASE_FILE: &str = "strowger.db";

/// How long a query waits for another program's lock.
const BUSY: Duration = Duration::from_secs(5);

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("migrations/sqlite");

/// A handle on the data directory's database; clones share it.
#[derive(Clone, Debug)]
pub struct Store(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    pool: SqlitePool,
    key: SealKey,
    data_dir: PathBuf,
    path: PathBuf,
}

impl Store {
    /// Opens the database of `data_dir`; a first start makes the directory (0700), the database and `secret.key` (0600).
    pub async fn open(data_dir: &Path) -> Result<Store, StoreError> {
        make_directory(data_dir)?;
        let _alone = lock_setup(data_dir).await?;
        let key = SealKey::load(data_dir)?;
        let path = data_dir.join(DATABASE_FILE);
        // SQLite gives its other files the mode of this one; it holds HA1 values.
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        drop(file.map_err(StoreError::file("create", &path))?);

        // Nothing here may wake an idle process: no idle or age limits, hence no reaper task.
        let pool = SqlitePoolOptions::new()
            .max_connections(4)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_with(options(&path, BUSY, SqliteSynchronous::Full))
            .await
            .map_err(StoreError::database("open", &path))?;
        match MIGRATIONS.run(&pool).await {
            Ok(()) => software::remember(&pool).await.map_err(StoreError::database("remember our version", &path))?,
            Err(source) => return Err(software::explain(&pool, &path, source).await),
        }
        Ok(Store(Arc::new(Inner { pool, key, data_dir: data_dir.to_path_buf(), path })))
    }

    pub fn data_dir(&self) -> &Path {
        &self.0.data_dir
    }

    /// Waits for running queries and closes the database's files.
    pub async fn close(&self) {
        self.0.pool.close().await;
    }

    /// The number of this run of the daemon: one more than the last.
    pub async fn next_epoch(&self) -> Result<u64, StoreError> {
        let sql = "UPDATE meta SET value = value + 1 WHERE key = 'epoch' RETURNING value";
        let epoch: i64 = sqlx::query_scalar(sql).fetch_one(self.pool()).await.map_err(self.fails("count its runs"))?;
        Ok(u64::try_from(epoch).unwrap_or(0))
    }

    /// Grows with every change of tenants and extensions, made by whatever process.
    pub async fn directory_version(&self) -> Result<u64, StoreError> {
        let sql = "SELECT value FROM meta WHERE key = 'directory_version'";
        let version: i64 =
            sqlx::query_scalar(sql).fetch_one(self.pool()).await.map_err(self.fails("tell the directory's version"))?;
        Ok(u64::try_from(version).unwrap_or(0))
    }

    fn pool(&self) -> &SqlitePool {
        &self.0.pool
    }

    /// Makes a database error one that says what could not be done.
    fn fails(&self, action: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
        StoreError::database(action, &self.0.path)
    }

    /// A transaction that writes: it takes the lock at once, so that it waits its turn instead of failing half-way.
    async fn begin(&self, action: &'static str) -> Result<Transaction<'static, Sqlite>, StoreError> {
        self.pool().begin_with("BEGIN IMMEDIATE").await.map_err(self.fails(action))
    }

    /// Commits an administrator's change of the directory.
    async fn commit_directory(
        &self,
        mut tx: Transaction<'static, Sqlite>,
        action: &'static str,
    ) -> Result<(), StoreError> {
        sqlx::query("UPDATE meta SET value = value + 1 WHERE key = 'directory_version'")
            .execute(&mut *tx)
            .await
            .map_err(self.fails(action))?;
        tx.commit().await.map_err(self.fails(action))
    }
}

fn options(path: &Path, busy: Duration, synchronous: SqliteSynchronous) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .foreign_keys(true)
        .busy_timeout(busy)
        .pragma("journal_size_limit", "67108864")
}

fn make_directory(data_dir: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(data_dir)
        .map_err(StoreError::file("create the data directory", data_dir))
}

/// Two processes at a first start set the database up one after the other.
async fn lock_setup(data_dir: &Path) -> Result<File, StoreError> {
    let path = data_dir.join("setup.lock");
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let file = file.map_err(StoreError::file("open", &path))?;
    for _ in 0..200 {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(50)).await,
            Err(TryLockError::Error(e)) => return Err(StoreError::file("lock", &path)(e)),
        }
    }
    Err(StoreError::InUse { path: data_dir.to_path_buf() })
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
