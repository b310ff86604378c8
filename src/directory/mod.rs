//! Who may call what: an immutable snapshot the engine is given and replaces whole.
//!
//! Invariant: nothing here changes after it is built; a change is a new [`Directory`] behind a new `Arc`.

pub mod plan;

use crate::base::ids::TenantId;
use plan::Plan;
use std::collections::BTreeMap;
use std::sync::Arc;

/// All tenants. Built by the store (or a test) and handed to the engine as `Input::Directory`.
#[derive(Clone, Default, Debug)]
pub struct Directory {
    tenants: BTreeMap<TenantId, Arc<Tenant>>,
    /// Lower-case domain to tenant.
    domains: BTreeMap<Box<str>, TenantId>,
}

/// One organisation. Two tenants may use the same extension numbers; they can't reach each other.
#[derive(Clone, Debug)]
pub struct Tenant {
    pub id: TenantId,
    /// Short name; `default` for a single office.
    pub name: Box<str>,
    /// SIP domains, lower case. An address or a name no tenant has means the listener's tenant.
    pub domains: Vec<Box<str>>,
    /// Digest realm: fixed for the tenant's life, since the stored HA1 values depend on it.
    pub realm: Box<str>,
    /// IANA time zone of the tenant's local times, such as `Europe/Berlin`.
    pub time_zone: Box<str>,
    pub extensions: BTreeMap<Box<str>, Arc<Extension>>,
    pub plan: Plan,
}

/// Somebody with a number and a password: the user of one or more phones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    pub number: Box<str>,
    pub name: Box<str>,
    pub email: Box<str>,
    pub allow_external: bool,
    pub secret: Secret,
}

/// What digest authentication needs: H(user:realm:password) in both algorithms (RFC 7616 §3.4.2). As secret as a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    pub md5: [u8; 16],
    pub sha256: [u8; 32],
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Directory {
    pub fn new(tenants: impl IntoIterator<Item = Tenant>) -> Directory {
        let mut directory = Directory::default();
        for tenant in tenants {
            for domain in &tenant.domains {
                directory.domains.insert(domain.to_ascii_lowercase().into_boxed_str(), tenant.id);
            }
            directory.tenants.insert(tenant.id, Arc::new(tenant));
        }
        directory
    }

    pub fn tenant(&self, id: TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(&id)
    }

    /// The tenant a request names by the domain of its Request-URI or To; None for an address or an unknown name.
    pub fn tenant_of_domain(&self, domain: &str) -> Option<TenantId> {
        if let Some(id) = self.domains.get(domain) {
            return Some(*id);
        }
        self.domains.get(domain.to_ascii_lowercase().as_str()).copied()
    }

    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// The same directory with one tenant replaced or added.
    pub fn with(&self, tenant: Tenant) -> Directory {
        let id = tenant.id;
        let others = self.tenants.values().filter(move |t| t.id != id).map(|t| Tenant::clone(t));
        Directory::new(others.chain(std::iter::once(tenant)))
    }
}

impl Tenant {
    pub fn extension(&self, number: &str) -> Option<&Arc<Extension>> {
        self.extensions.get(number)
    }
}
