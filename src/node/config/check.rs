//! From what is written to what is meant: every semantic fault is found, named by its key, and comes with advice.

use super::file::File;
use super::{
    Api, ApiAuth, Calls, Config, ConfigError, Http, Journal, Log, Overrides, Rtp, SipListener, TlsPaths, locate,
};
use crate::base::limits;
use crate::engine::config::{AuthConfig, Redirects, RegistrationLimits, SessionTimers};
use crate::engine::flow::Transport;
use crate::net::guard::{Network, Rate, Settings};
use crate::proto::sip::digest::Algorithm;
use axum::http::HeaderValue;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Collects faults while the parts are read.
struct Checker<'a> {
    origin: &'a str,
    text: &'a str,
    errors: Vec<ConfigError>,
}

impl Checker<'_> {
    fn fault(&mut self, key: &str, message: impl Into<String>) {
        let at = locate::find(self.text, key);
        let origin = self.origin.to_owned();
        self.errors.push(ConfigError { origin, at, key: key.to_owned(), message: message.into() });
    }

    fn flag_fault(&mut self, flag: &str, message: String) {
        self.errors.push(ConfigError { origin: flag.to_owned(), at: None, key: String::new(), message });
    }

    fn within<T: PartialOrd + std::fmt::Display>(&mut self, key: &str, value: T, low: T, high: T) {
        if value < low || value > high {
            self.fault(key, format!("{value} is out of range: use {low} to {high}"));
        }
    }
}

pub(super) fn check(origin: &str, text: &str, file: File, overrides: &Overrides) -> Result<Config, Vec<ConfigError>> {
    let mut checker = Checker { origin, text, errors: Vec::new() };
    let sip = listeners(&mut checker, &file, overrides);
    let tls = tls(&mut checker, &file);
    let rtp = rtp(&mut checker, &file, overrides);
    let http = http(&mut checker, &file, overrides);
    let api = api(&mut checker, &file, http, overrides);
    let calls = calls(&mut checker, &file);
    timers(&mut checker, &file);
    let auth = auth(&mut checker, &file);
    let guard = guard(&mut checker, &file);
    if let (Some(sip), Some(http)) = (&sip, http) {
        apart(&mut checker, sip, http, overrides);
    }
    elsewhere(&mut checker, &file, overrides);
    let (Some(sip), Some(rtp), Some(http), Some(api), Some(calls), Some(auth), true) =
        (sip, rtp, http, api, calls, auth, checker.errors.is_empty())
    else {
        return Err(checker.errors);
    };
    let data_dir = overrides.data_dir.clone().unwrap_or_else(|| PathBuf::from(&file.data_dir));
    let registration = RegistrationLimits {
        min_expires: file.registration.min_expires,
        max_expires: file.registration.max_expires,
        default_expires: file.registration.default_expires,
        max_contacts: usize::try_from(file.registration.max_contacts).unwrap_or(usize::MAX),
    };
    let session = SessionTimers { expires: file.session.expires, min_se: file.session.min_se };
    let journal = Journal { fdatasync: file.journal.fdatasync };
    let log = Log { level: file.log.level };
    Ok(Config {
        data_dir,
        sip,
        tls,
        rtp,
        http: Http { listen: http },
        api,
        calls,
        registration,
        session,
        auth,
        guard,
        journal,
        log,
    })
}

fn listeners(checker: &mut Checker<'_>, file: &File, overrides: &Overrides) -> Option<Vec<SipListener>> {
    let mut listeners: Vec<SipListener> = Vec::new();
    let tenant = file.sip.listen.first().map_or("default", |listen| listen.tenant.as_str());
    if !overrides.sip_listen.is_empty() {
        for text in &overrides.sip_listen {
            match listener(text) {
                Ok((transport, bind)) => {
                    listeners.push(SipListener { transport, bind, advertise: None, tenant: tenant.to_owned() });
                }
                Err(message) => checker.flag_fault("--sip-listen", message),
            }
        }
    } else {
        for (index, listen) in file.sip.listen.iter().enumerate() {
            let key = format!("sip.listen[{index}]");
            let written = listen.advertise.as_ref().filter(|text| !text.is_empty());
            let advertise = written.and_then(|text| text.parse().ok().filter(is_destination));
            if let (Some(text), None) = (written, advertise) {
                let message = format!("`{text}` is no address with port: write for example 203.0.113.5:5060");
                checker.fault(&format!("{key}.advertise"), message);
            }
            match listener(&listen.address) {
                Ok((transport, bind)) => {
                    if let Some(advertise) = advertise.filter(|advertise| advertise.is_ipv4() != bind.is_ipv4()) {
                        let message =
                            format!("{advertise} and {bind} are an IPv4 and an IPv6 address: use two of a kind");
                        checker.fault(&format!("{key}.advertise"), message);
                    }
                    listeners.push(SipListener { transport, bind, advertise, tenant: listen.tenant.clone() });
                }
                Err(message) => checker.fault(&format!("{key}.address"), message),
            }
        }
    }
    for (index, listener) in listeners.iter().enumerate() {
        // TCP and TLS share their ports.
        let same_ports = |other: &SipListener| other.transport.is_reliable() == listener.transport.is_reliable();
        let Some(other) = listeners[..index].iter().find(|other| same_ports(other) && clash(other.bind, listener.bind))
        else {
            continue;
        };
        let message = match (other.bind == listener.bind, listener.bind) {
            (true, bind) => format!("{bind} is listed twice: remove one"),
            (false, bind) => format!("{bind} and {} are the same port of the same addresses: remove one", other.bind),
        };
        if overrides.sip_listen.is_empty() {
            checker.fault(&format!("sip.listen[{index}].address"), message);
        } else {
            checker.flag_fault("--sip-listen", message);
        }
    }
    if listeners.is_empty() && checker.errors.is_empty() {
        checker.fault(
            "sip.listen",
            "no listener: phones could not reach us. Add for example `- address: udp:0.0.0.0:5060`",
        );
    }
    Some(listeners)
}

fn tls(checker: &mut Checker<'_>, file: &File) -> TlsPaths {
    let path = |text: &Option<String>| text.as_ref().filter(|text| !text.is_empty()).map(PathBuf::from);
    let (certificate, key) = (path(&file.tls.certificate), path(&file.tls.key));
    match (&certificate, &key) {
        (Some(_), None) => checker.fault("tls.certificate", "a certificate is of no use without its key: add tls.key"),
        (None, Some(_)) => checker.fault("tls.key", "a key is of no use without its certificate: add tls.certificate"),
        _ => {}
    }
    TlsPaths { identity: certificate.zip(key), client_ca: path(&file.tls.client_ca) }
}

/// `udp:127.0.0.1:5060` or `tcp:[::1]:5060`.
fn listener(text: &str) -> Result<(Transport, SocketAddr), String> {
    let advice = "write for example udp:0.0.0.0:5060 or tls:[::]:5061";
    let text = text.trim();
    let (transport, address) = text.split_once(':').ok_or_else(|| format!("`{text}` is no listener: {advice}"))?;
    let transport = match transport.to_ascii_lowercase().as_str() {
        "udp" => Transport::Udp,
        "tcp" => Transport::Tcp,
        "tls" => Transport::Tls,
        other => return Err(format!("`{other}` is no transport of this version (udp, tcp, tls): {advice}")),
    };
    let bind: SocketAddr = address.parse().map_err(|_| format!("`{address}` is no address with port: {advice}"))?;
    if is_group(bind.ip()) {
        return Err(format!("{address} is the address of a group, not of this machine: {advice}"));
    }
    Ok((transport, bind))
}

/// Whether two sockets of one kind can't be open at once.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let same_address = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && one.is_ipv4() == other.is_ipv4() && same_address
}

/// Whether a phone could send to it.
fn is_destination(address: &SocketAddr) -> bool {
    address.port() != 0 && !address.ip().is_unspecified() && !is_group(address.ip())
}

fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || ip == IpAddr::V4(Ipv4Addr::BROADCAST)
}

fn rtp(checker: &mut Checker<'_>, file: &File, overrides: &Overrides) -> Option<Rtp> {
    let text = overrides.rtp_ports.as_ref().unwrap_or(&file.rtp.ports);
    let ports = match range(text) {
        Ok(ports) => Some(ports),
        Err(message) if overrides.rtp_ports.is_some() => {
            checker.flag_fault("--rtp-ports", message);
            None
        }
        Err(message) => {
            checker.fault("rtp.ports", message);
            None
        }
    };
    let mut addresses = Vec::new();
    for (index, text) in file.rtp.addresses.iter().enumerate() {
        match text.parse::<IpAddr>() {
            Ok(address) if addresses.contains(&address) => {
                checker.fault(&format!("rtp.addresses[{index}]"), format!("{address} is listed twice: remove one"));
            }
            Ok(address) if !address.is_unspecified() && !is_group(address) => addresses.push(address),
            _ => {
                let message = format!("`{text}` is no address of an interface: write for example 192.0.2.10");
                checker.fault(&format!("rtp.addresses[{index}]"), message);
            }
        }
    }
    checker.within("rtp.threads", file.rtp.threads, 1, 64);
    Some(Rtp { ports: ports?, addresses, threads: usize::try_from(file.rtp.threads).unwrap_or(1) })
}

fn range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let advice = "write for example 10000-20000";
    let (low, high) = text.split_once('-').ok_or_else(|| format!("`{text}` is no range of ports: {advice}"))?;
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| format!("`{text}` is no port: {advice}"));
    let (low, high) = (port(low)?, port(high)?);
    if low < 1024 {
        return Err(format!("{low} is a port of the system: begin at 1024 or above"));
    }
    if u32::from(high) < u32::from(low) + 3 {
        return Err(format!("{low}-{high} holds less than two pairs of ports, which one call needs: {advice}"));
    }
    Ok(low..=high)
}

fn http(checker: &mut Checker<'_>, file: &File, overrides: &Overrides) -> Option<SocketAddr> {
    let text = overrides.http_listen.as_ref().unwrap_or(&file.http.listen);
    match (text.parse(), overrides.http_listen.is_some()) {
        (Ok(address), _) => Some(address),
        (Err(_), flag) => {
            let message = format!("`{text}` is no address with port: write for example 127.0.0.1:8080");
            if flag {
                checker.flag_fault("--http-listen", message)
            } else {
                checker.fault("http.listen", message)
            }
            None
        }
    }
}

/// HTTP and SIP can't share a port.
fn apart(checker: &mut Checker<'_>, sip: &[SipListener], http: SocketAddr, overrides: &Overrides) {
    let same = |sip: &SipListener| sip.transport == Transport::Tcp && clash(sip.bind, http);
    let Some(index) = sip.iter().position(same) else { return };
    let message =
        format!("SIP tcp:{} and HTTP {http} are the same port: choose another for one of them", sip[index].bind);
    if overrides.http_listen.is_some() {
        checker.flag_fault("--http-listen", message);
    } else if !overrides.sip_listen.is_empty() {
        checker.flag_fault("--sip-listen", message);
    } else if locate::find(checker.text, "http").is_some() {
        checker.fault("http.listen", message);
    } else {
        checker.fault(&format!("sip.listen[{index}].address"), message);
    }
}

fn api(checker: &mut Checker<'_>, file: &File, listen: Option<SocketAddr>, overrides: &Overrides) -> Option<Api> {
    if file.api.auth != "none" {
        let message = format!("`{}` is not available in this version: only `none`, on loopback", file.api.auth);
        checker.fault("api.auth", message);
        return None;
    }
    if let Some(listen) = listen.filter(|listen| !listen.ip().is_loopback()) {
        let message = format!(
            "with `api.auth: none` everybody who reaches {listen} would be administrator: listen on 127.0.0.1 or [::1]"
        );
        if overrides.http_listen.is_some() {
            checker.flag_fault("--http-listen", message);
        } else {
            checker.fault("http.listen", message);
        }
    }
    let mut cors_origins = Vec::new();
    for (index, text) in file.api.cors_origins.iter().enumerate() {
        match HeaderValue::from_str(text) {
            Ok(origin) if is_origin(text) => cors_origins.push(origin),
            _ => {
                let message = format!("`{text}` is no origin: write for example https://console.example.com");
                checker.fault(&format!("api.cors_origins[{index}]"), message);
            }
        }
    }
    Some(Api { enable_cors: file.api.enable_cors, cors_origins, auth: ApiAuth::None })
}

/// Scheme, host and perhaps port, as a browser says it (RFC 6454 §6.2).
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(|c: char| "/?#@*".contains(c) || !c.is_ascii_graphic()))
}

fn calls(checker: &mut Checker<'_>, file: &File) -> Option<Calls> {
    checker.within("calls.max", file.calls.max, 1, 1_000_000);
    checker.within("calls.ring_timeout", file.calls.ring_timeout, 1, 600);
    checker.within("calls.drain_grace", file.calls.drain_grace, 0, 86_400);
    let redirects = match file.calls.redirects.as_str() {
        "refuse" => Redirects::Refuse,
        "follow" => Redirects::Follow,
        other => {
            checker.fault("calls.redirects", format!("`{other}` is unknown: use refuse or follow"));
            return None;
        }
    };
    Some(Calls {
        max: usize::try_from(file.calls.max).unwrap_or(usize::MAX),
        ring_timeout: Duration::from_secs(file.calls.ring_timeout),
        drain_grace: Duration::from_secs(file.calls.drain_grace),
        redirects,
    })
}

fn timers(checker: &mut Checker<'_>, file: &File) {
    let registration = &file.registration;
    checker.within("registration.min_expires", registration.min_expires, 1, 86_400);
    checker.within("registration.max_expires", registration.max_expires, 1, 604_800);
    checker.within("registration.max_contacts", registration.max_contacts, 1, 100);
    if registration.min_expires > registration.max_expires {
        let (low, high) = (registration.min_expires, registration.max_expires);
        checker.fault("registration.min_expires", format!("{low} is more than registration.max_expires ({high})"));
    }
    let allowed = registration.min_expires..=registration.max_expires;
    if !allowed.contains(&registration.default_expires) {
        let message = format!(
            "{} is not between registration.min_expires ({}) and registration.max_expires ({})",
            registration.default_expires, registration.min_expires, registration.max_expires
        );
        checker.fault("registration.default_expires", message);
    }
    if file.session.min_se < 90 {
        checker.fault("session.min_se", format!("{} s is below the 90 s that RFC 4028 allows", file.session.min_se));
    }
    if file.session.expires < file.session.min_se {
        let (expires, min_se) = (file.session.expires, file.session.min_se);
        checker.fault("session.expires", format!("{expires} is less than session.min_se ({min_se})"));
    }
}

fn auth(checker: &mut Checker<'_>, file: &File) -> Option<AuthConfig> {
    checker.within("auth.nonce_life", file.auth.nonce_life, 10, 86_400);
    let mut algorithms = Vec::new();
    for (index, name) in file.auth.algorithms.iter().enumerate() {
        match name.to_ascii_uppercase().as_str() {
            "MD5" => algorithms.push(Algorithm::Md5),
            "SHA-256" => algorithms.push(Algorithm::Sha256),
            _ => {
                checker.fault(&format!("auth.algorithms[{index}]"), format!("`{name}` is unknown: use MD5 or SHA-256"))
            }
        }
        if file.auth.algorithms[..index].iter().any(|other| other.eq_ignore_ascii_case(name)) {
            checker.fault(&format!("auth.algorithms[{index}]"), format!("{name} is listed twice: remove one"));
        }
    }
    if file.auth.algorithms.is_empty() {
        checker.fault("auth.algorithms", "no algorithm: phones could not log in. Use [MD5, SHA-256]");
    }
    Some(AuthConfig { nonce_life: Duration::from_secs(file.auth.nonce_life), algorithms })
}

/// Where things are kept and how much is told.
fn elsewhere(checker: &mut Checker<'_>, file: &File, overrides: &Overrides) {
    if overrides.data_dir.is_none() && file.data_dir.is_empty() {
        checker.fault("data_dir", "no directory is named: write for example ./data");
    }
    if let Err(message) = log_filter(&file.log.level) {
        checker.fault("log.level", message);
    }
}

/// What the log tells: a level, or a filter.
///
/// The library takes any word that is no level for the name of a program's part and then tells of nothing else: whoever
/// writes `warning` would have no log at all.
pub fn log_filter(text: &str) -> Result<EnvFilter, String> {
    let advice = "use error, warn, info, debug or trace, or a filter such as strowger=debug";
    let is_ours = |word: &str| word.split("::").next() == Some("strowger");
    let mut words = text.split(',').map(str::trim).filter(|word| !word.contains(['=', '[']) && !is_ours(word));
    if let Some(word) = words.find(|word| word.is_empty() || word.parse::<LevelFilter>().is_err()) {
        return Err(format!("`{word}` is no level: {advice}"));
    }
    EnvFilter::try_new(text).map_err(|_| format!("`{text}` is no filter: {advice}"))
}

/// How many seconds' worth of messages a source may send at once.
const BURST: u32 = 10;

fn guard(checker: &mut Checker<'_>, file: &File) -> Settings {
    let guard = &file.guard;
    let most_users = limits::GUARD_USERS as u64;
    checker.within("guard.stranger_rate", guard.stranger_rate, 10, 100_000);
    checker.within("guard.registered_rate", guard.registered_rate, 10, 100_000);
    checker.within("guard.connections", guard.connections, 1, 1_000_000);
    checker.within("guard.failures", guard.failures, 2, 1_000_000);
    checker.within("guard.users", guard.users, 2, most_users);
    checker.within("guard.window", guard.window, 10, 86_400);
    checker.within("guard.ban", guard.ban, 1, 86_400);
    let mut trusted: Vec<Network> = Vec::new();
    for (index, text) in guard.trusted.iter().enumerate() {
        match text.parse() {
            Ok(network) => trusted.push(network),
            Err(advice) => checker
                .fault(&format!("guard.trusted[{index}]"), format!("`{text}` is no address and no network: {advice}")),
        }
    }
    for (index, scanner) in guard.scanners.iter().enumerate() {
        if scanner.trim().is_empty() {
            checker
                .fault(&format!("guard.scanners[{index}]"), "an empty name is the beginning of every name: remove it");
        }
    }
    let rate = |per_second: u32| Rate::new(per_second, per_second.saturating_mul(BURST));
    Settings {
        trusted,
        strangers: rate(guard.stranger_rate),
        registered: rate(guard.registered_rate),
        connections: guard.connections,
        failures: guard.failures,
        users: usize::try_from(guard.users).unwrap_or(limits::GUARD_USERS),
        window: Duration::from_secs(guard.window),
        ban: Duration::from_secs(guard.ban),
        scanners: guard.scanners.iter().map(|scanner| scanner.trim().into()).collect(),
    }
}
