//! The daemon's configuration: `config/config.yml`, then the environment, then the command line, each over the one before.
//! Static things live here (sockets, threads, limits); what an administrator edits day to day is in the database.
//!
//! Invariant: a [`Config`] is valid: whoever has one need not check it again.

mod check;
mod file;
mod locate;
mod machine;
#[cfg(test)]
mod tests;

use crate::base::ids::TenantId;
use crate::engine::config::{
    AuthConfig, EngineConfig, EngineLimits, Listener, Redirects, RegistrationLimits, SessionTimers, SipTimers,
};
use crate::engine::flow::Transport;
use crate::net::guard;
use axum::http::HeaderValue;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct Config {
    pub data_dir: PathBuf,
    pub sip: Vec<SipListener>,
    pub tls: TlsPaths,
    pub rtp: Rtp,
    pub http: Http,
    pub api: Api,
    pub calls: Calls,
    pub registration: RegistrationLimits,
    pub session: SessionTimers,
    pub auth: AuthConfig,
    pub guard: guard::Settings,
    pub journal: Journal,
    pub log: Log,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SipListener {
    pub transport: Transport,
    pub bind: SocketAddr,
    /// What Via, Contact and SDP name instead of the local address.
    pub advertise: Option<SocketAddr>,
    /// Name of the tenant a request is for whose domain nobody has.
    pub tenant: String,
}

/// PEM files for SIP over TLS.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct TlsPaths {
    /// Certificate and key; None for a certificate of our own making.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// Who must have signed a phone's certificate; None: phones need none.
    pub client_ca: Option<PathBuf>,
}

#[derive(Clone, Debug)]
pub struct Rtp {
    pub ports: RangeInclusive<u16>,
    /// Empty: every address of this host that a SIP listener can be reached at.
    pub addresses: Vec<IpAddr>,
    pub threads: usize,
}

#[derive(Clone, Debug)]
pub struct Http {
    pub listen: SocketAddr,
}

#[derive(Clone, Debug)]
pub struct Api {
    pub enable_cors: bool,
    /// Empty for all.
    pub cors_origins: Vec<HeaderValue>,
    pub auth: ApiAuth,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ApiAuth {
    /// Whoever reaches the loopback listener is the administrator.
    None,
}

#[derive(Clone, Debug)]
pub struct Calls {
    pub max: usize,
    pub ring_timeout: Duration,
    pub drain_grace: Duration,
    pub redirects: Redirects,
}

#[derive(Clone, Debug)]
pub struct Journal {
    pub fdatasync: bool,
}

#[derive(Clone, Debug)]
pub struct Log {
    /// A tracing filter such as `info` or `strowger=debug`.
    pub level: String,
}

/// What stands on the command line or in `STROWGER_*` and overrides the file.
#[derive(Clone, Default, Debug)]
pub struct Overrides {
    pub data_dir: Option<PathBuf>,
    pub sip_listen: Vec<String>,
    pub http_listen: Option<String>,
    pub rtp_ports: Option<String>,
}

/// One fault of the configuration, fit to be shown to whoever wrote it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file's name, or the flag that is wrong.
    pub origin: String,
    /// Line and column, from 1, where the file says it.
    pub at: Option<(usize, usize)>,
    /// The key's path, such as `sip.listen[0].address`.
    pub key: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.origin)?;
        if let Some((line, column)) = self.at {
            write!(f, ":{line}:{column}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

pub use check::log_filter;

/// Where the configuration is when nobody says.
pub const DEFAULT_FILE: &str = "config/config.yml";

/// Reads the file (`path`, or else `config/config.yml` if there is one, or else the defaults) and puts the overrides over it.
///
/// Errors: everything that is wrong, not only the first fault.
pub fn load(path: Option<&Path>, overrides: &Overrides) -> Result<Config, Vec<ConfigError>> {
    let (origin, text) = read(path).map_err(|error| vec![error])?;
    from_text(&origin, &text, overrides)
}

/// The file's name and text.
fn read(path: Option<&Path>) -> Result<(String, String), ConfigError> {
    let default = Path::new(DEFAULT_FILE);
    let path = path.or_else(|| default.exists().then_some(default));
    let Some(path) = path else { return Ok(("defaults".to_owned(), String::new())) };
    let origin = path.display().to_string();
    match std::fs::read_to_string(path) {
        Ok(text) => Ok((origin, text)),
        Err(error) => {
            let message = format!("can't be read: {error}. Name another file with --config");
            Err(ConfigError { origin, at: None, key: String::new(), message })
        }
    }
}

/// What a valid configuration asks of this machine and does not find. `path` and `overrides` are those it was loaded with.
pub fn warnings(path: Option<&Path>, overrides: &Overrides, config: &Config) -> Vec<ConfigError> {
    // The file was there a moment ago; without it the warnings have no place.
    let (origin, text) = read(path).unwrap_or_default();
    let mut warnings = machine::absent((&origin, &text), overrides, config, crate::net::interfaces::is_here);
    warnings.extend(machine::unusable_tls((&origin, &text), config));
    warnings
}

/// The configuration a text says.
pub fn from_text(origin: &str, text: &str, overrides: &Overrides) -> Result<Config, Vec<ConfigError>> {
    let raw = file::parse(origin, text).map_err(|error| vec![error])?;
    check::check(origin, text, raw, overrides)
}

impl Config {
    /// The engine's part of it. `listeners` are the bound ones, with their tenants found.
    pub fn engine(&self, epoch: u64, listeners: Vec<Listener>) -> EngineConfig {
        EngineConfig {
            timers: SipTimers::default(),
            registration: self.registration,
            session: self.session,
            auth: self.auth.clone(),
            limits: EngineLimits { calls: self.calls.max, ..EngineLimits::default() },
            ring_timeout: self.calls.ring_timeout,
            redirects: self.calls.redirects,
            ..EngineConfig::new(epoch, listeners)
        }
    }

    /// The engine's listener for a bound socket.
    pub fn listener(&self, index: usize, bind: SocketAddr, tenant: TenantId) -> Option<Listener> {
        let configured = self.sip.get(index)?;
        Some(Listener {
            id: crate::base::ids::ListenerId(u16::try_from(index).ok()?),
            transport: configured.transport,
            bind,
            advertise: configured.advertise,
            tenant,
        })
    }
}
