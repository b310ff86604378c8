//! Tenants, their domains, and the directory snapshot the engine works with.

use crate::base::ids::TenantId;
use crate::base::limits::NUMBER_BYTES;
use crate::directory::plan::Plan;
use crate::directory::{Directory, Tenant};
use crate::store::error::StoreError;
use crate::store::{Store, extensions, wall_clock};
use sqlx::{Row, Sqlite, Transaction};
use std::collections::BTreeMap;

/// The single office's tenant: there from the start.
pub const DEFAULT_TENANT: TenantId = TenantId(1);
/// The default tenant's digest realm.
pub const DEFAULT_REALM: &str = "strowger";

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TenantRow {
    pub id: TenantId,
    pub name: String,
    /// Lower case, sorted.
    pub domains: Vec<String>,
    pub realm: String,
    /// IANA name.
    pub time_zone: String,
}

#[derive(Clone, Debug)]
pub struct NewTenant {
    pub name: String,
    pub domains: Vec<String>,
    /// Digest realm, fixed for the tenant's life.
    pub realm: String,
    pub time_zone: String,
}

/// What may change in a tenant; None keeps.
#[derive(Clone, Debug, Default)]
pub struct TenantChange {
    pub domains: Option<Vec<String>>,
    pub time_zone: Option<String>,
}

impl Store {
    /// What stands against an extension of that number in the tenant's dialplan, in words.
    pub async fn clash(&self, tenant: TenantId, number: &str) -> Result<Option<String>, StoreError> {
        let (directory, _) = self.directory().await?;
        Ok(directory.tenant(tenant).and_then(|tenant| tenant.plan.clash(number)))
    }

    /// The snapshot of who may call what, and the version it has. Every tenant has the sample dialplan.
    pub async fn directory(&self) -> Result<(Directory, u64), StoreError> {
        let fails = || self.fails("tell who may call what");
        // One read transaction: version, tenants and extensions belong together.
        let mut tx = self.pool().begin().await.map_err(fails())?;
        let version: i64 = sqlx::query_scalar("SELECT value FROM meta WHERE key = 'directory_version'")
            .fetch_one(&mut *tx)
            .await
            .map_err(fails())?;
        let mut extensions: BTreeMap<TenantId, BTreeMap<_, _>> = BTreeMap::new();
        for (tenant, extension) in extensions::all(&mut tx).await.map_err(fails())? {
            extensions.entry(tenant).or_default().insert(extension.number.clone(), extension);
        }
        let rows = tenant_rows(&mut tx).await.map_err(fails())?;
        tx.rollback().await.map_err(fails())?;

        let tenants = rows.into_iter().map(|row| Tenant {
            id: row.id,
            name: row.name.into(),
            domains: row.domains.into_iter().map(Into::into).collect(),
            realm: row.realm.into(),
            time_zone: row.time_zone.into(),
            extensions: extensions.remove(&row.id).unwrap_or_default(),
            plan: Plan::sample(),
        });
        Ok((Directory::new(tenants), u64::try_from(version).unwrap_or(0)))
    }

    pub async fn tenants(&self) -> Result<Vec<TenantRow>, StoreError> {
        let fails = || self.fails("list the tenants");
        let mut tx = self.pool().begin().await.map_err(fails())?;
        let rows = tenant_rows(&mut tx).await.map_err(fails())?;
        tx.rollback().await.map_err(fails())?;
        Ok(rows)
    }

    /// Adds a tenant without extensions.
    ///
    /// Errors: `Duplicate` for a name or domain another tenant has, `Invalid`.
    pub async fn add_tenant(&self, new: &NewTenant) -> Result<TenantId, StoreError> {
        const ACTION: &str = "take the new tenant";
        check_name(&new.name)?;
        check_realm(&new.realm)?;
        check_time_zone(&new.time_zone)?;
        let mut tx = self.begin(ACTION).await?;
        let sql = "INSERT INTO tenants (name, realm, time_zone, created_at) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (name) DO NOTHING RETURNING id";
        let id: Option<u32> = sqlx::query_scalar(sql)
            .bind(&new.name)
            .bind(&new.realm)
            .bind(&new.time_zone)
            .bind(wall_clock().0)
            .fetch_optional(&mut *tx)
            .await
            .map_err(self.fails(ACTION))?;
        let id = TenantId(id.ok_or(StoreError::Duplicate("Tenant"))?);
        self.set_domains(&mut tx, id, &new.domains, ACTION).await?;
        self.commit_directory(tx, ACTION).await?;
        Ok(id)
    }

    /// Errors: `NotFound`, `Duplicate` for a domain another tenant has, `Invalid`.
    pub async fn update_tenant(&self, id: TenantId, change: &TenantChange) -> Result<(), StoreError> {
        const ACTION: &str = "take the change of a tenant";
        let mut tx = self.begin(ACTION).await?;
        let known: Option<u32> = sqlx::query_scalar("SELECT id FROM tenants WHERE id = $1")
            .bind(id.0)
            .fetch_optional(&mut *tx)
            .await
            .map_err(self.fails(ACTION))?;
        known.ok_or(StoreError::NotFound("Tenant"))?;
        if let Some(zone) = &change.time_zone {
            check_time_zone(zone)?;
            sqlx::query("UPDATE tenants SET time_zone = $1 WHERE id = $2")
                .bind(zone)
                .bind(id.0)
                .execute(&mut *tx)
                .await
                .map_err(self.fails(ACTION))?;
        }
        if let Some(domains) = &change.domains {
            self.set_domains(&mut tx, id, domains, ACTION).await?;
        }
        self.commit_directory(tx, ACTION).await
    }

    async fn set_domains(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        id: TenantId,
        domains: &[String],
        action: &'static str,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM domains WHERE tenant = $1")
            .bind(id.0)
            .execute(&mut **tx)
            .await
            .map_err(self.fails(action))?;
        for domain in domains {
            let domain = check_domain(domain)?;
            let sql = "INSERT INTO domains (name, tenant) VALUES ($1, $2) \
                       ON CONFLICT (name) DO UPDATE SET tenant = excluded.tenant WHERE domains.tenant = excluded.tenant";
            let done = sqlx::query(sql).bind(domain).bind(id.0).execute(&mut **tx).await.map_err(self.fails(action))?;
            if done.rows_affected() == 0 {
                return Err(StoreError::Duplicate("Domain"));
            }
        }
        Ok(())
    }
}

async fn tenant_rows(tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<TenantRow>, sqlx::Error> {
    let mut domains: BTreeMap<u32, Vec<String>> = BTreeMap::new();
    for row in sqlx::query("SELECT tenant, name FROM domains ORDER BY name").fetch_all(&mut **tx).await? {
        domains.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
    }
    let rows = sqlx::query("SELECT id, name, realm, time_zone FROM tenants ORDER BY id").fetch_all(&mut **tx).await?;
    let tenants = rows.into_iter().map(|row| {
        let id: u32 = row.try_get(0)?;
        Ok(TenantRow {
            id: TenantId(id),
            name: row.try_get(1)?,
            domains: domains.remove(&id).unwrap_or_default(),
            realm: row.try_get(2)?,
            time_zone: row.try_get(3)?,
        })
    });
    tenants.collect()
}

fn check_name(name: &str) -> Result<(), StoreError> {
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if name.is_empty() || name.len() > NUMBER_BYTES || !letters {
        let message = format!("Tenant name must be 1 to {NUMBER_BYTES} lower-case letters, digits, - or _");
        return Err(StoreError::invalid("name", message));
    }
    Ok(())
}

/// A quoted string without anything to escape (RFC 3261 §25.1).
fn check_realm(realm: &str) -> Result<(), StoreError> {
    let plain = realm.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b':'));
    if realm.is_empty() || realm.len() > 128 || !plain {
        let message = "Realm must be 1 to 128 visible ASCII characters without quotes, backslash and colon";
        return Err(StoreError::invalid("realm", message));
    }
    Ok(())
}

fn check_time_zone(zone: &str) -> Result<(), StoreError> {
    match jiff::tz::TimeZone::get(zone) {
        Ok(_) => Ok(()),
        Err(_) => {
            let message = format!("Time zone `{zone}` is not known: use an IANA name such as Europe/Berlin");
            Err(StoreError::invalid("time_zone", message))
        }
    }
}

/// A host name (RFC 1123 §2.1), in lower case. An address is no domain: it names the listener's tenant.
fn check_domain(domain: &str) -> Result<String, StoreError> {
    let domain = domain.trim_end_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        let body = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        (1..=63).contains(&label.len()) && body && !label.starts_with('-') && !label.ends_with('-')
    };
    let numeric = domain.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if domain.len() > 253 || numeric || !domain.split('.').all(label) {
        let message = format!("Domain `{domain}` is not a host name");
        return Err(StoreError::invalid("domains", message));
    }
    Ok(domain)
}
