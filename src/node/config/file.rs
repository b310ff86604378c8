//! The file as it is written: every key, with the default it has when it is left out. Unknown keys are errors.

use super::ConfigError;
use serde::Deserialize;

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    pub data_dir: String,
    pub sip: Sip,
    pub tls: Tls,
    pub rtp: Rtp,
    pub http: Http,
    pub api: Api,
    pub calls: Calls,
    pub registration: Registration,
    pub session: Session,
    pub auth: Auth,
    pub guard: Guard,
    pub journal: Journal,
    pub log: Log,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sip {
    pub listen: Vec<Listen>,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
pub(super) struct Listen {
    pub address: String,
    #[serde(default)]
    pub advertise: Option<String>,
    #[serde(default = "default_tenant")]
    pub tenant: String,
}

#[derive(Deserialize, Clone, Default, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub certificate: Option<String>,
    pub key: Option<String>,
    pub client_ca: Option<String>,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rtp {
    pub ports: String,
    pub addresses: Vec<String>,
    pub threads: u64,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Http {
    pub listen: String,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Api {
    pub enable_cors: bool,
    pub cors_origins: Vec<String>,
    pub auth: String,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Calls {
    pub max: u64,
    pub ring_timeout: u64,
    pub drain_grace: u64,
    pub redirects: String,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Registration {
    pub min_expires: u32,
    pub max_expires: u32,
    pub default_expires: u32,
    pub max_contacts: u64,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Session {
    pub expires: u32,
    pub min_se: u32,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Auth {
    pub nonce_life: u64,
    pub algorithms: Vec<String>,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Guard {
    pub trusted: Vec<String>,
    pub stranger_rate: u32,
    pub registered_rate: u32,
    pub connections: u32,
    pub failures: u32,
    pub users: u64,
    pub window: u64,
    pub ban: u64,
    pub scanners: Vec<String>,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Journal {
    pub fdatasync: bool,
}

#[derive(Deserialize, Clone, PartialEq, Debug)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Log {
    pub level: String,
}

fn default_tenant() -> String {
    "default".to_owned()
}

fn listen(address: &str) -> Listen {
    Listen { address: address.to_owned(), advertise: None, tenant: default_tenant() }
}

impl Default for File {
    fn default() -> Self {
        File {
            data_dir: "./data".to_owned(),
            sip: Sip::default(),
            tls: Tls::default(),
            rtp: Rtp::default(),
            http: Http::default(),
            api: Api::default(),
            calls: Calls::default(),
            registration: Registration::default(),
            session: Session::default(),
            auth: Auth::default(),
            guard: Guard::default(),
            journal: Journal::default(),
            log: Log::default(),
        }
    }
}

impl Default for Sip {
    fn default() -> Self {
        Sip { listen: vec![listen("udp:0.0.0.0:5060"), listen("tcp:0.0.0.0:5060")] }
    }
}

impl Default for Rtp {
    fn default() -> Self {
        Rtp { ports: "10000-20000".to_owned(), addresses: Vec::new(), threads: 1 }
    }
}

impl Default for Http {
    fn default() -> Self {
        Http { listen: "127.0.0.1:8080".to_owned() }
    }
}

impl Default for Api {
    fn default() -> Self {
        Api { enable_cors: true, cors_origins: Vec::new(), auth: "none".to_owned() }
    }
}

impl Default for Calls {
    fn default() -> Self {
        Calls { max: 10_000, ring_timeout: 30, drain_grace: 30, redirects: "refuse".to_owned() }
    }
}

impl Default for Registration {
    fn default() -> Self {
        Registration { min_expires: 60, max_expires: 7200, default_expires: 3600, max_contacts: 10 }
    }
}

impl Default for Session {
    fn default() -> Self {
        Session { expires: 1800, min_se: 90 }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Auth { nonce_life: 300, algorithms: vec!["MD5".to_owned(), "SHA-256".to_owned()] }
    }
}

impl Default for Guard {
    fn default() -> Self {
        let scanners = [
            "friendly-scanner",
            "friendly-request",
            "sipvicious",
            "sipcli",
            "sip-scan",
            "sundayddr",
            "pplsip",
            "VaxSIPUserAgent",
        ];
        Guard {
            trusted: ["127.0.0.0/8", "::1"].map(str::to_owned).into(),
            stranger_rate: 100,
            registered_rate: 5000,
            connections: 1000,
            failures: 10,
            users: 10,
            window: 300,
            ban: 300,
            scanners: scanners.map(str::to_owned).into(),
        }
    }
}

impl Default for Journal {
    fn default() -> Self {
        Journal { fdatasync: true }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { level: "info".to_owned() }
    }
}

/// Reads the YAML; its first fault with line and column.
pub(super) fn parse(origin: &str, text: &str) -> Result<File, ConfigError> {
    let empty = text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
    if empty {
        return Ok(File::default());
    }
    serde_yaml::from_str(text).map_err(|error| {
        let words = error.to_string();
        // The library's words hold places: first where it gave up, last what it was reading there, such as a string that
        // was never closed. The second is what has to be mended.
        let mut parts = words.split(" at line ");
        let mut message = parts.next().unwrap_or_default().to_owned();
        let mut at = error.location().map(|location| (location.line(), location.column()));
        for part in parts {
            let (place, more) = part.split_once(", ").unwrap_or((part, ""));
            at = place.split_once(" column ").and_then(|(l, c)| Some((l.parse().ok()?, c.parse().ok()?))).or(at);
            if !more.is_empty() {
                message = format!("{message} {more}");
            }
        }
        let (message, at) = if message.contains("more than one document") {
            ("a second document begins here: a configuration is one; remove the line `---`".to_owned(), second(text))
        } else {
            (plain(&message), at)
        };
        let hint = advice(&message);
        ConfigError { origin: origin.to_owned(), at, key: String::new(), message: format!("{message}{hint}") }
    })
}

/// The library's words in an administrator's: it names the types of the program.
fn plain(message: &str) -> String {
    let message = match message.split_once(", expected struct ") {
        Some((what, _)) => format!("{what}, expected a section with keys"),
        None => message.to_owned(),
    };
    let types = [
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected a sequence", "expected a list"),
        ("expected a boolean", "expected true or false"),
        ("invalid type: sequence", "invalid type: list"),
        ("invalid type: map", "invalid type: section"),
    ];
    types.iter().fold(message, |message, (theirs, ours)| message.replace(theirs, ours))
}

/// What to do about it, where the words do not say so themselves.
fn advice(message: &str) -> &'static str {
    if message.contains("unknown field") {
        ". Remove the key, or mend its spelling; config/config.yml of the release has every key"
    } else if message.contains("duplicate field") {
        ". Remove one of the two"
    } else if message.contains("missing field") {
        ". Add the key; config/config.yml of the release shows how"
    } else if message.contains("found ") || message.contains("did not find") {
        ". Mend the YAML: indent with spaces, close what is opened, quote what holds special characters"
    } else {
        ""
    }
}

/// Where the second document of a file begins.
fn second(text: &str) -> Option<(usize, usize)> {
    let has_words = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let first = text.lines().position(has_words)?;
    let mark = text.lines().skip(first + 1).position(|line| line.starts_with("---"))?;
    Some((first + mark + 2, 1))
}
