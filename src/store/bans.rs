//! Bans, as they outlive the process and as administrators see and change them.
//!
//! The running daemon keeps the table like its own list ([`Store::keep_bans`]); an administrator's change raises
//! `bans_version`, by which the daemon notices it.

use crate::base::now::Timestamp;
use crate::store::error::StoreError;
use crate::store::{Store, wall_clock};
use sqlx::Row;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct BanRow {
    /// An IPv4 address or an IPv6 /64.
    pub source: String,
    /// None: everybody there.
    pub user: Option<String>,
    pub until: Timestamp,
    pub reason: String,
}

impl Store {
    /// The bans that last, by source.
    pub async fn bans(&self) -> Result<Vec<BanRow>, StoreError> {
        let sql = "SELECT source, user, until, reason FROM bans WHERE until > $1 ORDER BY source, user";
        let rows = sqlx::query(sql).bind(wall_clock().0).fetch_all(self.pool()).await;
        let rows = rows.map_err(self.fails("tell the bans"))?;
        let ban = |row: &sqlx::sqlite::SqliteRow| -> Result<BanRow, sqlx::Error> {
            let user: String = row.try_get(1)?;
            let until = Timestamp(row.try_get(2)?);
            let user = Some(user).filter(|user| !user.is_empty());
            Ok(BanRow { source: row.try_get(0)?, user, until, reason: row.try_get(3)? })
        };
        rows.iter().map(ban).collect::<Result<_, _>>().map_err(self.fails("tell the bans"))
    }

    /// Grows with every change an administrator makes, in whatever process.
    pub async fn bans_version(&self) -> Result<u64, StoreError> {
        let sql = "SELECT value FROM meta WHERE key = 'bans_version'";
        let version: i64 = sqlx::query_scalar(sql).fetch_one(self.pool()).await.map_err(self.fails("tell the bans"))?;
        Ok(u64::try_from(version).unwrap_or(0))
    }

    /// The running daemon's changes: bans imposed, and bans that are no more.
    pub async fn keep_bans(&self, imposed: &[BanRow], ended: &[BanRow]) -> Result<(), StoreError> {
        const ACTION: &str = "keep the bans";
        let mut tx = self.begin(ACTION).await?;
        for ban in ended {
            let sql = "DELETE FROM bans WHERE source = $1 AND user = $2";
            let query = sqlx::query(sql).bind(&ban.source).bind(ban.user.as_deref().unwrap_or_default());
            query.execute(&mut *tx).await.map_err(self.fails(ACTION))?;
        }
        for ban in imposed {
            put(&mut tx, ban).await.map_err(self.fails(ACTION))?;
        }
        let ran_out = sqlx::query("DELETE FROM bans WHERE until <= $1").bind(wall_clock().0);
        ran_out.execute(&mut *tx).await.map_err(self.fails(ACTION))?;
        tx.commit().await.map_err(self.fails(ACTION))
    }

    /// An administrator bans somebody.
    pub async fn add_ban(&self, ban: &BanRow) -> Result<(), StoreError> {
        const ACTION: &str = "take the ban";
        let mut tx = self.begin(ACTION).await?;
        put(&mut tx, ban).await.map_err(self.fails(ACTION))?;
        raise_version(&mut tx).await.map_err(self.fails(ACTION))?;
        tx.commit().await.map_err(self.fails(ACTION))
    }

    /// An administrator ends bans: all, those of a source, or of one user. Says how many.
    pub async fn clear_bans(&self, source: Option<&str>, user: Option<&str>) -> Result<u64, StoreError> {
        const ACTION: &str = "end the bans";
        let mut tx = self.begin(ACTION).await?;
        let sql = "DELETE FROM bans WHERE ($1 IS NULL OR source = $1) AND ($2 IS NULL OR user = $2)";
        let ended = sqlx::query(sql).bind(source).bind(user).execute(&mut *tx).await.map_err(self.fails(ACTION))?;
        raise_version(&mut tx).await.map_err(self.fails(ACTION))?;
        tx.commit().await.map_err(self.fails(ACTION))?;
        Ok(ended.rows_affected())
    }
}

async fn put(tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>, ban: &BanRow) -> Result<(), sqlx::Error> {
    let sql = "INSERT INTO bans (source, user, until, reason) VALUES ($1, $2, $3, $4) \
               ON CONFLICT (source, user) DO UPDATE SET until = excluded.until, reason = excluded.reason";
    let query = sqlx::query(sql).bind(&ban.source).bind(ban.user.as_deref().unwrap_or_default());
    query.bind(ban.until.0).bind(&ban.reason).execute(&mut **tx).await.map(drop)
}

async fn raise_version(tx: &mut sqlx::Transaction<'static, sqlx::Sqlite>) -> Result<(), sqlx::Error> {
    sqlx::query("UPDATE meta SET value = value + 1 WHERE key = 'bans_version'").execute(&mut **tx).await.map(drop)
}
