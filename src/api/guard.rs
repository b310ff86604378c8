//! Who may ask. Without authentication only the administrator at this machine's own keyboard may, so a request that a web
//! page or a reverse proxy brings is refused (CONTRACTS §5).

use axum::http::header::{FORWARDED, HOST, ORIGIN, VIA};
use axum::http::{HeaderMap, HeaderName, Uri};
use std::net::IpAddr;

#[derive(Clone, Debug)]
pub struct Guard {
    auth: Auth,
    /// Origins an administrator trusts, such as `https://console.example.com`, without a slash at the end.
    origins: Vec<String>,
}

/// `api.auth`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Auth {
    /// Everybody on this machine may do everything; the listener must be a loopback address.
    None,
}

/// Headers only a proxy adds.
const PROXIED: [HeaderName; 6] = [
    FORWARDED,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
    VIA,
];

impl Guard {
    pub fn new(auth: Auth, origins: Vec<String>) -> Guard {
        Guard { auth, origins: origins.into_iter().map(|o| o.trim_end_matches('/').to_ascii_lowercase()).collect() }
    }

    pub fn allows_listening_on(&self, address: IpAddr) -> bool {
        match self.auth {
            Auth::None => address.is_loopback(),
        }
    }

    /// Why a request is refused, for its sender to read.
    pub fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        match self.auth {
            Auth::None => self.check_local(uri, headers),
        }
    }

    fn check_local(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), String> {
        const WHY: &str = "while `api.auth` is `none`";
        if let Some(name) = PROXIED.iter().find(|name| headers.contains_key(*name)) {
            return Err(format!("Requests through a proxy (header {name}) are refused {WHY}"));
        }
        let host = match headers.get(HOST) {
            Some(host) => host.to_str().ok(),
            None => uri.authority().map(|authority| authority.as_str()),
        };
        let host = host.ok_or_else(|| format!("Requests without a Host are refused {WHY}"))?;
        if !is_this_machine(host) {
            return Err(format!("Requests for the host `{host}` are refused {WHY}: use localhost"));
        }
        match headers.get(ORIGIN) {
            Some(origin) => {
                let origin = origin.to_str().unwrap_or_default();
                if !self.trusts(origin) {
                    return Err(format!("Requests from pages of `{origin}` are refused {WHY}"));
                }
            }
            None if is_from_a_page(headers) => {
                return Err(format!("Requests from pages of other sites are refused {WHY}"));
            }
            None => {}
        }
        Ok(())
    }

    fn trusts(&self, origin: &str) -> bool {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host.is_some_and(is_this_machine) || self.origins.contains(&origin.to_ascii_lowercase())
    }
}

/// Whether an authority, with or without port, is a name or address of the loopback interface.
fn is_this_machine(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':').or(rest.is_empty().then_some(""))),
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, Some("")),
        },
    };
    let port_is_number = port.is_some_and(|port| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()));
    let is_local = host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    port_is_number && is_local
}

/// A browser says so even where it sends no Origin, for instance for an image. A followed link is the administrator's own
/// doing.
fn is_from_a_page(headers: &HeaderMap) -> bool {
    let value = |name: &str| headers.get(name).map(|value| value.as_bytes());
    value("sec-fetch-site") == Some(b"cross-site") && value("sec-fetch-mode") != Some(b"navigate")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(headers: &[(&'static str, &str)]) -> Result<(), String> {
        let guard = Guard::new(Auth::None, vec!["https://Console.example.com/".to_string()]);
        let map = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect();
        guard.check(&Uri::from_static("/api/status"), &map)
    }

    #[test]
    fn this_machine_may_ask_by_any_of_its_names() {
        for host in ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "127.1.2.3", "[::1]:8080", "[::1]"]
        {
            assert_eq!(check(&[("host", host)]), Ok(()), "{host}");
        }
    }

    #[test]
    fn other_hosts_are_refused_so_that_no_name_can_be_rebound_to_us() {
        for host in [
            "evil.example",
            "localhost.evil.example",
            "192.0.2.1:8080",
            "localhost@evil.example",
            "",
            "[::1",
            "::1",
            "localhost:8080x",
        ] {
            let refused = check(&[("host", host)]).unwrap_err();
            assert!(refused.contains("host"), "{refused}");
        }
        assert!(check(&[]).unwrap_err().contains("without a Host"));
    }

    #[test]
    fn proxies_and_foreign_pages_are_refused_with_the_reason() {
        let local = ("host", "localhost:8080");
        assert!(check(&[local, ("x-forwarded-for", "192.0.2.1")]).unwrap_err().contains("x-forwarded-for"));
        assert!(check(&[local, ("forwarded", "for=192.0.2.1")]).unwrap_err().contains("proxy"));
        for origin in
            ["http://evil.example", "null", "http://localhost.evil.example", "file://", "http://localhost@evil.example"]
        {
            assert!(check(&[local, ("origin", origin)]).unwrap_err().contains("pages"), "{origin}");
        }
        assert!(check(&[local, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")]).is_err());
    }

    #[test]
    fn pages_of_this_machine_and_of_trusted_origins_may_ask() {
        let local = ("host", "localhost:8080");
        for origin in
            ["http://localhost:3000", "http://127.0.0.1:8080", "https://[::1]:3000", "https://console.example.com"]
        {
            assert_eq!(check(&[local, ("origin", origin)]), Ok(()), "{origin}");
        }
        assert_eq!(check(&[local, ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate")]), Ok(()));
        assert_eq!(check(&[local, ("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "cors")]), Ok(()));
    }

    #[test]
    fn without_authentication_only_a_loopback_address_is_listened_on() {
        let guard = Guard::new(Auth::None, Vec::new());
        assert!(guard.allows_listening_on("127.0.0.1".parse().unwrap()));
        assert!(guard.allows_listening_on("::1".parse().unwrap()));
        assert!(!guard.allows_listening_on("0.0.0.0".parse().unwrap()));
        assert!(!guard.allows_listening_on("192.0.2.1".parse().unwrap()));
    }
}
