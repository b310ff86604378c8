//! Which version of Strowger a database has met: what a later one has changed, an earlier one can't read.

use crate::store::MIGRATIONS;
use crate::store::error::StoreError;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::SqlitePool;
use std::path::Path;

/// Each part of a version below this.
const PART: i64 = 1_000_000;

/// Keeps the newest version that has opened the database.
pub(super) async fn remember(pool: &SqlitePool) -> Result<(), sqlx::Error> {
    let ours = number(env!("CARGO_PKG_VERSION"));
    // Nothing is written, and nobody waited for, when it is known.
    if known(pool).await? < Some(ours) {
        let sql = "INSERT INTO meta (key, value) VALUES ('software', $1) \
                   ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE value < excluded.value";
        sqlx::query(sql).bind(ours).execute(pool).await?;
    }
    Ok(())
}

/// Why the database does not take our form.
pub(super) async fn explain(pool: &SqlitePool, path: &Path, source: MigrateError) -> StoreError {
    let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
    let form = sqlx::query_scalar::<_, i64>("SELECT max(version) FROM _sqlx_migrations").fetch_one(pool).await;
    match form {
        Ok(form) if form > newest => {
            let version = known(pool).await.ok().flatten().filter(|known| *known > number(env!("CARGO_PKG_VERSION")));
            let made_by =
                version.map_or("a newer version of it".to_owned(), |version| format!("Strowger {}", text(version)));
            StoreError::Newer { path: path.to_path_buf(), form, newest, made_by }
        }
        _ => StoreError::Migration { path: path.to_path_buf(), source: Box::new(source) },
    }
}

async fn known(pool: &SqlitePool) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT value FROM meta WHERE key = 'software'").fetch_optional(pool).await
}

/// A version as a number that grows with it.
fn number(version: &str) -> i64 {
    let plain = version.split(['-', '+']).next().unwrap_or(version);
    let parts = plain.split('.').map(|part| part.parse::<i64>().unwrap_or(0).clamp(0, PART - 1));
    parts.chain([0, 0]).take(3).fold(0, |number, part| number * PART + part)
}

fn text(number: i64) -> String {
    format!("{}.{}.{}", number / PART / PART, number / PART % PART, number % PART)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_an_order_and_read_as_they_were() {
        let versions = ["0.1.0", "0.1.9", "0.1.10", "0.2.0", "1.0.0", "12.34.56"];
        assert!(versions.is_sorted_by_key(|version| number(version)));
        for version in versions {
            assert_eq!(text(number(version)), version);
        }
        assert_eq!(text(number("1.2.3-rc.1+x")), "1.2.3");
        assert_eq!(text(number(env!("CARGO_PKG_VERSION"))), env!("CARGO_PKG_VERSION"));
    }
}
