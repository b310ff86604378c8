//! Where messages come from: what is counted and banned as one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An IPv4 address, or the /64 of an IPv6 address: whoever has one address of it has all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    V4(u32),
    V6(u64),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Source {
        match address.to_canonical() {
            IpAddr::V4(ip) => Source::V4(ip.to_bits()),
            IpAddr::V6(ip) => Source::V6((ip.to_bits() >> 64) as u64),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Source::V4(bits) => Ipv4Addr::from_bits(bits).fmt(f),
            Source::V6(prefix) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(prefix) << 64)),
        }
    }
}

impl std::str::FromStr for Source {
    type Err = NoAddress;

    /// An address, or what `Display` writes.
    fn from_str(text: &str) -> Result<Source, NoAddress> {
        let address = match text.split_once('/') {
            Some((address, "64")) if address.contains(':') => address,
            Some(_) => return Err(NoAddress),
            None => text,
        };
        address.parse::<IpAddr>().map(Source::from).map_err(|_| NoAddress)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("write an IPv4 address, an IPv6 address, or an IPv6 network of 64 bits such as 2001:db8:1:2::/64")]
pub struct NoAddress;

/// Addresses with the same first bits; of IPv6 at least a whole `Source`, for within one nobody is told from the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        let differs = |difference: u128, width: u8| self.bits > 0 && difference >> (width - self.bits) != 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(ip)) => !differs(u128::from(ours.to_bits() ^ ip.to_bits()), 32),
            (IpAddr::V6(ours), IpAddr::V6(ip)) => !differs(ours.to_bits() ^ ip.to_bits(), 128),
            _ => false,
        }
    }
}

impl std::str::FromStr for Network {
    type Err = NoNetwork;

    /// `192.0.2.0/24`, or an address alone.
    fn from_str(text: &str) -> Result<Network, NoNetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address = address.parse::<IpAddr>().map_err(|_| NoNetwork)?;
        let (width, most) = if address.is_ipv4() { (32, 32) } else { (128, 64) };
        let bits = bits.map_or(Ok(width), |bits| bits.parse::<u8>().map_err(|_| NoNetwork))?;
        // No peer comes from there: its messages have the IPv4 address.
        let is_mapped = address.to_canonical() != address;
        if bits > width || is_mapped { Err(NoNetwork) } else { Ok(Network { address, bits: bits.min(most) }) }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("write for example 192.0.2.0/24, 2001:db8::/32 or 192.0.2.7")]
pub struct NoNetwork;

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_of_one_place_are_one_source_and_its_text_says_which() {
        assert_eq!(source("192.0.2.7").to_string(), "192.0.2.7");
        assert_eq!(source("::ffff:192.0.2.7"), source("192.0.2.7"));
        assert_eq!(source("2001:db8:1:2::5"), source("2001:db8:1:2:ffff::1"));
        assert_ne!(source("2001:db8:1:2::5"), source("2001:db8:1:3::5"));
        assert_ne!(source("192.0.2.7"), source("192.0.2.8"));
        for text in ["192.0.2.7", "2001:db8:1:2::/64", "::/64"] {
            assert_eq!(source(text).to_string(), text);
        }
        for wrong in ["", "192.0.2.7/64", "2001:db8::/48", "office", "192.0.2.7:5060"] {
            assert_eq!(wrong.parse::<Source>(), Err(NoAddress), "{wrong}");
        }
    }

    #[test]
    fn networks_hold_the_addresses_with_their_first_bits() {
        let holds =
            |network: &str, address: &str| network.parse::<Network>().unwrap().contains(address.parse().unwrap());
        assert!(holds("127.0.0.0/8", "127.9.9.9") && !holds("127.0.0.0/8", "128.0.0.1"));
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("0.0.0.0/0", "203.0.113.1") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("2001:db8::/33", "2001:db8:7fff::1") && !holds("2001:db8::/33", "2001:db8:8000::1"));
        assert!(holds("192.0.2.0/24", "::ffff:192.0.2.9"));
        assert!(holds("2001:db8::5", "2001:db8::6") && !holds("2001:db8::5", "2001:db8:0:1::5"));
        for wrong in ["", "::ffff:192.0.2.7", "192.0.2.0/33", "::/129", "192.0.2/24", "192.0.2.0/", "a/8"] {
            assert_eq!(wrong.parse::<Network>(), Err(NoNetwork), "{wrong}");
        }
    }
}
