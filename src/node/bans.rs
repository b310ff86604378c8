//! The bans between the guard, which enforces them, and the database, in which they outlive the daemon and where
//! administrators see and change them.
//!
//! Invariant: a ban that is in the database and not known here was set by an administrator, and one that is known here and
//! not in the database was ended by one.

use crate::base::now::{Now, Timestamp};
use crate::engine::record::Binding;
use crate::net::guard::{Ban, Door, Guard, Reason, Source};
use crate::node::clock;
use crate::store::Store;
use crate::store::bans::BanRow;
use crate::store::error::StoreError;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Source and user, as in the database.
type Key = (String, Option<String>);

pub struct BanKeeper {
    store: Store,
    door: Arc<Door>,
    /// What the database has.
    known: BTreeMap<Key, BanRow>,
    /// Of the database, and of the guard.
    versions: (u64, u64),
}

impl BanKeeper {
    /// Tells the guard the registrations and bans of before the restart; a ban it imposed itself on a whole source that
    /// holds one of the registrations is let go.
    pub async fn start(store: &Store, door: &Arc<Door>, bindings: &[Arc<Binding>]) -> Result<BanKeeper, StoreError> {
        let version = store.bans_version().await?;
        let rows = store.bans().await?;
        let now = clock::now();
        bindings.iter().for_each(|binding| door.registered(now, binding));
        let kept = {
            let mut guard = door.guard();
            rows.iter().for_each(|row| impose(&mut guard, now, row, true));
            guard.version()
        };
        let known = rows.into_iter().map(|row| (key(&row), row)).collect();
        Ok(BanKeeper { store: store.clone(), door: door.clone(), known, versions: (version, kept) })
    }

    /// Carries changes both ways.
    pub async fn exchange(&mut self) -> Result<(), StoreError> {
        let version = self.store.bans_version().await?;
        if version != self.versions.0 {
            self.take_orders().await?;
            self.versions.0 = version;
        }
        let kept = self.door.guard().version();
        if kept != self.versions.1 {
            self.keep().await?;
            self.versions.1 = kept;
        }
        Ok(())
    }

    async fn take_orders(&mut self) -> Result<(), StoreError> {
        let rows: BTreeMap<Key, BanRow> = self.store.bans().await?.into_iter().map(|row| (key(&row), row)).collect();
        let now = clock::now();
        let mut guard = self.door.guard();
        for row in rows.values().filter(|row| self.known.get(&key(row)) != Some(*row)) {
            impose(&mut guard, now, row, false);
            tracing::info!("banned {} by an administrator", text(row));
        }
        for row in self.known.values().filter(|row| row.until > now.wall && !rows.contains_key(&key(row))) {
            let Ok(source) = row.source.parse() else { continue };
            if guard.clear(now.mono, source, row.user.as_deref()) {
                tracing::info!("the ban of {} was ended by an administrator", text(row));
            }
        }
        self.known = rows;
        Ok(())
    }

    async fn keep(&mut self) -> Result<(), StoreError> {
        let now = clock::now();
        let rows = self.door.bans().into_iter().map(|ban| row(now, &ban));
        let mut there: BTreeMap<Key, BanRow> = rows.map(|row| (key(&row), row)).collect();
        let mut imposed = Vec::new();
        for (key, row) in &mut there {
            match self.known.get(key) {
                // Two clocks never agree to the microsecond.
                Some(known) if (known.until.0 - row.until.0).abs() < 1_000_000 => *row = known.clone(),
                _ => imposed.push(row.clone()),
            }
        }
        let ended: Vec<BanRow> =
            self.known.iter().filter(|(key, _)| !there.contains_key(*key)).map(|(_, row)| row.clone()).collect();
        self.store.keep_bans(&imposed, &ended).await?;
        self.known = there;
        Ok(())
    }
}

fn impose(guard: &mut Guard, now: Now, row: &BanRow, spares_registered: bool) {
    let Ok(source) = row.source.parse::<Source>() else {
        return tracing::error!("the ban of `{}` in the database names no address", row.source);
    };
    let reason = Reason::of_text(&row.reason);
    let is_spared = spares_registered && row.user.is_none() && reason != Reason::Administrator;
    if !(is_spared && guard.is_registered(now.mono, source)) {
        let left = u64::try_from(row.until.0.saturating_sub(now.wall.0)).unwrap_or(0);
        guard.ban(now.mono, source, row.user.as_deref(), Duration::from_micros(left), reason);
    }
}

fn key(row: &BanRow) -> Key {
    (row.source.clone(), row.user.clone())
}

fn row(now: Now, ban: &Ban) -> BanRow {
    let until: Timestamp = now.wall + ban.until.since(now.mono);
    let (source, user) = (ban.source.to_string(), ban.user.as_deref().map(str::to_owned));
    BanRow { source, user, until, reason: ban.reason.text().to_owned() }
}

fn text(row: &BanRow) -> String {
    match &row.user {
        Some(user) => format!("{user:?} at {}", row.source),
        None => row.source.clone(),
    }
}
