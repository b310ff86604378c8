//! What a valid configuration asks of this machine and does not find: no fault of the configuration, for it may be meant for
//! another machine or another hour, but today the exchange would not start.

use super::{Config, ConfigError, Overrides, locate};
use crate::engine::flow::Transport;
use crate::net::tls::TlsFiles;
use std::net::IpAddr;

/// The addresses to listen on that `is_here` denies, each with its place. `origin` and `text` are those of the file.
pub(super) fn absent(
    (origin, text): (&str, &str),
    overrides: &Overrides,
    config: &Config,
    is_here: impl Fn(IpAddr) -> bool,
) -> Vec<ConfigError> {
    let mut wanted: Vec<(String, Option<&str>, IpAddr)> = Vec::new();
    let flag = (!overrides.sip_listen.is_empty()).then_some("--sip-listen");
    for (index, listener) in config.sip.iter().enumerate() {
        wanted.push((format!("sip.listen[{index}].address"), flag, listener.bind.ip()));
    }
    for (index, address) in config.rtp.addresses.iter().enumerate() {
        wanted.push((format!("rtp.addresses[{index}]"), None, *address));
    }
    let flag = overrides.http_listen.as_ref().map(|_| "--http-listen");
    wanted.push(("http.listen".to_owned(), flag, config.http.listen.ip()));
    let absent = wanted.into_iter().filter(|(_, _, address)| !address.is_unspecified() && !is_here(*address));
    absent.map(|(key, flag, address)| warning((origin, text), key, flag, address)).collect()
}

/// What keeps the certificate files named in the configuration from being used, if somebody listens for TLS.
pub(super) fn unusable_tls((origin, text): (&str, &str), config: &Config) -> Option<ConfigError> {
    let (certificate, key) = config.tls.identity.clone()?;
    if !config.sip.iter().any(|listener| listener.transport == Transport::Tls) {
        return None;
    }
    let error = TlsFiles { certificate, key, client_ca: config.tls.client_ca.clone() }.check().err()?.to_string();
    let (key, what) = error.split_once(": ").unwrap_or(("tls", &error));
    let message = format!("warning: {what}, and the exchange would not start");
    Some(ConfigError { origin: origin.to_owned(), at: locate::find(text, key), key: key.to_owned(), message })
}

fn warning((origin, text): (&str, &str), key: String, flag: Option<&str>, address: IpAddr) -> ConfigError {
    let all = if address.is_ipv4() { "0.0.0.0" } else { "[::]" };
    let advice = match key.as_str() {
        "http.listen" => "use 127.0.0.1".to_owned(),
        key if key.starts_with("rtp.") => "take it out, or use one that `ip address` shows".to_owned(),
        _ => format!("use one that `ip address` shows, or {all} for all"),
    };
    let message =
        format!("warning: this machine has no address {address} now, and the exchange would not start: {advice}");
    match flag {
        Some(flag) => ConfigError { origin: flag.to_owned(), at: None, key: String::new(), message },
        None => ConfigError { origin: origin.to_owned(), at: locate::find(text, &key), key, message },
    }
}
