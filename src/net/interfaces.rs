//! The addresses of this host, as its interfaces have them.

use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use std::io::ErrorKind;
use std::net::{IpAddr, UdpSocket};

/// Every address of an interface that is up, in the kernel's order; link-local IPv6 left out, since a phone can't be told
/// one without its zone.
pub fn addresses() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else { return Vec::new() };
    let mut found = Vec::new();
    for interface in interfaces.filter(|i| i.flags.contains(InterfaceFlags::IFF_UP)) {
        let Some(address) = interface.address else { continue };
        let ip = if let Some(v4) = address.as_sockaddr_in() {
            IpAddr::V4(v4.ip())
        } else if let Some(v6) = address.as_sockaddr_in6() {
            if v6.ip().is_unicast_link_local() {
                continue;
            }
            IpAddr::V6(v6.ip())
        } else {
            continue;
        };
        if !found.contains(&ip) {
            found.push(ip);
        }
    }
    found
}

/// The addresses of `addresses()` a wildcard of that family stands for: those of the network first, loopback last.
pub fn behind_wildcard(ipv4: bool) -> Vec<IpAddr> {
    let mut found: Vec<IpAddr> = addresses().into_iter().filter(|ip| ip.is_ipv4() == ipv4).collect();
    found.sort_by_key(IpAddr::is_loopback);
    found
}

/// Whether a socket may have this address now: all of 127.0.0.0/8, for instance, though no interface shows it.
pub fn is_here(address: IpAddr) -> bool {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => true,
        Err(error) => error.kind() != ErrorKind::AddrNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_address_of_another_machine_is_not_here() {
        assert!(super::is_here([127, 0, 0, 9].into()) && super::is_here([0, 0, 0, 0].into()));
        assert!(!super::is_here([192, 0, 2, 77].into()));
    }

    #[test]
    fn loopback_is_always_there_and_comes_last() {
        let found = super::behind_wildcard(true);
        assert!(found.last().is_some_and(|ip| ip.is_loopback()), "{found:?}");
    }
}
