//! The administrator's commands on the command line: extensions, tenants and bans in the database. A running daemon notices the
//! change by itself.

use crate::base::ids::TenantId;
use crate::net::guard::{Reason, Source};
use crate::node::clock;
use crate::store::bans::BanRow;
use crate::store::extensions::{ExtensionChange, NewExtension};
use crate::store::secret::typeable_password;
use crate::store::tenants::NewTenant;
use crate::store::{DATABASE_FILE, Store};
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::time::Duration;

/// What to do with extensions.
#[derive(Debug)]
pub enum ExtensionCommand {
    List,
    Add { number: String, name: String, email: String, password: Option<String>, allow_external: bool },
    Passwd { number: String, password: Option<String> },
    Remove { number: String },
}

#[derive(Debug)]
pub enum TenantCommand {
    List,
    Add { name: String, domains: Vec<String>, realm: Option<String>, time_zone: String },
}

#[derive(Debug)]
pub enum BanCommand {
    List,
    Add { source: String, user: Option<String>, seconds: u32 },
    Clear { source: Option<String>, user: Option<String> },
}

/// Carries out a command on the extensions of a tenant; what it has to say goes to standard output.
pub fn extensions(data_dir: &Path, tenant: &str, command: ExtensionCommand) -> Result<()> {
    if !matches!(command, ExtensionCommand::Add { .. }) {
        must_exist(data_dir)?;
    }
    with_store(data_dir, async |store| {
        let id = tenant_id(&store, tenant).await?;
        match command {
            ExtensionCommand::List => list(&store, id).await,
            ExtensionCommand::Add { number, name, email, password, allow_external } => {
                let (password, told) = given_or_new(password)?;
                let new = NewExtension { number, name, email, password, allow_external };
                store.add_extension(id, &new).await?;
                println!("Extension {} added.{}", new.number, told_text(&new.password, told));
                if let Some(clash) = store.clash(id, &new.number).await? {
                    eprintln!("strowger: warning: {clash}");
                }
                Ok(())
            }
            ExtensionCommand::Passwd { number, password } => {
                let (password, told) = given_or_new(password)?;
                let change = ExtensionChange { password: Some(password.clone()), ..ExtensionChange::default() };
                store.update_extension(id, &number, &change).await?;
                println!("Extension {number} has a new password.{}", told_text(&password, told));
                println!("Its phones are logged out until they use it; running calls go on.");
                Ok(())
            }
            ExtensionCommand::Remove { number } => {
                store.remove_extension(id, &number).await?;
                println!("Extension {number} removed.");
                Ok(())
            }
        }
    })
}

/// Carries out a command on tenants.
pub fn tenants(data_dir: &Path, command: TenantCommand) -> Result<()> {
    if matches!(command, TenantCommand::List) {
        must_exist(data_dir)?;
    }
    with_store(data_dir, async |store| match command {
        TenantCommand::List => {
            println!("{:<16} {:<24} {:<24} Domains", "Tenant", "Realm", "Time zone");
            for tenant in store.tenants().await? {
                let domains = tenant.domains.join(", ");
                println!("{:<16} {:<24} {:<24} {domains}", tenant.name, tenant.realm, tenant.time_zone);
            }
            Ok(())
        }
        TenantCommand::Add { name, domains, realm, time_zone } => {
            let realm = realm.unwrap_or_else(|| name.clone());
            store.add_tenant(&NewTenant { name: name.clone(), domains, realm, time_zone }).await?;
            println!("Tenant {name} added. Its extensions: strowger extensions --tenant {name} add NUMBER --name NAME");
            Ok(())
        }
    })
}

/// A mistyped directory would otherwise be made, and shown as an exchange that has lost everything.
fn must_exist(data_dir: &Path) -> Result<()> {
    if data_dir.join(DATABASE_FILE).exists() {
        return Ok(());
    }
    let path = data_dir.display();
    bail!("there is no database in {path}: name the data directory with --data-dir, or start the exchange first")
}

/// Carries out a command on bans.
pub fn bans(data_dir: &Path, command: BanCommand) -> Result<()> {
    must_exist(data_dir)?;
    with_store(data_dir, async |store| match command {
        BanCommand::List => {
            let bans = store.bans().await?;
            if bans.is_empty() {
                println!("Nobody is banned.");
                return Ok(());
            }
            let now = clock::wall();
            println!("{:<24} {:<16} {:>12}  Reason", "Source", "User", "Ends in");
            for ban in bans {
                let left = duration(ban.until.seconds() - now.seconds());
                // A user is what a stranger claimed to be: nothing of it may reach the terminal as it is.
                let user = ban.user.map_or_else(|| "all".to_owned(), |user| user.escape_debug().to_string());
                println!("{:<24} {user:<16} {left:>12}  {}", ban.source, ban.reason);
            }
            Ok(())
        }
        BanCommand::Add { source, user, seconds } => {
            let source = canonical(&source)?;
            let user = user.filter(|user| !user.is_empty());
            let until = clock::wall() + Duration::from_secs(seconds.into());
            let reason = Reason::Administrator.text().to_owned();
            let ban = BanRow { source: source.clone(), user, until, reason };
            store.add_ban(&ban).await?;
            let whom = ban.user.as_deref().map_or_else(|| source.clone(), |user| format!("{user:?} at {source}"));
            println!("{whom} is banned for {}.", duration(seconds.into()));
            Ok(())
        }
        BanCommand::Clear { source, user } => {
            let source = source.as_deref().map(canonical).transpose()?;
            match store.clear_bans(source.as_deref(), user.as_deref()).await? {
                0 => bail!("no such ban: strowger bans list shows all"),
                1 => println!("1 ban ended."),
                ended => println!("{ended} bans ended."),
            }
            Ok(())
        }
    })
}

/// Whole seconds as a person says them.
fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// A source as the guard writes it.
fn canonical(text: &str) -> Result<String> {
    let source: Source = text.parse().with_context(|| format!("`{text}` is no source"))?;
    Ok(source.to_string())
}

async fn list(store: &Store, tenant: TenantId) -> Result<()> {
    println!("{:<12} {:<28} {:<28} Outside calls", "Extension", "Name", "E-mail");
    for extension in store.extensions(tenant).await? {
        let outside = if extension.allow_external { "yes" } else { "no" };
        println!("{:<12} {:<28} {:<28} {outside}", extension.number, extension.name, extension.email);
    }
    Ok(())
}

async fn tenant_id(store: &Store, name: &str) -> Result<TenantId> {
    let tenants = store.tenants().await?;
    match tenants.iter().find(|tenant| tenant.name == name) {
        Some(tenant) => Ok(tenant.id),
        None => bail!("there is no tenant `{name}`: strowger tenants list shows all"),
    }
}

fn given_or_new(password: Option<String>) -> Result<(String, bool)> {
    match password {
        Some(password) => Ok((password, false)),
        None => Ok((typeable_password()?, true)),
    }
}

fn told_text(password: &str, told: bool) -> String {
    if told { format!(" Password (shown this once): {password}") } else { String::new() }
}

fn with_store<F: Future<Output = Result<()>>>(data_dir: &Path, act: impl FnOnce(Store) -> F) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::open(data_dir).await.with_context(|| format!("data directory {}", data_dir.display()))?;
        if let Some(text) = store.other_seals().await? {
            eprintln!("strowger: warning: {text}");
        }
        let result = act(store.clone()).await;
        store.close().await;
        result
    })
}
