//! What the store says when it can't: each text tells an administrator what is wrong and what to do.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0} already exists")]
    Duplicate(&'static str),
    #[error("{0} not found")]
    NotFound(&'static str),
    /// What the administrator gave is not valid; the message alone is fit for an API's answer.
    #[error("{message}")]
    Invalid { field: &'static str, message: String },
    #[error("the database {path} does not {action}: {source}{hint}", path = path.display(), hint = hint(source))]
    Database {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: Box<sqlx::Error>,
    },
    #[error("the database {path} can't be brought to this version's form: {source}", path = path.display())]
    Migration {
        path: PathBuf,
        #[source]
        source: Box<sqlx::migrate::MigrateError>,
    },
    #[error(
        "the database {path} was brought to form {form} by {made_by}; this is Strowger {ours}, which knows forms up to \
         {newest}. Run that version again, or put the backup of the data directory from before the update back",
        path = path.display(), ours = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        path: PathBuf,
        form: i64,
        newest: i64,
        /// The newest version that has opened it, in words.
        made_by: String,
    },
    #[error("can't {action} {path}: {source}", path = path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error(
        "another Strowger runs on the data directory {path}: stop it, or give this one another --data-dir",
        path = path.display()
    )]
    InUse { path: PathBuf },
    #[error("{origin} does not hold a key: it must be 64 hexadecimal digits")]
    KeyFormat { origin: String },
    #[error("{path} can be read by others: it seals every phone's password. Run: chmod 600 {path}", path = path.display())]
    KeyExposed { path: PathBuf },
    #[error(
        "the password was sealed with another secret.key: put that key back, or set a new password with \
         `strowger extensions passwd`"
    )]
    OtherKey,
    #[error("the password of this extension is not kept: set a new one with `strowger extensions passwd`")]
    NotSealed,
    #[error("the sealed password is damaged: set a new one with `strowger extensions passwd`")]
    Damaged,
    #[error("the operating system gives no random numbers: {0}")]
    Random(getrandom::Error),
}

fn hint(error: &sqlx::Error) -> &'static str {
    match primary_code(error) {
        Some(5 | 6) => " (another program holds it locked: close it, or wait)",
        Some(13) => " (the disk is full: make room)",
        Some(8) => " (the file or its directory may not be written to: check owner and mode)",
        Some(11 | 26) => " (the file is damaged: restore it from a backup)",
        _ => "",
    }
}

/// SQLite's primary result code (sqlite.org/rescode.html), when the error is SQLite's.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?.parse::<i32>().ok()?;
    Some(code & 0xff)
}

impl StoreError {
    pub(super) fn invalid(field: &'static str, message: impl Into<String>) -> StoreError {
        StoreError::Invalid { field, message: message.into() }
    }

    pub(super) fn file(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StoreError {
        let path = path.to_path_buf();
        move |source| StoreError::File { action, path, source }
    }

    pub(super) fn database(action: &'static str, path: &Path) -> impl FnOnce(sqlx::Error) -> StoreError {
        let path = path.to_path_buf();
        move |source| StoreError::Database { action, path, source: Box::new(source) }
    }
}
