//! Extensions as an administrator edits them. A change is seen by a running daemon through the directory's version.

use crate::base::ids::TenantId;
use crate::base::limits::{NUMBER_BYTES, TEXT_BYTES};
use crate::directory::{Extension, Secret};
use crate::store::error::StoreError;
use crate::store::secret::{KEY_FILE, KEY_VARIABLE, digest_secret, typeable_password};
use crate::store::tenants::DEFAULT_TENANT;
use crate::store::{Store, wall_clock};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};
use std::sync::Arc;

/// Fewest characters of a password.
pub const PASSWORD_MIN: usize = 8;
const PASSWORD_MAX: usize = 128;

#[derive(Clone, Debug)]
pub struct NewExtension {
    pub number: String,
    pub name: String,
    pub email: String,
    pub password: String,
    pub allow_external: bool,
}

/// What may change in an extension; None keeps.
#[derive(Clone, Debug, Default)]
pub struct ExtensionChange {
    pub name: Option<String>,
    pub email: Option<String>,
    pub password: Option<String>,
    pub allow_external: Option<bool>,
}

/// A field and what is wrong with it, in words for its reader.
pub type Fault = (&'static str, String);

impl NewExtension {
    /// Everything that is wrong with it, in the order of its fields.
    pub fn faults(&self) -> Vec<Fault> {
        let required = |text: &str, check: fn(&str) -> Option<String>| {
            if text.is_empty() { Some("Missing required fields".to_owned()) } else { check(text) }
        };
        let faults = [
            ("number", required(&self.number, number_fault)),
            ("name", required(&self.name, name_fault)),
            ("email", email_fault(&self.email)),
            ("password", required(&self.password, password_fault)),
        ];
        faults.into_iter().filter_map(|(field, fault)| Some((field, fault?))).collect()
    }
}

impl ExtensionChange {
    /// Everything that is wrong with it, in the order of its fields.
    pub fn faults(&self) -> Vec<Fault> {
        let faults = [
            ("name", self.name.as_deref().and_then(name_fault)),
            ("email", self.email.as_deref().and_then(email_fault)),
            ("password", self.password.as_deref().and_then(password_fault)),
        ];
        faults.into_iter().filter_map(|(field, fault)| Some((field, fault?))).collect()
    }
}

impl Store {
    /// A tenant's extensions by number.
    pub async fn extensions(&self, tenant: TenantId) -> Result<Vec<Extension>, StoreError> {
        let fails = || self.fails("list the extensions");
        let sql = "SELECT tenant, number, name, email, allow_external, ha1_md5, ha1_sha256 FROM extensions \
                   WHERE tenant = $1 ORDER BY number";
        let rows = sqlx::query(sql).bind(tenant.0).fetch_all(self.pool()).await.map_err(fails())?;
        rows.iter().map(extension).collect::<Result<_, _>>().map_err(fails())
    }

    /// Errors: `Duplicate`, `Invalid`, `NotFound` for an unknown tenant.
    pub async fn add_extension(&self, tenant: TenantId, new: &NewExtension) -> Result<(), StoreError> {
        const ACTION: &str = "take the new extension";
        refuse(new.faults())?;
        let mut tx = self.begin(ACTION).await?;
        self.insert(&mut tx, tenant, new, ACTION).await?;
        self.commit_directory(tx, ACTION).await
    }

    /// Changes what is given. A new password ends the extension's registrations.
    ///
    /// Errors: `NotFound`, `Invalid`.
    pub async fn update_extension(
        &self,
        tenant: TenantId,
        number: &str,
        change: &ExtensionChange,
    ) -> Result<(), StoreError> {
        const ACTION: &str = "take the change of an extension";
        refuse(change.faults())?;
        let mut tx = self.begin(ACTION).await?;
        let realm: Option<String> = sqlx::query_scalar("SELECT realm FROM tenants WHERE id = $1")
            .bind(tenant.0)
            .fetch_optional(&mut *tx)
            .await
            .map_err(self.fails(ACTION))?;
        let realm = realm.ok_or(StoreError::NotFound("Extension"))?;
        let sql = "UPDATE extensions SET name = coalesce($1, name), email = coalesce($2, email), \
                   allow_external = coalesce($3, allow_external), updated_at = $4 WHERE tenant = $5 AND number = $6";
        let done = sqlx::query(sql)
            .bind(change.name.as_deref())
            .bind(change.email.as_deref())
            .bind(change.allow_external)
            .bind(wall_clock().0)
            .bind(tenant.0)
            .bind(number)
            .execute(&mut *tx)
            .await
            .map_err(self.fails(ACTION))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("Extension"));
        }
        if let Some(password) = &change.password {
            let secret = digest_secret(number, &realm, password);
            let sql = "UPDATE extensions SET ha1_md5 = $1, ha1_sha256 = $2, sealed = $3 \
                       WHERE tenant = $4 AND number = $5";
            sqlx::query(sql)
                .bind(&secret.md5[..])
                .bind(&secret.sha256[..])
                .bind(self.0.key.seal(tenant, number, password)?)
                .bind(tenant.0)
                .bind(number)
                .execute(&mut *tx)
                .await
                .map_err(self.fails(ACTION))?;
            self.unbind(&mut tx, tenant, number, ACTION).await?;
        }
        self.commit_directory(tx, ACTION).await
    }

    /// Removes the extension and its registrations. Its call records stay.
    ///
    /// Errors: `NotFound`.
    pub async fn remove_extension(&self, tenant: TenantId, number: &str) -> Result<(), StoreError> {
        const ACTION: &str = "remove the extension";
        let mut tx = self.begin(ACTION).await?;
        let done = sqlx::query("DELETE FROM extensions WHERE tenant = $1 AND number = $2")
            .bind(tenant.0)
            .bind(number)
            .execute(&mut *tx)
            .await
            .map_err(self.fails(ACTION))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::NotFound("Extension"));
        }
        self.unbind(&mut tx, tenant, number, ACTION).await?;
        self.commit_directory(tx, ACTION).await
    }

    /// The password itself, for provisioning a phone.
    ///
    /// Errors: `NotFound`, `NotSealed` once forgotten, `OtherKey`.
    pub async fn password(&self, tenant: TenantId, number: &str) -> Result<String, StoreError> {
        let sql = "SELECT sealed FROM extensions WHERE tenant = $1 AND number = $2";
        let row: Option<Option<Vec<u8>>> = sqlx::query_scalar(sql)
            .bind(tenant.0)
            .bind(number)
            .fetch_optional(self.pool())
            .await
            .map_err(self.fails("look up a password"))?;
        let sealed = row.ok_or(StoreError::NotFound("Extension"))?.ok_or(StoreError::NotSealed)?;
        self.0.key.open(tenant, number, &sealed)
    }

    /// What to tell an administrator when passwords are sealed with another key than ours: it was lost, or is not given to
    /// this process. Nothing but handing passwords to phones needs it, so nothing is refused for it.
    pub async fn other_seals(&self) -> Result<Option<String>, StoreError> {
        // After the form's number stands the key's id.
        let sql = "SELECT number FROM extensions WHERE substr(sealed, 2, 4) <> $1 ORDER BY tenant, number";
        let numbers: Vec<String> = sqlx::query_scalar(sql)
            .bind(self.0.key.id())
            .fetch_all(self.pool())
            .await
            .map_err(self.fails("tell how passwords are sealed"))?;
        if numbers.is_empty() {
            return Ok(None);
        }
        let shown = numbers[..numbers.len().min(3)].join(", ");
        let more = if numbers.len() > 3 { ", …" } else { "" };
        let made = if self.0.key.is_new() { ", which was missing and has just been made anew" } else { "" };
        let count =
            if numbers.len() == 1 { "1 extension".to_string() } else { format!("{} extensions", numbers.len()) };
        let origin = self.0.key.origin();
        Ok(Some(format!(
            "the stored passwords of {count} ({shown}{more}) are sealed with another key than {origin}{made}. Phones \
             register and call as before, but these passwords can't be given to phones any more. Put the {KEY_FILE} of the \
             backup back, or set {KEY_VARIABLE} as it was, and start again; if the key is lost, give each extension a new \
             password: strowger extensions passwd NUMBER"
        )))
    }

    /// A first start: makes extensions 1001–1004 and tells their passwords, this once. None ever after, and none for
    /// a database that has extensions already.
    pub async fn bootstrap(&self) -> Result<Option<Vec<(String, String)>>, StoreError> {
        const ACTION: &str = "take the first extensions";
        let mut tx = self.begin(ACTION).await?;
        let sql = "UPDATE meta SET value = 1 WHERE key = 'bootstrapped' AND value = 0 \
                   AND NOT EXISTS (SELECT 1 FROM extensions)";
        if sqlx::query(sql).execute(&mut *tx).await.map_err(self.fails(ACTION))?.rows_affected() == 0 {
            return Ok(None);
        }
        let mut made = Vec::new();
        for number in ["1001", "1002", "1003", "1004"] {
            let new = NewExtension {
                number: number.to_string(),
                name: format!("Extension {number}"),
                email: String::new(),
                password: typeable_password()?,
                allow_external: true,
            };
            self.insert(&mut tx, DEFAULT_TENANT, &new, ACTION).await?;
            made.push((new.number, new.password));
        }
        self.commit_directory(tx, ACTION).await?;
        Ok(Some(made))
    }

    async fn insert(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        tenant: TenantId,
        new: &NewExtension,
        action: &'static str,
    ) -> Result<(), StoreError> {
        let realm: Option<String> = sqlx::query_scalar("SELECT realm FROM tenants WHERE id = $1")
            .bind(tenant.0)
            .fetch_optional(&mut **tx)
            .await
            .map_err(self.fails(action))?;
        let realm = realm.ok_or(StoreError::NotFound("Tenant"))?;
        let secret = digest_secret(&new.number, &realm, &new.password);
        let sql = "INSERT INTO extensions \
                   (tenant, number, name, email, allow_external, ha1_md5, ha1_sha256, sealed, created_at, updated_at) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9) ON CONFLICT (tenant, number) DO NOTHING";
        let done = sqlx::query(sql)
            .bind(tenant.0)
            .bind(&new.number)
            .bind(&new.name)
            .bind(&new.email)
            .bind(new.allow_external)
            .bind(&secret.md5[..])
            .bind(&secret.sha256[..])
            .bind(self.0.key.seal(tenant, &new.number, &new.password)?)
            .bind(wall_clock().0)
            .execute(&mut **tx)
            .await
            .map_err(self.fails(action))?;
        if done.rows_affected() == 0 {
            return Err(StoreError::Duplicate("Extension"));
        }
        Ok(())
    }

    /// For when no daemon runs; a running one tells its own records too.
    async fn unbind(
        &self,
        tx: &mut Transaction<'static, Sqlite>,
        tenant: TenantId,
        number: &str,
        action: &'static str,
    ) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM bindings WHERE tenant = $1 AND extension = $2")
            .bind(tenant.0)
            .bind(number)
            .execute(&mut **tx)
            .await
            .map_err(self.fails(action))?;
        Ok(())
    }
}

/// Every tenant's extensions.
pub(super) async fn all(tx: &mut Transaction<'static, Sqlite>) -> Result<Vec<(TenantId, Arc<Extension>)>, sqlx::Error> {
    let sql = "SELECT tenant, number, name, email, allow_external, ha1_md5, ha1_sha256 FROM extensions";
    let rows = sqlx::query(sql).fetch_all(&mut **tx).await?;
    rows.iter().map(|row| Ok((TenantId(row.try_get(0)?), Arc::new(extension(row)?)))).collect()
}

fn extension(row: &SqliteRow) -> Result<Extension, sqlx::Error> {
    Ok(Extension {
        number: row.try_get::<Box<str>, _>(1)?,
        name: row.try_get::<Box<str>, _>(2)?,
        email: row.try_get::<Box<str>, _>(3)?,
        allow_external: row.try_get(4)?,
        secret: Secret { md5: hash(row, 5)?, sha256: hash(row, 6)? },
    })
}

fn hash<const N: usize>(row: &SqliteRow, column: usize) -> Result<[u8; N], sqlx::Error> {
    let bytes: &[u8] = row.try_get(column)?;
    bytes.try_into().map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

fn refuse(faults: Vec<Fault>) -> Result<(), StoreError> {
    let Some((field, _)) = faults.first() else { return Ok(()) };
    Err(StoreError::invalid(field, in_one(faults.iter().map(|(_, fault)| fault.as_str()))))
}

/// Faults in one sentence, each once.
pub fn in_one<'a>(faults: impl Iterator<Item = &'a str>) -> String {
    let mut all: Vec<&str> = Vec::new();
    for fault in faults {
        if !all.contains(&fault) {
            all.push(fault);
        }
    }
    all.join("; ")
}

/// Dialled by phones and written into SIP URIs and `user:realm:password`: no character of it may need escaping.
fn number_fault(number: &str) -> Option<String> {
    let plain = number.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b'*'));
    let is_wrong = number.len() > NUMBER_BYTES || !plain;
    is_wrong.then(|| format!("Extension number must be at most {NUMBER_BYTES} letters, digits, or . _ - + *"))
}

fn name_fault(name: &str) -> Option<String> {
    let is_wrong = name.trim().is_empty() || name.len() > TEXT_BYTES || name.chars().any(char::is_control);
    is_wrong.then(|| format!("Name must be 1 to {TEXT_BYTES} bytes, not only blanks, without control characters"))
}

fn email_fault(email: &str) -> Option<String> {
    let parts = email.split_once('@').is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    let plain = !email.chars().any(|c| c.is_control() || c.is_whitespace());
    let is_right = email.is_empty() || (parts && plain && email.len() <= TEXT_BYTES);
    (!is_right).then(|| "Email must look like name@example.com".to_owned())
}

fn password_fault(password: &str) -> Option<String> {
    if password.chars().count() < PASSWORD_MIN {
        return Some(format!("Password must be at least {PASSWORD_MIN} characters"));
    }
    let is_wrong = password.len() > PASSWORD_MAX || password.chars().any(char::is_control);
    is_wrong.then(|| format!("Password must be at most {PASSWORD_MAX} bytes without control characters"))
}
